/* The disk pool: when to look for disks again, without asking LVM or a disk. */
#include "pool/disk.h"

#include "base/clock.h"

#include <stdlib.h>

#define SIGNATURE_EVERY NANOSECONDS_PER_SECOND /* from sysfs, which costs little */
#define LOST_EVERY (5 * NANOSECONDS_PER_SECOND)
#define LOOK_EVERY (60 * NANOSECONDS_PER_SECOND) /* also without a sign: what is in use now may be free then */

static uint64_t add(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(1099511628211); /* FNV-1a */
}

/* Who is in use now would be disturbed by being asked every second. */
static void note_idle(struct disk_pool *own, const struct disk_device *devices, size_t count)
{
    free(own->idle);
    own->idle = calloc(count + 1, sizeof *own->idle);
    own->idle_count = 0;
    if (own->idle == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        if (!disk_device_is_busy(&devices[i]))
            own->idle[own->idle_count++] = devices[i].device;
}

static bool was_idle(const struct disk_pool *own, dev_t device)
{
    for (size_t i = 0; i < own->idle_count; i++)
        if (own->idle[i] == device)
            return true;
    return false;
}

/* A disk of ours is watched by the queue of its group. */
static bool is_a_disk_of_ours(const struct disk_pool *own, dev_t device)
{
    const struct disk *disk = own->disks;
    while (disk != NULL && (disk->lost || disk->device.device != device))
        disk = disk->next;
    return disk != NULL;
}

/*
 * What there is, as one number.  Whoever makes a device ours, or empty, writes to it, so the number of writes is in it:
 * but not of what is written to all the time.
 */
static uint64_t make_signature(const struct disk_pool *own, const struct disk_device *devices, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        const struct disk_device *device = &devices[i];
        uint64_t one = add(add(add(1, device->device), (uint64_t)device->bytes), device->read_only);
        if (!is_a_disk_of_ours(own, device->device) && was_idle(own, device->device))
            one = add(one, device->writes + 1);
        sum += one; /* in any order */
    }
    return sum;
}

static bool has_lost(const struct disk_pool *own)
{
    const struct disk *disk = own->disks;
    const struct disk_refused *refused = own->refused;
    while (disk != NULL && !disk->lost)
        disk = disk->next;
    while (refused != NULL && !refused->doubtful)
        refused = refused->next;
    return disk != NULL || refused != NULL;
}

bool disk_watch_is_due(struct pool *pool)
{
    struct disk_pool *own = pool->own;
    int64_t since = monotonic_now() - own->looked;
    if (since > LOOK_EVERY || (since > LOST_EVERY && has_lost(own)))
        return true;
    if (monotonic_now() - own->checked < SIGNATURE_EVERY)
        return false;
    size_t count;
    struct disk_device *devices = disk_rules_candidates(pool, &count);
    bool changed = make_signature(own, devices, count) != own->signature;
    free(devices);
    own->checked = monotonic_now();
    return changed;
}

void disk_watch_remember(struct pool *pool)
{
    size_t count;
    struct disk_pool *own = pool->own;
    struct disk_device *devices = disk_rules_candidates(pool, &count);
    note_idle(own, devices, count);
    own->signature = make_signature(own, devices, count);
    own->looked = own->checked = monotonic_now();
    free(devices);
}
