/* The lvm pool: devices of volumes.  They are active while they are made, copied or staged. */
#include "pool/lvm.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/busy.h"
#include "pool/loop.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* As LVM names its devices: hyphens doubled, volume group and logical volume joined by one. */
static void add_escaped(char *name, size_t size, const char *part)
{
    size_t used = strlen(name);
    for (; *part != '\0' && used + 3 < size; part++) {
        name[used++] = *part;
        if (*part == '-')
            name[used++] = '-';
    }
    name[used] = '\0';
}

static void device_name(const struct lvm_pool *own, const char *name, const char *suffix,
                        char device[static DEVICE_MAPPER_NAME_BYTES])
{
    device[0] = '\0';
    add_escaped(device, DEVICE_MAPPER_NAME_BYTES - 1, own->vg);
    size_t used = strlen(device);
    device[used++] = '-';
    device[used] = '\0';
    add_escaped(device, DEVICE_MAPPER_NAME_BYTES, name);
    add_escaped(device, DEVICE_MAPPER_NAME_BYTES, suffix);
}

bool lvm_find_device(const struct lvm_pool *own, const char *name, const char *suffix,
                     struct device_mapper_device *device, char uuid[static DEVICE_MAPPER_UUID_BYTES],
                     struct error *error)
{
    char wanted[DEVICE_MAPPER_NAME_BYTES], start[DEVICE_MAPPER_UUID_BYTES];
    device_name(own, name, suffix, wanted);
    device_mapper_uuid(start, own->vg_uuid, "", "");
    if (!device_mapper_named(wanted, uuid, error))
        return false;
    if (strncmp(uuid, start, strlen(start)) != 0)
        return fail(error, NOT_FOUND, "the device %s is not of volume group %s", wanted, own->vg);
    return device_mapper_find(uuid, device, error);
}

bool lvm_tell_lost(const struct lvm_pool *own, const char *id, struct error *error)
{
    return fail(error, DATA_LOSS,
                "thin pool %s/%s does not have the volume %s that LVM's metadata has: what was in it is lost unless it "
                "comes back with a backup of the thin pool's metadata (thin_dump, thin_restore)",
                own->vg, own->thin_pool, id);
}

/* dm-thin says ENODATA of a device that it does not have. */
static void note_if_lost(struct lvm_pool *own, const char *id, struct error *error)
{
    bool lost = own->pool != NULL && own->thin_pool[0] != '\0' && strstr(error->message, "No data available") != NULL;
    if (!lost)
        return;
    pthread_mutex_lock(&own->pool->mutex);
    id_set_add(&own->lost, id);
    pthread_mutex_unlock(&own->pool->mutex);
    lvm_tell_lost(own, id, error);
}

void lvm_forget_lost(struct pool *pool, const char *id)
{
    pthread_mutex_lock(&pool->mutex);
    id_set_drop(&lvm_of(pool, id)->lost, id);
    pthread_mutex_unlock(&pool->mutex);
}

bool lvm_activate(struct lvm_pool *own, const char *name, const char *suffix, struct device_mapper_device *device,
                  struct error *error)
{
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    struct lvm_words words = {.count = 0};
    const char *full_name = lvm_full_name(&words, own, name, suffix);
    /* Asked first: a device that goes while it is looked at leaves its number to another volume's. */
    if (lvm_queue_is_at_work_on(own->queue, full_name))
        return fail(error, ABORTED, "an earlier command for %s is still running; try again", full_name);
    if (lvm_find_device(own, name, suffix, device, uuid, error))
        return true;
    if (error->code != NOT_FOUND)
        return false;
    /* A cut is activated with its origin, which LVM would else ask about. */
    lvm_words(&words, "lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", full_name, NULL);
    if (!fault("pool.lvm.activate.before", error))
        return false;
    if (!lvm_run(own->queue, words.argv, error)) {
        note_if_lost(own, name, error);
        return false;
    }
    if (own->pool != NULL)
        lvm_forget_lost(own->pool, name);
    return fault("pool.lvm.activate.after", error) && lvm_find_device(own, name, suffix, device, uuid, error);
}

static bool cannot_find_group(const struct error *error)
{
    return (error->code == UNAVAILABLE || error->code == NOT_FOUND) && strstr(error->message, "olume group") != NULL;
}

/* When all disks of the group have died nobody can ask LVM any more, and who had the volume wants to be rid of it. */
static bool deactivate_without_lvm(const char *name, const char *uuid, struct error *error)
{
    log_event(LOG_WARNING, "LVM does not find its volume group; the device is removed without it", "volume_id", name,
              "error", error->message, NULL);
    return device_mapper_remove(uuid, error);
}

static bool tell_who_has_it(const char *id, const struct device_mapper_device *device, struct error *error)
{
    char words[BUSY_WORDS_BYTES];
    busy_find_device(device->device, words);
    return fail(error, FAILED_PRECONDITION, "%s of %s is in use: %s; end that, then try again", device->path, id,
                words);
}

bool lvm_deactivate(struct lvm_pool *own, const char *name, struct error *error)
{
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    struct device_mapper_device device;
    struct lvm_words words = {.count = 0};
    if (!lvm_find_device(own, name, "", &device, uuid, error))
        return error->code == NOT_FOUND;
    if (device.open_count > 0)
        return tell_who_has_it(name, &device, error);
    lvm_words(&words, "lvchange", "--activate", "n", lvm_full_name(&words, own, name, ""), NULL);
    return fault("pool.lvm.deactivate.before", error) &&
           (lvm_run(own->queue, words.argv, error) ||
            (cannot_find_group(error) && deactivate_without_lvm(name, uuid, error))) &&
           fault("pool.lvm.deactivate.after", error);
}

bool lvm_open_data(struct pool *pool, const struct record *record, char *path, struct error *error)
{
    struct device_mapper_device device;
    if (!lvm_activate(lvm_of(pool, record->id), record->id, "", &device, error))
        return false;
    text_copy(path, sizeof device.path, device.path);
    return true;
}

/* --- for the node --- */

/* A device that is read-only for its readers while others write: a loop device on it. */
static bool attach_reader(const struct record *record, const char *path, struct attachment *attachment,
                          struct error *error)
{
    cleanup_close int device = open(path, O_RDONLY | O_CLOEXEC);
    if (device < 0)
        return fail_errno(error, errno, "cannot open %s of volume %s", path, record->id);
    return loop_attach(device, record, ATTACH_READONLY, attachment, error);
}

bool lvm_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                struct error *error)
{
    struct device_mapper_device device;
    if (!lvm_take(record->id, error) || !lvm_activate(lvm_of(pool, record->id), record->id, "", &device, error))
        return fail_context(error, "volume %s", record->id);
    if (mode == ATTACH_READONLY)
        return attach_reader(record, device.path, attachment, error);
    attachment->descriptor = open(device.path, O_RDWR | O_CLOEXEC);
    if (attachment->descriptor < 0)
        return fail_errno(error, errno, "cannot open %s of volume %s", device.path, record->id);
    attachment->device = device.device;
    text_copy(attachment->path, sizeof attachment->path, device.path);
    return true;
}

bool lvm_detach(struct pool *pool, const struct record *record, struct error *error)
{
    if (!loop_detach(record->id, error))
        return false;
    struct device_mapper_device device;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    bool cut = lvm_is_cut(pool, record->id);
    if (cut && lvm_find_device(lvm_of(pool, record->id), record->id, "", &device, uuid, error) && device.open_count > 0)
        return tell_who_has_it(record->id, &device, error);
    /* A cut would go with its origin: that is let go when the cut has been copied. */
    if (!cut && !lvm_deactivate(lvm_of(pool, record->id), record->id, error))
        return false;
    lvm_give_back(record->id);
    return true;
}

/* It may be active for nobody (lvm_taken.c).  A file system is attached while its mount has it open. */
bool lvm_attached(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device)
{
    struct device_mapper_device found;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    struct error ignored;
    if (mode == ATTACH_READONLY)
        return loop_attached(record->id, mode, device);
    if (!lvm_find_device(lvm_of(pool, record->id), record->id, "", &found, uuid, &ignored))
        return false;
    *device = found.device;
    return found.open_count > 0 || (record->filesystem[0] == '\0' && lvm_is_taken(record->id));
}

bool lvm_in_use(struct pool *pool, const struct record *record)
{
    struct device_mapper_device found;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    struct error ignored;
    return lvm_find_device(lvm_of(pool, record->id), record->id, "", &found, uuid, &ignored) && found.open_count > 0;
}

/* The name's last part, after a single hyphen, with hyphens doubled in it. */
static bool volume_name(const char *device, char name[static DEVICE_MAPPER_NAME_BYTES])
{
    size_t used = 0;
    while (*device != '\0' && !(device[0] == '-' && device[1] != '-'))
        device += device[0] == '-' ? 2 : 1;
    if (*device++ == '\0')
        return false;
    for (; *device != '\0' && used + 1 < DEVICE_MAPPER_NAME_BYTES; device += device[0] == '-' ? 2 : 1)
        name[used++] = *device;
    name[used] = '\0';
    return true;
}

bool lvm_identify(dev_t device, char id[static ID_BYTES])
{
    char uuid[DEVICE_MAPPER_UUID_BYTES], mapped[DEVICE_MAPPER_NAME_BYTES], name[DEVICE_MAPPER_NAME_BYTES];
    if (!device_mapper_identify(device, mapped, uuid) || strncmp(uuid, "LVM-", 4) != 0 || !volume_name(mapped, name) ||
        strlen(name) >= ID_BYTES)
        return false;
    text_copy(id, ID_BYTES, name);
    return true;
}

/* --- for groups --- */

bool lvm_suspend(struct pool *pool, const struct record *record, struct error *error)
{
    struct device_mapper_device found;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    if (!lvm_find_device(lvm_of(pool, record->id), record->id, "", &found, uuid, error))
        return error->code == NOT_FOUND;
    return fault("pool.lvm.suspend.before", error) && device_mapper_suspend(uuid, error) &&
           fault("pool.lvm.suspend.after", error);
}

/* What is not active cannot be written to. */
bool lvm_is_suspended(struct pool *pool, const struct record *record)
{
    struct device_mapper_device found;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    struct error error;
    bool there = lvm_find_device(lvm_of(pool, record->id), record->id, "", &found, uuid, &error);
    return there ? found.suspended : error.code == NOT_FOUND;
}

bool lvm_resume(struct pool *pool, const struct record *record, struct error *error)
{
    struct device_mapper_device found;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    if (!lvm_find_device(lvm_of(pool, record->id), record->id, "", &found, uuid, error))
        return error->code == NOT_FOUND;
    return device_mapper_resume(uuid, error);
}
