/* The pool of kind "disk": whole disks and partitions, one volume on each.  This file: the pool itself. */
#include "pool/disk.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_MOST (15 * NANOSECONDS_PER_SECOND) /* for all disks, when the pool is opened */
#define LOOK_MOST (5 * NANOSECONDS_PER_SECOND)  /* a caller waits for a disk that is not his */

static const char *const option_names[] = {"devices", "min-size", "max-size", "model", "rotational", NULL};

/* --- disks and volumes; the caller holds pool->mutex --- */

struct disk *disk_of(const struct pool *pool, const char *id)
{
    struct disk *disk = ((struct disk_pool *)pool->own)->disks;
    while (disk != NULL && strcmp(disk->group.volume, id) != 0)
        disk = disk->next;
    return disk;
}

int64_t disk_usable(const struct disk *disk)
{
    return disk->group.extents * disk->group.extent_bytes;
}

bool disk_is_free(const struct disk *disk)
{
    return !disk->lost && disk->group.volume[0] == '\0' && disk->group.extents > 0 &&
           disk->group.free_extents == disk->group.extents;
}

struct lvm_pool *disk_group_of(const struct pool *pool, const char *id)
{
    struct disk_pool *own = pool->own;
    pthread_mutex_lock((pthread_mutex_t *)&pool->mutex);
    struct disk *disk = disk_of(pool, id);
    pthread_mutex_unlock((pthread_mutex_t *)&pool->mutex);
    return disk != NULL ? &disk->group : &own->nowhere;
}

/* --- how much --- */

bool disk_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error)
{
    (void)shape;
    (void)error;
    *space = (struct pool_space){.provisioned = pool->promised};
    for (const struct disk *disk = ((struct disk_pool *)pool->own)->disks; disk != NULL; disk = disk->next) {
        int64_t bytes = disk_usable(disk);
        if (!disk->lost)
            space->total += bytes;
        if (!disk_is_free(disk))
            continue;
        space->available += bytes;
        if (bytes > space->largest)
            space->largest = bytes;
    }
    return true;
}

static bool disk_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error)
{
    (void)pool, (void)error;
    *bytes = record->bytes;
    return true;
}

/* --- opening --- */

static void disk_close(struct pool *pool)
{
    struct disk_pool *own = pool->own;
    if (own == NULL)
        return;
    disk_forget_all(own);
    lvm_queue_close(own->queue);
    cleanup_close int lock = steal_descriptor(&pool->lock);
    (void)lock;
    pthread_mutex_destroy(&own->looking);
    free(own);
    pool->own = NULL;
}

static bool take_lock(struct pool *pool, struct error *error)
{
    char what[128];
    snprintf(what, sizeof what, "disk pool %s", pool_name(pool));
    return lvm_take_lock(pool, pool->id, what, error);
}

static bool disk_open(struct pool *pool, struct error *error)
{
    struct disk_pool *own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    pool->own = own;
    pool->thick = true;
    pthread_mutex_init(&own->looking, NULL);
    own->queue = NULL;
    if (disk_rules_check(pool, error) &&
        (own->queue = lvm_queue_open(pool->state_directory, pool_name(pool), error)) != NULL &&
        disk_look_first(pool, error) && take_lock(pool, error)) {
        lvm_queue_set_lock(own->queue, pool->lock);
        return true;
    }
    disk_close(pool);
    return false;
}

/* A disk that is stuck hinders nobody but its volume. */
static bool disk_scan(struct pool *pool, struct error *error)
{
    clock_limit(SCAN_MOST);
    (void)error;
    disk_look_second(pool);
    return true;
}

/* A disk that fails hinders nobody but its volume. */
static bool disk_refresh(struct pool *pool, struct error *error)
{
    disk_look_again(pool);
    clock_limit(LOOK_MOST);
    for (struct disk *disk = disk_first(pool); disk != NULL; disk = disk->next)
        if (!disk_is_lost(pool, disk) && !lvm_refresh_group(pool, &disk->group, error) &&
            !lvm_queue_can_read(disk->group.queue))
            disk_set_lost(pool, disk, true, error->message);
    return true;
}

static bool copies_at_once(const struct pool *pool, const struct record *source, const struct record *record)
{
    (void)pool, (void)source, (void)record;
    return false;
}

/* What was on the disk before is still there. */
static bool reads_as_zeros(const struct pool *pool, const struct record *record)
{
    (void)pool, (void)record;
    return false;
}

/* --- is anything missing? --- */

static void note_missing(const char *path, void *data)
{
    text_copy(data, DISK_PATH_BYTES, path);
}

static bool check_named(struct pool *pool, struct error *error)
{
    char path[DISK_PATH_BYTES] = "";
    disk_rules_missing(pool, note_missing, path);
    return path[0] == '\0' ||
           fail(error, UNAVAILABLE,
                "the device %s, which pool %s names, is missing and may have it; if it will not come back, take it out "
                "of the pool's devices",
                path, pool_name(pool));
}

static bool may_have(const struct disk_refused *refused, const char *id)
{
    return refused->doubtful || strncmp(refused->pool_id, id, POOL_ID_DIGITS) == 0;
}

static bool check_refused(struct pool *pool, const char *id, struct error *error)
{
    LOCKED(pool);
    const struct disk_refused *refused = ((struct disk_pool *)pool->own)->refused;
    while (refused != NULL && !may_have(refused, id))
        refused = refused->next;
    return refused == NULL ||
           fail(error, UNAVAILABLE,
                "the device %s may have it, or be where the disk was that has it, but is no disk of pool %s (%s); put "
                "that right, or if it is lost, take it out of the machine or of the pool's devices",
                refused->path, pool_name(pool), refused->why.message);
}

static bool check_loaded(struct pool *pool, struct error *error)
{
    char why[DISK_WHY_BYTES];
    LOCKED(pool);
    const struct disk *disk = ((struct disk_pool *)pool->own)->disks;
    while (disk != NULL && disk->loaded)
        disk = disk->next;
    if (disk == NULL)
        return true;
    disk_tell_lost(pool, disk, why);
    return fail(error, UNAVAILABLE,
                "the disk %s (volume group %s) of pool %s may have it, but could not be read yet%s; that is tried "
                "again; if it is lost, take it out of the machine and restart the driver",
                disk->device.path, disk->group.vg, pool_name(pool), why);
}

static bool is_whole(struct pool *pool, const char *id, struct error *error)
{
    if (check_named(pool, error) && check_refused(pool, id, error) && check_loaded(pool, error))
        return true;
    error->number = ENODEV;
    return false;
}

const struct pool_ops disk_pool_ops = {
    .kind = "disk",
    .option_names = option_names,
    .open = disk_open,
    .close = disk_close,
    .usable = disk_refresh,
    .scan = disk_scan,
    .is_whole = is_whole,
    .space = disk_space,
    .round = disk_round,
    .create = disk_create,
    .copy = disk_copy,
    .undo = disk_undo,
    .write = disk_write,
    .remove = disk_remove,
    .grow = disk_grow,
    .grows_in_place = true,
    .allocated = disk_allocated,
    .open_data = disk_open_data,
    .atomic = true,
    .undoes_recent_only = true,
    .reads_as_zeros = reads_as_zeros,
    .copies_at_once = copies_at_once,
    .no_snapshots = "a volume has all of its disk, so there is no room for a snapshot on it; clone the volume instead, "
                    "which copies it to another free disk",
    .open_source = disk_open_source,
    .close_source = disk_close_source,
    .attach = disk_attach,
    .detach = lvm_detach,
    .attached = lvm_attached,
    .in_use = lvm_in_use,
    .identify = lvm_identify,
    .volume_health = disk_volume_health,
    .health = disk_health,
};
