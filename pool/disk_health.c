/* The disk pool: how well its disks are. */
#include "pool/disk.h"

#include "base/clock.h"

#include <stdlib.h>

#define STUCK (30 * NANOSECONDS_PER_SECOND)

/* The thread of its queue looks at the disk: one that hangs is to keep nobody else waiting. */
static bool is_well(struct pool *pool, struct disk *disk)
{
    char what[128];
    bool stuck = lvm_queue_is_stuck(disk->group.queue, STUCK, what, sizeof what);
    if (!stuck && !disk_is_lost(pool, disk) && !lvm_queue_can_read(disk->group.queue))
        disk_set_lost(pool, disk, true, "its label cannot be read");
    return !stuck && !disk_is_lost(pool, disk);
}

void disk_volume_health(struct pool *pool, const struct record *record,
                        void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct error said;
    char why[DISK_WHY_BYTES];
    pthread_mutex_lock(&pool->mutex);
    struct disk *disk = disk_of(pool, record->id);
    pthread_mutex_unlock(&pool->mutex);
    if (disk == NULL)
        return;
    if (is_well(pool, disk)) {
        lvm_volume_health(pool, record, see, data);
        return;
    }
    disk_tell_lost(pool, disk, why);
    fail(&said, INTERNAL,
         "the disk of volume %s in pool %s (volume group %s, last seen as %s) is missing or cannot be used%s; its data "
         "is there again when the disk is",
         record->id, pool_name(pool), disk->group.vg, disk->device.path, why);
    see(HEALTH_INACCESSIBLE, "DiskMissing", said.message, data);
}

struct report {
    struct pool *pool;
    void (*see)(enum health, const char *, const char *, void *);
    void *data;
};

static void see_missing(const char *path, void *data)
{
    const struct report *report = data;
    struct error said;
    fail(&said, INTERNAL, "the device %s, which is named in pool %s, is not there", path, pool_name(report->pool));
    report->see(HEALTH_DEGRADED, "DiskMissing", said.message, report->data);
}

static void report_disks(const struct report *report)
{
    struct error said;
    char why[DISK_WHY_BYTES];
    for (struct disk *disk = disk_first(report->pool); disk != NULL; disk = disk->next) {
        if (disk_tell_twice(report->pool, disk, &said))
            report->see(HEALTH_DEGRADED, "VolumeOnTwoDisks", said.message, report->data);
        if (is_well(report->pool, disk))
            continue;
        disk_tell_lost(report->pool, disk, why);
        fail(&said, INTERNAL, "a disk of pool %s (volume group %s, last seen as %s) is missing or cannot be used%s%s%s",
             pool_name(report->pool), disk->group.vg, disk->device.path, why,
             disk->group.volume[0] != '\0' ? "; it has volume " : "", disk->group.volume);
        report->see(HEALTH_DEGRADED, "DiskMissing", said.message, report->data);
    }
}

/* A copy of the list, as nobody may be called with the mutex. */
static size_t copy_refused(struct pool *pool, struct disk_refused **copies)
{
    size_t count = 0;
    *copies = NULL;
    pthread_mutex_lock(&pool->mutex);
    for (const struct disk_refused *at = ((struct disk_pool *)pool->own)->refused; at != NULL; at = at->next) {
        *copies = realloc(*copies, (count + 1) * sizeof **copies);
        if (*copies == NULL)
            abort();
        (*copies)[count++] = *at;
    }
    pthread_mutex_unlock(&pool->mutex);
    return count;
}

void disk_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct report report = {pool, see, data};
    struct disk_refused *refused;
    report_disks(&report);
    disk_rules_missing(pool, see_missing, &report);
    size_t count = copy_refused(pool, &refused);
    for (size_t i = 0; i < count; i++)
        see(HEALTH_DEGRADED, "DiskNotTaken", refused[i].why.message, data);
    free(refused);
}
