/* Volumes made from snapshots (restore), from volumes (clone) and from zeros. */
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

/* The same for a raw block volume in a pool whose new volumes do not read as zeros: all of it is written over. */
bool restore_zeros(struct rpc_call *call, struct pool *pool, const struct record *record, struct keylock *lock,
                   bool resume, struct error *error);
