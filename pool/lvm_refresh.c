/* The lvm pool: what others have changed on the storage since it was read, or what became of commands of ours. */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define MUTEX_MOST 5 /* seconds */
#define LOOK_FOR_MISSING (5 * NANOSECONDS_PER_SECOND)

/* `plinth volume release` has given it its old name back (pool/import.h); CreateVolume's volumes have a digest. */
static bool is_released(const struct lvm_report *report, const struct record *record)
{
    return record->kind == RECORD_VOLUME && record->digest[0] == '\0' &&
           lvm_report_volume(report, record->name) != NULL;
}

/* What was ready and is not there any more has been removed or renamed by somebody else. */
static void miss(struct pool *pool, const struct lvm_pool *own, const struct lvm_report *report, enum record_kind kind)
{
    struct entries *entries = &pool->entries[kind];
    for (size_t i = entries->count; i-- > 0;) {
        const struct record *record = &entries->sorted[i]->record;
        struct error error;
        char id[ID_BYTES];
        if (record->phase != PHASE_READY || lvm_of(pool, record->id) != own ||
            lvm_report_volume(report, record->id) != NULL)
            continue;
        text_copy(id, sizeof id, record->id);
        if (is_released(report, record)) {
            inventory_drop(pool, kind, id);
            continue;
        }
        fail(&error, DATA_LOSS,
             "the logical volume %s/%s is gone: it was removed or renamed by hand (Plinth has not); lvs -o+tags shows "
             "what there is, vgcfgrestore may bring it back",
             own->vg, id);
        error.number = ESTALE;
        lvm_leave_alone(pool, kind, id, &error);
    }
}

/* What was wrong with a logical volume goes with it; that one is gone stays known. */
static void forget_damage(struct pool *pool, const struct lvm_pool *own, const struct lvm_report *report)
{
    for (const struct damage *damage = pool->damaged, *next; damage != NULL; damage = next) {
        char id[ID_BYTES]; /* the damage goes while its id is looked for */
        next = damage->next;
        text_copy(id, sizeof id, damage->id);
        if (damage->why.number != ESTALE && lvm_of(pool, id) == own && lvm_report_volume(report, id) == NULL)
            inventory_mend(pool, damage->kind, id);
    }
}

/* Whoever closes the pool has its mutex and waits for this thread: false if it was not to be had. */
static bool take_in(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report, bool *was_missing)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += MUTEX_MOST;
    if (pthread_mutex_clocklock(&pool->mutex, CLOCK_MONOTONIC, &until) != 0)
        return false;
    *was_missing = own->device_missing;
    lvm_see_report(pool, own, report);
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
        miss(pool, own, report, (enum record_kind)kind);
    forget_damage(pool, own, report);
    pthread_mutex_unlock(&pool->mutex);
    return true;
}

/* On the thread of the queue. */
static void compare(const char *output, void *data)
{
    struct lvm_pool *own = data;
    struct lvm_report report;
    struct error error;
    bool was_missing = false;
    if (!lvm_report_parse(output, &report, &error)) {
        log_event(LOG_ERROR, "LVM's report cannot be read", "pool", pool_name(own->pool), "error", error.message, NULL);
        lvm_queue_make_uncertain(own->queue);
        return;
    }
    if (!take_in(own->pool, own, &report, &was_missing))
        lvm_queue_make_uncertain(own->queue);
    else if (was_missing || report.partial)   /* it comes back under any name, or another was added */
        lvm_look_at_devices_of(own, &report); /* reads them: without the mutex, as one may hang */
    lvm_report_free(&report);
}

/* A disk that is missing may be back under any name, which only a command can tell. */
static bool is_to_be_looked_for(struct pool *pool, const struct lvm_pool *own)
{
    LOCKED(pool);
    return own->device_missing && monotonic_now() - own->reported > LOOK_FOR_MISSING;
}

void lvm_has_passed(struct pool *pool, struct lvm_pool *own)
{
    pthread_mutex_lock(&pool->mutex);
    bool counted = own->has_passing;
    pthread_mutex_unlock(&pool->mutex);
    if (counted)
        lvm_queue_make_uncertain(own->queue);
}

bool lvm_refresh_group(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    struct lvm_words words = {.count = 0};
    if (!lvm_queue_is_uncertain(own->queue) && !is_to_be_looked_for(pool, own))
        return true;
    lvm_report_words(own, &words);
    if (lvm_settle(pool, own, error) && lvm_run_then(own->queue, lvm_report_settings, words.argv, compare, own, error))
        return true;
    lvm_queue_make_uncertain(own->queue);
    return false;
}

bool lvm_refresh(struct pool *pool, struct error *error)
{
    return lvm_refresh_group(pool, pool->own, error);
}
