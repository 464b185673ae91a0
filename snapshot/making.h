/*
 * Making volumes and snapshots out of others: the one way that snapshot, group snapshot, restore, clone and the zeroing
 * of a raw block volume all go.
 *
 *   1. sources that are in use are frozen, all of them (hold.h), where the pool does not freeze by itself;
 *   2. each pool fixes the moment if it can: it copies at once (reflink, thin snapshot), or makes a cut, from which the
 *      bytes of that moment can be read while the source goes on;
 *   3. once every moment is fixed, all are thawed, and must have been frozen until then;
 *   4. what could not be copied at once is copied byte by byte, by a job, with sources frozen whose moment is not
 * fixed;
 *   5. cuts go; what was made is synced and becomes `ready`.
 * If a step fails, what was made is removed and the sources are as before.
 *
 * A record in phase `creating` with `copying` can be gone on with: its source is a snapshot, a cut, or zeros.
 */
#pragma once

#include "base/keylock.h"
#include "filesystem/freeze.h"
#include "pool/driver.h"
#include "rpc/server.h"

struct member {
    struct pool *source_pool, *pool; /* source_pool NULL: made of zeros */
    struct record source, record;    /* from, to; the record is in phase `creating` */
    struct keylock *source_lock, *lock;
    struct freeze *freeze;
    bool suspended; /* by us, and must be so until its moment */
    bool marked;    /* its moment is, for a copy at once that comes later */
    bool cut;       /* the source has a cut for this record */
    bool opened;    /* the source is open for reading */
    bool made;      /* the record is on the storage */
    bool copied;    /* its bytes are complete */
};

struct making {
    const struct driver *driver;
    char id[ID_BYTES]; /* of the volume, the snapshot or the group: the job's key */
    bool early;        /* the answer may come once the moment is fixed: a snapshot */
    size_t count;
    struct member members[];
};

/* An empty making with room for `count` members.  Free with making_free(), which also releases the locks in it. */
struct making *making_create(const struct driver *driver, const char *id, size_t count);
void making_free(struct making *making);

/*
 * Does it all and frees `making`, whatever comes.  A copy that takes long goes on as a job when the call's deadline is
 * near: then ABORTED with the progress.  On success the records on the storage are `ready`.
 *
 * With `early`, and where all moments are fixed, it waits two seconds at most and is then successful too: records that
 * are still being copied are `creating` with `copying`.
 *
 * `call` may be NULL, to wait for nothing.
 */
bool making_run(struct rpc_call *call, struct making *making, struct error *error);

/* If a job for this id is running: waits for it as making_run() does.  False with error->code OK: there is none. */
bool making_join(struct rpc_call *call, const char *id, bool early, struct error *error);

/* For one that is ready: its job may still be letting go of its sources, and nobody is to hear of it before.  ABORTED.
 */
bool making_await_end(struct rpc_call *call, const char *id, struct error *error);

/* A snapshot whose moment is fixed for good: it is ready, or being copied from a cut. */
bool making_is_fixed(const struct record *record);

/* A record that is there, with its pool. */
struct found {
    struct pool *pool;
    struct record record;
};

/*
 * Goes on with copying snapshots from their cuts, as making_run() with `early`: after a restart, or a shutdown that did
 * not come to its end.  All of them must be fixed.  `id` as in struct making.
 */
bool making_resume(const struct driver *driver, struct rpc_call *call, const char *id, const struct found *members,
                   size_t count, struct error *error);

/* Lets the cut go from which `record`, which is being given up, was copied; none is good.  Failing is only logged. */
void making_drop_cut(const struct driver *driver, const struct record *record);
