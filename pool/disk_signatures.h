/* What is on a device: every signature that libblkid knows, to be shown and to be wiped. */
#pragma once

#include "base/error.h"

#include <stdint.h>

/* Calls `see` for each: its type ("ext4", "LVM2_member", "gpt"), label ("" if it has none) and place in bytes. */
bool disk_signatures_each(const char *path,
                          void (*see)(const char *type, const char *label, int64_t offset, void *data), void *data,
                          struct error *error);

/* Wipes all of them, and has the kernel forget the partitions.  FAILED_PRECONDITION if the device is in use. */
bool disk_signatures_wipe(const char *path, struct error *error);
