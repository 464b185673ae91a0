/*
 * NodePublishVolume and NodeUnpublishVolume: a bind mount of the staged file system, or of the block device, at the
 * target path. csi.md's table of second calls (spec.md, "NodePublishVolume") is check_others() and publish_again().
 */
#include "node/volume.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"

#include <string.h>

/* What is asked for. */
struct publication {
    const char *staging, *target;
    bool read_only; /* the request's */
    struct capability capability;
};

static bool is_read_only(const struct publication *publication)
{
    const struct capability *capability = &publication->capability;
    bool read_only = publication->read_only || capability->reader_only;
    for (size_t i = 0; i < capability->mount_flag_count; i++)
        read_only = read_only || strcmp(capability->mount_flags[i], "ro") == 0;
    return read_only;
}

/* --- checks --- */

/* The target has a mount already: OK only if it is this volume, published with the same arguments. */
static bool publish_again(struct volume *volume, const struct publication *publication, const struct mount_state *at,
                          struct error *error)
{
    if (!node_owns(volume->node, volume->id, at->device))
        return fail(error, FAILED_PRECONDITION, "something else than volume %s is mounted at \"%s\"; it is left alone",
                    volume->id, publication->target);
    enum state_match match =
        state_published(volume->state, publication->target, publication->read_only, &publication->capability);
    bool looks_same = at->read_only == is_read_only(publication);
    if (match == STATE_SAME || (match != STATE_DIFFERENT && looks_same))
        return true;
    return fail(error, ALREADY_EXISTS, "volume %s is published at \"%s\" with other arguments", volume->id,
                publication->target);
}

static bool check_others(struct volume *volume, const struct publication *publication, struct error *error)
{
    char found[PATH_MAX];
    bool single;
    if (!volume_find_target(volume, publication->target, found, &single) ||
        (!single && !publication->capability.single_writer))
        return true;
    return fail(error, FAILED_PRECONDITION,
                "volume %s is published at \"%s\", and its access mode allows one path only: unpublish it there first",
                volume->id, found);
}

/* Flags that only the staging could have given to the file system must have been given there. */
static bool check_flags(const struct volume *volume, const struct publication *publication, struct error *error)
{
    const char *flag = state_strange_flag(volume->state, &publication->capability);
    return flag == NULL ||
           fail(error, FAILED_PRECONDITION, "volume %s was staged without the mount flag \"%s\"", volume->id, flag);
}

static bool check_staged(struct volume *volume, const struct publication *publication, struct error *error)
{
    struct mount_state at;
    dev_t device;
    if (!mount_inspect(publication->staging, &at, error))
        return false;
    bool staged = publication->capability.block ? pool_attached(volume->pool, &volume->record, ATTACH_BLOCK, &device)
                                                : at.mounted && node_owns(volume->node, volume->id, at.device);
    if (!staged)
        return fail(error, FAILED_PRECONDITION, "volume %s is not staged at \"%s\"", volume->id, publication->staging);
    if (state_staging(volume->state) == NULL) /* it was lost */
        state_stage(volume->state, publication->staging, NULL);
    return check_others(volume, publication, error) && check_flags(volume, publication, error);
}

/* --- doing --- */

static const char *join_flags(struct arena *arena, const struct capability *capability)
{
    const char *joined = "";
    for (size_t i = 0; i < capability->mount_flag_count; i++)
        joined = arena_format(arena, "%s%s%s", joined, i > 0 ? "," : "", capability->mount_flags[i]);
    return joined;
}

/* A read-only mount of a device node does not hinder writers, so readers get a device of their own. */
static bool bind_block(struct volume *volume, const struct publication *publication, struct error *error)
{
    struct attachment attachment = {.descriptor = -1};
    bool read_only = is_read_only(publication);
    bool good =
        pool_attach(volume->pool, &volume->record, read_only ? ATTACH_READONLY : ATTACH_BLOCK, &attachment, error) &&
        fault("node.publish.block_attached", error) &&
        mount_bind(attachment.path, publication->target, read_only, "", error);
    cleanup_close_descriptor(&attachment.descriptor);
    return good;
}

static bool bind_target(struct rpc_call *call, struct volume *volume, const struct publication *publication,
                        struct error *error)
{
    const struct capability *capability = &publication->capability;
    bool good = capability->block ? bind_block(volume, publication, error)
                                  : mount_bind(publication->staging, publication->target, is_read_only(publication),
                                               join_flags(rpc_arena(call), capability), error);
    return good && fault("node.publish.bound", error);
}

static void undo(struct volume *volume, const char *target)
{
    struct mount_state at;
    struct error second;
    if (volume_is_at(volume, target, &at) && !mount_unmount(target, true, &second)) {
        log_event(LOG_WARNING, "a failed publish left its mount", "volume_id", volume->id, "error", second.message,
                  NULL);
        return;
    }
    state_unpublish(volume->state, target);
    volume_keep_state(volume);
}

static bool publish(struct rpc_call *call, struct volume *volume, const struct publication *publication,
                    struct error *error)
{
    struct mount_state at;
    if (!mount_inspect(publication->target, &at, error))
        return false;
    if (at.mounted)
        return publish_again(volume, publication, &at, error);
    volume_recover_state(volume);
    if (!check_staged(volume, publication, error))
        return false;
    state_publish(volume->state, publication->target, publication->read_only, &publication->capability);
    if (state_save(volume->state, error) && fault("node.publish.noted", error) &&
        bind_target(call, volume, publication, error))
        return true;
    undo(volume, publication->target);
    return false;
}

bool node_publish(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodePublishVolumeRequest *request = message;
    struct publication publication = {
        .staging = request->staging_target_path, .target = request->target_path, .read_only = request->readonly != 0};
    cleanup_volume struct volume volume = {.id = NULL};
    (void)answer;
    if (!require(request->volume_id, "volume_id", error) || !require(request->target_path, "target_path", error) ||
        !capability_read(rpc_context(call), request->volume_capability, &publication.capability, error) ||
        !volume_open(call, request->volume_id, &volume, error))
        return false;
    if (strcmp(publication.staging, publication.target) == 0)
        return fail(error, INVALID_ARGUMENT, "target_path is the staging path \"%s\"", publication.target);
    if (publication.staging[0] == '\0')
        return fail(error, FAILED_PRECONDITION, "staging_target_path is missing: volumes are staged first");
    return volume_fits(&volume, request->volume_capability, &publication.capability, error) &&
           publish(call, &volume, &publication, error);
}

/* --- unpublish --- */

/* A bound device node that leads to no volume any more (its device was taken away by hand) is ours if it was noted. */
static bool may_unmount(const struct volume *volume, const char *target, const struct mount_state *at)
{
    char other[ID_BYTES];
    static const struct capability none;
    if (node_owns(volume->node, volume->id, at->device))
        return true;
    return !at->directory && !pools_identify(volume->node->driver.pools, at->device, other) &&
           state_published(volume->state, target, false, &none) != STATE_NONE;
}

bool node_unpublish(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__NodeUnpublishVolumeRequest *request = message;
    const char *target = request->target_path;
    cleanup_volume struct volume volume = {.id = NULL};
    struct mount_state at;
    (void)answer;
    if (!require(request->volume_id, "volume_id", error) || !require(target, "target_path", error) ||
        !volume_open_any(call, request->volume_id, &volume, error) || !mount_inspect(target, &at, error))
        return false;
    if (at.mounted && !may_unmount(&volume, target, &at))
        return fail(error, FAILED_PRECONDITION, "something else than volume %s is mounted at \"%s\"; it is left alone",
                    volume.id, target);
    if (!mount_unmount(target, true, error) || !fault("node.unpublish.unmounted", error))
        return false;
    state_unpublish(volume.state, target);
    volume_keep_state(&volume);
    return true;
}
