/* NodeGetVolumeHealth and NodeGetStorageHealth: what this node can know of a volume and of its pools. */
#include "node/volume.h"

#include "controller/health.h"
#include "filesystem/filesystem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- volumes --- */

static void add_errors(struct arena *arena, const struct record *record, dev_t device, Csi__V1__VolumeHealth *health)
{
    char link[64], target[PATH_MAX] = "";
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(device), minor(device));
    if (readlink(link, target, sizeof target - 1) <= 0)
        return;
    const char *path = arena_format(arena, "/dev/%s", basename(target));
    int64_t errors = filesystem_error_count(filesystem_find(record->filesystem), path);
    if (errors > 0)
        volume_health_add(arena, health, HEALTH_DEGRADED, "FileSystemErrors",
                          arena_format(arena,
                                       "the file system of volume %s has recorded %" PRId64
                                       " errors: look at the kernel's log, and check it with e2fsck while unmounted",
                                       record->id, errors));
}

/* What has become of the mount that was made at the staging path. */
static void add_mount(struct arena *arena, const struct volume *volume, Csi__V1__VolumeHealth *health)
{
    struct mount_state at;
    const char *staging = state_staging(volume->state);
    if (staging == NULL)
        return;
    if (!volume_is_at(volume, staging, &at))
        volume_health_add(arena, health, HEALTH_INACCESSIBLE, "MountMissing",
                          arena_format(arena, "volume %s is not mounted any more where it was staged, at \"%s\"",
                                       volume->id, staging));
    else if (at.read_only && !state_has_flag(volume->state, "ro"))
        volume_health_add(arena, health, HEALTH_DEGRADED, "FileSystemReadOnly",
                          arena_format(arena,
                                       "the file system of volume %s has become read-only: look at the kernel's log, "
                                       "and end all pods that use it, so that it is mounted anew",
                                       volume->id));
}

static void add_what_is_mounted(struct arena *arena, const struct volume *volume, Csi__V1__VolumeHealth *health)
{
    dev_t device;
    if (volume->record.filesystem[0] == '\0')
        return;
    if (pool_attached(volume->pool, &volume->record, ATTACH_MOUNT, &device))
        add_errors(arena, &volume->record, device, health);
    add_mount(arena, volume, health);
}

bool node_volume_health(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodeGetVolumeHealthRequest *request = message;
    Csi__V1__NodeGetVolumeHealthResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    cleanup_volume struct volume volume = {.node = rpc_context(call), .id = request->volume_id};
    if (!require(request->volume_id, "volume_id", error))
        return false;
    if (pools_find(volume.node->driver.pools, RECORD_VOLUME, volume.id, &volume.pool, &volume.record, error)) {
        volume.state = state_load(volume.node->driver.state_directory, volume.id);
        response->volume_health = volume_health_message(arena, volume.pool, &volume.record);
        add_what_is_mounted(arena, &volume, response->volume_health);
        return true;
    }
    if (error->code == NOT_FOUND)
        return false;
    response->volume_health = volume_health_damaged(arena, volume.id, error);
    return true;
}

/* --- pools --- */

struct storage {
    struct arena *arena;
    const struct pool *pool;
    Csi__V1__NodeGetStorageHealthResponse *response;
};

typedef Csi__V1__NodeGetStorageHealthResponse__StorageBackendHealth backend_health;

static backend_health *find_backend(const struct storage *storage, Csi__V1__StorageHealthErrorType status,
                                    const char *reason)
{
    for (size_t i = 0; i < storage->response->n_backend_health; i++)
        if (storage->response->backend_health[i]->status == status &&
            strcmp(storage->response->backend_health[i]->reason, reason) == 0)
            return storage->response->backend_health[i];
    return NULL;
}

static backend_health *add_backend(struct storage *storage, Csi__V1__StorageHealthErrorType status, const char *reason)
{
    Csi__V1__NodeGetStorageHealthResponse *response = storage->response;
    backend_health **list = arena_array(storage->arena, response->n_backend_health + 1, sizeof *list);
    for (size_t i = 0; i < response->n_backend_health; i++)
        list[i] = response->backend_health[i];
    backend_health *added = list[response->n_backend_health] = arena_allocate(storage->arena, sizeof *added);
    csi__v1__node_get_storage_health_response__storage_backend_health__init(added);
    added->status = status;
    added->reason = arena_string(storage->arena, reason);
    added->message = arena_string(storage->arena, "");
    response->backend_health = list;
    response->n_backend_health++;
    return added;
}

/* CSI wants each (status, reason) once, so pools that are ill alike share an entry. */
static void see_pool(enum health status, const char *reason, const char *message, void *data)
{
    struct storage *storage = data;
    Csi__V1__StorageHealthErrorType type = status == HEALTH_DEGRADED
                                               ? CSI__V1__STORAGE_HEALTH_ERROR_TYPE__STORAGE_DEGRADED
                                               : CSI__V1__STORAGE_HEALTH_ERROR_TYPE__STORAGE_UNREACHABLE;
    backend_health *entry = find_backend(storage, type, reason);
    if (entry == NULL)
        entry = add_backend(storage, type, reason);
    entry->message = arena_format(storage->arena, "%s%spool %s: %s", entry->message,
                                  entry->message[0] != '\0' ? "; " : "", pool_name(storage->pool), message);
}

bool node_storage_health(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    struct storage storage = {.arena = rpc_arena(call), .response = answer};
    (void)message, (void)error;
    for (size_t i = 0; i < pools_count(driver->pools); i++) {
        struct pool *pool = pools_at(driver->pools, i);
        storage.pool = pool;
        pool_health(pool, see_pool, &storage);
    }
    return true;
}
