/*
 * Removing volumes and snapshots.  Where the record says that the bytes be wiped, that comes first, by a job that goes
 * on after a restart: until it is done the record stays, in phase `deleting`.
 */
#pragma once

#include "base/keylock.h"
#include "pool/driver.h"
#include "rpc/server.h"

/*
 * Marks and removes it.  A wipe that takes long goes on when the call's deadline is near: then ABORTED with the
 * progress, and *lock, which is of the record's id, has become the job's.  `call` may be NULL, to wait for nothing.
 */
bool removal_run(struct rpc_call *call, const struct driver *driver, struct pool *pool, const struct record *record,
                 struct keylock **lock, struct error *error);

/* The same for what a failed attempt left in the way of the next, which is not marked if it need not be wiped.  On
 * success *lock is held as before. */
bool removal_clear(struct rpc_call *call, const struct driver *driver, struct pool *pool, const struct record *left,
                   struct keylock **lock, struct error *error);

/* Only marks it, for several that go together: removal_run() goes on with each. */
bool removal_mark(struct pool *pool, struct record *record, struct error *error);

/* If a wipe of `id` is running: waits for it.  True if it has removed it; false with error->code OK: there is none. */
bool removal_join(struct rpc_call *call, const struct record *record, struct error *error);

/* Goes on with wipes that a killed process left. */
void removal_recover(const struct driver *driver);
