/*
 * Copying the bytes of one file or block device to another, or zeroing one.
 *
 * Afterwards every byte of the target up to `target_bytes` is the source's or zero, whatever it was before: the extents
 * of a volume may hold what another tenant left.  Between files copying is sparse (lseek(2), SEEK_DATA;
 * copy_file_range(2)); where a device takes part it goes past the page cache (O_DIRECT) with one buffer of 4 MiB, and
 * runs of zeros are zeroed instead of written: on a device BLKZEROOUT, in a file a hole stays a hole.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct copy {
    const char *from;     /* path of a file or block device; NULL: zeros */
    const char *to;       /* path of a file or block device that is there, with at least `target_bytes` */
    int64_t bytes;        /* of the source to copy, or of zeros to make */
    int64_t target_bytes; /* of the target: what is beyond `bytes` is zeroed; 0: as many as `bytes` */
    int64_t start;        /* what is before is not touched: it has been copied already, or is to be kept */
    bool target_is_zero; /* the target reads as zeros where nothing was copied yet (a new thin volume): it stays thin */

    /* Asked between pieces of some MiB, all before `done` being copied: false stops with ABORTED.  NULL: goes on. */
    bool (*go_on)(int64_t done, void *data);

    /* Told, every 256 MiB and at the end, that all before `done` is on the disk, so that a copy with this `start` goes
     * on there; may be NULL. */
    bool (*checkpoint)(int64_t done, void *data, struct error *error);
    void *data;
};

/*
 * Copies and syncs.  DATA_LOSS: the source cannot be read or an end is too short; RESOURCE_EXHAUSTED: the target is
 * full (ENOSPC).  What is wrong is named with its path and byte.
 */
bool copy_bytes(const struct copy *copy, struct error *error);
