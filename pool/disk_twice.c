/*
 * The disk pool: a volume that two disks have.  A volume's id is made of its name, so when the disk of one that is
 * being made is away, the retry makes it on another disk; then the first comes back.
 */
#include "pool/disk.h"

#include "base/log.h"
#include "base/text.h"

#include <string.h>

/* What is ready may have been handed out; of two that are, the older was deleted while its disk was away. */
static bool is_better(const struct record *record, const struct record *other)
{
    bool ready = record->phase == PHASE_READY, other_ready = other->phase == PHASE_READY;
    return ready != other_ready ? ready : record->created > other->created;
}

static void leave(const struct pool *pool, struct lvm_pool *group, const char *id)
{
    if (strcmp(group->elsewhere, id) != 0)
        log_event(LOG_ERROR, "a disk has a volume that is another disk's, left alone", "pool", pool_name(pool),
                  "volume_group", group->vg, "volume_id", id, NULL);
    text_copy(group->elsewhere, sizeof group->elsewhere, id);
}

bool disk_has_it_too(struct pool *pool, struct lvm_pool *group, enum record_kind kind, const char *id,
                     const struct record *record)
{
    struct disk *disk = disk_of(pool, id);
    const struct entry *entry = inventory_find(pool, kind, id);
    if (disk == NULL ? entry == NULL : &disk->group == group)
        return false;
    bool better = record != NULL && (entry == NULL || is_better(record, &entry->record));
    if (pool->open || disk == NULL || !better) { /* it may be in use, or in the making */
        leave(pool, group, id);
        return true;
    }
    inventory_drop(pool, kind, id);
    disk->group.volume[0] = '\0';
    leave(pool, &disk->group, id);
    return false;
}

bool disk_tell_twice(struct pool *pool, const struct disk *disk, struct error *said)
{
    char id[ID_BYTES], other[DISK_PATH_BYTES] = "another disk that is gone";
    pthread_mutex_lock(&pool->mutex);
    const struct disk *home = disk_of(pool, disk->group.elsewhere);
    text_copy(id, sizeof id, disk->group.elsewhere);
    if (home != NULL)
        text_copy(other, sizeof other, home->device.path);
    pthread_mutex_unlock(&pool->mutex);
    if (id[0] == '\0')
        return false;
    fail(said, INTERNAL,
         "the disk %s of pool %s has volume %s, which is the one on %s; what is on %s was left there when it was away, "
         "and is left alone: if it may be lost, lvremove %s/%s",
         disk->device.path, pool_name(pool), id, other, disk->device.path, disk->group.vg, id);
    return true;
}
