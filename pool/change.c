/* Pools: making, changing and removing volumes and snapshots, and the room they are promised. */
#include "pool/kind.h"

#include "base/log.h"
#include "base/text.h"
#include "pool/account.h"

#include <stdio.h>
#include <string.h>

/* --- space --- */

/* Before the mutex is taken for space(). */
static bool measure(struct pool *pool, struct error *error)
{
    return pool_usable(pool, error) && (pool->ops->measure == NULL || pool->ops->measure(pool, error));
}

bool pool_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error)
{
    struct record standard = {.thick = pool->thick};
    if (!measure(pool, error))
        return false;
    LOCKED(pool);
    return pool->ops->space(pool, shape != NULL ? shape : &standard, space, error);
}

static bool check_room(struct pool *pool, const struct record *shape, int64_t bytes, struct error *error)
{
    struct pool_space space;
    char asked[32], left[32], promised[32];
    if (!pool->ops->space(pool, shape, &space, error))
        return false;
    if (bytes > space.available && space.reason[0] != '\0')
        return fail(error, RESOURCE_EXHAUSTED, "pool %s on node %s: %s", pool_name(pool), pool->node, space.reason);
    return bytes <= space.available ||
           fail(error, RESOURCE_EXHAUSTED,
                "pool %s on node %s has %s left (%s promised to volumes and snapshots), not %s; free some or give the "
                "pool more space",
                pool_name(pool), pool->node, text_from_size(space.available, left),
                text_from_size(space.provisioned, promised), text_from_size(bytes, asked));
}

/* --- making and changing; callers hold the lock of the id --- */

/* Takes the room for a new volume or snapshot and enters it, in one step, so that the pool is never promised twice. */
static bool enter(struct pool *pool, const struct record *record, int64_t promised, struct error *error)
{
    LOCKED(pool);
    if (inventory_find(pool, record->kind, record->id) != NULL)
        return fail(error, ALREADY_EXISTS, "%s is in pool %s already", record->id, pool_name(pool));
    const struct damage *damage = inventory_find_damage(pool, record->kind, record->id);
    if (damage != NULL) {
        *error = damage->why;
        return false;
    }
    if (!check_room(pool, record, promised, error))
        return false;
    struct record entered = *record;
    entered.phase = PHASE_CREATING; /* nobody is to find it before it is there */
    inventory_add(pool, &entered, promised);
    return true;
}

/* It is on the storage now. */
static bool entered(struct pool *pool, const struct record *record)
{
    LOCKED(pool);
    struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (entry != NULL)
        entry->record = *record;
    return true;
}

static void leave(struct pool *pool, const struct record *record)
{
    LOCKED(pool);
    inventory_drop(pool, record->kind, record->id);
}

/* After a step of making failed: what is there goes again, and if even that fails it is left for the next start. */
static bool undo(struct pool *pool, const struct record *record, const struct error *error)
{
    struct error second;
    if (pool->ops->undo(pool, record, &second))
        leave(pool, record);
    else
        log_event(LOG_WARNING, "half-made volume left behind for the next start", "volume_id", record->id, "pool",
                  pool_name(pool), "error", second.message, "after", error->message, NULL);
    return false;
}

bool pool_create(struct pool *pool, const struct record *record, struct error *error)
{
    if (!measure(pool, error) || !enter(pool, record, record->bytes, error))
        return false;
    return (pool->ops->create(pool, record, error) && entered(pool, record)) || undo(pool, record, error);
}

/* A volume is promised its size; a snapshot, what its bytes (or its source's, while it is made) occupy. */
static int64_t promise(struct pool *pool, const struct record *record, const struct record *bytes_of)
{
    struct error ignored;
    int64_t allocated;
    if (record->kind == RECORD_VOLUME || !pool->ops->allocated(pool, bytes_of, &allocated, &ignored))
        return record->bytes;
    return allocated < record->bytes ? allocated : record->bytes;
}

bool pool_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
               struct error *error)
{
    if (!measure(pool, error) || !enter(pool, record, promise(pool, record, source), error))
        return false;
    return (pool->ops->copy(pool, source, record, done, error) && entered(pool, record)) || undo(pool, record, error);
}

/* True if an earlier attempt to delete it has marked it already. */
static bool is_marked(struct pool *pool, const struct record *record)
{
    LOCKED(pool);
    const struct entry *entry = inventory_find(pool, record->kind, record->id);
    return entry != NULL && entry->record.phase == PHASE_DELETING && entry->record.copied == record->copied;
}

static bool write_to_storage(struct pool *pool, const struct record *record, struct error *error)
{
    struct record old;
    pthread_mutex_lock(&pool->mutex);
    const struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (entry != NULL)
        old = entry->record;
    pthread_mutex_unlock(&pool->mutex);
    if (entry == NULL)
        return fail(error, INTERNAL, "%s is not in the inventory of pool %s", record->id, pool_name(pool));
    return pool->ops->write(pool, &old, record, error);
}

bool pool_write(struct pool *pool, const struct record *record, struct error *error)
{
    if (record->phase == PHASE_DELETING && is_marked(pool, record))
        return true;
    if (!write_to_storage(pool, record, error))
        return false;
    struct error ignored;
    int64_t promised = promise(pool, record, record), occupied;
    bool told = record->phase == PHASE_READY && pool->ops->allocated(pool, record, &occupied, &ignored);
    LOCKED(pool);
    struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (entry == NULL)
        return fail(error, INTERNAL, "%s is not in the inventory of pool %s", record->id, pool_name(pool));
    bool became_ready = entry->record.phase != PHASE_READY && record->phase == PHASE_READY;
    entry->record = *record;
    if (record->phase == PHASE_DELETING) /* it is promised until it is gone */
        return true;
    pool->promised += promised - entry->promised;
    entry->promised = promised;
    if (became_ready && told)
        account_occupied(pool, entry, occupied);
    return true;
}

void pool_settle(struct pool *pool, struct record *record)
{
    struct error ignored;
    record->settled = pool->ops->settle != NULL && pool->ops->settle(pool, record, &ignored);
}

bool pool_sync(struct pool *pool, const struct record *record, struct error *error)
{
    return pool->ops->sync == NULL || pool->ops->sync(pool, record, error);
}

bool pool_remove(struct pool *pool, const struct record *record, struct error *error)
{
    if (record->phase == PHASE_READY)
        return fail(error, FAILED_PRECONDITION, "%s is in use and not marked for deletion; it is not removed",
                    record->id);
    if (!pool->ops->remove(pool, record, error))
        return false;
    leave(pool, record);
    return true;
}

static bool take_room(struct pool *pool, const struct record *record, int64_t more, struct error *error)
{
    LOCKED(pool);
    struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (entry == NULL || (!pool->ops->grows_in_place && !check_room(pool, record, more, error)))
        return entry != NULL ? false : fail(error, NOT_FOUND, "%s is not in pool %s", record->id, pool_name(pool));
    entry->promised += more;
    pool->promised += more;
    return true;
}

static void give_room_back(struct pool *pool, const struct record *record, int64_t more)
{
    LOCKED(pool);
    struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (entry == NULL)
        return;
    entry->promised -= more;
    pool->promised -= more;
}

bool pool_grow(struct pool *pool, struct record *record, int64_t bytes, const struct progress *progress,
               struct error *error)
{
    int64_t more = bytes - record->bytes;
    if (!measure(pool, error) || !take_room(pool, record, more, error))
        return false;
    bool good = pool->ops->grow(pool, record, bytes, progress, error);
    struct record grown = *record;
    grown.bytes = bytes;
    if (good && pool_write(pool, &grown, error)) {
        *record = grown;
        return true;
    }
    give_room_back(pool, record, more);
    return false;
}
