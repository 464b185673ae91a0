/* Group snapshots: the GroupController service. */
#include "snapshot/members.h"
#include "snapshot/message.h"
#include "snapshot/snapshot.h"
#include "snapshot/waiting.h"

#include "base/digest.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void fill(const struct group *group, struct arena *arena, Csi__V1__VolumeGroupSnapshot **message)
{
    Csi__V1__VolumeGroupSnapshot *filled = arena_allocate(arena, sizeof *filled);
    csi__v1__volume_group_snapshot__init(filled);
    filled->group_snapshot_id = arena_string(arena, group->id);
    filled->creation_time = snapshot_timestamp(group->members[0].record.created, arena);
    filled->ready_to_use = group_is_whole(group);
    filled->n_snapshots = group->count;
    filled->snapshots = arena_array(arena, group->count, sizeof *filled->snapshots);
    for (size_t i = 0; i < group->count; i++)
        filled->snapshots[i] = snapshot_message(&group->members[i].record, arena);
    *message = filled;
}

/* --- CreateVolumeGroupSnapshot --- */

static bool contains(char *const *ids, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return false;
}

static bool check_create(const Csi__V1__CreateVolumeGroupSnapshotRequest *request, struct error *error)
{
    if (request->name[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "name is missing");
    if (request->n_source_volume_ids == 0)
        return fail(error, INVALID_ARGUMENT, "source_volume_ids is empty");
    if (request->n_source_volume_ids > GROUP_MEMBERS_MOST)
        return fail(error, INVALID_ARGUMENT, "a group snapshot has at most %d volumes, not %zu", GROUP_MEMBERS_MOST,
                    request->n_source_volume_ids);
    for (size_t i = 0; i < request->n_source_volume_ids; i++)
        if (request->source_volume_ids[i][0] == '\0' ||
            contains(request->source_volume_ids, i, request->source_volume_ids[i]))
            return fail(error, INVALID_ARGUMENT, "source_volume_ids has an empty or repeated id");
    return SNAPSHOT_REFUSE_PARAMETERS(request, error);
}

/* A group that was made under this name before must be of the same volumes. */
static bool check_same(const struct group *group, const Csi__V1__CreateVolumeGroupSnapshotRequest *request,
                       struct error *error)
{
    bool same = (size_t)group->members[0].record.group_members == request->n_source_volume_ids;
    for (size_t i = 0; i < group->count; i++)
        same = same &&
               contains(request->source_volume_ids, request->n_source_volume_ids, group->members[i].record.source_id);
    return same || fail(error, ALREADY_EXISTS, "group snapshot %s exists already, of other volumes", request->name);
}

/* Members are named after the group and their source, so that a retry finds them. */
static bool plan_member(const struct driver *driver, struct making *making, size_t index,
                        const Csi__V1__CreateVolumeGroupSnapshotRequest *request, struct error *error)
{
    struct member *member = &making->members[index];
    const char *source = request->source_volume_ids[index];
    char name[NAME_BYTES], digits[NAME_DIGITS + 1];
    member->source_lock = keylock_acquire(source, error);
    if (member->source_lock == NULL ||
        !pools_find(driver->pools, RECORD_VOLUME, source, &member->pool, &member->source, error))
        return false;
    if (member->source.phase != PHASE_READY)
        return fail(error, NOT_FOUND, "volume %s is not ready", source);
    if (!pool_has_snapshots(member->pool, error))
        return false;
    digest_hex(source, strlen(source), NAME_DIGITS, digits);
    snprintf(name, sizeof name, "group-%s-%s", making->id, digits);
    member->source_pool = member->pool;
    member->record = snapshot_record(member->pool, &member->source, name);
    member->record.group_members = (int32_t)request->n_source_volume_ids;
    memcpy(member->record.group_id, making->id, sizeof member->record.group_id);
    member->lock = keylock_acquire(member->record.id, error);
    return member->lock != NULL;
}

static bool make_group(struct rpc_call *call, const char *id, const Csi__V1__CreateVolumeGroupSnapshotRequest *request,
                       struct error *error)
{
    const struct driver *driver = rpc_context(call);
    struct making *making = making_create(driver, id, request->n_source_volume_ids);
    for (size_t i = 0; i < making->count; i++)
        if (!plan_member(driver, making, i, request, error)) {
            making_free(making);
            return false;
        }
    for (size_t i = 1; i < making->count; i++) /* one moment for all */
        making->members[i].record.created = making->members[0].record.created;
    return making_run(call, making, error);
}

static bool find_existing(const struct driver *driver, const char *name, char id[static ID_BYTES])
{
    for (size_t i = 0; i < pools_count(driver->pools); i++) {
        pool_make_id(pools_at(driver->pools, i), ID_MARK_GROUP, name, id);
        cleanup_group struct group *group = group_load(driver, id);
        if (group->count > 0)
            return true;
    }
    return false;
}

/*
 * The id of a group carries the pool of one of its volumes, always the same one: it must not depend on the order in
 * which they are named, nor on the order of the pools in the configuration.
 */
static bool group_id(const struct driver *driver, const Csi__V1__CreateVolumeGroupSnapshotRequest *request,
                     char id[static ID_BYTES], struct error *error)
{
    const char *first = request->source_volume_ids[0];
    struct pool *pool;
    struct record record;
    if (find_existing(driver, request->name, id))
        return true;
    for (size_t i = 1; i < request->n_source_volume_ids; i++)
        if (strcmp(request->source_volume_ids[i], first) < 0)
            first = request->source_volume_ids[i];
    if (!pools_find(driver->pools, RECORD_VOLUME, first, &pool, &record, error))
        return false;
    pool_make_id(pool, ID_MARK_GROUP, request->name, id);
    return true;
}

static bool make_or_resume(struct rpc_call *call, struct group *group,
                           const Csi__V1__CreateVolumeGroupSnapshotRequest *request, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    if (group_is_fixed(group))
        return making_resume(driver, call, group->id, group->members, group->count, error);
    return group_remove(call, driver, group, error) && make_group(call, group->id, request, error);
}

/*
 * It is whole when the answer is OK, or ABORTED tells how far it is.  Kubernetes takes over what the first OK says of
 * each member; with sidecars on each node, nobody asks again after a member (its content has no label of a node), and
 * one that was not ready then never would be.
 */
static bool create_group(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__CreateVolumeGroupSnapshotRequest *request = message;
    Csi__V1__CreateVolumeGroupSnapshotResponse *response = answer;
    char id[ID_BYTES];
    if (!check_create(request, error) || !group_id(driver, request, id, error))
        return false;
    bool joined = making_join(call, id, false, error);
    if ((!joined && error->code != OK) || !group_join(call, driver, id, error))
        return false;
    cleanup_keylock struct keylock *lock = keylock_acquire(id, error);
    cleanup_group struct group *group = lock != NULL ? group_load(driver, id) : NULL;
    if (group == NULL ||
        !group_is_known(driver, group, RECORD_VOLUME, request->source_volume_ids, request->n_source_volume_ids,
                        error) ||
        (group->count > 0 && !check_same(group, request, error)))
        return false;
    bool make = !group_is_whole(group) && !(joined && group_is_fixed(group));
    if ((make && !make_or_resume(call, group, request, error)) || !making_await_end(call, id, error))
        return false;
    if (make) {
        group_free(&group);
        group = group_load(driver, id);
    }
    if (group->count == 0)
        return fail(error, ABORTED, "group snapshot %s was removed while it was made; try again", request->name);
    if (!group_is_whole(group))
        return fail(error, ABORTED, "group snapshot %s is being copied; try again", request->name);
    fill(group, rpc_arena(call), &response->group_snapshot);
    return true;
}

/* --- DeleteVolumeGroupSnapshot, GetVolumeGroupSnapshot --- */

/* The ids a caller names must be those of the group, if it names any. */
static bool check_ids(const struct group *group, char *const *ids, size_t count, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        if (contains(ids, i, ids[i]))
            return fail(error, INVALID_ARGUMENT, "snapshot %s is named twice", ids[i]);
        for (size_t k = 0; k < group->count; k++)
            found = found || strcmp(group->members[k].record.id, ids[i]) == 0;
        if (!found)
            return fail(error, INVALID_ARGUMENT, "snapshot %s is not in group snapshot %s", ids[i], group->id);
    }
    return count == 0 || count == group->count ||
           fail(error, INVALID_ARGUMENT, "group snapshot %s has %zu snapshots, not %zu", group->id, group->count,
                count);
}

static bool delete_group(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__DeleteVolumeGroupSnapshotRequest *request = message;
    (void)answer;
    if (request->group_snapshot_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "group_snapshot_id is missing");
    if (!record_is_id(request->group_snapshot_id, ID_MARK_GROUP))
        return true;
    if (!waiting_cancel(call, request->group_snapshot_id, error) ||
        !group_join(call, driver, request->group_snapshot_id, error))
        return false;
    cleanup_keylock struct keylock *lock = keylock_acquire(request->group_snapshot_id, error);
    if (lock == NULL)
        return false;
    cleanup_group struct group *group = group_load(driver, request->group_snapshot_id);
    if (!group_is_known(driver, group, RECORD_SNAPSHOT, request->snapshot_ids, request->n_snapshot_ids, error))
        return false;
    if (group->count == 0)
        return true;
    /* A group that is half deleted has fewer members than the caller knows. */
    if (group_is_fixed(group) && !check_ids(group, request->snapshot_ids, request->n_snapshot_ids, error))
        return false;
    return group_remove(call, driver, group, error);
}

static bool get_group(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__GetVolumeGroupSnapshotRequest *request = message;
    Csi__V1__GetVolumeGroupSnapshotResponse *response = answer;
    if (request->group_snapshot_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "group_snapshot_id is missing");
    cleanup_group struct group *group = group_load(driver, request->group_snapshot_id);
    if (!group_is_known(driver, group, RECORD_SNAPSHOT, request->snapshot_ids, request->n_snapshot_ids, error))
        return false;
    if (!group_is_fixed(group))
        return fail(error, NOT_FOUND, "there is no group snapshot %s on node %s", request->group_snapshot_id,
                    driver->node);
    if (!check_ids(group, request->snapshot_ids, request->n_snapshot_ids, error))
        return false;
    fill(group, rpc_arena(call), &response->group_snapshot);
    return true;
}

static bool get_capabilities(struct rpc_call *call, const void *request, void *answer, struct error *error)
{
    Csi__V1__GroupControllerGetCapabilitiesResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    Csi__V1__GroupControllerServiceCapability *capability = arena_allocate(arena, sizeof *capability);
    Csi__V1__GroupControllerServiceCapability__RPC *rpc = arena_allocate(arena, sizeof *rpc);
    (void)request, (void)error;
    csi__v1__group_controller_service_capability__init(capability);
    csi__v1__group_controller_service_capability__rpc__init(rpc);
    rpc->type = CSI__V1__GROUP_CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT;
    capability->type_case = CSI__V1__GROUP_CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
    capability->rpc = rpc;
    response->n_capabilities = 1;
    response->capabilities = arena_array(arena, 1, sizeof *response->capabilities);
    response->capabilities[0] = capability;
    return true;
}

static const struct rpc_method methods[] = {
    {"GroupControllerGetCapabilities", RPC_INLINE, true, get_capabilities, NULL},
    {"CreateVolumeGroupSnapshot", RPC_CONTROLLER, false, create_group, NULL},
    {"DeleteVolumeGroupSnapshot", RPC_CONTROLLER, false, delete_group, NULL},
    {"GetVolumeGroupSnapshot", RPC_CONTROLLER, true, get_group, NULL},
};

const struct rpc_service group_controller_service = {&csi__v1__group_controller__descriptor, methods,
                                                     sizeof methods / sizeof *methods};
