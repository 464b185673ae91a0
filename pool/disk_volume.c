/* The disk pool: volumes, each on the disk that it has or gets. */
#include "pool/disk.h"

#include "base/fault.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>

#define BEFORE_DATA (INT64_C(1) << 20) /* --dataalignment */

/* The disk of a volume, if it can be used. */
static struct disk *usable_disk(struct pool *pool, const struct record *record, struct error *error)
{
    char why[DISK_WHY_BYTES];
    pthread_mutex_lock(&pool->mutex);
    struct disk *disk = disk_of(pool, record->id);
    bool lost = disk != NULL && disk->lost;
    pthread_mutex_unlock(&pool->mutex);
    if (disk == NULL)
        fail(error, NOT_FOUND, "no disk of pool %s has volume %s", pool_name(pool), record->id);
    else if (lost) {
        disk_tell_lost(pool, disk, why);
        fail(error, UNAVAILABLE,
             "the disk of volume %s (volume group %s, last seen as %s) is missing or cannot be used%s; the volume is "
             "there again when the disk is",
             record->id, disk->group.vg, disk->device.path, why);
    }
    return lost ? NULL : disk;
}

/* --- which disk --- */

/* The smallest free disk with at least so many bytes, or NULL. */
static struct disk *choose(const struct pool *pool, int64_t bytes)
{
    struct disk *best = NULL;
    for (struct disk *disk = ((struct disk_pool *)pool->own)->disks; disk != NULL; disk = disk->next)
        if (disk_is_free(disk) && disk_usable(disk) >= bytes && (best == NULL || disk_usable(disk) < disk_usable(best)))
            best = disk;
    return best;
}

/* What a volume can have when the device is larger now than when LVM last asked. */
static int64_t present_usable(const struct disk *disk)
{
    struct disk_device now;
    int64_t extent = disk->group.extent_bytes, known = disk_usable(disk);
    if (extent == 0 || !disk_device_read(disk->device.name, &now) || now.device != disk->device.device)
        return known;
    int64_t present = (now.bytes - BEFORE_DATA) / extent * extent;
    return present > known ? present : known;
}

/* A volume has all of its disk: the one it has, if it has one, else the smallest that is large enough. */
int64_t disk_round(const struct pool *pool, const struct record *shape, int64_t bytes)
{
    pthread_mutex_lock((pthread_mutex_t *)&pool->mutex);
    const struct disk *disk = disk_of(pool, shape->id);
    if (disk == NULL || (shape->phase != PHASE_READY && disk_usable(disk) < bytes))
        disk = choose(pool, bytes);
    int64_t all = disk == NULL ? 0 : shape->phase == PHASE_READY ? present_usable(disk) : disk_usable(disk);
    pthread_mutex_unlock((pthread_mutex_t *)&pool->mutex);
    bool enough = shape->phase == PHASE_READY && bytes <= shape->bytes;
    return all >= bytes && !enough ? all : bytes; /* what is too large is refused when it is to be made */
}

/* --- volumes --- */

static bool check_shape(const struct pool *pool, const struct record *record, struct error *error)
{
    if (record->kind == RECORD_SNAPSHOT)
        return fail(error, UNIMPLEMENTED, "pool %s has no snapshots", pool_name(pool));
    return (record->thick && record->layout == LAYOUT_LINEAR) ||
           fail(error, INVALID_ARGUMENT,
                "a volume in pool %s is a whole disk: thick and linear; another provisioning or layout is for pools of "
                "kind lvm",
                pool_name(pool));
}

/* Gives the volume a disk. */
static bool reserve(struct pool *pool, const struct record *record, struct error *error)
{
    struct pool_space space;
    char asked[32], largest[32], all[32];
    pthread_mutex_lock(&pool->mutex);
    struct disk *disk = disk_of(pool, record->id);
    if (disk == NULL)
        disk = choose(pool, record->bytes);
    bool exact = disk != NULL && disk_usable(disk) == record->bytes;
    if (exact)
        text_copy(disk->group.volume, sizeof disk->group.volume, record->id);
    disk_space(pool, record, &space, error);
    pthread_mutex_unlock(&pool->mutex);
    if (exact)
        return true;
    if (disk != NULL)
        return fail(error, ABORTED, "another volume has just taken the disk in pool %s; try again", pool_name(pool));
    return fail(error, RESOURCE_EXHAUSTED,
                "pool %s on node %s has no free disk of %s: the largest free one has %s, all free ones together %s; a "
                "volume is one disk",
                pool_name(pool), pool->node, text_from_size(record->bytes, asked),
                text_from_size(space.largest, largest), text_from_size(space.available, all));
}

bool disk_create(struct pool *pool, const struct record *record, struct error *error)
{
    return check_shape(pool, record, error) && reserve(pool, record, error) && lvm_create(pool, record, error);
}

bool disk_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
               struct error *error)
{
    (void)source;
    *done = false;
    return disk_create(pool, record, error);
}

/* The disk stays reserved until it has been looked at: the command may have come far, or may still run. */
bool disk_undo(struct pool *pool, const struct record *record, struct error *error)
{
    pthread_mutex_lock(&pool->mutex);
    bool placed = disk_of(pool, record->id) != NULL;
    pthread_mutex_unlock(&pool->mutex);
    return !placed || lvm_undo(pool, record, error);
}

bool disk_write(struct pool *pool, const struct record *old, const struct record *record, struct error *error)
{
    return usable_disk(pool, record, error) != NULL && lvm_write(pool, old, record, error);
}

bool disk_remove(struct pool *pool, const struct record *record, struct error *error)
{
    struct disk *disk = usable_disk(pool, record, error);
    if (disk == NULL || !lvm_remove(pool, record, error))
        return false;
    pthread_mutex_lock(&pool->mutex);
    disk->group.volume[0] = '\0';
    pthread_mutex_unlock(&pool->mutex);
    return true;
}

static bool resize_physical(struct pool *pool, struct disk *disk, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "pvresize", "--yes", disk->device.path, NULL);
    if (!fault("pool.disk.resize.before", error) || !lvm_run(disk->group.queue, words.argv, error) ||
        !fault("pool.disk.resize.after", error))
        return false;
    lvm_queue_make_uncertain(disk->group.queue);
    return lvm_refresh_group(pool, &disk->group, error);
}

bool disk_grow(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
               struct error *error)
{
    char all[32];
    struct disk *disk = usable_disk(pool, record, error);
    if (disk == NULL)
        return false;
    int64_t most = present_usable(disk);
    if (bytes > most)
        return fail(error, OUT_OF_RANGE,
                    "volume %s has its whole disk %s of %s (%" PRId64 " bytes); it can grow only if the disk becomes "
                    "larger",
                    record->id, disk->device.path, text_from_size(most, all), most);
    if (bytes > disk_usable(disk) && !resize_physical(pool, disk, error))
        return fail_context(error, "disk %s", disk->device.path);
    return lvm_grow(pool, record, bytes, progress, error);
}

bool disk_open_data(struct pool *pool, const struct record *record, char *path, struct error *error)
{
    return usable_disk(pool, record, error) != NULL && lvm_open_data(pool, record, path, error);
}

bool disk_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error)
{
    return usable_disk(pool, record, error) != NULL && lvm_attach(pool, record, mode, attachment, error);
}

/* --- reading a source --- */

bool disk_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                      struct error *error)
{
    (void)record;
    return disk_open_data(pool, source, path, error);
}

bool disk_close_source(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    (void)record;
    return lvm_let_go(pool, source, error);
}
