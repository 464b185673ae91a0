/* NodeGetVolumeHealth and NodeGetStorageHealth: what this node can know of a volume and of its pools. */
#include "node/volume.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "controller/health.h"
#include "filesystem/filesystem.h"
#include "filesystem/path.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- volumes --- */

/* The kernel's name of a block device, "loop7": below /sys and /proc/fs file systems are found by it. */
static bool name_device(dev_t device, char name[static NAME_MAX])
{
    char link[64], target[PATH_MAX] = "";
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(device), minor(device));
    if (readlink(link, target, sizeof target - 1) <= 0)
        return false;
    text_copy(name, NAME_MAX, basename(target));
    return true;
}

/* ext4 says here what has become of it (Linux 6.15), and is writable by all other accounts; xfs has no such file. */
static bool has_become(const char *filesystem, const char *device, const char *what)
{
    char path[2 * NAME_MAX], line[256];
    bool found = false;
    snprintf(path, sizeof path, "/proc/fs/%s/%s/options", filesystem, device);
    cleanup_file FILE *options = fopen(path, "re");
    while (options != NULL && !found && fgets(line, sizeof line, options) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, what) == 0;
    }
    return found;
}

/* An xfs that has shut itself down answers EIO to everything. */
static bool answers(const char *path)
{
    cleanup_close int descriptor = -1;
    struct stat status;
    struct error ignored;
    return path_open(path, O_PATH | O_DIRECTORY, &descriptor, &ignored) && descriptor >= 0 &&
           (fstat(descriptor, &status) == 0 || errno != EIO);
}

static const struct condition {
    enum health status;
    const char *reason, *words;
} missing = {HEALTH_INACCESSIBLE, "MountMissing", "is not mounted any more where it was staged"},
  shut_down =
      {HEALTH_INACCESSIBLE, "FileSystemShutDown",
       "has shut its file system down after an error: look at the kernel's log, and end all pods that use it, so "
       "that it is mounted anew"},
  read_only = {
      HEALTH_DEGRADED, "FileSystemReadOnly",
      "has a file system that became read-only after an error: look at the kernel's log, and end all pods that "
      "use it, so that it is mounted anew"};

/* What has become of the mount that was made at the staging path; NULL: nothing. */
static const struct condition *judge_mount(const struct volume *volume, const char *staging)
{
    const char *filesystem = volume->record.filesystem;
    char device[NAME_MAX] = "";
    struct mount_state at;
    if (!volume_is_at(volume, staging, &at))
        return &missing;
    if (!answers(staging) || (name_device(at.device, device) && has_become(filesystem, device, "shutdown")))
        return &shut_down;
    if ((at.read_only && !state_has_flag(volume->state, "ro")) || has_become(filesystem, device, "emergency_ro"))
        return &read_only;
    return NULL;
}

static void add_mount(struct arena *arena, const struct volume *volume, Csi__V1__VolumeHealth *health)
{
    const char *staging = state_staging(volume->state);
    const struct condition *condition = staging != NULL ? judge_mount(volume, staging) : NULL;
    if (condition != NULL)
        volume_health_add(arena, health, condition->status, condition->reason,
                          arena_format(arena, "volume %s %s (%s)", volume->id, condition->words, staging));
}

static void add_errors(struct arena *arena, const struct volume *volume, Csi__V1__VolumeHealth *health)
{
    dev_t device;
    char name[NAME_MAX];
    if (!pool_attached(volume->pool, &volume->record, ATTACH_MOUNT, &device) || !name_device(device, name))
        return;
    int64_t errors =
        filesystem_error_count(filesystem_find(volume->record.filesystem), arena_format(arena, "/dev/%s", name));
    if (errors > 0)
        volume_health_add(arena, health, HEALTH_DEGRADED, "FileSystemErrors",
                          arena_format(arena,
                                       "the file system of volume %s has recorded %" PRId64
                                       " errors: look at the kernel's log, and check it with e2fsck while unmounted",
                                       volume->id, errors));
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
        if (volume.record.filesystem[0] != '\0') {
            add_errors(arena, &volume, response->volume_health);
            add_mount(arena, &volume, response->volume_health);
        }
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
