/*
 * Adopting a copied file pool.  A pool's pool.json holds the inode of its directory, so that a copy of the directory
 * (on another disk, in a cloned machine) is not taken for the pool itself; once the original is gone for good, the copy
 * can take its place.
 */
#pragma once

#include "pool/record.h"

#include <stdbool.h>
#include <stdint.h>

struct adoption {
    int directory, lock;
    char id[POOL_ID_DIGITS + 1];
    uintmax_t recorded, present; /* inodes: of the original, of this directory */
};

/*
 * Looks at the directory `path` and holds its lock until adoption_end(); changes nothing.  NOT_FOUND if there is no
 * pool, DATA_LOSS for a damaged pool.json, ALREADY_EXISTS if another Plinth uses it, FAILED_PRECONDITION if it is no
 * copy or was written by a newer Plinth.  adoption_end() in any case.
 */
bool adoption_begin(struct adoption *adoption, const char *path, struct error *error);

/* Makes this directory the pool, with the same id. */
bool adoption_finish(struct adoption *adoption, struct error *error);
void adoption_end(struct adoption *adoption);
#define cleanup_adoption __attribute__((cleanup(adoption_end)))
