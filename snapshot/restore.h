/* Volumes made from snapshots (restore) and from volumes (clone). */
#pragma once

#include "base/keylock.h"
#include "pool/driver.h"
#include "rpc/server.h"

/*
 * Makes the volume `record` (phase `creating`) with the content of `source`, to phase `ready`; takes over `lock`, the
 * record's, whatever comes.  With `resume` the record is on the storage already and its copy goes on from
 * record->copied. A long copy goes on as a job when the call's deadline is near: then ABORTED with the progress.
 */
bool restore_volume(struct rpc_call *call, struct pool *source_pool, const struct record *source, struct pool *pool,
                    const struct record *record, struct keylock *lock, bool resume, struct error *error);
