/*
 * The disk pool: what disks there are.  Disks of ours are known by the tag of their volume group, whatever their names
 * are now; what is empty and chosen by the options becomes one; everything else is left as it is.
 */
#include "pool/disk.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MOST (5 * NANOSECONDS_PER_SECOND) /* a caller waits for a look */

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
    text_copy(disk->group.vg_uuid, sizeof disk->group.vg_uuid, found->group_uuid);
    disk->group.queue = lvm_queue_open(pool->state_directory, pool_name(pool), error);
    if (disk->group.queue == NULL) {
        free(disk);
        return NULL;
    }
    lvm_queue_set_lock(disk->group.queue, pool->lock);
    lvm_queue_set_group(disk->group.queue, disk->group.vg_uuid);
    pthread_mutex_lock(&pool->mutex);
    disk->next = own->disks;
    own->disks = disk;
    pthread_mutex_unlock(&pool->mutex);
    return disk;
}

/* What is in its group. */
static bool load_disk(struct pool *pool, struct disk *disk, struct error *error)
{
    lvm_look_at(&disk->group, disk->device.path);
    bool good = lvm_scan_group(pool, &disk->group, error);
    pthread_mutex_lock(&pool->mutex);
    disk->loaded = disk->loaded || good;
    pthread_mutex_unlock(&pool->mutex);
    return good;
}

void disk_set_lost(struct pool *pool, struct disk *disk, bool lost, const char *why)
{
    pthread_mutex_lock(&pool->mutex);
    bool changed = disk->lost != lost || (lost && strcmp(disk->why, why) != 0);
    disk->lost = lost;
    text_copy(disk->why, sizeof disk->why, lost ? why : "");
    pthread_mutex_unlock(&pool->mutex);
    if (changed)
        log_event(lost ? LOG_ERROR : LOG_INFO, lost ? "a disk cannot be used" : "a disk is there", "pool",
                  pool_name(pool), "device", disk->device.path, "volume_group", disk->group.vg, "volume_id",
                  disk->group.volume, "error", why, NULL);
}

static const struct disk_found *find_found(const struct disk_look *look, const char *uuid)
{
    for (size_t i = 0; i < look->count; i++)
        if (strcmp(look->found[i].uuid, uuid) == 0)
            return &look->found[i];
    return NULL;
}

/* Another physical volume with the same UUID, or NULL. */
static const struct disk_found *find_copy(const struct disk_look *look, const struct disk_found *found)
{
    for (size_t i = 0; i < look->count; i++)
        if (&look->found[i] != found && strcmp(look->found[i].uuid, found->uuid) == 0)
            return &look->found[i];
    return NULL;
}

/* LVM would refuse both if it saw both, but we show it one. */
static bool check_only(const struct disk_look *look, const struct disk_found *found, struct error *error)
{
    const struct disk_found *copy = find_copy(look, found);
    return copy == NULL || fail(error, FAILED_PRECONDITION,
                                "%s and %s are copies of each other, and neither is used: take one out, or wipe it "
                                "with wipefs --all",
                                found->path, copy->path);
}

static struct disk *know_disk(const struct disk_look *look, const struct disk_found *found,
                              const struct disk_device *device, bool *same, struct error *error)
{
    struct disk *disk = find_disk(look->own, found->uuid);
    bool fresh = disk == NULL;
    if (fresh && (disk = new_disk(look->pool, found, error)) == NULL)
        return NULL;
    *same = !fresh && !disk->lost && disk->device.device == device->device;
    pthread_mutex_lock(&look->pool->mutex);
    disk->device = *device;
    disk->lost = disk->lost || fresh;
    pthread_mutex_unlock(&look->pool->mutex);
    return disk;
}

static void see_disk(const struct disk_look *look, const struct disk_found *found)
{
    struct disk_device device;
    struct error error;
    struct disk *disk = NULL;
    bool same;
    bool good = disk_device_at(found->path, &device, &error);
    if (good && disk_device_is_a_volume(&device)) /* what is in it was written by a tenant */
        return;
    good = good && (disk = know_disk(look, found, &device, &same, &error)) != NULL;
    good = good && check_only(look, found, &error) && (same || load_disk(look->pool, disk, &error));
    if (disk != NULL && (!good || !same))
        disk_set_lost(look->pool, disk, !good, good ? NULL : error.message);
    else if (!good)
        log_event(LOG_ERROR, "disk left alone", "device", found->path, "error", error.message, NULL);
}

static bool is_ours(const struct disk_look *look, const struct disk_found *found)
{
    return strcmp(found->pool_name, pool_name(look->pool)) == 0 && strcmp(found->pool_id, look->pool->id) == 0;
}

static void see_disks(const struct disk_look *look)
{
    for (size_t i = 0; i < look->count; i++)
        if (is_ours(look, &look->found[i]) && find_found(look, look->found[i].uuid) == &look->found[i])
            see_disk(look, &look->found[i]);
    for (struct disk *disk = look->own->disks; disk != NULL; disk = disk->next)
        if (find_found(look, disk->uuid) == NULL)
            disk_set_lost(look->pool, disk, true, "LVM does not find its physical volume");
}

/* --- looking --- */

static bool find(struct disk_look *look, struct error *error)
{
    struct lvm_pool everywhere = {.queue = look->own->queue, .devices = pool_option(look->pool, "devices")};
    free(look->found);
    look->found = NULL;
    look->count = 0;
    lvm_look_everywhere(&everywhere);
    return disk_groups_find(look->own->queue, &look->found, &look->count, error);
}

/* It is tried again soon: the next caller may have more patience. */
static void give_up(const struct pool *pool, const struct error *error)
{
    ((struct disk_pool *)pool->own)->signature = 0;
    log_event(LOG_WARNING, "could not look for disks", "pool", pool_name(pool), "error", error->message, NULL);
}

/* Frees what was found. */
static void see(struct disk_look *look)
{
    struct error error;
    see_disks(look);
    if (disk_take_others(look)) {
        if (find(look, &error))
            see_disks(look);
        else
            give_up(look->pool, &error);
    }
    free(look->found);
}

static void look_around(struct pool *pool)
{
    struct disk_look look = {.pool = pool, .own = pool->own};
    struct error error;
    disk_watch_remember(pool); /* before: what changes meanwhile is looked at the next time */
    if (find(&look, &error))
        see(&look);
    else
        give_up(pool, &error);
}

bool disk_look_first(struct pool *pool, struct error *error)
{
    struct disk_pool *own = pool->own;
    struct disk_look look = {.pool = pool, .own = own};
    char id[POOL_ID_DIGITS + 1];
    disk_watch_remember(pool);
    if (!find(&look, error))
        return false;
    own->found = look.found;
    own->found_count = look.count;
    if (!disk_find_pool_id(pool->node, pool_name(pool), look.found, look.count, id, error))
        return false;
    pool_set_id(pool, id);
    return true;
}

void disk_look_second(struct pool *pool)
{
    struct disk_pool *own = pool->own;
    struct disk_look look = {.pool = pool, .own = own, .found = steal_pointer(own->found), .count = own->found_count};
    see(&look);
}

void disk_look_again(struct pool *pool)
{
    struct disk_pool *own = pool->own;
    if (pthread_mutex_trylock(&own->looking) != 0) /* somebody does */
        return;
    if (disk_watch_is_due(pool)) {
        clock_limit(LOOK_MOST);
        look_around(pool);
    }
    pthread_mutex_unlock(&own->looking);
}

void disk_tell_lost(struct pool *pool, const struct disk *disk, char why[static DISK_WHY_BYTES])
{
    why[0] = '\0';
    LOCKED(pool);
    if (disk->lost && disk->why[0] != '\0')
        snprintf(why, DISK_WHY_BYTES, " (%.*s)", DISK_WHY_BYTES - 4, disk->why);
}

struct disk *disk_first(struct pool *pool)
{
    LOCKED(pool);
    return ((struct disk_pool *)pool->own)->disks;
}

bool disk_is_lost(struct pool *pool, const struct disk *disk)
{
    LOCKED(pool);
    return disk->lost;
}

void disk_forget_all(struct disk_pool *own)
{
    for (struct disk *disk = own->disks, *next; disk != NULL; disk = next) {
        next = disk->next;
        lvm_queue_close(disk->group.queue);
        lvm_forget(&disk->group);
        free(disk);
    }
    disk_forget_refused(own->refused);
    free(own->idle);
    free(own->found);
    own->disks = NULL;
    own->refused = NULL;
}
