#include "controller/methods.h"

#include "base/fault.h"
#include "base/keylock.h"
#include "controller/capability.h"
#include "controller/request.h"
#include "filesystem/filesystem.h"
#include "filesystem/mount.h"

#include <inttypes.h>

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

bool controller_expand(struct driver *driver, struct pool *pool, struct record *record, int64_t required, int64_t limit,
                       struct error *error)
{
    int64_t bytes = pool_round(pool, record, required);
    (void)driver;
    if (limit > 0 && (bytes > limit || record->bytes > limit))
        return fail(error, OUT_OF_RANGE,
                    "volume %s has %" PRId64 " bytes and would get %" PRId64 " (rounded up), above the limit %" PRId64,
                    record->id, record->bytes, bytes, limit);
    if (required > INT64_C(1) << 62)
        return fail(error, OUT_OF_RANGE, "%" PRId64 " bytes are more than any volume can have", required);
    if (bytes > record->bytes && !pool_grow(pool, record, bytes, error))
        return fail_context(error, "volume %s stays at %" PRId64 " bytes", record->id, record->bytes);
    return grow_filesystem(pool, record, error);
}

bool controller_expand_volume(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    struct driver *driver = rpc_context(call);
    const Csi__V1__ControllerExpandVolumeRequest *request = message;
    Csi__V1__ControllerExpandVolumeResponse *response = answer;
    struct pool *pool;
    struct record record;
    struct capability capability;
    int64_t required, limit;
    if (request->volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "volume_id is missing");
    if (request->capacity_range == NULL)
        return fail(error, INVALID_ARGUMENT, "capacity_range is missing");
    if (!request_read_range(request->capacity_range, &required, &limit, error))
        return false;
    if (request->volume_capability != NULL && !capability_read(driver, request->volume_capability, &capability, error))
        return false;
    cleanup_keylock struct keylock *lock = keylock_acquire(request->volume_id, error);
    if (lock == NULL || !pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &pool, &record, error))
        return false;
    if (record.phase != PHASE_READY)
        return fail(error, NOT_FOUND, "volume %s is not ready", record.id);
    if (request->volume_capability != NULL && !capability_fits(&capability, &record, error)) {
        error->code = INVALID_ARGUMENT; /* here CSI has another code for it */
        return false;
    }
    if (!controller_expand(driver, pool, &record, required, limit, error))
        return false;
    response->capacity_bytes = record.bytes;
    response->node_expansion_required = false; /* it has grown here already, or will when it is staged */
    return true;
}
