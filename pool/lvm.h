/* What the files of the lvm pool share (docs/lvm.md).  For files in pool/ only. */
#pragma once

#include "pool/device_mapper.h"
#include "pool/id_set.h"
#include "pool/kind.h"
#include "pool/lvm_command.h"
#include "pool/lvm_report.h"

#define LVM_WORDS_MOST 32

/* `<id>.cut`: from what `id` is being copied. */
struct lvm_cut {
    struct lvm_cut *next;
    char id[ID_BYTES], origin[ID_BYTES]; /* no origin: it is half made, and nothing can be read from it */
};

struct lvm_guard {
    pthread_mutex_t mutex;
    pthread_cond_t end;
    pthread_t thread;
    bool running, ending;
    bool told; /* that the last growth failed */
};

struct lvm_pool {
    struct pool *pool; /* that it is of, once it has been scanned */
    struct lvm_queue *queue;
    const char *devices; /* the option of the pool, or NULL: which loop devices may be looked into */
    struct lvm_guard guard;
    char vg[LVM_NAME_BYTES], vg_uuid[LVM_UUID_BYTES];
    char thin_pool[LVM_NAME_BYTES]; /* "": thick volumes only */
    char thin_pool_uuid[LVM_UUID_BYTES];

    /* Under pool->mutex: as the last report said, and our own changes since. */
    int64_t extent_bytes, extents, free_extents;
    int64_t promised_to_others; /* sizes of the thin volumes that are not in the inventory */
    int64_t metadata_bytes, metadata_free_bytes;
    struct lvm_cut *cuts;
    struct id_set partial;        /* volumes with parts on a missing device */
    struct id_set broken;         /* of these, what no mirrors or parity make up for */
    struct id_set lost;           /* that the thin pool did not have when they were activated */
    struct thin_pool_status thin; /* when it was last measured, unless that failed */
    struct error thin_failure;
    bool device_missing;
    bool has_passing; /* the last report counted a cut or a scratch volume */
    int64_t reported; /* when the last report was read */
    /* Of a disk pool (disk.h), or "": */
    char volume[ID_BYTES];    /* the volume that has the disk */
    char elsewhere[ID_BYTES]; /* one that is left alone, as another disk has it */
};

/* The volume group that has the volume or snapshot `id`, or gets it. */
struct lvm_pool *lvm_of(const struct pool *pool, const char *id);

/* FAILED_PRECONDITION if the volume group is exported, shared or clustered. */
bool lvm_check_group(const struct lvm_pool *own, const struct lvm_report *report, struct error *error);

/* --- lvm_words.c: command lines --- */

/* An argument list and the texts it has of its own. */
struct lvm_words {
    const char *argv[LVM_WORDS_MOST + 1];
    size_t count;
    char text[8][320];
    size_t texts;
};

/* Adds words, ended by NULL. */
void lvm_words(struct lvm_words *words, ...) __attribute__((sentinel));

/* "VG/<name><suffix>", a number of bytes as LVM reads it, kept in `words`. */
const char *lvm_full_name(struct lvm_words *words, const struct lvm_pool *own, const char *name, const char *suffix);
const char *lvm_bytes(struct lvm_words *words, int64_t bytes);

/* --- lvm.c --- */

/* Takes the exclusive lock of that name for the pool; `what` is what errors call what is locked. */
bool lvm_take_lock(struct pool *pool, const char *name, const char *what, struct error *error);

/* --- lvm_make.c: what is not there yet --- */

/* A volume group of empty devices ("/dev/a+/dev/b"); one with anything on it is refused by name. */
bool lvm_make_group(struct pool *pool, struct lvm_pool *own, const char *devices, struct error *error);

/* Makes the thin pool if its size was given, has it as the options say and activates it.  `report` is read anew then.
 */
bool lvm_open_thin_pool(struct pool *pool, struct lvm_pool *own, struct lvm_report *report, struct error *error);

/* --- lvm_filter.c: which devices commands may open --- */

/* All, but of loop devices only those that own->devices names: for the first look. */
void lvm_look_everywhere(struct lvm_pool *own);

/* This one only. */
void lvm_look_at(struct lvm_pool *own, const char *path);

/* Those of the volume group, or everywhere if one is missing or there are too many; there its changes by others are
 * seen, too. */
void lvm_look_at_devices_of(struct lvm_pool *own, const struct lvm_report *report);

/* --- lvm_scan.c: what is on the storage --- */

/* The words that ask for a report (pool/lvm_report.h), and one report of the volume group. */
void lvm_report_words(const struct lvm_pool *own, struct lvm_words *words);
bool lvm_read_report(struct lvm_pool *own, struct lvm_report *report, struct error *error);

/* Takes what a report tells into the inventory.  The caller holds pool->mutex. */
void lvm_see_report(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report);

/* True for a name that is an id of this pool. */
bool lvm_is_ours(const struct pool *pool, const char *name, enum record_kind *kind);

/* It cannot be used, and calls hear why; nothing is done to it.  The caller holds pool->mutex. */
void lvm_leave_alone(struct pool *pool, enum record_kind kind, const char *id, const struct error *why);

void lvm_forget(struct lvm_pool *own); /* what a report told */

/* --- lvm_refresh.c: what has changed since --- */

/* Compares the inventory with the storage if something uncertain has happened since; of the pool, or of one group. */
bool lvm_refresh(struct pool *pool, struct error *error);
bool lvm_refresh_group(struct pool *pool, struct lvm_pool *own, struct error *error);

/* A cut or a scratch volume has gone: if its space was counted as used, that is looked at again. */
void lvm_has_passed(struct pool *pool, struct lvm_pool *own);

/* --- lvm_start.c: reading it all and clearing up, once --- */
bool lvm_scan(struct pool *pool, struct error *error);
bool lvm_scan_group(struct pool *pool, struct lvm_pool *own,
                    struct error *error); /* of a disk: no cuts, no thin pool */

/* While it runs: what a command that was killed has left to be done. */
bool lvm_settle(struct pool *pool, struct lvm_pool *own, struct error *error);

/* --- lvm_data.c, lvm_remove.c: volumes --- */
#define LVM_TAG_COST 600 /* bytes of LVM's metadata that a volume takes, about (measured 537) */

bool lvm_create(struct pool *pool, const struct record *record, struct error *error);
bool lvm_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
              struct error *error);
bool lvm_undo(struct pool *pool, const struct record *record, struct error *error);
bool lvm_write(struct pool *pool, const struct record *old, const struct record *record, struct error *error);
bool lvm_remove(struct pool *pool, const struct record *record, struct error *error);
bool lvm_grow(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
              struct error *error);

/*
 * Runs an lvcreate.  What has the name already may be of a command that its caller has left: ABORTED, and the next call
 * sees it.
 */
bool lvm_run_create(struct lvm_pool *own, const struct lvm_words *words, struct error *error);

/* Words for lvcreate of a thick volume: type, size, stripes, mirrors; no zeroing, active. */
void lvm_add_thick(struct lvm_words *words, const struct record *record);

/* Takes them from what the pool knows to be free (negative: gives them back). */
void lvm_account(struct pool *pool, struct lvm_pool *own, int64_t extents, int64_t metadata_bytes);

/* True if the layout serves all data without the legs (a letter for each: struct raid_status) that are dead. */
bool lvm_serves(const struct record *record, const char *legs);

/* Over how many devices a thick volume's data is striped. */
int lvm_stripes(const struct record *record);

/* The most that a thick volume of that shape can have of so many extents; the reverse of lvm_extents(). */
int64_t lvm_usable(const struct lvm_pool *own, const struct record *shape, int64_t extents);

/* Extents that a thick volume of that size takes, with mirrors and parity. */
int64_t lvm_extents(const struct lvm_pool *own, const struct record *record, int64_t bytes);

/* --- lvm_device.c: devices --- */

/* The device of the logical volume `name``suffix`.  NOT_FOUND if it is not active. */
bool lvm_find_device(const struct lvm_pool *own, const char *name, const char *suffix,
                     struct device_mapper_device *device, char uuid[static DEVICE_MAPPER_UUID_BYTES],
                     struct error *error);
bool lvm_activate(struct lvm_pool *own, const char *name, const char *suffix, struct device_mapper_device *device,
                  struct error *error);
bool lvm_deactivate(struct lvm_pool *own, const char *name, struct error *error);

/* DATA_LOSS: the volume that is in `lost` now; false. */
bool lvm_tell_lost(const struct lvm_pool *own, const char *id, struct error *error);
void lvm_forget_lost(struct pool *pool, const char *id);

bool lvm_open_data(struct pool *pool, const struct record *record, char *path, struct error *error);
bool lvm_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                struct error *error);
bool lvm_detach(struct pool *pool, const struct record *record, struct error *error);
bool lvm_attached(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device);
bool lvm_in_use(struct pool *pool, const struct record *record);
bool lvm_identify(dev_t device, char id[static ID_BYTES]);
bool lvm_suspend(struct pool *pool, const struct record *record, struct error *error);
bool lvm_is_suspended(struct pool *pool, const struct record *record);
bool lvm_resume(struct pool *pool, const struct record *record, struct error *error);

/* --- lvm_taken.c: what the node has taken, whether its device is active or not --- */
bool lvm_is_taken(const char *id);

/* Until lvm_give_back().  Waits while lvm_let_go() is at it.  The caller holds the volume's lock. */
bool lvm_take(const char *id, struct error *error);
void lvm_give_back(const char *id);

/* Deactivates a volume or snapshot that nobody has taken or opened. */
bool lvm_let_go(struct pool *pool, const struct record *record, struct error *error);

/* At start, of that group: takes what the node has noted as staged, and what is bound somewhere. */
void lvm_take_noted(struct pool *pool, const struct lvm_pool *own);

/* --- lvm_mark.c: thin volumes of a group at one moment --- */
bool lvm_mark(struct pool *pool, const struct record *source, const struct record *record, struct error *error);
void lvm_unmark(struct pool *pool, const struct record *record);

/* Gives the thin snapshot `record`, which LVM has just made, the bytes of its mark; true if it has none. */
bool lvm_use_mark(struct pool *pool, const struct record *record, struct error *error);

/* Sends a message to the thin pool. */
bool lvm_send(const struct lvm_pool *own, struct error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* At start: forgets marks that a killed process left. */
void lvm_forget_marks(const struct lvm_pool *own);

/* --- lvm_cut.c: reading a source byte by byte --- */
bool lvm_make_cut(struct pool *pool, const struct record *source, const struct record *record, bool *cut,
                  struct error *error);
bool lvm_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                     struct error *error);
bool lvm_close_source(struct pool *pool, const struct record *source, const struct record *record, struct error *error);
bool lvm_has_cut(struct pool *pool, const struct record *record);

/*
 * True if something is being copied from a cut of `origin`.  Removes cuts that a making which was given up has left, as
 * LVM could not be reached then.
 */
bool lvm_is_cut(struct pool *pool, const char *origin);

/* True if a copy-on-write snapshot of `origin` could not be kept; `id` is what is being copied from it. */
bool lvm_has_invalid_cut(struct pool *pool, const char *origin, char id[static ID_BYTES]);

void lvm_note_cut(struct lvm_pool *own, const char *id, const char *origin); /* caller holds the mutex */
void lvm_forget_cut(struct pool *pool, const char *id);

/* --- lvm_guard.c: thin pools that fill up --- */
bool lvm_guard_start(struct pool *pool, struct error *error);
void lvm_guard_stop(struct lvm_pool *own); /* takes one that does not run */

/* --- lvm_space.c: how much --- */
#define LVM_REASON_BYTES sizeof((struct pool_space *)0)->reason
#define LVM_NEARLY_FULL 95 /* percent: then nothing new is made */

bool lvm_thin_status(const struct lvm_pool *own, struct thin_pool_status *status, struct error *error);
int lvm_percent(int64_t used, int64_t total);

/* Whether the metadata area of the volume group has room for many more logical volumes.  The caller holds the mutex. */
bool lvm_metadata_fit(const struct lvm_pool *own);

/* The same for who does not: RESOURCE_EXHAUSTED. */
bool lvm_has_room_for_metadata(struct pool *pool, const struct lvm_pool *own, struct error *error);

/* Why nothing new can be made, and what to do: a disk is missing, there are too many volumes, the thin pool is full. */
void lvm_tell_missing(const struct lvm_pool *own, char reason[static LVM_REASON_BYTES]);
void lvm_tell_many(const struct lvm_pool *own, char reason[static LVM_REASON_BYTES]);
void lvm_tell_full(const struct lvm_pool *own, const struct thin_pool_status *status,
                   char reason[static LVM_REASON_BYTES]);
bool lvm_is_full(const struct thin_pool_status *status); /* nothing new is to be made in it */

/* Not where its metadata are used up: then the kernel writes nothing, either, until they are larger. */
bool lvm_needs_repair(const struct thin_pool_status *status);
bool lvm_measure(struct pool *pool, struct error *error);
bool lvm_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error);
int64_t lvm_round(const struct pool *pool, const struct record *shape, int64_t bytes);
bool lvm_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error);

/* --- lvm_health.c --- */
void lvm_volume_health(struct pool *pool, const struct record *record,
                       void (*see)(enum health, const char *, const char *, void *), void *data);
void lvm_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data);
