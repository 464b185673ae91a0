/*
 * The file pool's directory (docs/on-disk.md):
 *     <path>/pool.json                  the pool's identity
 *     <path>/lock                       locked exclusively by the one Plinth that uses it, and by its children
 *     <path>/volumes/<id>/data          the image of a volume
 *     <path>/volumes/<id>/meta.json     its record; meta.json.creating or meta.json.deleting in these phases
 *     <path>/snapshots/<id>/...         the same for snapshots
 * For file.c (the pool), file_scan.c (what there is), file_record.c (directories and records), file_data.c (images and
 * devices), file_identity.c (the rest).
 */
#pragma once

#include "pool/file_identity.h"
#include "pool/kind.h"

/*
 * The phase is told by the name of the record's file: meta.json.creating, meta.json, meta.json.deleting.  A rename is
 * one step, and this one takes no new block even on a full disk, so that it can be emptied; and until it is made,
 * nothing of a new volume needs to be durable.
 */
extern const char *const file_record_names[3];

struct file_pool {
    char path[PATH_MAX];
    int directory;
    int kinds[2]; /* volumes/ and snapshots/, by enum record_kind */
};

/* The directory name of a kind: "volumes", "snapshots". */
extern const char *const file_kind_names[2];

/* --- file_scan.c: gives all there is to the inventory --- */

bool file_scan(struct pool *pool, struct error *error);

/* --- file_record.c --- */

/* Where the directories of all records of this kind are; stays the pool's. */
int file_kind_directory(const struct pool *pool, const struct record *record);

/* Opens <id>/, for the caller to close. */
bool file_open_directory(const struct pool *pool, const struct record *record, int *directory, struct error *error);

/* Tells whether there is a file of that name in <id>/.  False: that cannot be told, and it may well be. */
bool file_look_for(int directory, const char *name, bool *there, struct error *error);

/* Writes the first record of something new, in phase `creating`; not durably. */
bool file_record_begin(int directory, const struct record *record, struct error *error);

/* Makes a file in <id>/ durable (fsync(2)). */
bool file_sync_name(int directory, const char *name, const struct record *record, struct error *error);

bool file_write(struct pool *pool, const struct record *old, const struct record *record, struct error *error);
bool file_settle(struct pool *pool, const struct record *record, struct error *error);

/* --- file_data.c: the operations on one volume or snapshot --- */

bool file_create(struct pool *pool, const struct record *record, struct error *error);
bool file_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
               struct error *error);
bool file_sync(struct pool *pool, const struct record *record, struct error *error);
bool file_remove(struct pool *pool, const struct record *record, struct error *error);
bool file_grow(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
               struct error *error);
bool file_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error);
bool file_open_data(struct pool *pool, const struct record *record, char *path, struct error *error);
bool file_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error);
bool file_detach(struct pool *pool, const struct record *record, struct error *error);
bool file_attached(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device);
void file_volume_health(struct pool *pool, const struct record *record,
                        void (*see)(enum health, const char *, const char *, void *), void *data);

/* True if files in this directory can share blocks (FICLONE, ioctl_ficlone(2)). */
bool file_can_reflink(int directory);
