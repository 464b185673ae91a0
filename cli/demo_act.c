#include "cli/demo_act.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/delete.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#define GIB (INT64_C(1) << 30)
#define FILE_BYTES (1 << 20)
#define ALL_MOST (600 * NANOSECONDS_PER_SECOND)

static const char old_words[] = "This was written first.\n", new_words[] = "This was written later.\n";

/* --- files in volumes --- */

static void file_path(const struct actor *actor, char path[static PATH_MAX + 16])
{
    snprintf(path, PATH_MAX + 16, "%s/file", actor->publication.target);
}

/* The file's content: the words again and again. */
static void fill(char *bytes, const char *words)
{
    size_t length = strlen(words);
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = words[i % length];
}

static bool write_file(const struct actor *actor, const char *words, struct error *error)
{
    static char bytes[FILE_BYTES];
    char path[PATH_MAX + 16];
    file_path(actor, path);
    fill(bytes, words);
    cleanup_close int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return (file >= 0 && write(file, bytes, sizeof bytes) == sizeof bytes && fsync(file) == 0) ||
           fail_errno(error, errno, "cannot write %s", path);
}

static bool check_file(const struct actor *actor, const char *words, struct error *error)
{
    static char bytes[FILE_BYTES + 1], wanted[FILE_BYTES];
    char path[PATH_MAX + 16];
    file_path(actor, path);
    fill(wanted, words);
    cleanup_close int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = file >= 0 ? read(file, bytes, sizeof bytes) : -1;
    if (count < 0)
        return fail_errno(error, errno, "cannot read %s", path);
    return (count == FILE_BYTES && memcmp(bytes, wanted, FILE_BYTES) == 0) ||
           fail(error, DATA_LOSS, "%s has not the content it must have: \"%.*s\"", path,
                (int)strcspn(bytes, "\n") % 100, bytes);
}

/* Checks that an xfs is mounted at the target that fills, but for its log, a volume of this size. */
static bool check_mount(const struct actor *actor, int64_t bytes, struct error *error)
{
    struct statfs status;
    if (statfs(actor->publication.target, &status) != 0)
        return fail_errno(error, errno, "cannot look at %s", actor->publication.target);
    int64_t size = (int64_t)status.f_blocks * status.f_bsize;
    if (status.f_type != XFS_SUPER_MAGIC)
        return fail(error, INTERNAL, "at %s is no xfs", actor->publication.target);
    return (size > bytes / 10 * 9 && size <= bytes) ||
           fail(error, INTERNAL, "the file system at %s has %" PRId64 " bytes; the volume has %" PRId64,
                actor->publication.target, size, bytes);
}

/* --- beginning and end --- */

static void cast(struct demo *demo, struct actor *actor, const char *name)
{
    actor->name = name;
    actor->publication.access.filesystem = "xfs";
    snprintf(actor->publication.target, PATH_MAX, "%.4000s/targets/%s", demo->scene.directory, name);
    snprintf(actor->publication.staging, PATH_MAX, "%.4000s/staging/%s", demo->scene.directory, name);
}

bool demo_begin(struct demo *demo, const char *parent, struct error *error)
{
    if (!scene_begin(&demo->scene, parent, error))
        return false;
    cast(demo, &demo->first, "first");
    cast(demo, &demo->restored, "restored");
    cast(demo, &demo->clone, "clone");
    printf("In %s%s:\n", demo->scene.directory,
           demo->scene.image ? " (its file system has no reflink, so the pool is an image with one that has)" : "");
    return true;
}

bool demo_end(struct demo *demo, struct error *error)
{
    struct error second;
    session_close(&demo->session);
    bool stopped = demo_driver_stop(&demo->driver, error);
    bool removed = scene_end(&demo->scene, stopped ? error : &second);
    return stopped && removed;
}

/* --- steps --- */

static bool open_session(struct demo *demo, struct error *error)
{
    struct session_options options = {.endpoint = demo->driver.endpoint, .timeout = ALL_MOST};
    return session_open(&demo->session, &options, error);
}

static bool is_ready(const void *message)
{
    const Csi__V1__ProbeResponse *answer = message;
    return answer->ready == NULL || answer->ready->value;
}

bool demo_start(struct demo *demo, struct error *error)
{
    Csi__V1__ProbeRequest request = CSI__V1__PROBE_REQUEST__INIT;
    return demo_driver_start(&demo->driver, demo->scene.directory, scene_interrupted, error) &&
           open_session(demo, error) &&
           session_call_until(&demo->session, &csi__v1__identity__descriptor, "Probe", &request, is_ready, "starting",
                              error) != NULL;
}

/* Creates a volume and checks that the driver lists it with its size. */
static bool create(struct demo *demo, struct actor *actor, int64_t bytes, const char *from_snapshot,
                   const char *from_volume, struct error *error)
{
    struct new_volume wish = {.name = actor->name,
                              .bytes = bytes,
                              .access = actor->publication.access,
                              .from_snapshot = from_snapshot,
                              .from_volume = from_volume};
    const Csi__V1__CreateVolumeResponse *created = csi_create_volume(&demo->session, &wish, error);
    if (created == NULL)
        return false;
    actor->publication.id = created->volume->volume_id;
    const Csi__V1__ControllerGetVolumeResponse *found = csi_get_volume(&demo->session, actor->publication.id, error);
    return found != NULL && (found->volume->capacity_bytes == bytes ||
                             fail(error, INTERNAL, "the volume has %" PRId64 " bytes", found->volume->capacity_bytes));
}

static bool publish(struct demo *demo, struct actor *actor, int64_t bytes, struct error *error)
{
    return publish_volume(&demo->session, &actor->publication, error) && check_mount(actor, bytes, error);
}

bool demo_create(struct demo *demo, struct error *error)
{
    return create(demo, &demo->first, 1 * GIB, NULL, NULL, error);
}

bool demo_publish(struct demo *demo, struct error *error)
{
    return publish(demo, &demo->first, 1 * GIB, error);
}

bool demo_write(struct demo *demo, struct error *error)
{
    return write_file(&demo->first, old_words, error) && check_file(&demo->first, old_words, error);
}

bool demo_snapshot(struct demo *demo, struct error *error)
{
    const Csi__V1__CreateSnapshotResponse *made =
        csi_create_snapshot(&demo->session, demo->first.publication.id, "snapshot", error);
    if (made == NULL)
        return false;
    demo->snapshot = made->snapshot->snapshot_id;
    return csi_get_snapshot(&demo->session, demo->snapshot, error) != NULL;
}

bool demo_change(struct demo *demo, struct error *error)
{
    return write_file(&demo->first, new_words, error) && check_file(&demo->first, new_words, error);
}

bool demo_restore(struct demo *demo, struct error *error)
{
    return create(demo, &demo->restored, 2 * GIB, demo->snapshot, NULL, error);
}

bool demo_see_restored(struct demo *demo, struct error *error)
{
    return publish(demo, &demo->restored, 2 * GIB, error) && check_file(&demo->restored, old_words, error) &&
           check_file(&demo->first, new_words, error);
}

bool demo_expand(struct demo *demo, struct error *error)
{
    char path[PATH_MAX + 16];
    file_path(&demo->first, path);
    cleanup_close int in_use = open(path, O_RDWR | O_CLOEXEC);
    if (in_use < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    return csi_expand_volume(&demo->session, demo->first.publication.id, 3 * GIB, demo->first.publication.target,
                             error) != NULL &&
           check_mount(&demo->first, 3 * GIB, error) && check_file(&demo->first, new_words, error);
}

bool demo_clone(struct demo *demo, struct error *error)
{
    return create(demo, &demo->clone, 3 * GIB, NULL, demo->first.publication.id, error);
}

bool demo_see_clone(struct demo *demo, struct error *error)
{
    return publish(demo, &demo->clone, 3 * GIB, error) && check_file(&demo->clone, new_words, error);
}

static bool unpublish(struct demo *demo, struct actor *actor, struct error *error)
{
    char elsewhere[PATH_MAX];
    return unpublish_volume(&demo->session, &actor->publication, elsewhere, error) &&
           (elsewhere[0] == '\0' || fail(error, INTERNAL, "it is still mounted at %s", elsewhere));
}

bool demo_unpublish(struct demo *demo, struct error *error)
{
    demo->memory = demo_driver_memory(&demo->driver);
    return unpublish(demo, &demo->clone, error) && unpublish(demo, &demo->restored, error) &&
           unpublish(demo, &demo->first, error);
}

bool demo_delete(struct demo *demo, struct error *error)
{
    return csi_delete(&demo->session, A_VOLUME, demo->clone.publication.id, error) &&
           csi_delete(&demo->session, A_VOLUME, demo->restored.publication.id, error) &&
           csi_delete(&demo->session, A_VOLUME, demo->first.publication.id, error) &&
           csi_delete(&demo->session, A_SNAPSHOT, demo->snapshot, error);
}

bool demo_see_nothing(struct demo *demo, struct error *error)
{
    const Csi__V1__ListVolumesResponse *volumes = csi_list_volumes(&demo->session, error);
    const Csi__V1__ListSnapshotsResponse *snapshots =
        volumes != NULL ? csi_list_snapshots(&demo->session, NULL, NULL, error) : NULL;
    if (snapshots == NULL)
        return false;
    if (volumes->n_entries + snapshots->n_entries > 0)
        return fail(error, INTERNAL, "the driver still lists %zu volumes and snapshots",
                    volumes->n_entries + snapshots->n_entries);
    return scene_is_clean(&demo->scene, error);
}

bool demo_stop(struct demo *demo, struct error *error)
{
    session_close(&demo->session);
    return demo_driver_stop(&demo->driver, error);
}
