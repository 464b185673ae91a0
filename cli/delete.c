#include "cli/delete.h"

#include "cli/json.h"
#include "cli/print.h"
static const struct kind {
    const char *name, *method, *key;
    struct options command;
} kinds[] = {
    [A_VOLUME] = {.name = "volume",
                  .method = "DeleteVolume",
                  .key = "volumeId",
                  .command = {.command = "plinth volume delete",
                              .words = "VOLUME",
                              .least = 1,
                              .most = 1,
                              .purpose = "Deletes a volume and its data.  One that is not there is deleted already.",
                              .table = plain_table,
                              .count = PLAIN_OPTIONS}},
    [A_SNAPSHOT] = {.name = "snapshot",
                    .method = "DeleteSnapshot",
                    .key = "snapshotId",
                    .command = {.command = "plinth snapshot delete",
                                .words = "SNAPSHOT",
                                .least = 1,
                                .most = 1,
                                .purpose = "Deletes a snapshot.  Its volume and volumes made from it stay.",
                                .table = plain_table,
                                .count = PLAIN_OPTIONS}},
};

bool csi_delete(struct session *session, enum deletable kind, const char *id, struct error *error)
{
    Csi__V1__DeleteVolumeRequest volume = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
    Csi__V1__DeleteSnapshotRequest snapshot = CSI__V1__DELETE_SNAPSHOT_REQUEST__INIT;
    const void *const requests[] = {[A_VOLUME] = &volume, [A_SNAPSHOT] = &snapshot};
    const char *doing = arena_format(session->arena, "deleting the %s %s", kinds[kind].name, id);
    volume.volume_id = snapshot.snapshot_id = (char *)id;
    return session_call(session, &csi__v1__controller__descriptor, kinds[kind].method, requests[kind], doing, error) !=
           NULL;
}

static int run(enum deletable kind, int argc, char **argv)
{
    struct plain_options given;
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &kinds[kind].command, argc, argv, &given);
    if (status >= 0)
        return status;
    if (!csi_delete(&session, kind, argv[1], &error))
        return session_failed(&error);
    if (session.json)
        json_print(json_pack("{s:o}", kinds[kind].key, json_from_text(argv[1])));
    else
        print_line("%s is deleted", argv[1]);
    return session_succeeded();
}

int delete_volume(int argc, char **argv)
{
    return run(A_VOLUME, argc, argv);
}

int delete_snapshot(int argc, char **argv)
{
    return run(A_SNAPSHOT, argc, argv);
}
