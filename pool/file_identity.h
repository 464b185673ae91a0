/* What a file pool's directory has beside its volumes: the lock, pool.json, and how small files are read and replaced.
 */
#pragma once

#include "base/error.h"
#include "pool/record.h"

#include <stdint.h>

/* Writes a whole file durably: new name, fsync, rename, fsync of the directory. */
bool file_replace(int directory, const char *name, const char *text, struct error *error);

/* Reads a whole small file (at most 64 KiB) into `text`, which the caller frees.  Fails with the errno in
 * error->number. */
bool file_read(int directory, const char *name, char **text, size_t *length, struct error *error);

/*
 * Takes the exclusive lock of a pool's directory.  ALREADY_EXISTS if another Plinth has it; UNAVAILABLE if a child of a
 * killed one still holds it after `patience` nanoseconds.
 */
bool file_lock(int directory, const char *path, int64_t patience, int *lock, struct error *error);

/* The same with a lock file of any name in the directory; `path` is what the errors call what is locked. */
bool file_lock_named(int directory, const char *name, const char *path, int64_t patience, int *lock,
                     struct error *error);

/* pool.json.  A copied directory has the inode number of the original in it. */
struct file_identity {
    char id[POOL_ID_DIGITS + 1];
    uintmax_t inode;
};

/* Fails with error->number ENOENT if there is none, DATA_LOSS if it is damaged, FAILED_PRECONDITION if it is newer. */
bool file_identity_read(int directory, const char *path, struct file_identity *identity, struct error *error);
bool file_identity_write(int directory, const struct file_identity *identity, struct error *error);

/* The inode number that an open directory has now. */
uintmax_t file_inode(int directory);
