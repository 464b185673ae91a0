/*
 * The disk pool: what disks there are.  Disks of ours are known by the tag of their volume group, whatever their names
 * are now; what is empty and chosen by the options becomes one; everything else is left as it is.
 */
#include "pool/disk.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/filesystem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define SIGNATURE_EVERY NANOSECONDS_PER_SECOND /* from sysfs, which costs little */
#define LOST_EVERY (5 * NANOSECONDS_PER_SECOND)
#define LOOK_EVERY (60 * NANOSECONDS_PER_SECOND) /* also without a sign: what is in use now may be free then */
#define LOOK_MOST (5 * NANOSECONDS_PER_SECOND)   /* a caller waits for a look */

struct look {
    struct pool *pool;
    struct disk_pool *own;
    struct disk_found *found;
    size_t count;
};

/* --- disks of ours --- */

static struct disk *find_disk(struct disk_pool *own, const char *uuid)
{
    struct disk *disk = own->disks;
    while (disk != NULL && strcmp(disk->uuid, uuid) != 0)
        disk = disk->next;
    return disk;
}

static struct disk *new_disk(struct pool *pool, const struct disk_found *found, struct error *error)
{
    struct disk_pool *own = pool->own;
    struct disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL)
        abort();
    text_copy(disk->uuid, sizeof disk->uuid, found->uuid);
    text_copy(disk->group.vg, sizeof disk->group.vg, found->group);
    disk->group.queue = lvm_queue_open(pool->state_directory, pool_name(pool), error);
    if (disk->group.queue == NULL) {
        free(disk);
        return NULL;
    }
    lvm_queue_set_lock(disk->group.queue, pool->lock);
    pthread_mutex_lock(&pool->mutex);
    disk->next = own->disks;
    own->disks = disk;
    pthread_mutex_unlock(&pool->mutex);
    return disk;
}

/* The group's own facts, and its volume. */
static bool load_disk(struct pool *pool, struct disk *disk, struct error *error)
{
    struct lvm_report report;
    lvm_look_at(&disk->group, disk->device.path);
    if (!lvm_read_report(&disk->group, "", &report, error))
        return false;
    text_copy(disk->group.vg_uuid, sizeof disk->group.vg_uuid, report.uuid);
    disk->group.extent_bytes = report.extent_bytes;
    lvm_look_at_devices_of(&disk->group, &report);
    lvm_report_free(&report);
    pthread_mutex_lock(&pool->mutex);
    bool good = lvm_scan_group(pool, &disk->group, error);
    pthread_mutex_unlock(&pool->mutex);
    return good;
}

static void set_lost(struct pool *pool, struct disk *disk, bool lost, const char *why)
{
    pthread_mutex_lock(&pool->mutex);
    bool changed = disk->lost != lost;
    disk->lost = lost;
    pthread_mutex_unlock(&pool->mutex);
    if (changed)
        log_event(lost ? LOG_ERROR : LOG_INFO, lost ? "a disk is missing" : "a disk is there", "pool", pool_name(pool),
                  "device", disk->device.path, "volume_group", disk->group.vg, "volume_id", disk->group.volume, "error",
                  why, NULL);
}

static void see_disk(struct look *look, const struct disk_found *found)
{
    struct disk_device device;
    struct error error;
    struct disk *disk = find_disk(look->own, found->uuid);
    bool fresh = disk == NULL;
    if (!disk_device_at(found->path, &device, &error)) {
        log_event(LOG_WARNING, "disk left alone", "device", found->path, "error", error.message, NULL);
        return;
    }
    if (fresh && (disk = new_disk(look->pool, found, &error)) == NULL) {
        log_event(LOG_ERROR, "disk left alone", "device", found->path, "error", error.message, NULL);
        return;
    }
    bool same = !fresh && !disk->lost && disk->device.device == device.device;
    pthread_mutex_lock(&look->pool->mutex);
    disk->device = device;
    disk->lost = disk->lost || fresh;
    pthread_mutex_unlock(&look->pool->mutex);
    if (same) /* others may have changed it */
        lvm_queue_make_uncertain(disk->group.queue);
    else if (load_disk(look->pool, disk, &error))
        set_lost(look->pool, disk, false, NULL);
    else
        log_event(LOG_ERROR, "disk left alone", "device", found->path, "error", error.message, NULL);
}

static const struct disk_found *find_found(const struct look *look, const char *uuid)
{
    for (size_t i = 0; i < look->count; i++)
        if (strcmp(look->found[i].uuid, uuid) == 0)
            return &look->found[i];
    return NULL;
}

static bool is_ours(const struct look *look, const struct disk_found *found)
{
    return strcmp(found->pool_name, pool_name(look->pool)) == 0 && strcmp(found->pool_id, look->pool->id) == 0;
}

static void see_disks(struct look *look)
{
    for (size_t i = 0; i < look->count; i++)
        if (is_ours(look, &look->found[i]))
            see_disk(look, &look->found[i]);
    for (struct disk *disk = look->own->disks; disk != NULL; disk = disk->next)
        if (find_found(look, disk->uuid) == NULL)
            set_lost(look->pool, disk, true, "LVM does not find its physical volume");
}

/* --- other devices --- */

static void free_refused(struct disk_refused *refused)
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

static void refuse(const struct look *look, struct disk_refused **list, const struct disk_device *device,
                   const struct error *why)
{
    struct disk_refused *refused = calloc(1, sizeof *refused);
    if (refused == NULL)
        abort();
    *refused = (struct disk_refused){.next = *list, .why = *why};
    text_copy(refused->path, sizeof refused->path, device->path);
    *list = refused;
    if (!was_told(look->own->refused, refused))
        log_event(LOG_WARNING, "disk not taken", "pool", pool_name(look->pool), "device", device->path, "error",
                  why->message, NULL);
}

/* A physical volume of Plinth's belongs to a pool already. */
static bool is_of_a_pool(const struct look *look, const struct disk_device *device)
{
    for (size_t i = 0; i < look->count; i++) {
        struct disk_device found;
        struct error ignored;
        if (look->found[i].pool_id[0] != '\0' && disk_device_at(look->found[i].path, &found, &ignored) &&
            found.device == device->device)
            return true;
    }
    for (const struct disk *disk = look->own->disks; disk != NULL; disk = disk->next)
        if (!disk->lost && disk->device.device == device->device)
            return true;
    return false;
}

/* False, with the reason, if there is something on it that may be somebody's. */
static bool check_empty(const struct look *look, const struct disk_device *device, struct error *error)
{
    char found[FILESYSTEM_NAME_BYTES], size[32];
    const char *what = found;
    if (!filesystem_probe(device->path, found, error))
        return false;
    if (found[0] == '\0' && device->has_partitions)
        what = "partitions";
    return what[0] == '\0' ||
           fail(error, FAILED_PRECONDITION,
                "device %s (%s) is not empty, it has %s, so pool %s does not take it; if that may be lost: plinth pool "
                "adopt --pool %s %s",
                device->path, text_from_size(device->bytes, size), what, pool_name(look->pool), pool_name(look->pool),
                device->path);
}

/* True if the device has become a disk of the pool. */
static bool take(const struct look *look, struct disk_refused **list, const struct disk_device *device)
{
    struct error error;
    char size[32];
    if (device->bytes == 0 || device->read_only || disk_device_is_a_volume(device) || is_of_a_pool(look, device) ||
        disk_device_is_busy(device))
        return false;
    if (check_empty(look, device, &error) &&
        disk_make_group(look->own->queue, device, look->pool->id, pool_name(look->pool), &error)) {
        log_event(LOG_INFO, "disk taken", "pool", pool_name(look->pool), "device", device->path, "size",
                  text_from_size(device->bytes, size), "serial", device->serial, NULL);
        return true;
    }
    refuse(look, list, device, &error);
    return false;
}

/* True if a disk has been taken. */
static bool see_others(const struct look *look)
{
    size_t count;
    bool taken = false;
    struct disk_refused *refused = NULL;
    struct disk_device *devices = disk_devices(&count);
    for (size_t i = 0; i < count; i++)
        if (disk_rules_choose(look->pool, &devices[i]) && take(look, &refused, &devices[i]))
            taken = true;
    free(devices);
    pthread_mutex_lock(&look->pool->mutex);
    free_refused(look->own->refused);
    look->own->refused = refused;
    pthread_mutex_unlock(&look->pool->mutex);
    return taken;
}

/* --- when to look --- */

static uint64_t add(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(1099511628211); /* FNV-1a */
}

static bool is_a_disk_of_ours(const struct disk_pool *own, const struct disk_device *device)
{
    const struct disk *disk = own->disks;
    while (disk != NULL && (disk->lost || disk->device.device != device->device))
        disk = disk->next;
    return disk != NULL;
}

/*
 * What there is, as one number.  Whoever makes a device ours, or empty, writes to it, so the number of writes is in it:
 * but not of what is written to all the time.
 */
static uint64_t make_signature(const struct pool *pool)
{
    size_t count;
    uint64_t sum = 0;
    struct disk_device *devices = disk_devices(&count);
    for (size_t i = 0; i < count; i++) {
        const struct disk_device *device = &devices[i];
        uint64_t one = add(add(add(1, device->device), (uint64_t)device->bytes), device->read_only);
        bool ours = is_a_disk_of_ours(pool->own, device);
        if (!ours && !disk_device_is_a_volume(device) && !disk_device_is_busy(device))
            one = add(one, device->writes + 1);
        sum += one; /* in any order */
    }
    free(devices);
    return sum;
}

static bool has_lost(const struct disk_pool *own)
{
    const struct disk *disk = own->disks;
    while (disk != NULL && !disk->lost)
        disk = disk->next;
    return disk != NULL;
}

static bool is_due(struct pool *pool)
{
    struct disk_pool *own = pool->own;
    int64_t since = monotonic_now() - own->looked;
    if (since > LOOK_EVERY || (since > LOST_EVERY && has_lost(own)))
        return true;
    return since > SIGNATURE_EVERY && make_signature(pool) != own->signature;
}

/* --- looking --- */

static bool find(struct look *look, struct error *error)
{
    struct lvm_pool everywhere = {.queue = look->own->queue};
    free(look->found);
    look->found = NULL;
    look->count = 0;
    lvm_look_everywhere(&everywhere);
    return disk_groups_find(look->own->queue, &look->found, &look->count, error);
}

bool disk_look_first(struct pool *pool, struct error *error)
{
    struct look look = {.pool = pool, .own = pool->own};
    bool good =
        find(&look, error) && disk_find_pool_id(pool->node, pool_name(pool), look.found, look.count, pool->id, error);
    free(look.found);
    return good;
}

void disk_look(struct pool *pool)
{
    struct look look = {.pool = pool, .own = pool->own};
    struct error error;
    bool good = find(&look, &error);
    if (good) {
        see_disks(&look);
        if (see_others(&look) && (good = find(&look, &error)))
            see_disks(&look);
    }
    if (!good)
        log_event(LOG_WARNING, "could not look for disks", "pool", pool_name(pool), "error", error.message, NULL);
    free(look.found);
    look.own->signature = make_signature(pool);
    look.own->looked = monotonic_now();
}

void disk_look_again(struct pool *pool)
{
    struct disk_pool *own = pool->own;
    if (pthread_mutex_trylock(&own->looking) != 0) /* somebody does */
        return;
    int64_t deadline = caller_deadline, most = monotonic_now() + LOOK_MOST;
    if (is_due(pool)) {
        caller_deadline = most < deadline ? most : deadline;
        disk_look(pool);
        caller_deadline = deadline;
    }
    pthread_mutex_unlock(&own->looking);
}

bool disk_is_there(const struct disk *disk)
{
    char uuid[LVM_UUID_BYTES];
    return lvm_header_uuid(disk->device.path, uuid) && strcmp(uuid, disk->uuid) == 0;
}

void disk_forget_all(struct disk_pool *own)
{
    for (struct disk *disk = own->disks, *next; disk != NULL; disk = next) {
        next = disk->next;
        lvm_queue_close(disk->group.queue);
        lvm_forget(&disk->group);
        free(disk);
    }
    free_refused(own->refused);
    own->disks = NULL;
    own->refused = NULL;
}
