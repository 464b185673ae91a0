/* The lvm pool: how much there is, and how well it is.  From memory and from device-mapper, without a command. */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/text.h"
#include "pool/account.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define STUCK (30 * NANOSECONDS_PER_SECOND)
#define NEARLY_FULL 95 /* percent: then nothing new is made */

int lvm_percent(int64_t used, int64_t total)
{
    return total <= 0 ? 0 : (int)(100.0 * (double)used / (double)total);
}

bool lvm_is_full(const struct thin_pool_status *status)
{
    return lvm_percent(status->data_used, status->data_bytes) >= NEARLY_FULL ||
           lvm_percent(status->metadata_used, status->metadata_bytes) >= NEARLY_FULL || status->read_only ||
           status->failed || status->out_of_data_space;
}

void lvm_tell_full(const struct lvm_pool *own, const struct thin_pool_status *status,
                   char reason[static sizeof((struct pool_space *)0)->reason])
{
    bool broken = status->failed || status->needs_check || status->read_only;
    snprintf(reason, sizeof((struct pool_space *)0)->reason,
             broken
                 ? "thin pool %s/%s %s; lvconvert --repair %s/%s mends it when nothing uses it (data %d %%, metadata "
                   "%d %% full)"
                 : "thin pool %s/%s %s: delete volumes, or lvextend %s/%s (data %d %%, metadata %d %% full)",
             own->vg, own->thin_pool,
             broken ? "cannot be written, it needs repair" : "is nearly full, nothing new is made in it", own->vg,
             own->thin_pool, lvm_percent(status->data_used, status->data_bytes),
             lvm_percent(status->metadata_used, status->metadata_bytes));
}

bool lvm_thin_status(const struct lvm_pool *own, struct thin_pool_status *status, struct error *error)
{
    static const char *const layers[] = {"tpool", ""}; /* without thin volumes LVM makes it without the layer */
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        device_mapper_uuid(uuid, own->vg_uuid, own->thin_pool_uuid, layers[i]);
        if (device_mapper_thin_pool(uuid, status, error))
            return true;
        if (error->code != NOT_FOUND)
            return false;
    }
    return fail(error, UNAVAILABLE,
                "thin pool %s/%s is not active, or was removed: look with lvs -a %s, activate it with lvchange -ay -K "
                "%s/%s",
                own->vg, own->thin_pool, own->vg, own->vg, own->thin_pool);
}

/* The metadata area of the volume group is the ceiling of the number of volumes. */
static bool has_room_for_metadata(const struct lvm_pool *own)
{
    return own->metadata_bytes == 0 || own->metadata_free_bytes > own->metadata_bytes / 2 / 5;
}

static int64_t promised_thin(const struct pool *pool)
{
    int64_t promised = 0;
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
        for (size_t i = 0; i < pool->entries[kind].count; i++)
            if (!pool->entries[kind].sorted[i]->record.thick)
                promised += pool->entries[kind].sorted[i]->promised;
    return promised;
}

static bool thin_space(struct pool *pool, struct pool_space *space, struct error *error)
{
    struct lvm_pool *own = pool->own;
    struct thin_pool_status status;
    if (!lvm_thin_status(own, &status, error))
        return fail_context(error, "thin pool %s/%s", own->vg, own->thin_pool);
    int64_t usable = status.data_bytes - account_reserve(pool, status.data_bytes);
    *space = (struct pool_space){.total = status.data_bytes, .provisioned = promised_thin(pool)};
    if (lvm_is_full(&status))
        lvm_tell_full(own, &status, space->reason);
    else
        space->available = account_times(pool->overprovision, usable) - space->provisioned;
    return true;
}

static void thick_space(const struct pool *pool, const struct record *shape, struct pool_space *space)
{
    const struct lvm_pool *own = pool->own;
    int64_t kept = account_reserve(pool, own->extents * own->extent_bytes) / own->extent_bytes;
    *space = (struct pool_space){.total = own->extents * own->extent_bytes,
                                 .provisioned = (own->extents - own->free_extents) * own->extent_bytes,
                                 .available = lvm_usable(own, shape, own->free_extents - kept)};
}

bool lvm_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error)
{
    const struct lvm_pool *own = pool->own;
    bool thin = !shape->thick && own->thin_pool[0] != '\0';
    if (thin && !thin_space(pool, space, error))
        return false;
    if (!thin)
        thick_space(pool, shape, space);
    if (!has_room_for_metadata(own))
        snprintf(space->reason, sizeof space->reason, "the metadata area of volume group %s is nearly full", own->vg);
    if (space->available < 0 || space->reason[0] != '\0')
        space->available = 0;
    space->available = space->available / own->extent_bytes * own->extent_bytes;
    space->largest = space->available;
    return true;
}

int64_t lvm_round(const struct pool *pool, const struct record *shape, int64_t bytes)
{
    const struct lvm_pool *own = pool->own;
    int64_t extent = own != NULL && own->extent_bytes > 0 ? own->extent_bytes : 4 << 20;
    if (shape->thick)
        extent *= lvm_stripes(shape);
    return bytes > INT64_MAX - extent ? bytes / extent * extent : (bytes + extent - 1) / extent * extent;
}

bool lvm_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error)
{
    struct device_mapper_device device;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    *bytes = record->bytes;
    return record->thick || (lvm_find_device(lvm_of(pool, record->id), record->id, "", &device, uuid, error) &&
                             device_mapper_thin_used(uuid, bytes, error));
}

/* --- health --- */

static bool is_in(struct pool *pool, const struct id_set *set, const char *id)
{
    pthread_mutex_lock(&pool->mutex);
    bool found = id_set_has(set, id);
    pthread_mutex_unlock(&pool->mutex);
    return found;
}

/* While it has a cut the mirrors are beneath that. */
static bool raid_of(const char *uuid, struct raid_status *raid, struct error *error)
{
    char beneath[DEVICE_MAPPER_UUID_BYTES];
    snprintf(beneath, sizeof beneath, "%.*s-real", (int)(sizeof beneath - sizeof "-real"), uuid);
    return device_mapper_raid(uuid, raid, error) || device_mapper_raid(beneath, raid, error);
}

void lvm_volume_health(struct pool *pool, const struct record *record,
                       void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct device_mapper_device device;
    struct raid_status raid;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    struct error said;
    int64_t used;
    bool redundant = record->layout >= LAYOUT_RAID1,
         active = lvm_find_device(own, record->id, "", &device, uuid, &said);
    if (is_in(pool, &own->partial, record->id)) {
        fail(&said, INTERNAL, "a disk of volume %s in pool %s (volume group %s) is missing; %s", record->id,
             pool_name(pool), own->vg,
             redundant ? "the others serve it: replace the disk, then lvconvert --repair"
                       : "its data there cannot be read until the disk is back");
        see(redundant ? HEALTH_DEGRADED : HEALTH_INACCESSIBLE, "DiskMissing", said.message, data);
    }
    if (active && redundant && raid_of(uuid, &raid, &said) && raid.dead > 0) {
        fail(&said, INTERNAL,
             "%d of %d disks of volume %s in pool %s have failed; replace them, then lvconvert --repair", raid.dead,
             raid.devices, record->id, pool_name(pool));
        see(HEALTH_DEGRADED, "MirrorDegraded", said.message, data);
    }
    if (active && !record->thick && !device_mapper_thin_used(uuid, &used, &said) && said.code == FAILED_PRECONDITION)
        see(HEALTH_INACCESSIBLE, "ThinVolumeFailed", said.message, data);
    if (is_in(pool, &own->lost, record->id)) {
        lvm_tell_lost(own, record->id, &said);
        see(HEALTH_INACCESSIBLE, "ThinVolumeLost", said.message, data);
    }
}

static void thin_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct lvm_pool *own = pool->own;
    struct thin_pool_status status;
    struct error said;
    if (!lvm_thin_status(own, &status, &said)) {
        see(HEALTH_INACCESSIBLE, "ThinPoolInactive", said.message, data);
        return;
    }
    if (status.failed || status.needs_check || status.read_only) {
        fail(&said, INTERNAL,
             "thin pool %s/%s is %s: stop what uses its volumes, lvchange -an them and the pool, then lvconvert "
             "--repair "
             "%s/%s; volumes can be read meanwhile unless it has failed",
             own->vg, own->thin_pool,
             status.failed        ? "failed"
             : status.needs_check ? "in need of repair"
                                  : "read-only",
             own->vg, own->thin_pool);
        see(status.failed ? HEALTH_INACCESSIBLE : HEALTH_DEGRADED, "ThinPoolNeedsRepair", said.message, data);
    }
    if (lvm_percent(status.data_used, status.data_bytes) >= NEARLY_FULL || status.out_of_data_space) {
        fail(&said, INTERNAL, "thin pool %s/%s has %" PRId64 " of %" PRId64 " MiB of data; lvextend it or free volumes",
             own->vg, own->thin_pool, status.data_used >> 20, status.data_bytes >> 20);
        see(HEALTH_DEGRADED, "PoolNearlyFull", said.message, data);
    }
    if (lvm_percent(status.metadata_used, status.metadata_bytes) >= NEARLY_FULL) {
        fail(&said, INTERNAL, "thin pool %s/%s has nearly used up its metadata; lvextend --poolmetadatasize it",
             own->vg, own->thin_pool);
        see(HEALTH_DEGRADED, "PoolMetadataNearlyFull", said.message, data);
    }
}

void lvm_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct lvm_pool *own = pool->own;
    struct error said;
    char what[128];
    pthread_mutex_lock(&pool->mutex);
    bool missing = own->device_missing, has_room = has_room_for_metadata(own);
    pthread_mutex_unlock(&pool->mutex);
    if (lvm_queue_is_stuck(own->queue, STUCK, what, sizeof what)) {
        fail(&said, INTERNAL, "pool %s: %s; a disk or LVM is stuck, look at the kernel's log", pool_name(pool), what);
        see(HEALTH_INACCESSIBLE, "CommandStuck", said.message, data);
    }
    if (missing) {
        fail(&said, INTERNAL, "a disk of volume group %s is missing (vgs -o+devices tells); nothing new can be made",
             own->vg);
        see(HEALTH_DEGRADED, "DiskMissing", said.message, data);
    }
    if (!has_room) {
        fail(&said, INTERNAL, "the metadata area of volume group %s is nearly full; no more volumes can be made in it",
             own->vg);
        see(HEALTH_DEGRADED, "MetadataAreaNearlyFull", said.message, data);
    }
    if (own->thin_pool[0] != '\0')
        thin_health(pool, see, data);
}
