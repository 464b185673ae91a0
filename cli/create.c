#include "cli/create.h"

#include "cli/print.h"

static const Csi__V1__Volume *find_volume(struct session *session, const char *id)
{
    struct error ignored;
    const Csi__V1__ControllerGetVolumeResponse *found = id[0] != '\0' ? csi_get_volume(session, id, &ignored) : NULL;
    return found != NULL ? found->volume : NULL;
}

/* What cannot be found out here, the driver says when it is asked for the volume. */
static void complete_from_source(struct session *session, struct new_volume *wish)
{
    struct error ignored;
    const Csi__V1__Volume *volume = NULL;
    int64_t bytes = 0;
    if (wish->from_snapshot != NULL) {
        const Csi__V1__Snapshot *snapshot = csi_get_snapshot(session, wish->from_snapshot, &ignored);
        volume = snapshot != NULL ? find_volume(session, snapshot->source_volume_id) : NULL;
        bytes = snapshot != NULL ? snapshot->size_bytes : 0;
    } else if (wish->from_volume != NULL) {
        volume = find_volume(session, wish->from_volume);
        bytes = volume != NULL ? volume->capacity_bytes : 0;
    }
    volume_access(volume, &wish->access);
    if (wish->bytes == 0)
        wish->bytes = bytes;
}

int create_and_print(struct session *session, struct new_volume *wish)
{
    struct error error;
    complete_from_source(session, wish);
    const Csi__V1__CreateVolumeResponse *created = csi_create_volume(session, wish, &error);
    if (created == NULL)
        return session_failed(&error);
    struct table table = print_volumes(session->arena);
    print_volume(&table, created->volume);
    print_answer(session, &created->base, &table);
    return session_succeeded();
}
