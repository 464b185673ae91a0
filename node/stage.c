/*
 * NodeStageVolume.  A volume with a file system is mounted at the staging path; a raw block
 * volume gets its block device, and nothing is put at the path.  Nothing in here formats.
 */
#include "node/volume.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "filesystem/filesystem.h"

#include <string.h>

/* For e2fsck, resize2fs and the like.  Not the caller's deadline: what works on a file system is not ended half way
 * because a client went away. */
#define TOOLS_MOST (3600 * NANOSECONDS_PER_SECOND)

/* --- what is on the device --- */

static bool check_content(const struct volume *volume, const char *device, struct error *error)
{
    char found[FILESYSTEM_NAME_BYTES];
    if (!filesystem_probe(device, found, error))
        return fail_context(error, "volume %s", volume->id);
    return strcmp(found, volume->record.filesystem) == 0 ||
           fail(error, DATA_LOSS,
                "volume %s should have %s, but its device has %s; nothing was changed: look at it with blkid and "
                "wipefs --no-act, or restore the volume from a snapshot or a backup",
                volume->id, volume->record.filesystem, found[0] != '\0' ? found : "nothing that is known");
}

/* Brings an unmounted file system to where it should be: its own identity, the volume's size. */
static bool prepare(struct volume *volume, const struct filesystem *filesystem, const char *device, struct error *error)
{
    int lock = pool_lock_descriptor(volume->pool);
    int64_t deadline = monotonic_now() + TOOLS_MOST;
    bool done = volume->record.own_identity;
    if (!done && !filesystem_new_identity(filesystem, device, lock, deadline, &done, error))
        return fail_context(error, "volume %s", volume->id);
    if (!fault("node.stage.identified", error) || !filesystem_grow_unmounted(filesystem, device, lock, deadline, error))
        return fail_context(error, "volume %s", volume->id);
    volume->record.own_identity = done;
    return true;
}

/* From here on somebody may write to it: recovery must never undo it. */
static bool note_in_record(struct volume *volume, bool had_own_identity, struct error *error)
{
    if (volume->record.staged && volume->record.own_identity == had_own_identity)
        return true;
    volume->record.staged = true;
    return pool_write(volume->pool, &volume->record, error) && fault("node.stage.recorded", error);
}

/* --- mounting --- */

static const char *mount_options(struct arena *arena, const struct filesystem *filesystem, bool own_identity,
                                 const struct capability *capability)
{
    const char *options = filesystem_mount_options(filesystem, own_identity);
    for (size_t i = 0; i < capability->mount_flag_count; i++)
        options = arena_format(arena, "%s%s%s", options, options[0] != '\0' ? "," : "", capability->mount_flags[i]);
    return options;
}

static bool grow(const struct volume *volume, const char *path, const struct filesystem *filesystem,
                 struct error *error)
{
    struct mount_state at;
    if (!mount_inspect(path, &at, error))
        return false;
    if (at.read_only) /* asked for as a mount option: it stays as large as it is */
        return true;
    return filesystem_grow_mounted(filesystem, path, error) || fail_context(error, "volume %s", volume->id);
}

static bool mount_and_grow(struct rpc_call *call, struct volume *volume, const char *path,
                           const struct capability *capability, struct attachment *attachment, struct error *error)
{
    const struct filesystem *filesystem = filesystem_find(volume->record.filesystem);
    bool own_identity = volume->record.own_identity;
    char elsewhere[PATH_MAX];
    bool in_use = volume_find_target(volume, path, elsewhere, NULL); /* then no tool may touch it */
    if (!pool_attach(volume->pool, &volume->record, ATTACH_MOUNT, attachment, error) ||
        !fault("node.stage.attached", error) || !check_content(volume, attachment->path, error) ||
        (!in_use && !prepare(volume, filesystem, attachment->path, error)) ||
        !note_in_record(volume, own_identity, error))
        return false;
    const char *options = mount_options(rpc_arena(call), filesystem, volume->record.own_identity, capability);
    return mount_device(attachment->path, path, volume->record.filesystem, options, error) &&
           fault("node.stage.mounted", error) && grow(volume, path, filesystem, error) &&
           fault("node.stage.grown", error);
}

/* After a failure nothing is left but a mount that is busy. */
static void undo_mount(struct volume *volume, const char *path)
{
    struct mount_state at;
    struct error second;
    if (volume_is_at(volume, path, &at) && !mount_unmount(path, false, &second)) {
        log_event(LOG_WARNING, "a failed stage left its mount", "volume_id", volume->id, "error", second.message, NULL);
        return;
    }
    if (!volume_let_device_go(volume, &second))
        log_event(LOG_WARNING, "a failed stage left its device", "volume_id", volume->id, "error", second.message,
                  NULL);
    volume_forget_staging(volume);
}

static bool note(struct volume *volume, const char *path, const struct capability *capability, struct error *error)
{
    state_stage(volume->state, path, capability);
    return state_save(volume->state, error) && fault("node.stage.noted", error);
}

static bool stage_mount(struct rpc_call *call, struct volume *volume, const char *path,
                        const struct capability *capability, struct error *error)
{
    struct attachment attachment = {.descriptor = -1};
    bool good =
        note(volume, path, capability, error) && mount_and_grow(call, volume, path, capability, &attachment, error);
    cleanup_close_descriptor(&attachment.descriptor);
    if (!good)
        undo_mount(volume, path);
    return good;
}

/* The path has a mount already: ours, from an earlier call, which may have been killed before the growth. */
static bool stage_again(struct volume *volume, const char *path, dev_t device, const struct capability *capability,
                        struct error *error)
{
    if (!node_owns(volume->node, volume->id, device))
        return fail(error, FAILED_PRECONDITION, "something else than volume %s is mounted at \"%s\"; it is left alone",
                    volume->id, path);
    if (state_staging(volume->state) == NULL) { /* the state was lost */
        state_stage(volume->state, path, capability);
        if (!state_save(volume->state, error))
            return false;
    }
    if (!state_staged_as(volume->state, capability))
        return fail(error, ALREADY_EXISTS, "volume %s is staged at \"%s\" with another capability", volume->id, path);
    return grow(volume, path, filesystem_find(volume->record.filesystem), error);
}

/* There is one staging path per volume.  A note about another one, where it is not, is overwritten. */
static bool check_elsewhere(struct volume *volume, const char *path, struct error *error)
{
    struct mount_state at;
    const char *staging = state_staging(volume->state);
    if (staging == NULL || strcmp(staging, path) == 0)
        return true;
    if (volume_is_at(volume, staging, &at))
        return fail(error, FAILED_PRECONDITION, "volume %s is staged at \"%s\" already", volume->id, staging);
    state_unstage(volume->state);
    return true;
}

static bool stage_filesystem(struct rpc_call *call, struct volume *volume, const char *path,
                             const struct capability *capability, struct error *error)
{
    struct mount_state at;
    if (!mount_inspect(path, &at, error))
        return false;
    if (!at.exists || !at.directory)
        return fail(error, FAILED_PRECONDITION, "the staging path \"%s\" is not a directory", path);
    if (!check_elsewhere(volume, path, error))
        return false;
    return at.mounted ? stage_again(volume, path, at.device, capability, error)
                      : stage_mount(call, volume, path, capability, error);
}

/* --- raw block volumes --- */

static bool attach_block(struct volume *volume, struct error *error)
{
    struct attachment attachment = {.descriptor = -1};
    bool good = pool_attach(volume->pool, &volume->record, ATTACH_BLOCK, &attachment, error);
    cleanup_close_descriptor(&attachment.descriptor);
    return good && fault("node.stage.block_attached", error);
}

static bool stage_block(struct volume *volume, const char *path, const struct capability *capability,
                        struct error *error)
{
    dev_t device;
    struct error second;
    const char *staging = state_staging(volume->state);
    bool attached = pool_attached(volume->pool, &volume->record, ATTACH_BLOCK, &device);
    if (attached && staging != NULL && !state_staged_as(volume->state, capability))
        return fail(error, ALREADY_EXISTS, "volume %s is staged with another capability", volume->id);
    if (attached && staging != NULL && strcmp(staging, path) != 0)
        return fail(error, FAILED_PRECONDITION, "volume %s is staged at \"%s\" already", volume->id, staging);
    if (attached && staging != NULL)
        return true;
    if (note(volume, path, capability, error) && note_in_record(volume, volume->record.own_identity, error) &&
        attach_block(volume, error))
        return true;
    if (!attached && volume_detach_block(volume, &second))
        volume_forget_staging(volume);
    return false;
}

bool node_stage(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodeStageVolumeRequest *request = message;
    cleanup_volume struct volume volume = {.id = NULL};
    struct capability capability;
    struct mount_state at;
    (void)answer;
    if (!require(request->volume_id, "volume_id", error) ||
        !require(request->staging_target_path, "staging_target_path", error) ||
        !capability_read(rpc_context(call), request->volume_capability, &capability, error) ||
        !mount_inspect(request->staging_target_path, &at, error) ||
        !volume_open(call, request->volume_id, &volume, error) ||
        !volume_fits(&volume, request->volume_capability, &capability, error))
        return false;
    volume_recover_state(&volume);
    return capability.block ? stage_block(&volume, request->staging_target_path, &capability, error)
                            : stage_filesystem(call, &volume, request->staging_target_path, &capability, error);
}
