/* What is done to the bytes of a volume before its space is given back. */
#pragma once

#include "base/error.h"
#include "pool/record.h" /* enum wipe */

#include <stdbool.h>
#include <stdint.h>

/* Reads "none", "discard" or "zero".  INVALID_ARGUMENT names the three. */
bool wipe_parse(const char *text, enum wipe *how, struct error *error);

struct wiping {
    const char *id;   /* of the volume or snapshot, for the log */
    const char *path; /* of a block device */
    int64_t start, bytes;
    enum wipe how;
    bool sparse; /* its blocks are allocated when they are written to */

    /* As those of struct copy (transfer/copy.h): a wipe goes on from the last checkpoint with that `start`. */
    bool (*go_on)(int64_t done, void *data);
    bool (*checkpoint)(int64_t done, void *data, struct error *error);
    void *data;
};

/*
 * Wipes [start, bytes) of a block device and syncs it.  WIPE_DISCARD (BLKDISCARD) tells the device that nothing of it
 * is needed: what it reads as afterwards is up to the device; where it fails, as a device without discard does, the
 * rest is wiped as by WIPE_ZERO and the log says so.  WIPE_ZERO makes it read as zeros; what is sparse is discarded
 * piece by piece then, or a thin pool would need room for all of it.
 */
bool wipe_device(const struct wiping *wiping, struct error *error);
