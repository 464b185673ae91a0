/*
 * Where LVM's metadata of a volume group is just now, read straight from a device of it: changes with every change of
 * the group, whoever makes it, and costs one read.  The layout is LVM2's format_text (pvck(8) --dump headers shows it).
 */
#pragma once

#include "filesystem/filesystem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lvm_header {
    char path[256]; /* "": nothing can be told */
    int64_t offset; /* of the metadata area's header */
};

/* Finds the metadata area of a physical volume.  False if there is none that we understand. */
bool lvm_header_find(const char *path, struct lvm_header *header);

/*
 * What is on a device that is to be taken, as filesystem_probe() says it (filesystem/filesystem.h); beyond signatures
 * it sees LVM's metadata that have lost their label, which wipefs(8) and libblkid do not.  "" if nothing.
 */
bool lvm_header_probe(const char *path, char found[static FILESYSTEM_NAME_BYTES], struct error *error);

/*
 * One number that is another when the metadata change, which are the same on all devices of a group, or when one of
 * these devices can be read no longer, or again.  Never 0.  *readable: how many can be read.
 */
uint64_t lvm_header_read(const struct lvm_header *headers, size_t count, size_t *readable);
