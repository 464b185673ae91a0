/* What is on a device: every signature that libblkid knows, to be shown and to be wiped. */
#pragma once

#include "base/error.h"

#include <stdint.h>

/* Calls `see` for each: its type ("ext4", "LVM2_member", "gpt"), label ("" if it has none) and place in bytes. */
bool disk_signatures_each(const char *path,
                          void (*see)(const char *type, const char *label, int64_t offset, void *data), void *data,
                          struct error *error);

/*
 * Opens a device to wipe it; exclusively: then nobody uses it or one of its partitions (open(2)), and its number stays
 * its own.  FAILED_PRECONDITION if it is in use.  -1 on failure; the caller closes it.
 */
int disk_signatures_open(const char *path, struct error *error);

/* Wipes all of them, and has the kernel forget the partitions.  `path` is for errors. */
bool disk_signatures_wipe(int device, const char *path, struct error *error);
