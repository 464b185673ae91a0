/*
 * What a kind of pool implements (pool_ops) and what pool.c keeps for it (struct pool).  For files in pool/ only.
 *
 * Operations are called without the pool's mutex, by one thread at a time for one id.  Records given to them are in
 * the inventory already; the operation brings the storage to what the record says.
 */
#pragma once

#include "pool/pool.h"

#include <pthread.h>

struct pool_ops {
    const char *kind;
    const char *const *option_names; /* ended by NULL */

    /* Locks the pool, reads or makes its identity (pool->id), checks that it can be written. */
    bool (*open)(struct pool *pool, struct error *error);
    void (*close)(struct pool *pool);

    /* Called without the mutex before the pool is used: brings the inventory up to date if it may not be.  May be NULL.
     */
    bool (*usable)(struct pool *pool, struct error *error);

    /* Gives every record on the storage to inventory_add(), every damaged one to inventory_damage(). */
    bool (*scan)(struct pool *pool, struct error *error);

    /* False, with the reason, if a part of the storage is missing and may have the volume or snapshot `id`, which
     * nobody knows (pools_may_miss_it()).  May be NULL. */
    bool (*is_whole)(struct pool *pool, const char *id, struct error *error);

    /* Asks the storage for what space() is to know; NULL: it knows.  Without the mutex: a disk may hang. */
    bool (*measure)(struct pool *pool, struct error *error);

    /* Fills in what there is (account.h for those that count by promises).  The caller holds the mutex. */
    bool (*space)(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error);

    int64_t (*round)(const struct pool *pool, const struct record *shape, int64_t bytes);

    /* These leave nothing behind when they fail, or undo() does. */
    bool (*create)(struct pool *pool, const struct record *record, struct error *error);
    bool (*copy)(struct pool *pool, const struct record *source, const struct record *record, bool *done,
                 struct error *error);
    bool (*undo)(struct pool *pool, const struct record *record, struct error *error);

    bool (*write)(struct pool *pool, const struct record *old, const struct record *record, struct error *error);
    bool (*settle)(struct pool *pool, const struct record *record, struct error *error);
    bool (*sync)(struct pool *pool, const struct record *record, struct error *error);
    bool (*remove)(struct pool *pool, const struct record *record, struct error *error);
    bool (*grow)(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
                 struct error *error);
    bool (*allocated)(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error);
    bool (*open_data)(struct pool *pool, const struct record *record, char *path, struct error *error);

    bool atomic, freezes_itself;
    bool grows_in_place;      /* growing takes nothing of what the pool has left */
    const char *no_snapshots; /* why; NULL: it has snapshots */
    bool undoes_recent_only;  /* what is half made and older than a day was brought back by somebody: left alone */
    bool (*reads_as_zeros)(const struct pool *pool, const struct record *record);
    bool (*copies_at_once)(const struct pool *pool, const struct record *source, const struct record *record);
    bool (*cut)(struct pool *pool, const struct record *source, const struct record *record, bool *cut,
                struct error *error);
    bool (*has_cut)(struct pool *pool, const struct record *record); /* NULL: it has none */
    bool (*open_source)(struct pool *pool, const struct record *source, const struct record *record, char *path,
                        struct error *error);
    bool (*close_source)(struct pool *pool, const struct record *source, const struct record *record,
                         struct error *error);
    bool (*suspend)(struct pool *pool, const struct record *record, struct error *error);
    bool (*is_suspended)(struct pool *pool, const struct record *record);
    bool (*resume)(struct pool *pool, const struct record *record, struct error *error);
    bool (*mark)(struct pool *pool, const struct record *source, const struct record *record, struct error *error);
    void (*unmark)(struct pool *pool, const struct record *record);

    bool (*attach)(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                   struct error *error);
    bool (*detach)(struct pool *pool, const struct record *record, struct error *error);
    bool (*attached)(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device);
    bool detaches_closed; /* detach() and attached() need nothing that open() makes */
    bool (*in_use)(struct pool *pool, const struct record *record); /* open, mounted: recovery keeps off */
    bool (*identify)(dev_t device, char id[static ID_BYTES]);       /* of any pool of this kind */

    void (*volume_health)(struct pool *pool, const struct record *record,
                          void (*see)(enum health, const char *, const char *, void *), void *data);
    void (*health)(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data);
};

extern const struct pool_ops file_pool_ops, lvm_pool_ops, disk_pool_ops;

/* One volume or snapshot in memory. */
struct entry {
    struct record record;
    int64_t promised; /* bytes counted for it */
    int64_t occupied; /* on the storage when last looked */
};

struct entries {
    struct entry **sorted; /* by id */
    size_t count, room;
};

struct damage {
    struct damage *next;
    char id[ID_BYTES];
    enum record_kind kind;
    bool quarantined; /* what the storage says of it is not believed until its phase is another */
    struct error why;
};

struct pool {
    struct pool_config config;
    const struct pool_ops *ops;
    void *own; /* of the kind */
    char node_hint[NODE_HINT_DIGITS + 1];
    const char *node, *state_directory;

    struct pools *pools; /* that it is one of */

    /* Under the mutex of open.c. */
    char id[POOL_ID_DIGITS + 1]; /* while it is opened it may change; then it stays */
    bool claimed;                /* no other pool may have that id */
    bool open;                   /* for good: what has been opened is closed at the end */
    bool quarantined;            /* another pool has the same id: nothing new is done with it */
    struct error failure;        /* why it is not open, or quarantined */
    int64_t opening;             /* since when, CLOCK_MONOTONIC; 0: nobody opens it now */
    int64_t due;                 /* when opening may be tried again */

    /* Of all that follows.  Whoever opens the pool has it all the time, so it is for those who know the pool open. */
    pthread_mutex_t mutex;
    int lock; /* descriptor of the exclusive lock, or -1 */
    bool copies_at_once;
    double overprovision;
    int64_t reserve_bytes;     /* kept free */
    int64_t reserve_parts;     /* or so many thousandths of the total */
    bool thick;                /* default of the pool */
    struct entries entries[2]; /* by enum record_kind */
    struct damage *damaged;
    int64_t promised; /* sum of the entries' */
    int64_t others;   /* what others occupied when that could last be told */
    int sharing;      /* entries that may share blocks with others of ours */
    int64_t ours;     /* sum of what the entries occupied when last looked */
    int64_t looked;
};

static inline void pool_unlock(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}

/* Takes the pool's mutex until the end of the block. */
#define LOCKED(pool)                    \
    pthread_mutex_lock(&(pool)->mutex); \
    __attribute__((cleanup(pool_unlock), unused)) pthread_mutex_t *held = &(pool)->mutex

/* The value of an option of the pool, or NULL. */
const char *pool_option(const struct pool *pool, const char *key);

/* Reads the options of the configuration that all kinds have (reserve, overprovision, provisioning); refuses unknown
 * ones. */
bool pool_read_options(struct pool *pool, struct error *error);

/* The pool with whose id this one of a volume or snapshot begins, or NULL.  A copy of a pool has its id, too, but only
 * one of them can have claimed it. */
struct pool *pools_with_id(struct pools *pools, const char *id);

/* True if that id of a volume or snapshot begins with the pool's, or if that is not known as it could never be opened.
 */
bool pool_may_have(const struct pool *pool, const char *id);

/* --- open.c --- */

/* Notes the pool's id, as soon as it is known. */
void pool_set_id(struct pool *pool, const char *id);

/* "" if it is not known. */
void pool_get_id(const struct pool *pool, char id[static POOL_ID_DIGITS + 1]);

/* True if it is open, or will be unless it cannot be read. */
bool pool_has_claimed_its_id(const struct pool *pool);

/* True if the pool is open, perhaps in quarantine; else UNAVAILABLE, with its failure.  Does not try to open it. */
bool pool_is_open(struct pool *pool, struct error *error);

/* True if it is open and not in quarantine. */
bool pool_is_listed(struct pool *pool);

/* At start, for one pool after the other: begins to open it; waits for that, for a while since it began.  False, with
 * the failure, if the pool cannot be opened; true if that still goes on. */
void pool_begin_open(struct pool *pool);
bool pool_await_open(struct pool *pool, struct error *error);

/* At the end.  False if the pool is still being opened, and what it has is still used, at `until` (CLOCK_MONOTONIC). */
bool pool_close(struct pool *pool, int64_t until);

/*
 * Clears away what was half made or half removed; what is `creating` but old or handed out is left alone.  At opening,
 * under the pool's exclusive lock, before anybody else sees it.
 */
void pool_recover(struct pool *pool);

/* --- inventory.c; the caller holds pool->mutex --- */

struct entry *inventory_find(struct pool *pool, enum record_kind kind, const char *id);

/* The index of the first entry with an id greater than `after`. */
size_t inventory_after(const struct pool *pool, enum record_kind kind, const char *after);

/* Adds a record (a copy) and counts `promised` bytes for it. */
void inventory_add(struct pool *pool, const struct record *record, int64_t promised);
void inventory_drop(struct pool *pool, enum record_kind kind, const char *id);
void inventory_damage(struct pool *pool, enum record_kind kind, const char *id, const struct error *why);
void inventory_quarantine(struct pool *pool, enum record_kind kind, const char *id, const struct error *why);
void inventory_mend(struct pool *pool, enum record_kind kind, const char *id); /* takes the damage back */
const struct damage *inventory_find_damage(const struct pool *pool, enum record_kind kind, const char *id);
void inventory_clear(struct pool *pool);
