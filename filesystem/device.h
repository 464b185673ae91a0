/* Block devices and image files, opened for reading.  Nothing here writes. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens a block device or a regular file and tells its size in bytes.  Anything else is an error, without waiting on
 * it. */
bool device_open(const char *path, int *descriptor, int64_t *bytes, struct error *error);

/* Opens the block device of that number.  The kernel's name of it is looked up in sysfs, below /dev. */
bool device_open_number(dev_t device, int *descriptor, int64_t *bytes, struct error *error);

/* Reads exactly `length` bytes at `offset`; fewer are an error. */
bool device_read(int descriptor, const char *path, int64_t offset, void *buffer, size_t length, struct error *error);
