#include "controller/methods.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/keylock.h"
#include "controller/capability.h"
#include "controller/request.h"
#include "filesystem/filesystem.h"
#include "filesystem/mount.h"
#include "snapshot/waiting.h"

#include <inttypes.h>
#include <stdlib.h>

/* A file system that is not mounted grows when it is staged the next time. */
static bool grow_filesystem(struct pool *pool, const struct record *record, struct error *error)
{
    dev_t device;
    char path[PATH_MAX];
    if (record->filesystem[0] == '\0' || !pool_attached(pool, record, ATTACH_MOUNT, &device) ||
        !mount_find_device(device, path))
        return true;
    return (filesystem_grow_mounted(filesystem_find(record->filesystem), path, error) &&
            fault("controller.expand.grown", error)) ||
           fail_context(error, "volume %s has %" PRId64 " bytes now, but its file system could not grow", record->id,
                        record->bytes);
}

bool controller_expand(struct pool *pool, struct record *record, int64_t required, int64_t limit,
                       const struct progress *progress, struct error *error)
{
    int64_t bytes = pool_round(pool, record, required);
    if (limit > 0 && (bytes > limit || record->bytes > limit))
        return fail(error, OUT_OF_RANGE,
                    "volume %s has %" PRId64 " bytes and would get %" PRId64 " (rounded up), above the limit %" PRId64,
                    record->id, record->bytes, bytes, limit);
    if (required > INT64_C(1) << 62)
        return fail(error, OUT_OF_RANGE, "%" PRId64 " bytes are more than any volume can have", required);
    if (bytes > record->bytes && !pool_grow(pool, record, bytes, progress, error))
        return fail_context(error, "volume %s stays at %" PRId64 " bytes", record->id, record->bytes);
    return grow_filesystem(pool, record, error);
}

/*
 * --- what is zeroed before it is handed out takes long: a job, which the retry of the call joins; meanwhile the volume
 * can be used as before ---
 */

struct growth {
    struct pools *pools;
    struct pool *pool;
    struct record record;
    int64_t required, limit;
    struct keylock *lock; /* of the job, once it has taken it */
    struct job *job;
};

static bool go_on(int64_t done, int64_t total, void *data)
{
    const struct growth *growth = data;
    return job_go_on(growth->job, done, total);
}

static bool is_to_stop(const void *data)
{
    const struct growth *growth = data;
    return job_should_stop(growth->job);
}

/* Others may have used the volume meanwhile, and go on using it until they let it go; who clones it may wait for this
 * job to end. */
static bool take_lock(void *data, struct error *error)
{
    struct growth *growth = data;
    int64_t planned = growth->record.bytes;
    growth->lock = keylock_await(growth->record.id, monotonic_now() + KEYLOCK_AWAITED, is_to_stop, growth, error);
    if (growth->lock == NULL)
        return false;
    if (!pools_find(growth->pools, RECORD_VOLUME, growth->record.id, &growth->pool, &growth->record, error))
        return false;
    return (growth->record.phase == PHASE_READY && growth->record.bytes == planned) ||
           fail(error, ABORTED, "volume %s was changed while it grew; try again", growth->record.id);
}

static bool run_job(struct job *job, void *data, struct error *error)
{
    struct growth *growth = data;
    struct progress progress = {.go_on = go_on, .lock = take_lock, .data = growth};
    growth->job = job;
    return controller_expand(growth->pool, &growth->record, growth->required, growth->limit, &progress, error);
}

static void release(void *data)
{
    struct growth *growth = data;
    keylock_release(growth->lock);
    free(growth);
}

static bool expand_as_job(struct rpc_call *call, const struct growth *plan, struct error *error)
{
    struct growth *growth = malloc(sizeof *growth);
    if (growth == NULL)
        abort();
    *growth = *plan;
    struct job_plan job = {.pool = pool_name(plan->pool),
                           .what = "zeroed where it grows",
                           .run = run_job,
                           .release = release,
                           .data = growth};
    enum job_state state = waiting_run(call, plan->record.id, &job, false, error);
    if (state == JOB_NONE)
        release(growth);
    return state == JOB_DONE;
}

/* True, too, if there is no job. */
static bool join(struct rpc_call *call, const char *id, struct error *error)
{
    enum job_state state = waiting_join(call, id, false, error);
    return state == JOB_NONE || state == JOB_DONE;
}

static bool expand(struct rpc_call *call, struct growth *growth, struct keylock **lock, struct error *error)
{
    struct record *record = &growth->record;
    if (growth->required <= record->bytes || !pool_needs_zeroing(growth->pool, record))
        return controller_expand(growth->pool, record, growth->required, growth->limit, NULL, error);
    keylock_release(steal_pointer(*lock));
    return expand_as_job(call, growth, error) &&
           pools_find(growth->pools, RECORD_VOLUME, record->id, &growth->pool, record, error);
}

/* --- the call --- */

static bool read_request(const struct driver *driver, const Csi__V1__ControllerExpandVolumeRequest *request,
                         struct capability *capability, struct growth *growth, struct error *error)
{
    if (request->volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "volume_id is missing");
    if (request->capacity_range == NULL)
        return fail(error, INVALID_ARGUMENT, "capacity_range is missing");
    return request_read_range(request->capacity_range, &growth->required, &growth->limit, error) &&
           (request->volume_capability == NULL ||
            capability_read(driver, request->volume_capability, capability, error));
}

bool controller_expand_volume(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__ControllerExpandVolumeRequest *request = message;
    Csi__V1__ControllerExpandVolumeResponse *response = answer;
    struct growth growth = {.pools = driver->pools};
    struct capability capability;
    if (!read_request(driver, request, &capability, &growth, error) || !join(call, request->volume_id, error))
        return false;
    cleanup_keylock struct keylock *lock = keylock_acquire(request->volume_id, error);
    if (lock == NULL ||
        !pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &growth.pool, &growth.record, error))
        return false;
    if (growth.record.phase != PHASE_READY)
        return fail(error, NOT_FOUND, "volume %s is not ready", request->volume_id);
    if (request->volume_capability != NULL && !capability_fits(&capability, &growth.record, error)) {
        error->code = INVALID_ARGUMENT; /* here CSI has another code for it */
        return false;
    }
    if (!expand(call, &growth, &lock, error))
        return false;
    response->capacity_bytes = growth.record.bytes;
    response->node_expansion_required = false; /* it has grown here already, or will when it is staged */
    return true;
}
