#include "snapshot/removal.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "snapshot/making.h"
#include "snapshot/waiting.h"
#include "transfer/wipe.h"

#include <stdlib.h>
#include <string.h>

struct removal {
    const struct driver *driver;
    struct pool *pool;
    struct record record;
    struct keylock *lock;
    struct job *job;
};

static bool go_on(int64_t done, void *data)
{
    const struct removal *removal = data;
    return job_go_on(removal->job, done, removal->record.bytes);
}

/* A wiped volume is known by `copied` that has reached its size: only then its pool removes it. */
static bool checkpoint(int64_t done, void *data, struct error *error)
{
    struct removal *removal = data;
    removal->record.copied = done;
    return done >= removal->record.bytes || pool_write(removal->pool, &removal->record, error);
}

static bool wipe(struct removal *removal, struct error *error)
{
    struct record *record = &removal->record;
    char path[PATH_MAX];
    if (record->wipe == WIPE_NONE || record->copied >= record->bytes)
        return true;
    struct wiping wiping = {.id = record->id,
                            .path = path,
                            .start = record->copied,
                            .bytes = record->bytes,
                            .how = record->wipe,
                            .sparse = !record->thick,
                            .go_on = go_on,
                            .checkpoint = checkpoint,
                            .data = removal};
    bool good = pool_open_data(removal->pool, record, path, error) && fault("snapshot.removal.opened", error) &&
                wipe_device(&wiping, error) && fault("snapshot.removal.wiped", error);
    if (good)
        record->copied = record->bytes;
    return good || fail_context(error, "%s is not removed, as it could not be wiped", record->id);
}

static bool finish(struct removal *removal, struct error *error)
{
    if (!wipe(removal, error) || !pool_remove(removal->pool, &removal->record, error))
        return false;
    making_drop_cut(removal->driver, &removal->record);
    return true;
}

/*
 * What goes in one step needs no mark as long as it is half made, and stays half made if that step fails; it holds
 * nobody's data yet, or a copy of what is elsewhere.
 */
bool removal_mark(struct pool *pool, struct record *record, struct error *error)
{
    bool half_made = record->phase == PHASE_CREATING && record->wipe == WIPE_NONE && pool_is_atomic(pool);
    if (record->phase == PHASE_DELETING || half_made)
        return true;
    record_begin_removal(record);
    return pool_write(pool, record, error) && fault("snapshot.removal.marked", error);
}

static bool run_job(struct job *job, void *data, struct error *error)
{
    struct removal *removal = data;
    removal->job = job;
    return finish(removal, error);
}

static void release(void *data)
{
    struct removal *removal = data;
    keylock_release(removal->lock);
    free(removal);
}

static bool hand_to_job(struct rpc_call *call, const struct removal *plan, struct keylock **lock, struct error *error)
{
    struct removal *removal = malloc(sizeof *removal);
    if (removal == NULL)
        abort();
    *removal = *plan;
    removal->lock = steal_pointer(*lock);
    char id[ID_BYTES];
    memcpy(id, plan->record.id, sizeof id);
    struct job_plan job = {
        .pool = pool_name(plan->pool), .what = "wiped", .run = run_job, .release = release, .data = removal};
    enum job_state state = waiting_run(call, id, &job, false, error);
    if (state == JOB_NONE)
        release(removal);
    return state == JOB_DONE;
}

bool removal_run(struct rpc_call *call, const struct driver *driver, struct pool *pool, const struct record *record,
                 struct keylock **lock, struct error *error)
{
    struct removal removal = {.driver = driver, .pool = pool, .record = *record};
    if (!removal_mark(pool, &removal.record, error))
        return false;
    return record->wipe == WIPE_NONE ? finish(&removal, error) : hand_to_job(call, &removal, lock, error);
}

bool removal_clear(struct rpc_call *call, const struct driver *driver, struct pool *pool, const struct record *left,
                   struct keylock **lock, struct error *error)
{
    if (!record_wants_wipe(left)) {
        if (!pool_remove(pool, left, error))
            return false;
        making_drop_cut(driver, left);
        return true;
    }
    if (!removal_run(call, driver, pool, left, lock, error))
        return false;
    if (*lock == NULL)
        *lock = keylock_acquire(left->id, error);
    return *lock != NULL;
}

bool removal_join(struct rpc_call *call, const struct record *record, struct error *error)
{
    error->code = OK;
    if (record->phase != PHASE_DELETING || record->wipe == WIPE_NONE)
        return false;
    enum job_state state = waiting_join(call, record->id, false, error);
    if (state == JOB_NONE)
        error->code = OK;
    return state == JOB_DONE;
}

/* --- what a killed process left --- */

struct left {
    struct record *records;
    size_t count;
};

static bool collect(struct pool *pool, const struct record *record, void *data)
{
    struct left *left = data;
    (void)pool;
    if (record->phase != PHASE_DELETING || record->wipe == WIPE_NONE)
        return true;
    left->records = reallocarray(left->records, left->count + 1, sizeof *left->records);
    if (left->records == NULL)
        abort();
    left->records[left->count++] = *record;
    return true;
}

/* Calls may have removed it since, and even made another of its name: looked for anew, under the lock. */
static bool go_on_with(const struct driver *driver, const struct record *left, struct error *error)
{
    struct pool *pool;
    struct record record;
    cleanup_keylock struct keylock *lock = keylock_acquire(left->id, error);
    if (lock == NULL || !pools_find(driver->pools, left->kind, left->id, &pool, &record, error))
        return false;
    return record.phase != PHASE_DELETING || removal_run(NULL, driver, pool, &record, &lock, error);
}

void removal_recover(const struct driver *driver)
{
    struct left left = {.count = 0};
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
        pools_list(driver->pools, (enum record_kind)kind, "", collect, &left);
    for (size_t i = 0; i < left.count; i++) {
        const struct record *record = &left.records[i];
        struct error error;
        if (!go_on_with(driver, record, &error) && error.code != ABORTED && error.code != NOT_FOUND)
            log_event(LOG_WARNING, "a wipe goes on with the retry", "volume_id", record->id, "error", error.message,
                      NULL);
    }
    free(left.records);
}
