/*
 * Static volumes: a logical volume or an image file that is there already becomes a volume of a pool, and back.  No
 * byte of it is written.  For the command line; no driver takes part.
 *
 * Each function works in steps of which each is safe to be killed after: the same call again goes on with the next one,
 * and until the last one no driver sees a volume.  One that was imported already is found again.
 */
#pragma once

#include "pool/record.h"

#include <stdbool.h>

struct import_wish {
    const char *node;            /* that the volume's driver is for, as its --node-id */
    const char *state_directory; /* for LVM's configuration; made if missing, and locked: one import at a time */
    bool block;                  /* a raw block volume, whatever is in it; else it must have a file system of ours */
};

/*
 * Makes the logical volume `name` of the volume group `vg` a volume: it gets a tag of ours, is no longer activated by
 * the host, and is renamed to its id.  Its name becomes the volume's.  A driver that is running has it within a second.
 *
 * FAILED_PRECONDITION if it is open, has or is a copy-on-write snapshot, is something else than a volume (a thin pool,
 * a part of another), is read-only, carries a tag of ours, if its content is not what the wish says, or if the volume
 * group is no pool yet; ALREADY_EXISTS if its name has been given to another volume; NOT_FOUND.
 */
bool import_logical_volume(const struct import_wish *wish, const char *vg, const char *name, struct record *record,
                           struct error *error);

/*
 * Undoes it: name, tags and content are as before.  It is not activated.  FAILED_PRECONDITION if it is active (staged)
 * or was not imported.  `record` is what it was; `vg`, of 128 bytes, the volume group it is in.
 */
bool release_logical_volume(const char *state_directory, const char *id, struct record *record, char *vg,
                            struct error *error);

/*
 * Makes an image file a volume of the file pool in the directory `pool`, which must be of the same file system, by
 * renaming it.  The file's name becomes the volume's.  Wants the pool's lock: ALREADY_EXISTS while a driver runs.
 * FAILED_PRECONDITION if somebody has the file open, it has several names, or its content is not what the wish says.
 */
bool import_image(const struct import_wish *wish, const char *pool, const char *image, struct record *record,
                  struct error *error);

/* Undoes it: the image becomes the file `to`, which must not be there yet. */
bool release_image(const char *pool, const char *id, const char *to, struct record *record, struct error *error);

/* --- for import_lvm.c and import_file.c --- */

/* The id that the volume `name` has in a pool on this node. */
void import_make_id(const struct import_wish *wish, const char *pool_id, const char *name, char id[static ID_BYTES]);

/* Fills in the record of a new volume, but for its size and `thick`, from what is found on `path`. */
bool import_make_record(const struct import_wish *wish, const char *id, const char *name, const char *path,
                        struct record *record, struct error *error);

/* Checks a record that is there already: was it imported, and as this wish says? */
bool import_check_record(const struct record *record, struct error *error);
bool import_check_wish(const struct import_wish *wish, const struct record *record, struct error *error);
