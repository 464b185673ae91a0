/*
 * CreateVolume.  The only place that formats, and only what it has just made itself, in phase `creating`, under the
 * lock of the volume's id.
 */
#include "controller/methods.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/keylock.h"
#include "base/log.h"
#include "base/text.h"
#include "controller/message.h"
#include "controller/request.h"
#include "controller/source.h"
#include "filesystem/filesystem.h"
#include "snapshot/making.h"
#include "snapshot/removal.h"
#include "snapshot/restore.h"

#include <inttypes.h>
#include <string.h>

#define DEFAULT_BYTES (INT64_C(1) << 30)
#define MKFS_MOST (600 * NANOSECONDS_PER_SECOND)

/* A volume of that name exists: is it what is asked for now? */
static bool check_same(const struct volume_request *request, const struct record *record, struct error *error)
{
    if (record->bytes < request->required || (request->limit > 0 && record->bytes > request->limit))
        return fail(error, ALREADY_EXISTS, "volume %s exists already with %" PRId64 " bytes", request->name,
                    record->bytes);
    bool any = request->default_filesystem && request->source_id[0] != '\0' && record->filesystem[0] != '\0';
    if (!any && strcmp(record->filesystem, request->filesystem) != 0)
        return fail(error, ALREADY_EXISTS, "volume %s exists already as %s", request->name,
                    record->filesystem[0] != '\0' ? record->filesystem : "a raw block volume");
    if (strcmp(record->source_id, request->source_id) != 0)
        return fail(error, ALREADY_EXISTS, "volume %s exists already, made from %s", request->name,
                    record->source_id[0] != '\0' ? record->source_id : "nothing");
    return strcmp(record->digest, request->digest) == 0 ||
           fail(error, ALREADY_EXISTS, "volume %s exists already with other parameters", request->name);
}

/* All but the size.  `source` is what it is made from, or NULL. */
static struct record new_record(const struct volume_request *request, const struct pool *pool,
                                const struct record *source)
{
    struct record record = request_shape(request, pool);
    record.kind = RECORD_VOLUME;
    record.phase = PHASE_CREATING;
    record.own_identity = request->source_id[0] == '\0' || request->filesystem[0] == '\0';
    record.created = wall_clock_now();
    record.wipe = request->wipe;
    record.sector_bytes = source != NULL                   ? source->sector_bytes
                          : request->filesystem[0] != '\0' ? SECTOR_BYTES_FILESYSTEM
                                                           : SECTOR_BYTES_BLOCK;
    pool_make_id(pool, ID_MARK_VOLUME, request->name, record.id);
    text_copy(record.name, sizeof record.name, request->name);
    text_copy(record.filesystem, sizeof record.filesystem, request->filesystem);
    text_copy(record.source_id, sizeof record.source_id, request->source_id);
    text_copy(record.digest, sizeof record.digest, request->digest);
    text_copy(record.claim_name, sizeof record.claim_name, request->claim_name);
    text_copy(record.claim_namespace, sizeof record.claim_namespace, request->claim_namespace);
    return record;
}

/* --- a volume from nothing --- */

struct fresh {
    struct pool *pool;
    struct record *record;
};

/* The record goes to the disk while mkfs runs, so that nobody waits for it. */
static void settle(void *data)
{
    struct fresh *fresh = data;
    pool_settle(fresh->pool, fresh->record);
}

static bool format(const struct volume_request *request, struct pool *pool, struct record *record, struct error *error)
{
    char path[PATH_MAX];
    struct fresh fresh = {pool, record};
    struct child_options child = {.deadline = monotonic_now() + MKFS_MOST,
                                  .inherit = pool_lock_descriptor(pool),
                                  .meanwhile = settle,
                                  .data = &fresh};
    if (record->filesystem[0] == '\0')
        return true;
    return (pool_open_data(pool, record, path, error) &&
            filesystem_make(filesystem_find(record->filesystem), path, request->mkfs_options, &child, error)) ||
           fail_context(error, "volume %s in pool %s", request->name, pool_name(pool));
}

static bool format_and_sync(const struct volume_request *request, struct pool *pool, struct record *record,
                            struct error *error)
{
    bool formatted = format(request, pool, record, error);
    clock_allow_to_finish();
    return formatted && fault("controller.create.formatted", error) && pool_sync(pool, record, error) &&
           fault("controller.create.synced", error);
}

static bool make_fresh(const struct volume_request *request, struct pool *pool, struct record *record,
                       struct error *error)
{
    struct error second;
    /* What one step makes whole needs no second one. */
    bool whole = record->filesystem[0] == '\0' && pool_is_atomic(pool);
    if (whole)
        record->phase = PHASE_READY;
    if (!pool_create(pool, record, error))
        return false;
    if (whole)
        return true;
    if (format_and_sync(request, pool, record, error)) {
        record->phase = PHASE_READY;
        if (pool_write(pool, record, error))
            return fault("controller.create.ready", error);
        record->phase = PHASE_CREATING;
    }
    if (!pool_remove(pool, record, &second))
        log_event(LOG_WARNING, "half-made volume left for the retry", "volume_id", record->id, "error", second.message,
                  NULL);
    return false;
}

/* --- which pool, and what is there already --- */

struct plan {
    struct volume_request *request;
    struct pool *pool, *source_pool;
    struct record record, source;
    struct keylock *lock; /* of the record's id */
    bool has_source, resume;
};

static bool choose_pool(struct driver *driver, struct plan *plan, struct error *error)
{
    struct volume_request *request = plan->request;
    plan->has_source = request->source_id[0] != '\0';
    if (plan->has_source && !source_find(driver, request, &plan->source_pool, &plan->source, error))
        return false;
    plan->pool = plan->has_source && request->pool[0] == '\0' ? plan->source_pool
                                                              : pools_named(driver->pools, request->pool, error);
    return plan->pool != NULL && pool_usable(plan->pool, error);
}

static bool choose_size(struct plan *plan, struct error *error)
{
    const struct record *source = plan->has_source ? &plan->source : NULL;
    plan->record = new_record(plan->request, plan->pool, source);
    if (!request_size(plan->request, plan->pool, &plan->record, source != NULL ? source->bytes : DEFAULT_BYTES,
                      &plan->record.bytes, error))
        return false;
    return source == NULL || plan->record.bytes >= source->bytes ||
           fail(error, OUT_OF_RANGE, "%" PRId64 " bytes are less than the %" PRId64 " of %s", plan->record.bytes,
                source->bytes, source->id);
}

/* A copy that can go on is of the same source, with the same parameters and size. */
static bool is_the_same_copy(const struct record *left, const struct record *wanted)
{
    return left->phase == PHASE_CREATING && left->copying && left->bytes == wanted->bytes &&
           strcmp(left->source_id, wanted->source_id) == 0 && strcmp(left->digest, wanted->digest) == 0 &&
           strcmp(left->filesystem, wanted->filesystem) == 0;
}

/* A copy of a volume goes on only from its cut: the volume itself has been written to since. */
static bool has_its_moment(const struct plan *plan, const struct record *left)
{
    return !plan->has_source || plan->source.kind == RECORD_SNAPSHOT || pool_has_cut(plan->source_pool, left);
}

/*
 * Something of that id may be on the storage, left by an attempt that failed or was killed: a copy that can go on goes
 * on, the rest is removed.  Under the lock, so nobody is at work on it.
 */
static bool clear_the_way(struct rpc_call *call, struct plan *plan, bool *ready, struct error *error)
{
    struct driver *driver = rpc_context(call);
    struct pool *pool;
    struct record left;
    *ready = false;
    if (!pools_find(driver->pools, RECORD_VOLUME, plan->record.id, &pool, &left, error))
        return error->code == NOT_FOUND || pools_may_miss_it(error);
    *ready = left.phase == PHASE_READY;
    plan->resume = is_the_same_copy(&left, &plan->record) && has_its_moment(plan, &left);
    if (plan->resume)
        plan->record = left;
    return *ready || plan->resume || removal_clear(call, driver, pool, &left, &plan->lock, error);
}

static bool make_volume(struct rpc_call *call, struct volume_request *request, struct error *error)
{
    struct driver *driver = rpc_context(call);
    struct plan plan = {.request = request};
    bool ready;
    if (!choose_pool(driver, &plan, error) || !choose_size(&plan, error))
        return false;
    plan.lock = fault("controller.create.planned", error) ? keylock_acquire(plan.record.id, error) : NULL;
    if (plan.lock == NULL)
        return false;
    if (!clear_the_way(call, &plan, &ready, error) || ready) {
        keylock_release(plan.lock);
        return ready;
    }
    if (plan.has_source)
        return restore_volume(call, plan.source_pool, &plan.source, plan.pool, &plan.record, plan.lock, plan.resume,
                              error);
    if (pool_needs_zeroing(plan.pool, &plan.record))
        return restore_zeros(call, plan.pool, &plan.record, plan.lock, plan.resume, error);
    bool good = make_fresh(request, plan.pool, &plan.record, error);
    keylock_release(plan.lock);
    return good;
}

bool controller_create_volume(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    struct driver *driver = rpc_context(call);
    Csi__V1__CreateVolumeResponse *response = answer;
    struct volume_request request;
    struct pool *pool;
    struct record record;
    if (!request_read(driver, message, &request, error) ||
        !pools_find_name(driver->pools, RECORD_VOLUME, request.name, &pool, &record, error))
        return false;
    if (pool == NULL || record.phase != PHASE_READY) {
        bool joined = pool != NULL && making_join(call, record.id, false, error);
        if (pool != NULL && !joined && error->code != OK)
            return false;
        if ((!joined && !make_volume(call, &request, error)) ||
            !pools_find_name(driver->pools, RECORD_VOLUME, request.name, &pool, &record, error))
            return false;
        if (pool == NULL)
            return fail(error, ABORTED, "volume %s was removed while it was made; try again", request.name);
    }
    if (!check_same(&request, &record, error) ||
        (record.phase == PHASE_READY && !making_await_end(call, record.id, error)))
        return false;
    response->volume = volume_message(call, &record);
    return true;
}
