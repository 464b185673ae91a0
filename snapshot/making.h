/*
 * Making volumes and snapshots out of others: the one way that snapshot, group snapshot, restore and clone all go.
 *
 *   1. sources that are mounted are frozen, all of them;
 *   2. each pool copies at once if it can (reflink);
 *   3. what could not be copied at once is copied byte by byte, by a job;
 *   4. all are thawed, and must have been frozen until then;
 *   5. what was made is synced and becomes `ready`.
 * If a step fails, what was made is removed and the sources are as before.
 */
#pragma once

#include "base/keylock.h"
#include "filesystem/freeze.h"
#include "pool/driver.h"
#include "rpc/server.h"

struct member {
    struct pool *source_pool, *pool;
    struct record source, record; /* from, to; the record is in phase `creating` */
    struct keylock *source_lock, *lock;
    struct freeze *freeze;
    bool made;   /* the record is on the storage */
    bool copied; /* its bytes are complete */
};

struct making {
    const struct driver *driver;
    char id[ID_BYTES]; /* of the volume, the snapshot or the group: the job's key */
    size_t count;
    struct member members[];
};

/* An empty making with room for `count` members.  Free with making_free(), which also releases the locks in it. */
struct making *making_create(const struct driver *driver, const char *id, size_t count);
void making_free(struct making *making);

/*
 * Does it all and frees `making`, whatever comes.  A copy that takes long goes on as a job when the call's deadline is
 * near: then ABORTED with the progress.  On success the records on the storage are `ready`.
 */
bool making_run(struct rpc_call *call, struct making *making, struct error *error);

/* If a job for this id is running: waits for it as making_run() does.  False with error->code OK: there is none. */
bool making_join(struct rpc_call *call, const char *id, struct error *error);
