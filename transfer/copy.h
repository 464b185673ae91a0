/* Copying the bytes of one image or device to another, sparsely (lseek(2), SEEK_DATA; copy_file_range(2)). */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct copy {
    const char *from, *to; /* paths; `to` reads as zeros where nothing was copied yet */
    int64_t bytes;         /* of the source to copy */
    int64_t start;         /* what is before has been copied already */

    /* Asked between pieces of some MiB: false stops the copy with ABORTED. */
    bool (*go_on)(int64_t done, void *data);

    /* Told, every 256 MiB, that all before `done` is on the disk; may be NULL. */
    bool (*checkpoint)(int64_t done, void *data, struct error *error);
    void *data;
};

/* Copies and syncs.  What is copied does not stay in the page cache. */
bool copy_bytes(const struct copy *copy, struct error *error);
