#include "snapshot/snapshot.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "snapshot/message.h"
#include "snapshot/removal.h"
#include "snapshot/waiting.h"

#include <stdlib.h>
#include <string.h>

/* --- CreateSnapshot --- */

static bool check_create(const struct driver *driver, const Csi__V1__CreateSnapshotRequest *request,
                         struct error *error)
{
    if (request->name[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "name is missing");
    if (request->source_volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "source_volume_id is missing");
    return SNAPSHOT_REFUSE_PARAMETERS(request, error) &&
           snapshot_check_topology(driver, request->accessibility_requirements, error);
}

static bool check_same(const struct record *record, const char *source, struct error *error)
{
    return strcmp(record->source_id, source) == 0 ||
           fail(error, ALREADY_EXISTS, "snapshot %s exists already, of volume %s and not of %s", record->name,
                record->source_id, source);
}

/*
 * What a failed attempt left is in the way of the next.  Under the lock, and looked for anew: another call may have
 * made the snapshot meanwhile, and that one stays.
 */
static bool clear_the_way(struct rpc_call *call, struct member *member, bool *there, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    struct pool *pool;
    struct record left;
    if (!pools_find(driver->pools, RECORD_SNAPSHOT, member->record.id, &pool, &left, error))
        return error->code == NOT_FOUND;
    *there = making_is_fixed(&left);
    return *there || removal_clear(call, driver, pool, &left, &member->lock, error);
}

/* Takes the locks, and what was read before them may have changed since.  The source's comes last: others want it. */
static bool begin(struct rpc_call *call, struct member *member, bool *there, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    char id[ID_BYTES];
    text_copy(id, sizeof id, member->source.id);
    member->lock = keylock_acquire(member->record.id, error);
    if (member->lock == NULL || !clear_the_way(call, member, there, error) || *there)
        return *there;
    member->source_lock = keylock_acquire(id, error);
    if (member->source_lock == NULL ||
        !pools_find(driver->pools, RECORD_VOLUME, id, &member->source_pool, &member->source, error))
        return false;
    if (member->source.phase != PHASE_READY)
        return fail(error, NOT_FOUND, "volume %s is not ready", id);
    member->record.bytes = member->source.bytes;
    return true;
}

/* Makes the snapshot of a volume unless somebody else has. */
static bool make_snapshot(struct rpc_call *call, const Csi__V1__CreateSnapshotRequest *request, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    struct pool *pool;
    struct record source;
    bool there = false;
    if (!pools_find(driver->pools, RECORD_VOLUME, request->source_volume_id, &pool, &source, error))
        return false;
    if (!pool_has_snapshots(pool, error))
        return false;
    struct making *making = making_create(driver, "", 1);
    struct member *member = &making->members[0];
    *member = (struct member){
        .source_pool = pool, .pool = pool, .source = source, .record = snapshot_record(pool, &source, request->name)};
    text_copy(making->id, sizeof making->id, member->record.id);
    making->early = true;
    bool good = fault("snapshot.create.planned", error) && begin(call, member, &there, error);
    if (good && !there)
        return making_run(call, making, error);
    making_free(making);
    return good;
}

/* There is no such snapshot, or no job that copies it: it is made, or its copy goes on. */
static bool make_or_resume(struct rpc_call *call, const Csi__V1__CreateSnapshotRequest *request, struct pool *left_pool,
                           const struct record *left, struct error *error)
{
    if (left == NULL || !making_is_fixed(left))
        return make_snapshot(call, request, error);
    struct found found = {.pool = left_pool, .record = *left};
    return making_resume(rpc_context(call), call, left->id, &found, 1, error);
}

bool snapshot_create(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__CreateSnapshotRequest *request = message;
    Csi__V1__CreateSnapshotResponse *response = answer;
    struct pool *pool;
    struct record record;
    if (!check_create(driver, request, error) ||
        !pools_find_name(driver->pools, RECORD_SNAPSHOT, request->name, &pool, &record, error))
        return false;
    if (pool != NULL && !check_same(&record, request->source_volume_id, error))
        return false;
    if (pool == NULL || record.phase != PHASE_READY) {
        bool joined = pool != NULL && making_join(call, record.id, making_is_fixed(&record), error);
        if (pool != NULL && !joined && error->code != OK)
            return false;
        if (!joined && !make_or_resume(call, request, pool, pool != NULL ? &record : NULL, error))
            return false;
        if (!pools_find_name(driver->pools, RECORD_SNAPSHOT, request->name, &pool, &record, error))
            return false;
        if (pool == NULL)
            return fail(error, ABORTED, "snapshot %s was removed while it was made; try again", request->name);
    }
    if (!check_same(&record, request->source_volume_id, error) ||
        (record.phase == PHASE_READY && !making_await_end(call, record.id, error)))
        return false;
    response->snapshot = snapshot_message(&record, rpc_arena(call));
    return true;
}

/* --- DeleteSnapshot --- */

bool snapshot_delete(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__DeleteSnapshotRequest *request = message;
    struct pool *pool;
    struct record record;
    (void)answer;
    if (request->snapshot_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "snapshot_id is missing");
    if (!pools_find(driver->pools, RECORD_SNAPSHOT, request->snapshot_id, &pool, &record, error))
        return error->code == NOT_FOUND || pools_know_it_gone(error);
    if (removal_join(call, &record, error))
        return true;
    if (error->code != OK || !waiting_cancel(call, request->snapshot_id, error))
        return false;
    cleanup_keylock struct keylock *lock = keylock_acquire(request->snapshot_id, error);
    if (lock == NULL)
        return false;
    if (!pools_find(driver->pools, RECORD_SNAPSHOT, request->snapshot_id, &pool, &record, error))
        return error->code == NOT_FOUND || pools_know_it_gone(error);
    if (record.group_id[0] != '\0' && making_is_fixed(&record))
        return fail(error, INVALID_ARGUMENT, "snapshot %s belongs to group snapshot %s: delete that", record.id,
                    record.group_id);
    return removal_run(call, driver, pool, &record, &lock, error);
}

/* --- GetSnapshot, ListSnapshots --- */

bool snapshot_get(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__GetSnapshotRequest *request = message;
    Csi__V1__GetSnapshotResponse *response = answer;
    struct pool *pool;
    struct record record;
    if (request->snapshot_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "snapshot_id is missing");
    if (!pools_find(driver->pools, RECORD_SNAPSHOT, request->snapshot_id, &pool, &record, error))
        return false;
    if (record.phase == PHASE_DELETING)
        return fail(error, NOT_FOUND, "snapshot %s is being deleted", record.id);
    response->snapshot = snapshot_message(&record, rpc_arena(call));
    return true;
}

struct listing {
    struct rpc_call *call;
    const Csi__V1__ListSnapshotsRequest *request;
    Csi__V1__ListSnapshotsResponse *response;
    size_t most;
    const char *last;
    bool more;
};

static bool wanted(const struct listing *listing, const struct record *record)
{
    const char *id = listing->request->snapshot_id, *source = listing->request->source_volume_id;
    return making_is_fixed(record) && (id[0] == '\0' || strcmp(id, record->id) == 0) &&
           (source[0] == '\0' || strcmp(source, record->source_id) == 0);
}

static bool list_one(struct pool *pool, const struct record *record, void *data)
{
    struct listing *listing = data;
    Csi__V1__ListSnapshotsResponse *response = listing->response;
    struct arena *arena = rpc_arena(listing->call);
    (void)pool;
    if (!wanted(listing, record))
        return true;
    listing->more = response->n_entries == listing->most;
    if (listing->more)
        return false;
    response->entries = arena_grow(arena, response->entries, response->n_entries, sizeof *response->entries);
    Csi__V1__ListSnapshotsResponse__Entry *entry = arena_allocate(arena, sizeof *entry);
    csi__v1__list_snapshots_response__entry__init(entry);
    entry->snapshot = snapshot_message(record, arena);
    response->entries[response->n_entries++] = entry;
    listing->last = entry->snapshot->snapshot_id;
    return true;
}

bool snapshot_list(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__ListSnapshotsRequest *request = message;
    Csi__V1__ListSnapshotsResponse *response = answer;
    if (request->max_entries < 0)
        return fail(error, INVALID_ARGUMENT, "max_entries is negative");
    /* The token is the last id handed out: it stays good when that snapshot is deleted. */
    if (request->starting_token[0] != '\0' && !record_is_id(request->starting_token, ID_MARK_SNAPSHOT))
        return fail(error, ABORTED, "starting_token is not one of ours; start from the beginning");
    struct listing listing = {.call = call,
                              .request = request,
                              .response = response,
                              .most = request->max_entries > 0 ? (size_t)request->max_entries : SIZE_MAX};
    pools_list(driver->pools, RECORD_SNAPSHOT, request->starting_token, list_one, &listing);
    if (listing.more)
        response->next_token = arena_string(rpc_arena(call), listing.last);
    return true;
}
