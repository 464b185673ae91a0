/* The lvm pool: how much there is.  From memory and from device-mapper, without a command. */
#include "pool/lvm.h"

#include "pool/account.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int lvm_percent(int64_t used, int64_t total)
{
    return total <= 0 ? 0 : (int)(100.0 * (double)used / (double)total);
}

bool lvm_is_full(const struct thin_pool_status *status)
{
    return lvm_percent(status->data_used, status->data_bytes) >= LVM_NEARLY_FULL ||
           lvm_percent(status->metadata_used, status->metadata_bytes) >= LVM_NEARLY_FULL || status->read_only ||
           status->failed || status->out_of_data_space;
}

bool lvm_needs_repair(const struct thin_pool_status *status)
{
    bool no_metadata = lvm_percent(status->metadata_used, status->metadata_bytes) >= LVM_NEARLY_FULL;
    return status->failed || status->needs_check || (status->read_only && !no_metadata);
}

void lvm_tell_full(const struct lvm_pool *own, const struct thin_pool_status *status,
                   char reason[static LVM_REASON_BYTES])
{
    int data = lvm_percent(status->data_used, status->data_bytes);
    int metadata = lvm_percent(status->metadata_used, status->metadata_bytes);
    snprintf(reason, LVM_REASON_BYTES,
             lvm_needs_repair(status)
                 ? "thin pool %s/%s cannot be written, it needs repair; lvconvert --repair %s/%s mends it when nothing "
                   "uses it (data %d %%, metadata %d %% full)"
             : metadata >= LVM_NEARLY_FULL
                 ? "thin pool %s/%s is nearly full, nothing new is made in it: delete volumes, or lvextend "
                   "--poolmetadatasize +128m %s/%s (data %d %%, metadata %d %% full)"
                 : "thin pool %s/%s is nearly full, nothing new is made in it: delete volumes, or lvextend --extents "
                   "+20%%LV %s/%s (data %d %%, metadata %d %% full)",
             own->vg, own->thin_pool, own->vg, own->thin_pool, data, metadata);
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
bool lvm_metadata_fit(const struct lvm_pool *own)
{
    return own->metadata_bytes == 0 || own->metadata_free_bytes > own->metadata_bytes / 2 / 5;
}

static int64_t promised_thin(const struct pool *pool)
{
    int64_t promised = ((const struct lvm_pool *)pool->own)->promised_to_others;
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
        for (size_t i = 0; i < pool->entries[kind].count; i++)
            if (!pool->entries[kind].sorted[i]->record.thick &&
                __builtin_add_overflow(promised, pool->entries[kind].sorted[i]->promised, &promised))
                return INT64_MAX;
    return promised;
}

bool lvm_measure(struct pool *pool, struct error *error)
{
    struct lvm_pool *own = pool->own;
    struct thin_pool_status status = {.data_bytes = 0};
    struct error failure = {.code = OK};
    if (own->thin_pool[0] != '\0' && !lvm_thin_status(own, &status, &failure))
        fail_context(&failure, "thin pool %s/%s", own->vg, own->thin_pool);
    (void)error; /* thick volumes need none of it */
    LOCKED(pool);
    own->thin = status;
    own->thin_failure = failure;
    return true;
}

static bool thin_space(struct pool *pool, struct pool_space *space, struct error *error)
{
    const struct lvm_pool *own = pool->own;
    const struct thin_pool_status *thin = &own->thin;
    if (own->thin_failure.code != OK) {
        *error = own->thin_failure;
        return false;
    }
    int64_t usable = thin->data_bytes - account_reserve(pool, thin->data_bytes);
    *space = (struct pool_space){.total = thin->data_bytes, .provisioned = promised_thin(pool)};
    if (lvm_is_full(thin))
        lvm_tell_full(own, thin, space->reason);
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

/* --- why nothing new can be made --- */

void lvm_tell_missing(const struct lvm_pool *own, char reason[static LVM_REASON_BYTES])
{
    snprintf(reason, LVM_REASON_BYTES,
             "a disk of volume group %s is missing (vgs -o+devices tells which), and LVM makes nothing new until it is "
             "back; if it is: vgextend --restoremissing %s DISK",
             own->vg, own->vg);
}

void lvm_tell_many(const struct lvm_pool *own, char reason[static LVM_REASON_BYTES])
{
    snprintf(reason, LVM_REASON_BYTES,
             "volume group %s has nearly as many logical volumes as its metadata area can hold (%" PRId64
             " KiB are left of it): delete volumes or snapshots, or give the pool another volume group",
             own->vg, own->metadata_free_bytes >> 10);
}

bool lvm_has_room_for_metadata(struct pool *pool, const struct lvm_pool *own, struct error *error)
{
    char reason[LVM_REASON_BYTES];
    LOCKED(pool);
    if (lvm_metadata_fit(own))
        return true;
    lvm_tell_many(own, reason);
    return fail(error, RESOURCE_EXHAUSTED, "%s", reason);
}

bool lvm_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error)
{
    const struct lvm_pool *own = pool->own;
    bool thin = !shape->thick && own->thin_pool[0] != '\0';
    if (thin && !thin_space(pool, space, error))
        return false;
    if (!thin)
        thick_space(pool, shape, space);
    if (own->device_missing)
        lvm_tell_missing(own, space->reason);
    else if (!lvm_metadata_fit(own))
        lvm_tell_many(own, space->reason);
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
