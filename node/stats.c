/* NodeGetVolumeStats and NodeExpandVolume: calls about a volume at a path.  Statistics start no process and read no
 * list of mounts. */
#include "node/volume.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "controller/controller.h"
#include "controller/request.h"
#include "filesystem/filesystem.h"
#include "filesystem/path.h"

#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

/* The order of checks is CSI's (and csi-sanity's): what is missing, the volume, then the path, where any fault is
 * NOT_FOUND. */
static bool find_at(const struct volume *volume, const char *path, struct mount_state *at, struct error *error)
{
    return volume_is_at(volume, path, at) || fail(error, NOT_FOUND, "volume %s is not at \"%.500s\"", volume->id, path);
}

static Csi__V1__VolumeUsage *add_usage(struct arena *arena, Csi__V1__NodeGetVolumeStatsResponse *response,
                                       Csi__V1__VolumeUsage__Unit unit, uint64_t total)
{
    if (response->usage == NULL)
        response->usage = arena_array(arena, 2, sizeof *response->usage);
    Csi__V1__VolumeUsage *usage = arena_allocate(arena, sizeof *usage);
    csi__v1__volume_usage__init(usage);
    usage->unit = unit;
    usage->total = (int64_t)total;
    response->usage[response->n_usage++] = usage;
    return usage;
}

static bool measure_filesystem(struct arena *arena, const char *path, Csi__V1__NodeGetVolumeStatsResponse *response,
                               struct error *error)
{
    cleanup_close int descriptor = -1;
    struct statvfs space;
    if (!path_open(path, O_PATH, &descriptor, error))
        return false;
    if (descriptor < 0 || fstatvfs(descriptor, &space) != 0)
        return fail_errno(error, errno, "cannot measure the file system at \"%.500s\"", path);
    Csi__V1__VolumeUsage *bytes =
        add_usage(arena, response, CSI__V1__VOLUME_USAGE__UNIT__BYTES, space.f_blocks * space.f_frsize);
    bytes->available = (int64_t)(space.f_bavail * space.f_frsize);
    bytes->used = (int64_t)((space.f_blocks - space.f_bfree) * space.f_frsize);
    Csi__V1__VolumeUsage *inodes = add_usage(arena, response, CSI__V1__VOLUME_USAGE__UNIT__INODES, space.f_files);
    inodes->available = (int64_t)space.f_favail;
    inodes->used = (int64_t)(space.f_files - space.f_ffree);
    return true;
}

bool node_volume_stats(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodeGetVolumeStatsRequest *request = message;
    Csi__V1__NodeGetVolumeStatsResponse *response = answer;
    struct volume volume = {.node = rpc_context(call), .id = request->volume_id}; /* looked at, not locked */
    struct mount_state at;
    if (!require(request->volume_id, "volume_id", error) || !require(request->volume_path, "volume_path", error) ||
        !pools_find(volume.node->driver.pools, RECORD_VOLUME, volume.id, &volume.pool, &volume.record, error) ||
        !find_at(&volume, request->volume_path, &at, error))
        return false;
    if (volume.record.filesystem[0] != '\0')
        return measure_filesystem(rpc_arena(call), request->volume_path, response, error);
    add_usage(rpc_arena(call), response, CSI__V1__VOLUME_USAGE__UNIT__BYTES, (uint64_t)volume.record.bytes);
    return true;
}

/* --- expand --- */

/* controller_expand() grows what is mounted, but does nothing if the volume has its size already: a killed call may
 * have left the file system behind.  A read-only bind cannot grow, so the staging path is preferred. */
static bool grow_filesystem(const struct volume *volume, const char *staging, const char *path, struct error *error)
{
    struct mount_state at;
    if (volume->record.filesystem[0] == '\0')
        return true;
    if (staging[0] == '\0' && state_staging(volume->state) != NULL)
        staging = state_staging(volume->state);
    if (staging[0] != '\0' && volume_is_at(volume, staging, &at))
        path = staging;
    return filesystem_grow_mounted(filesystem_find(volume->record.filesystem), path, error) ||
           fail_context(error, "volume %s", volume->id);
}

static bool expand(struct volume *volume, const Csi__V1__NodeExpandVolumeRequest *request, struct error *error)
{
    struct mount_state at;
    int64_t required, limit;
    if (!request_read_range(request->capacity_range, &required, &limit, error) ||
        !find_at(volume, request->volume_path, &at, error))
        return false;
    return controller_expand(volume->pool, &volume->record, required, limit, NULL, error) &&
           fault("node.expand.expanded", error) &&
           grow_filesystem(volume, request->staging_target_path, request->volume_path, error) &&
           fault("node.expand.grown", error);
}

bool node_expand(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodeExpandVolumeRequest *request = message;
    Csi__V1__NodeExpandVolumeResponse *response = answer;
    cleanup_volume struct volume volume = {.id = NULL};
    struct capability capability;
    if (!require(request->volume_id, "volume_id", error) || !require(request->volume_path, "volume_path", error) ||
        (request->volume_capability != NULL &&
         !capability_read(rpc_context(call), request->volume_capability, &capability, error)) ||
        !volume_open(call, request->volume_id, &volume, error) || !expand(&volume, request, error))
        return false;
    response->capacity_bytes = volume.record.bytes;
    return true;
}
