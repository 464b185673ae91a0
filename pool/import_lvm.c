/* Logical volumes become volumes, and back (docs/lvm.md, "Imported volumes"). */
#include "pool/import.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "pool/file_identity.h"
#include "pool/import_lvm.h"
#include "pool/lvm_tag.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATIENCE (3 * NANOSECONDS_PER_SECOND) /* for the commands of an import that was killed */

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-"

/* lvm(8), VALID NAMES. */
static bool is_name(const char *name)
{
    return text_is_made_of(name, NAME_CHARACTERS, LVM_NAME_BYTES - 1) && name[0] != '-' && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* --- the volume group --- */

static bool lock_state(struct import_work *work, const char *state_directory, struct error *error)
{
    if (mkdir(state_directory, 0700) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s", state_directory);
    cleanup_close int directory = open(state_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return fail_errno(error, errno, "cannot open %s", state_directory);
    return file_lock(directory, state_directory, PATIENCE, &work->lock, error);
}

static bool read_group(struct import_work *work, const char *vg, struct error *error)
{
    struct lvm_pool *own = &work->own;
    text_copy(own->vg, sizeof own->vg, vg);
    lvm_look_everywhere(own);
    if (!lvm_read_report(own, &work->report, error))
        return false;
    text_copy(own->vg, sizeof own->vg, work->report.name);
    text_copy(own->vg_uuid, sizeof own->vg_uuid, work->report.uuid);
    lvm_queue_set_group(own->queue, own->vg_uuid);
    lvm_look_at_devices_of(own, &work->report);
    return lvm_check_group(own, &work->report, error);
}

static bool read_pool_id(struct import_work *work, struct error *error)
{
    char tag[sizeof LVM_TAG_POOL + POOL_ID_DIGITS];
    const char *id = tag + sizeof LVM_TAG_POOL - 1;
    if (!lvm_tags_find(work->report.tags, LVM_TAG_POOL, tag, sizeof tag) || strlen(id) != POOL_ID_DIGITS ||
        !text_is_made_of(id, HEX_DIGITS, POOL_ID_DIGITS))
        return fail(
            error, FAILED_PRECONDITION,
            "volume group %s is no pool of Plinth's yet: start \"plinth node --pool NAME=lvm:vg=%s\" once, which "
            "gives it an id",
            work->own.vg, work->own.vg);
    text_copy(work->pool_id, sizeof work->pool_id, id);
    return true;
}

static bool begin(struct import_work *work, const char *state_directory, const char *vg, struct error *error)
{
    *work = (struct import_work){.lock = -1};
    if (!lock_state(work, state_directory, error))
        return false;
    work->own.queue = lvm_queue_open(state_directory, vg, error);
    if (work->own.queue == NULL)
        return false;
    lvm_queue_set_lock(work->own.queue, work->lock);
    return read_group(work, vg, error) && read_pool_id(work, error);
}

static void end(struct import_work *work)
{
    lvm_queue_close(work->own.queue);
    lvm_report_free(&work->report);
    cleanup_close int lock = steal_descriptor(&work->lock);
    (void)lock;
}
#define cleanup_work CLEANUP(end)

/* --- steps --- */

static bool look_inside(struct import_work *work, const struct import_wish *wish, const struct lvm_volume *volume,
                        const char *id, struct record *record, struct error *error)
{
    struct device_mapper_device device;
    struct error ignored;
    bool good =
        import_check_closed(work, volume->name, error) && lvm_activate(&work->own, volume->name, "", &device, error) &&
        import_check_writable(work, volume->name, &device, error) && import_check_closed(work, volume->name, error) &&
        import_make_record(wish, id, volume->name, device.path, record, error);
    if (good) {
        record->bytes = volume->bytes;
        record->thick = volume->pool[0] == '\0';
    } else if (!volume->active && import_check_closed(work, volume->name, &ignored)) {
        lvm_deactivate(&work->own, volume->name, &ignored);
    }
    return good && fault("pool.import.lvm.looked", error);
}

static bool change_tag(struct import_work *work, const char *option, const char *tag, const char *skip,
                       const char *name, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvchange", option, tag, "--setactivationskip", skip, lvm_full_name(&words, &work->own, name, ""),
              NULL);
    return lvm_run(work->own.queue, words.argv, error) && fault("pool.import.lvm.tagged", error);
}

static bool rename_volume(struct import_work *work, const char *from, const char *to, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvrename", lvm_full_name(&words, &work->own, from, ""),
              lvm_full_name(&words, &work->own, to, ""), NULL);
    return lvm_run(work->own.queue, words.argv, error) && fault("pool.import.lvm.renamed", error);
}

/* The record in the tag of a volume that has the id as its name, or had, or is about to. */
static bool read_tag(const struct import_work *work, const struct lvm_volume *volume, const char *id, char *tag,
                     struct record *record, struct error *error)
{
    if (!lvm_tags_find(volume->tags, "plinth.", tag, LVM_TAG_BYTES))
        return fail(error, NOT_FOUND, "%s/%s has no tag of Plinth's", work->own.vg, volume->name);
    if (!lvm_tag_to_record(tag, id, record, error))
        return false;
    record->bytes = volume->bytes;
    return true;
}

/* --- import --- */

/* It is there under its id: an earlier call was killed before it could tell. */
static bool find_imported(const struct import_work *work, const struct import_wish *wish,
                          const struct lvm_volume *volume, struct record *record, struct error *error)
{
    char tag[LVM_TAG_BYTES];
    return read_tag(work, volume, volume->name, tag, record, error) && import_check_wish(wish, record, error);
}

static bool tag_volume(struct import_work *work, const struct import_wish *wish, const struct lvm_volume *volume,
                       const char *id, struct record *record, struct error *error)
{
    char tag[LVM_TAG_BYTES];
    if (!look_inside(work, wish, volume, id, record, error))
        return false;
    lvm_tag_from_record(record, tag);
    return change_tag(work, "--addtag", tag, "y", volume->name, error);
}

static bool import_volume(struct import_work *work, const struct import_wish *wish, const struct lvm_volume *volume,
                          const char *id, struct record *record, struct error *error)
{
    char tag[LVM_TAG_BYTES];
    if (!import_check_kind(work, volume, error))
        return false;
    bool tagged = read_tag(work, volume, id, tag, record, error);
    if (!tagged && error->code != NOT_FOUND)
        return fail_context(error, "%s/%s carries a tag of Plinth's that is not of an import of it", work->own.vg,
                            volume->name);
    if (tagged ? !import_check_wish(wish, record, error) : !tag_volume(work, wish, volume, id, record, error))
        return false;
    return import_check_closed(work, volume->name, error) && lvm_deactivate(&work->own, volume->name, error) &&
           rename_volume(work, volume->name, id, error);
}

bool import_logical_volume(const struct import_wish *wish, const char *vg, const char *name, struct record *record,
                           struct error *error)
{
    cleanup_work struct import_work work = {.lock = -1};
    char id[ID_BYTES];
    if (!is_name(vg) || !is_name(name))
        return fail(error, INVALID_ARGUMENT, "\"%.128s/%.128s\" is no name of a logical volume", vg, name);
    if (!begin(&work, wish->state_directory, vg, error))
        return false;
    import_make_id(wish, work.pool_id, name, id);
    const struct lvm_volume *volume = lvm_report_volume(&work.report, name);
    const struct lvm_volume *imported = lvm_report_volume(&work.report, id);
    if (volume == NULL && imported == NULL)
        return fail(error, NOT_FOUND, "volume group %s has no logical volume %s", vg, name);
    if (volume != NULL && imported != NULL)
        return fail(error, ALREADY_EXISTS, "volume %s in volume group %s has the name %s already; lvrename %s/%s first",
                    id, vg, name, vg, name);
    return imported != NULL ? find_imported(&work, wish, imported, record, error)
                            : import_volume(&work, wish, volume, id, record, error);
}

/* --- release --- */

/* The volume with this id; or the one with its tag, whose release or import was killed half way. */
static const struct lvm_volume *find(const struct import_work *work, const char *id, char *tag, struct record *record,
                                     struct error *error)
{
    const struct lvm_report *report = &work->report;
    const struct lvm_volume *volume = lvm_report_volume(report, id);
    for (size_t i = 0; volume == NULL && i < report->volume_count; i++)
        if (!report->volumes[i].hidden && read_tag(work, &report->volumes[i], id, tag, record, error))
            volume = &report->volumes[i];
    if (volume == NULL)
        fail(error, NOT_FOUND, "there is no volume %s in volume group %s", id, work->own.vg);
    return volume != NULL && read_tag(work, volume, id, tag, record, error) ? volume : NULL;
}

/* The driver keeps the device of a staged volume, open or not. */
static bool check_unused(const struct import_work *work, const char *id, struct error *error)
{
    struct device_mapper_device device;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    if (!lvm_find_device(&work->own, id, "", &device, uuid, error))
        return error->code == NOT_FOUND;
    return fail(error, FAILED_PRECONDITION,
                "volume %s is active: it is staged for a pod, or was activated by hand; end that first (unstage it, or "
                "\"lvchange --activate n %s/%s\")",
                id, work->own.vg, id);
}

static bool restore_name(struct import_work *work, const struct lvm_volume *volume, const struct record *record,
                         struct error *error)
{
    if (strcmp(volume->name, record->id) != 0)
        return true;
    if (!is_name(record->name))
        return fail(error, DATA_LOSS, "the name of volume %s, \"%s\", is none of a logical volume", record->id,
                    record->name);
    if (lvm_report_volume(&work->report, record->name) != NULL)
        return fail(error, ALREADY_EXISTS, "volume group %s has another logical volume %s now; lvrename that first",
                    work->own.vg, record->name);
    return import_check_snapshots(work, volume, error) && check_unused(work, record->id, error) &&
           rename_volume(work, record->id, record->name, error);
}

bool release_logical_volume(const char *state_directory, const char *id, struct record *record, char *vg,
                            struct error *error)
{
    cleanup_work struct import_work work = {.lock = -1};
    char tag[LVM_TAG_BYTES];
    if (!record_is_id(id, ID_MARK_VOLUME))
        return fail(error, NOT_FOUND, "there is no volume \"%.128s\": it has no form of an id", id);
    snprintf(tag, sizeof tag, "@" LVM_TAG_POOL "%.*s", POOL_ID_DIGITS, id);
    if (!begin(&work, state_directory, tag, error))
        return fail_context(error, "looking for the volume group of volume %s", id);
    const struct lvm_volume *volume = find(&work, id, tag, record, error);
    text_copy(vg, LVM_NAME_BYTES, work.own.vg);
    return volume != NULL && import_check_record(record, error) && restore_name(&work, volume, record, error) &&
           change_tag(&work, "--deltag", tag, "n", record->name, error);
}
