/* What a driver that was killed, or a power cut, has left in a pool. */
#include "pool/kind.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

#define RECENT (24 * 3600 * NANOSECONDS_PER_SECOND)

/* Clocks are set back, too, but not by more than that. */
static bool is_recent(const struct record *record)
{
    int64_t age = wall_clock_now() - record->created;
    return age > -RECENT && age < RECENT;
}

/* Undoing is for what we made a moment before we were killed, and nothing else. */
static bool may_undo(struct pool *pool, const struct record *record, struct error *error)
{
    bool recent = !pool->ops->undoes_recent_only || is_recent(record);
    if (record->staged || !recent || pool->ops->in_use(pool, record))
        return fail(
            error, FAILED_PRECONDITION,
            "%s is in phase creating but is old or has been handed out; it is left alone: look at how its record came "
            "back (a restored backup of the pool?)",
            record->id);
    return true;
}

static void quarantine(struct pool *pool, const struct record *record, const struct error *why)
{
    log_event(LOG_ERROR, "left alone", "volume_id", record->id, "pool", pool_name(pool), "error", why->message, NULL);
    inventory_quarantine(pool, record->kind, record->id, why);
}

/* A copy that has come some way goes on with the retry, which comes within a day or never. */
static bool is_resumable(const struct record *record)
{
    bool begun = record->copied > 0 || record->kind == RECORD_SNAPSHOT;
    return record->copying && begun && is_recent(record);
}

/* Wiping takes long: it is marked, and snapshot_recover() sees to it. */
static void leave_to_wipe(struct pool *pool, const struct record *record)
{
    struct error error;
    struct record marked = *record;
    record_begin_removal(&marked);
    if (record->phase != PHASE_DELETING && !pool_write(pool, &marked, &error))
        log_event(LOG_WARNING, "recovery goes on with the retry", "volume_id", record->id, "error", error.message,
                  NULL);
}

static void recover_record(struct pool *pool, const struct record *record)
{
    struct error error;
    bool resumable = is_resumable(record) || record->group_id[0] != '\0'; /* by the retry; by snapshot_recover() */
    if (record->phase == PHASE_READY || (record->phase == PHASE_CREATING && resumable))
        return;
    if (record->phase == PHASE_CREATING && !may_undo(pool, record, &error)) {
        quarantine(pool, record, &error);
        return;
    }
    if (record_wants_wipe(record)) {
        leave_to_wipe(pool, record);
        return;
    }
    if (pool->ops->detach(pool, record, &error) && pool->ops->remove(pool, record, &error)) {
        log_event(LOG_INFO, record->phase == PHASE_CREATING ? "half-made volume undone" : "deletion finished",
                  "volume_id", record->id, "pool", pool_name(pool), NULL);
        inventory_drop(pool, record->kind, record->id);
    } else {
        log_event(LOG_WARNING, "recovery goes on with the retry", "volume_id", record->id, "error", error.message,
                  NULL);
    }
}

void pool_recover(struct pool *pool)
{
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        char after[ID_BYTES] = "";
        for (size_t index; (index = inventory_after(pool, kind, after)) < pool->entries[kind].count;) {
            struct record record = pool->entries[kind].sorted[index]->record;
            memcpy(after, record.id, sizeof after);
            recover_record(pool, &record);
        }
    }
}
