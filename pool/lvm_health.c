/* The lvm pool: how well it is.  From memory and from device-mapper, without a command. */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/fault.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define STUCK hasten(30 * NANOSECONDS_PER_SECOND)

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

static void mirror_health(struct pool *pool, const struct record *record, const char *uuid,
                          void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct raid_status raid;
    struct error said;
    if (!raid_of(uuid, &raid, &said))
        return;
    if (!lvm_serves(record, raid.legs)) {
        fail(&said, INTERNAL,
             "%d of %d disks of volume %s in pool %s have failed, too many for its layout: its data cannot be read "
             "until they are back and it is activated anew, when nothing uses it; else restore a snapshot",
             raid.dead, raid.devices, record->id, pool_name(pool));
        see(HEALTH_INACCESSIBLE, "MirrorFailed", said.message, data);
    } else if (raid.dead > 0) {
        fail(&said, INTERNAL,
             "%d of %d disks of volume %s in pool %s have failed; replace them, then lvconvert --repair %s/%s",
             raid.dead, raid.devices, record->id, pool_name(pool), lvm_of(pool, record->id)->vg, record->id);
        see(HEALTH_DEGRADED, "MirrorDegraded", said.message, data);
    } else if (raid.rebuilding) {
        fail(&said, INTERNAL,
             "a disk of volume %s in pool %s is being filled anew, %d %% is done; until then no other may fail",
             record->id, pool_name(pool), lvm_percent(raid.synced, raid.total));
        see(HEALTH_DEGRADED, "MirrorRebuilding", said.message, data);
    }
}

void lvm_volume_health(struct pool *pool, const struct record *record,
                       void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct device_mapper_device device;
    char uuid[DEVICE_MAPPER_UUID_BYTES], copy[ID_BYTES];
    struct error said;
    int64_t used;
    bool redundant = record->layout >= LAYOUT_RAID1,
         active = lvm_find_device(own, record->id, "", &device, uuid, &said);
    if (is_in(pool, &own->partial, record->id)) {
        bool broken = is_in(pool, &own->broken, record->id);
        fail(&said, INTERNAL, "a disk of volume %s in pool %s (volume group %s) is missing; %s", record->id,
             pool_name(pool), own->vg,
             !broken     ? "the others serve it: replace the disk, then lvconvert --repair"
             : redundant ? "those that are left are too few for its layout: its data cannot be read until it is back"
                         : "its data there cannot be read until the disk is back");
        see(broken ? HEALTH_INACCESSIBLE : HEALTH_DEGRADED, "DiskMissing", said.message, data);
    }
    if (active && redundant)
        mirror_health(pool, record, uuid, see, data);
    if (active && !record->thick && !device_mapper_thin_used(uuid, &used, &said) && said.code == FAILED_PRECONDITION)
        see(HEALTH_INACCESSIBLE, "ThinVolumeFailed", said.message, data);
    if (record->thick && lvm_has_invalid_cut(pool, record->id, copy)) {
        fail(&said, INTERNAL,
             "volume %s in pool %s is well, but what %s is copied from could not be kept beside it (a failing disk?): "
             "that copy fails and has to be made again",
             record->id, pool_name(pool), copy);
        see(HEALTH_DEGRADED, "SnapshotFailed", said.message, data);
    }
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
    if (lvm_needs_repair(&status)) {
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
    if (lvm_percent(status.data_used, status.data_bytes) >= LVM_NEARLY_FULL || status.out_of_data_space) {
        fail(&said, INTERNAL,
             "thin pool %s/%s has %" PRId64 " of %" PRId64
             " MiB of data; delete volumes, or lvextend --extents +20%%LV %s/%s",
             own->vg, own->thin_pool, status.data_used >> 20, status.data_bytes >> 20, own->vg, own->thin_pool);
        see(HEALTH_DEGRADED, "PoolNearlyFull", said.message, data);
    }
    if (lvm_percent(status.metadata_used, status.metadata_bytes) >= LVM_NEARLY_FULL) {
        fail(&said, INTERNAL,
             "thin pool %s/%s has %s its metadata: lvextend --poolmetadatasize +128m %s/%s; if the volume group has no "
             "room, give it another disk",
             own->vg, own->thin_pool, status.read_only ? "used up" : "nearly used up", own->vg, own->thin_pool);
        see(HEALTH_DEGRADED, "PoolMetadataNearlyFull", said.message, data);
    }
}

/* What is known of the volume group from its last report. */
static void group_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data)
{
    const struct lvm_pool *own = pool->own;
    char missing[LVM_REASON_BYTES] = "", many[LVM_REASON_BYTES] = "";
    struct error said;
    pthread_mutex_lock(&pool->mutex);
    if (own->device_missing)
        lvm_tell_missing(own, missing);
    if (!lvm_metadata_fit(own))
        lvm_tell_many(own, many);
    pthread_mutex_unlock(&pool->mutex);
    if (missing[0] != '\0') {
        fail(&said, INTERNAL, "pool %s: %s", pool_name(pool), missing);
        see(HEALTH_DEGRADED, "DiskMissing", said.message, data);
    }
    if (many[0] != '\0') {
        fail(&said, INTERNAL, "pool %s: %s", pool_name(pool), many);
        see(HEALTH_DEGRADED, "MetadataAreaNearlyFull", said.message, data);
    }
}

void lvm_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data)
{
    const struct lvm_pool *own = pool->own;
    struct error said;
    char what[128];
    if (lvm_queue_is_stuck(own->queue, STUCK, what, sizeof what)) {
        fail(&said, INTERNAL, "pool %s: %s; a disk or LVM is stuck, look at the kernel's log", pool_name(pool), what);
        see(HEALTH_INACCESSIBLE, "CommandStuck", said.message, data);
    }
    group_health(pool, see, data);
    if (own->thin_pool[0] != '\0')
        thin_health(pool, see, data);
}
