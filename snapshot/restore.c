/* Volumes made from snapshots (restore), from volumes (clone) and from zeros. */
#include "snapshot/restore.h"

#include "snapshot/making.h"

#include <string.h>

/* A snapshot does not change, so several may read it; a volume is frozen, so one at a time. */
static struct keylock *lock_source(const struct record *source, struct error *error)
{
    return source->kind == RECORD_SNAPSHOT ? keylock_acquire_shared(source->id, error)
                                           : keylock_acquire(source->id, error);
}

/* What was read before the lock may have changed since, and the copy was planned with that. */
static bool check_unchanged(const struct record *now, const struct record *before, struct error *error)
{
    if (now->phase != PHASE_READY)
        return fail(error, NOT_FOUND, "%s is being deleted", before->id);
    return now->bytes == before->bytes || fail(error, ABORTED, "volume %s has grown meanwhile; try again", before->id);
}

bool restore_volume(struct rpc_call *call, struct pool *source_pool, const struct record *source, struct pool *pool,
                    const struct record *record, struct keylock *lock, bool resume, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    struct making *making = making_create(driver, record->id, 1);
    struct member *member = &making->members[0];
    *member =
        (struct member){.source_pool = source_pool, .pool = pool, .record = *record, .lock = lock, .made = resume};
    /* A volume is copied from its cut by now, or the caller would not go on with it. */
    member->cut = resume && source->kind == RECORD_VOLUME;
    member->source_lock = member->cut ? NULL : lock_source(source, error);
    if ((member->source_lock == NULL && !member->cut) ||
        !pools_find(driver->pools, source->kind, source->id, &source_pool, &member->source, error) ||
        !check_unchanged(&member->source, source, error)) {
        making_free(making);
        return false;
    }
    return making_run(call, making, error);
}

bool restore_zeros(struct rpc_call *call, struct pool *pool, const struct record *record, struct keylock *lock,
                   bool resume, struct error *error)
{
    struct making *making = making_create(rpc_context(call), record->id, 1);
    making->members[0] = (struct member){.pool = pool, .record = *record, .lock = lock, .made = resume};
    return making_run(call, making, error);
}
