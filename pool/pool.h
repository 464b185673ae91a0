/*
 * Pools: where bytes live.
 *
 * A pool has an inventory in memory, read from the storage at start and changed only together with it, an account
 * of what has been promised, and operations (pool_ops) that a kind of pool implements: file.c now.  A new kind is one
 * file and one line in the table of pool.c.
 *
 * Callers hold the lock of the id (base/keylock.h) around anything that changes a volume or snapshot.
 * pool/ makes, copies, removes and attaches bytes.  It formats and mounts nothing.
 */
#pragma once

#include "base/error.h"
#include "pool/record.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pool;
struct pools;

/* --- configuration --- */

struct pool_option {
    char key[32], value[PATH_MAX];
};

struct pool_config {
    char name[64]; /* as the StorageClass parameter "pool" names it */
    char kind[16];
    struct pool_option options[16];
    size_t option_count;
};

/* Reads "name=kind:key=value,key=value".  INVALID_ARGUMENT says what is wrong. */
bool pool_config_parse(const char *text, struct pool_config *config, struct error *error);

/* --- all pools of this node --- */

/*
 * Opens the pools, the first being the default.  A pool that cannot be opened does not hinder the others: what belongs
 * to it fails with the reason, and opening is tried again when somebody asks; what takes long goes on beside the rest.
 * INVALID_ARGUMENT for a bad configuration, ALREADY_EXISTS when another Plinth has one of them.  `node` and
 * `state_directory` (what tools need at run time is kept there) are borrowed.
 */
struct pools *pools_open(const struct pool_config *configs, size_t count, const char *node, const char *state_directory,
                         struct error *error);
void pools_close(struct pools *pools);

/* True if there is none that is not open (yet), so that what is not found is nowhere. */
bool pools_are_open(struct pools *pools);

/* From now on calls `act` whenever a pool has been opened; it must not wait, nor call into pools. */
void pools_when_opened(void (*act)(void *data), void *data);

/* Where the node notes what was asked of it for a volume (node/state.h, which knows the content).  While that file is
 * there somebody has the volume. */
void pool_note_path(const char *state_directory, const char *id, char path[static PATH_MAX]);

size_t pools_count(const struct pools *pools);
struct pool *pools_at(struct pools *pools, size_t index); /* in the order of the configuration */

/* The pool of that name ("" or NULL: the default).  INVALID_ARGUMENT names the pools there are. */
struct pool *pools_named(struct pools *pools, const char *name, struct error *error);

/*
 * Finds a volume or snapshot by id in all pools and copies its record.  NOT_FOUND if the id is not there or has no form
 * of an id; the pool's failure if it belongs to a pool that cannot be opened, UNAVAILABLE if it may be on a part that
 * is missing; DATA_LOSS, FAILED_PRECONDITION if its record is damaged or newer.
 */
bool pools_find(struct pools *pools, enum record_kind kind, const char *id, struct pool **pool, struct record *record,
                struct error *error);

/* True of an error of pools_find() that says that what was there is known to be gone: removed by hand. */
bool pools_know_it_gone(const struct error *error);

/* True of an error of pools_find() that says that nobody knows it, but a part of its pool is missing. */
bool pools_may_miss_it(const struct error *error);

/* Finds by CSI name.  *pool is NULL, without an error, if there is none.  An error if a pool that could hold it cannot
 * be read. */
bool pools_find_name(struct pools *pools, enum record_kind kind, const char *name, struct pool **pool,
                     struct record *record, struct error *error);

/* Calls `see` for every record of the kind with an id greater than `after` ("" for all) in the order of ids, until it
 * returns false. Other threads may add and remove meanwhile; `see` must not call into pools. */
void pools_list(struct pools *pools, enum record_kind kind, const char *after,
                bool (*see)(struct pool *pool, const struct record *record, void *data), void *data);

/* --- one pool --- */

const char *pool_name(const struct pool *pool);
const char *pool_kind(const struct pool *pool);
const char *pool_node(const struct pool *pool); /* the node it is on */

/* True if the pool is open; else its failure.  Tries to open it again, at most once a second; UNAVAILABLE if that lasts
 * until shortly before caller_deadline. */
bool pool_usable(struct pool *pool, struct error *error);

/* The same for a call that is about other pools, too: waits for a moment only. */
bool pool_usable_soon(struct pool *pool, struct error *error);

/* A descriptor of the pool's lock that child processes inherit, so that they hold off a successor's recovery. */
int pool_lock_descriptor(const struct pool *pool);

/* True if the pool's volumes are allocated in full unless they are asked for otherwise. */
bool pool_is_thick(const struct pool *pool);

/* UNIMPLEMENTED, with the reason, if it has no room for snapshots in principle. */
bool pool_has_snapshots(const struct pool *pool, struct error *error);

struct pool_space {
    int64_t total;       /* bytes the storage has for volumes */
    int64_t provisioned; /* promised to volumes and snapshots */
    int64_t available;   /* that may still be promised */
    int64_t largest;     /* the largest single volume */
    char reason[512];    /* why nothing is available, where that is not for want of space; or "" */
};

/* For volumes of a shape (pool_round()), or, if NULL, as the pool makes them by default. */
bool pool_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error);

/* The id that a name has in this pool. */
void pool_make_id(const struct pool *pool, const char *mark, const char *name, char id[static ID_BYTES]);

/* The size that will be made for a size asked: rounded up to what the pool can make in that shape (thick, layout,
 * stripes, mirrors of the record). */
int64_t pool_round(const struct pool *pool, const struct record *shape, int64_t bytes);

/*
 * What a pool can do, asked before something is made in it:
 *   pool_is_atomic         pool_create() and an at-once pool_copy() of the same size are one step that a crash cannot
 *                          tear: their record may be in phase `ready` from the beginning
 *   pool_reads_as_zeros    a volume made for this record reads as zeros; else all of it must be written before it is
 *                          handed out (transfer/)
 *   pool_needs_zeroing     true where it does not, and the volume is a raw block volume, whose reader sees all there is
 *   pool_freezes_itself    the file system on a volume is frozen by the pool itself when it is copied or cut
 */
bool pool_is_atomic(const struct pool *pool);
bool pool_reads_as_zeros(const struct pool *pool, const struct record *record);
bool pool_needs_zeroing(const struct pool *pool, const struct record *record);
bool pool_freezes_itself(const struct pool *pool);

/*
 * Makes the bytes of a new volume and its record in phase `creating`, in one atomic step.
 * RESOURCE_EXHAUSTED, with the numbers, if the pool has not that much left.
 */
bool pool_create(struct pool *pool, const struct record *record, struct error *error);

/*
 * Makes `record` (a volume or a snapshot, phase `creating`) as a copy of `source` in the same pool, at once (reflink,
 * thin snapshot).  *done is false, without an error, when this pool cannot: then it has made the record and an empty
 * image, and the caller must copy the bytes (transfer/). The copy has the size of record->bytes, at least that of the
 * source.
 */
bool pool_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
               struct error *error);

/* True if pool_copy() of `source` to `record` is done at once here. */
bool pool_copies_at_once(const struct pool *pool, const struct record *source, const struct record *record);

/*
 * Reading a source byte by byte, for a copy that will be `record`, in this pool or another.
 *
 * pool_cut() fixes the moment for a volume that may be in use: *cut is true if from now on pool_open_source() shows the
 * bytes of that moment, whatever is written meanwhile, also after a restart.  False, without an error: this pool
 * cannot, and the caller keeps the file system frozen until all is copied.  A snapshot needs no cut.
 * pool_has_cut(): the cut for `record` is there; without it the copy of a volume cannot be gone on with.
 * pool_open_source() gives the path to read (PATH_MAX bytes); pool_close_source() lets it go, and the cut with it. Both
 * can be repeated.
 */
bool pool_cut(struct pool *pool, const struct record *source, const struct record *record, bool *cut,
              struct error *error);
bool pool_has_cut(struct pool *pool, const struct record *record);
bool pool_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                      struct error *error);
bool pool_close_source(struct pool *pool, const struct record *source, const struct record *record,
                       struct error *error);

/*
 * For groups, where pool_freezes_itself(): holds all writes to a volume in use until pool_copy() or pool_cut() has its
 * moment, or pool_resume().  Nothing happens for a volume that is not active.
 */
bool pool_suspend(struct pool *pool, const struct record *record, struct error *error);
bool pool_is_suspended(struct pool *pool, const struct record *record);
bool pool_resume(struct pool *pool, const struct record *record, struct error *error);

/*
 * Fixes the moment of a suspended volume that pool_copy() copies at once: the pool_copy() to `record` that comes after
 * it was resumed has the bytes of that moment.  pool_unmark() forgets it if there is no such pool_copy().
 */
bool pool_mark(struct pool *pool, const struct record *source, const struct record *record, struct error *error);
void pool_unmark(struct pool *pool, const struct record *record);

/* Replaces the record on the storage, then in memory: durable when it returns. */
bool pool_write(struct pool *pool, const struct record *record, struct error *error);

/*
 * Makes the record of a volume in phase `creating` durable as it is, so that pool_write() need not; may run beside the
 * filling of its bytes.  A failure is left to pool_write().
 */
void pool_settle(struct pool *pool, struct record *record);

/* Brings the bytes of a volume to the storage (fsync). */
bool pool_sync(struct pool *pool, const struct record *record, struct error *error);

/*
 * Removes a volume or snapshot: refused (FAILED_PRECONDITION) unless the record's phase is `creating` or `deleting`.
 * The bytes go, then the record.  Can be repeated.
 */
bool pool_remove(struct pool *pool, const struct record *record, struct error *error);

/* Who looks after work that may take minutes, in which the volume's lock is not held. */
struct progress {
    bool (*go_on)(int64_t done, int64_t total, void *data); /* asked now and then, in bytes: false stops the work */
    bool (*lock)(void *data, struct error *error); /* for the rest: takes the lock, and brings the record up to date */
    void *data;
};

/*
 * Grows the bytes to `bytes`, attached or not, and writes the record with the new size.  What pool_needs_zeroing() is
 * zeroed before; ABORTED if `progress` does not let that go on.  It may be NULL: then the caller holds the lock.
 */
bool pool_grow(struct pool *pool, struct record *record, int64_t bytes, const struct progress *progress,
               struct error *error);

/* Bytes that the image occupies on the storage now (for progress, limits and lists). */
bool pool_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error);

/*
 * Gives a path where tools find the bytes of a volume that is not attached: an image file, or a device, which is made
 * if need be.  PATH_MAX bytes.
 */
bool pool_open_data(struct pool *pool, const struct record *record, char *path, struct error *error);

/* --- block devices of volumes (node/) --- */

enum attach_mode {
    ATTACH_MOUNT,    /* goes away by itself when the last mount or descriptor is gone */
    ATTACH_BLOCK,    /* stays until pool_detach() */
    ATTACH_READONLY, /* a second device, read-only, for readers of a raw block volume; stays */
};

struct attachment {
    char path[32]; /* "/dev/loop7" */
    dev_t device;
    int descriptor; /* keeps the device open; the caller closes it.  With ATTACH_MOUNT: after mounting */
};

/* Makes the block device of a volume, or finds the one it has. */
bool pool_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error);

/* Removes the volume's block devices of both staying modes.  Nothing attached: true.  FAILED_PRECONDITION if one is in
 * use; UNAVAILABLE if that cannot be done, or told, while the pool is not open. */
bool pool_detach(struct pool *pool, const struct record *record, struct error *error);

/* True if pool_detach() of any of these pools finds the device of the volume with that id: else UNAVAILABLE, as the
 * volume may be one of a pool that could never be opened. */
bool pools_can_detach(struct pools *pools, const char *id, struct error *error);

/* True if the volume is known to have a block device now; found by the volume's identity, never by a remembered number
 * alone. */
bool pool_attached(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device);

/*
 * The id of the volume whose block device this is, also for a volume that has been removed since.  False: it is not the
 * device of a volume of these pools, of which one may be not open.
 */
bool pools_identify(struct pools *pools, dev_t device, char id[static ID_BYTES]);

/* --- health --- */

enum health {
    HEALTH_DEGRADED = 1, /* as CSI's VolumeHealthErrorType */
    HEALTH_INACCESSIBLE = 2,
    HEALTH_DATA_LOSS = 3,
};

/* Calls `see` for each thing that is wrong with the volume now: `reason` in CamelCase, `message` for a person. */
void pool_volume_health(struct pool *pool, const struct record *record,
                        void (*see)(enum health status, const char *reason, const char *message, void *data),
                        void *data);

/* The same for the pool itself. */
void pool_health(struct pool *pool,
                 void (*see)(enum health status, const char *reason, const char *message, void *data), void *data);

/* Calls `see` for every volume or snapshot that has been left alone since its record is damaged or newer. */
void pools_list_damaged(struct pools *pools,
                        void (*see)(struct pool *pool, const char *id, const struct error *why, void *data),
                        void *data);
