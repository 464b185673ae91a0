/* What is done to the bytes of a volume before its space is given back. */
#pragma once

#include "base/error.h"
#include "pool/record.h" /* enum wipe */

#include <stdbool.h>
#include <stdint.h>

/* Reads "none", "discard" or "zero".  INVALID_ARGUMENT names the three. */
bool wipe_parse(const char *text, enum wipe *how, struct error *error);

/*
 * Wipes [start, bytes) of a block device and syncs it.  WIPE_DISCARD (BLKDISCARD, in pieces of 1 GiB) tells the device
 * that nothing of it is needed: what it reads as afterwards is up to the device, and one that has no discard is
 * FAILED_PRECONDITION.  WIPE_ZERO makes it read as zeros.  `go_on`, `checkpoint` and `data` are those of struct copy
 * (transfer/copy.h); a wipe goes on from the last checkpoint with that `start`.
 */
bool wipe_device(const char *path, int64_t bytes, enum wipe how, int64_t start, bool (*go_on)(int64_t done, void *data),
                 bool (*checkpoint)(int64_t done, void *data, struct error *error), void *data, struct error *error);
