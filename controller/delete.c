#include "controller/methods.h"

#include "base/keylock.h"
#include "filesystem/mount.h"
#include "snapshot/removal.h"
#include "snapshot/waiting.h"

#include "csi.pb-c.h"

/* A volume somebody uses is not deleted: Kubernetes unstages first, and data is lost only once. */
static bool check_unused(struct pool *pool, const struct record *record, struct error *error)
{
    static const enum attach_mode modes[] = {ATTACH_MOUNT, ATTACH_READONLY};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        dev_t device;
        char path[PATH_MAX];
        if (!pool_attached(pool, record, modes[i], &device))
            continue;
        bool mounted = mount_find_device(device, path);
        return fail(error, FAILED_PRECONDITION,
                    "volume %s is still in use on node %s (%s): unpublish and unstage it first", record->id,
                    pool_node(pool), mounted ? path : "its block device exists");
    }
    return true;
}

bool controller_delete_volume(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    struct driver *driver = rpc_context(call);
    const Csi__V1__DeleteVolumeRequest *request = message;
    struct pool *pool;
    struct record record;
    (void)answer;
    if (request->volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "volume_id is missing");
    if (!pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &pool, &record, error))
        return error->code == NOT_FOUND || pools_know_it_gone(error);
    if (removal_join(call, &record, error))
        return true;
    if (error->code != OK || !waiting_cancel(call, request->volume_id, error))
        return false;
    cleanup_keylock struct keylock *lock = keylock_acquire(request->volume_id, error);
    if (lock == NULL)
        return false;
    if (!pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &pool, &record, error))
        return error->code == NOT_FOUND || pools_know_it_gone(error);
    if (!check_unused(pool, &record, error))
        return false;
    return removal_run(call, driver, pool, &record, &lock, error);
}
