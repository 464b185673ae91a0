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

const Csi__V1__ListSnapshotsResponse *csi_list_snapshots(struct session *session, const char *volume, const char *id,
                                                         struct error *error)
{
    Csi__V1__ListSnapshotsResponse *all = arena_allocate(session->arena, sizeof *all);
    Csi__V1__ListSnapshotsRequest request = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    csi__v1__list_snapshots_response__init(all);
    request.max_entries = PAGE;
    if (volume != NULL)
        request.source_volume_id = (char *)volume;
    if (id != NULL)
        request.snapshot_id = (char *)id;
    do {
        const Csi__V1__ListSnapshotsResponse *page =
            session_call_once(session, CONTROLLER, "ListSnapshots", &request, "listing snapshots", error);
        if (page == NULL)
            return NULL;
        for (size_t i = 0; i < page->n_entries; i++)
            if (page->entries[i]->snapshot != NULL) {
                all->entries = arena_grow(session->arena, all->entries, all->n_entries, sizeof *all->entries);
                all->entries[all->n_entries++] = page->entries[i];
            }
        request.starting_token = page->next_token;
    } while (request.starting_token[0] != '\0');
    return all;
}

const Csi__V1__Snapshot *csi_get_snapshot(struct session *session, const char *id, struct error *error)
{
    const Csi__V1__ListSnapshotsResponse *all = csi_list_snapshots(session, NULL, id, error);
    for (size_t i = 0; all != NULL && i < all->n_entries; i++)
        if (strcmp(all->entries[i]->snapshot->snapshot_id, id) == 0)
            return all->entries[i]->snapshot;
    if (all != NULL)
        fail(error, NOT_FOUND, "the driver lists no snapshot %s", id);
    return NULL;
}
