/* Going on with copies from cuts, and letting go of cuts that nobody will copy. */
#include "base/log.h"
#include "snapshot/making.h"

#include <string.h>

/* What was read before the lock may have changed since. */
static bool resume_member(const struct driver *driver, struct member *member, const struct found *found,
                          struct error *error)
{
    const char *id = found->record.id;
    member->made = true;
    member->lock = keylock_acquire(id, error);
    if (member->lock == NULL ||
        !pools_find(driver->pools, RECORD_SNAPSHOT, id, &member->pool, &member->record, error) ||
        !pools_find(driver->pools, RECORD_VOLUME, member->record.source_id, &member->source_pool, &member->source,
                    error))
        return false;
    member->copied = member->record.phase == PHASE_READY;
    member->cut = !member->copied;
    if (!making_is_fixed(&member->record))
        return fail(error, ABORTED, "snapshot %s is being deleted", id);
    return member->copied || pool_has_cut(member->source_pool, &member->record) ||
           fail(error, DATA_LOSS,
                "snapshot %s cannot be copied to its end, as the cut of its moment is gone: delete it and make another "
                "one; volume %s is whole",
                id, member->source.id);
}

bool making_resume(const struct driver *driver, struct rpc_call *call, const char *id, const struct found *members,
                   size_t count, struct error *error)
{
    struct making *making = making_create(driver, id, count);
    making->early = true;
    for (size_t i = 0; i < count; i++)
        if (!resume_member(driver, &making->members[i], &members[i], error)) {
            making_free(making);
            return false;
        }
    return making_run(call, making, error);
}

void making_drop_cut(const struct driver *driver, const struct record *record)
{
    struct pool *pool;
    struct record source;
    struct error error;
    if (!pools_find(driver->pools, RECORD_VOLUME, record->source_id, &pool, &source, &error))
        return;
    if (!pool_close_source(pool, &source, record, &error))
        log_event(LOG_WARNING, "a cut is left for the next start to remove", "volume_id", source.id, "error",
                  error.message, NULL);
}
