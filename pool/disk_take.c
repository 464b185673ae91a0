/* The disk pool: devices that are not its own yet.  What is empty and chosen by the options is taken. */
#include "pool/disk.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/filesystem.h"

#include <stdlib.h>
#include <string.h>

#define END_BYTES ((int64_t)1 << 20)

void disk_forget_refused(struct disk_refused *refused)
{
    for (struct disk_refused *next; refused != NULL; refused = next) {
        next = refused->next;
        free(refused);
    }
}

static bool was_told(const struct disk_refused *list, const struct disk_refused *refused)
{
    for (; list != NULL; list = list->next)
        if (strcmp(list->path, refused->path) == 0 && strcmp(list->why.message, refused->why.message) == 0)
            return true;
    return false;
}

static void refuse(const struct disk_look *look, struct disk_refused **list, const struct disk_device *device,
                   bool doubtful, const char *pool_id, const struct error *why)
{
    struct disk_refused *refused = calloc(1, sizeof *refused);
    if (refused == NULL)
        abort();
    *refused = (struct disk_refused){.next = *list, .doubtful = doubtful, .why = *why};
    text_copy(refused->path, sizeof refused->path, device->named_as[0] != '\0' ? device->named_as : device->path);
    text_copy(refused->pool_id, sizeof refused->pool_id, pool_id);
    *list = refused;
    if (!was_told(look->own->refused, refused))
        log_event(LOG_WARNING, "disk not taken", "pool", pool_name(look->pool), "device", device->path, "error",
                  why->message, NULL);
}

/* What LVM has found on this device, or NULL. */
static const struct disk_found *find_on(const struct disk_look *look, const struct disk_device *device)
{
    for (size_t i = 0; i < look->count; i++) {
        struct disk_device found;
        struct error ignored;
        if (disk_device_at(look->found[i].path, &found, &ignored) && found.device == device->device)
            return &look->found[i];
    }
    return NULL;
}

/* A physical volume of Plinth's belongs to a pool already. */
static bool is_of_a_pool(const struct disk_look *look, const struct disk_device *device)
{
    const struct disk_found *found = find_on(look, device);
    const struct disk *disk = look->own->disks;
    while (disk != NULL && (disk->lost || disk->device.device != device->device))
        disk = disk->next;
    return disk != NULL || (found != NULL && found->pool_id[0] != '\0');
}

/* Where a disk of ours was: it fails, or somebody has written over its label.  Health tells, and a person decides. */
static bool is_a_lost_one(const struct disk_look *look, const struct disk_device *device)
{
    const struct disk *disk = look->own->disks;
    while (disk != NULL && (!disk->lost || disk->device.device != device->device))
        disk = disk->next;
    return disk != NULL;
}

static bool are_zeros(int descriptor, const char *path, int64_t offset, size_t length, bool *zeros, struct error *error)
{
    cleanup_free char *bytes = malloc(length);
    if (bytes == NULL)
        abort();
    if (!device_read(descriptor, path, offset, bytes, length, error))
        return false;
    *zeros = bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
    return true;
}

/* Where whoever writes to a device without a file system begins or ends. */
static bool has_zero_ends(const struct disk_device *device, bool *zeros, struct error *error)
{
    cleanup_close int descriptor = -1;
    int64_t bytes;
    size_t end = device->bytes < END_BYTES ? (size_t)device->bytes : END_BYTES;
    return device_open(device->path, &descriptor, &bytes, error) &&
           are_zeros(descriptor, device->path, 0, end, zeros, error) &&
           (!*zeros || are_zeros(descriptor, device->path, device->bytes - (int64_t)end, end, zeros, error));
}

/*
 * What is on it, "" if nothing.  A database or an encrypted volume may lie on a device without any signature: only who
 * has named the very device has said that this may go.
 */
static bool find_content(const struct disk_device *device, char content[static FILESYSTEM_NAME_BYTES],
                         struct error *error)
{
    bool zeros = true;
    if (device->bytes == 0)
        return fail(error, UNAVAILABLE, "device %s has no size: it has failed, or nothing is in it", device->path);
    if (!lvm_header_probe(device->path, content, error))
        return false;
    if (content[0] == '\0' && device->has_partitions)
        text_copy(content, FILESYSTEM_NAME_BYTES, "partitions");
    if (content[0] != '\0' || device->named_as[0] != '\0')
        return true;
    if (!has_zero_ends(device, &zeros, error))
        return false;
    if (!zeros)
        text_copy(content, FILESYSTEM_NAME_BYTES, "data without a signature");
    return true;
}

/* False, with the reason, if there is something on it that may be somebody's. */
static bool check_empty(const struct disk_look *look, const struct disk_device *device, const char *content,
                        struct error *error)
{
    char size[32];
    bool by_link = device->named_as[0] != '\0' && strcmp(device->named_as, device->path) != 0;
    return content[0] == '\0' ||
           fail(error, FAILED_PRECONDITION,
                "device %s (%s%s%s) is not empty, it has %s, so pool %s does not take it; if that may be lost: plinth "
                "pool adopt --pool %s %s",
                device->path, text_from_size(device->bytes, size), by_link ? ", named as " : "",
                by_link ? device->named_as : "", content, pool_name(look->pool), pool_name(look->pool), device->path);
}

static bool make_disk(const struct disk_look *look, const struct disk_device *device, const char *content,
                      struct error *error)
{
    char size[32];
    if (!check_empty(look, device, content, error) ||
        !disk_make_group(look->own->queue, device, look->pool->id, pool_name(look->pool), error))
        return false;
    log_event(LOG_INFO, "disk taken", "pool", pool_name(look->pool), "device", device->path, "size",
              text_from_size(device->bytes, size), "serial", device->serial, NULL);
    return true;
}

/*
 * True if the device has become a disk of the pool.  One that is in use may be in use by a volume of ours.  As long as
 * something else is where a disk is named, that disk is missing, and nobody can tell what was on it.
 */
static bool take(const struct disk_look *look, struct disk_refused **list, const struct disk_device *device)
{
    struct error error;
    char content[FILESYSTEM_NAME_BYTES] = "";
    bool named = device->named_as[0] != '\0';
    bool usable = device->bytes > 0 && !device->read_only && !disk_device_is_busy(device);
    if ((!usable && !named) || disk_device_is_a_volume(device) || is_of_a_pool(look, device) ||
        is_a_lost_one(look, device))
        return false;
    bool readable = find_content(device, content, &error);
    bool doubtful = named && (!readable || content[0] != '\0');
    if (!usable && !doubtful)
        return false;
    if (readable && make_disk(look, device, content, &error))
        return true;
    refuse(look, list, device, doubtful, "", &error);
    return false;
}

/* A disk of another machine's pool, or of this one's when the node had another name. */
static bool is_a_namesakes(const struct disk_look *look, const struct disk_found *found)
{
    return strcmp(found->pool_name, pool_name(look->pool)) == 0 && found->pool_id[0] != '\0' &&
           strcmp(found->pool_id, look->pool->id) != 0;
}

static void refuse_namesake(const struct disk_look *look, struct disk_refused **list, const struct disk_found *found)
{
    struct disk_device device;
    struct error error;
    if (!disk_device_at(found->path, &device, &error) || disk_device_is_a_volume(&device))
        return;
    fail(&error, FAILED_PRECONDITION,
         "device %s is a disk of another pool that is called %s too (its id is %s, this one's is %s), so it is not "
         "used; take it out, or make it a pool of its own: vgchange --deltag " LVM_TAG_DISK "%s --addtag " LVM_TAG_DISK
         "NAME %s, and --pool NAME=disk:devices=%s",
         device.path, found->pool_name, found->pool_id, look->pool->id, found->pool_name, found->group, device.path);
    refuse(look, list, &device, false, found->pool_id, &error);
}

bool disk_take_others(const struct disk_look *look)
{
    size_t count;
    bool taken = false;
    struct disk_refused *refused = NULL;
    struct disk_device *devices = disk_rules_candidates(look->pool, &count);
    for (size_t i = 0; i < count; i++)
        if (disk_rules_choose(look->pool, &devices[i]) && take(look, &refused, &devices[i]))
            taken = true;
    free(devices);
    for (size_t i = 0; i < look->count; i++)
        if (is_a_namesakes(look, &look->found[i]))
            refuse_namesake(look, &refused, &look->found[i]);
    pthread_mutex_lock(&look->pool->mutex);
    disk_forget_refused(look->own->refused);
    look->own->refused = refused;
    pthread_mutex_unlock(&look->pool->mutex);
    return taken;
}
