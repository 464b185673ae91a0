/* NodeUnstageVolume: unmount, or give the block device back, each found by the volume's id. */
#include "node/volume.h"

#include "base/clock.h"
#include "base/fault.h"

#include <string.h>
#include <time.h>

#define FIRST_PAUSE (5 * NANOSECONDS_PER_MILLISECOND)
#define LAST_PAUSE (320 * NANOSECONDS_PER_MILLISECOND)

/* Waits twice as long each time, 0.6 seconds in all: udev, losetup or our own statistics keep a device open for the
 * moment of a look at it.  False: that was the last time. */
static bool wait_again(int64_t *pause)
{
    struct timespec time = {.tv_nsec = *pause};
    if (*pause > LAST_PAUSE)
        return false;
    nanosleep(&time, NULL);
    *pause *= 2;
    return true;
}

bool volume_detach_block(struct volume *volume, struct error *error)
{
    int64_t pause = FIRST_PAUSE;
    while (!pool_detach(volume->pool, &volume->record, error))
        if (error->code != FAILED_PRECONDITION || !wait_again(&pause))
            return false;
    return fault("node.unstage.detached", error);
}

static bool unmount_staging(struct volume *volume, const char *path, struct error *error)
{
    struct mount_state at;
    if (!mount_inspect(path, &at, error))
        return false;
    if (!at.mounted)
        return true;
    if (!node_owns(volume->node, volume->id, at.device))
        return fail(error, FAILED_PRECONDITION, "something else than volume %s is mounted at \"%s\"; it is left alone",
                    volume->id, path);
    return mount_unmount(path, false, error) && fault("node.unstage.unmounted", error);
}

/* A bound device node does not keep its device: it would show the next volume that gets it. */
static bool check_unpublished(struct volume *volume, const char *staging, struct error *error)
{
    char found[PATH_MAX];
    if (volume->pool != NULL)
        volume_recover_state(volume);
    return !volume_find_target(volume, staging, found, NULL) ||
           fail(error, FAILED_PRECONDITION, "volume %s is still published at \"%s\": unpublish it there first",
                volume->id, found);
}

bool volume_let_device_go(const struct volume *volume, struct error *error)
{
    dev_t device;
    int64_t pause = FIRST_PAUSE;
    while (pool_attached(volume->pool, &volume->record, ATTACH_MOUNT, &device))
        if (!wait_again(&pause))
            return true;
    return pool_detach(volume->pool, &volume->record, error) || error->code == FAILED_PRECONDITION;
}

bool node_unstage(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodeUnstageVolumeRequest *request = message;
    cleanup_volume struct volume volume = {.id = NULL};
    (void)answer;
    if (!require(request->volume_id, "volume_id", error) ||
        !require(request->staging_target_path, "staging_target_path", error) ||
        !volume_open_any(call, request->volume_id, &volume, error) ||
        !check_unpublished(&volume, request->staging_target_path, error) ||
        !unmount_staging(&volume, request->staging_target_path, error))
        return false;
    const char *staging = state_staging(volume.state);
    if (staging != NULL && strcmp(staging, request->staging_target_path) != 0)
        return true; /* it is staged somewhere else, and stays there */
    bool mounted = volume.record.filesystem[0] != '\0';
    if (volume.pool != NULL &&
        !(pools_can_detach(volume.node->driver.pools, volume.id, error) &&
          (mounted ? volume_let_device_go(&volume, error) : volume_detach_block(&volume, error))))
        return false;
    volume_forget_staging(&volume);
    return true;
}
