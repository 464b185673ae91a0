#include "cli/calls.h"

#include <string.h>

#define CONTROLLER (&csi__v1__controller__descriptor)
#define PAGE 1000

static bool is_ready(const void *answer)
{
    const Csi__V1__CreateSnapshotResponse *created = answer;
    return created->snapshot == NULL || created->snapshot->ready_to_use;
}

const Csi__V1__CreateSnapshotResponse *csi_create_snapshot(struct session *session, const char *volume,
                                                           const char *name, struct error *error)
{
    Csi__V1__CreateSnapshotRequest request = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    request.source_volume_id = (char *)volume;
    request.name = (char *)name;
    const Csi__V1__CreateSnapshotResponse *answer =
        session_call_until(session, CONTROLLER, "CreateSnapshot", &request, is_ready,
                           arena_format(session->arena, "making the snapshot %s", name), error);
    if (answer == NULL || answer->snapshot != NULL)
        return answer;
    fail(error, INTERNAL, "the driver answered CreateSnapshot without a snapshot");
    return NULL;
}

bool csi_delete_snapshot(struct session *session, const char *id, struct error *error)
{
    Csi__V1__DeleteSnapshotRequest request = CSI__V1__DELETE_SNAPSHOT_REQUEST__INIT;
    request.snapshot_id = (char *)id;
    return session_call(session, CONTROLLER, "DeleteSnapshot", &request,
                        arena_format(session->arena, "deleting the snapshot %s", id), error) != NULL;
}

bool csi_list_snapshots(struct session *session, const char *volume, const char *id,
                        void (*see)(const Csi__V1__ListSnapshotsResponse__Entry *, void *), void *data,
                        struct error *error)
{
    Csi__V1__ListSnapshotsRequest request = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    request.max_entries = PAGE;
    if (volume != NULL)
        request.source_volume_id = (char *)volume;
    if (id != NULL)
        request.snapshot_id = (char *)id;
    do {
        const Csi__V1__ListSnapshotsResponse *answer =
            session_call_once(session, CONTROLLER, "ListSnapshots", &request, "listing snapshots", error);
        if (answer == NULL)
            return false;
        for (size_t i = 0; i < answer->n_entries; i++)
            if (answer->entries[i]->snapshot != NULL)
                see(answer->entries[i], data);
        request.starting_token = answer->next_token;
    } while (request.starting_token[0] != '\0');
    return true;
}

struct search {
    const char *id;
    const Csi__V1__Snapshot *snapshot;
};

static void compare_snapshot(const Csi__V1__ListSnapshotsResponse__Entry *entry, void *data)
{
    struct search *search = data;
    if (strcmp(entry->snapshot->snapshot_id, search->id) == 0)
        search->snapshot = entry->snapshot;
}

const Csi__V1__Snapshot *csi_get_snapshot(struct session *session, const char *id, struct error *error)
{
    struct search search = {.id = id};
    if (!csi_list_snapshots(session, NULL, id, compare_snapshot, &search, error))
        return NULL;
    if (search.snapshot == NULL)
        fail(error, NOT_FOUND, "the driver lists no snapshot %s", id);
    return search.snapshot;
}
