/*
 * Opening pools.  Each attempt has a thread of its own, as a disk or LVM may be stuck: there is one at a time for a
 * pool, however many ask, and nobody waits for it longer than he can.
 */
#include "pool/kind.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define OPEN_MOST (15 * NANOSECONDS_PER_SECOND) /* waited for an attempt, from when it began */
#define SOON_MOST (2 * NANOSECONDS_PER_SECOND)  /* by a call that is about other pools */
#define TRY_AGAIN NANOSECONDS_PER_SECOND

/* Of what struct pool says is open.c's, in all pools; held for moments only. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER; /* an attempt has */
static void (*opened)(void *data);
static void *opened_data;

/* --- ids --- */

void pool_set_id(struct pool *pool, const char *id)
{
    pthread_mutex_lock(&mutex);
    text_copy(pool->id, sizeof pool->id, id);
    pthread_mutex_unlock(&mutex);
}

void pool_get_id(const struct pool *pool, char id[static POOL_ID_DIGITS + 1])
{
    pthread_mutex_lock(&mutex);
    text_copy(id, sizeof pool->id, pool->id);
    pthread_mutex_unlock(&mutex);
}

bool pool_has_claimed_its_id(const struct pool *pool)
{
    pthread_mutex_lock(&mutex);
    bool claimed = pool->claimed;
    pthread_mutex_unlock(&mutex);
    return claimed;
}

/*
 * Two pools with one id are copies of each other: neither can be told to be the right one.  Calls may be using the
 * other one just now, so what it has stays until the end.
 */
static bool claim_id(struct pool *pool, struct error *error)
{
    bool claimed = true;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < pools_count(pool->pools); i++) {
        struct pool *other = pools_at(pool->pools, i);
        if (other == pool || strcmp(other->id, pool->id) != 0 || (!other->claimed && !other->quarantined))
            continue;
        claimed = fail(error, FAILED_PRECONDITION,
                       "pools %s and %s have the same id %s: one is a copy of the other; neither is used until one of "
                       "them is taken out of the configuration",
                       pool_name(other), pool_name(pool), pool->id);
        other->quarantined = pool->quarantined = true;
        other->failure = pool->failure = *error;
    }
    pool->claimed = claimed;
    pthread_mutex_unlock(&mutex);
    return claimed;
}

/* --- an attempt --- */

static void close_pool(struct pool *pool)
{
    pool->ops->close(pool);
    inventory_clear(pool);
}

static bool open_pool(struct pool *pool, struct error *error)
{
    LOCKED(pool);
    pool->looked = 0;
    if (!pool->ops->open(pool, error))
        return fail_context(error, "pool %s", pool_name(pool));
    loop_load(); /* under the pool's lock: until now another driver may have bound some */
    if (!claim_id(pool, error) || !pool->ops->scan(pool, error)) {
        close_pool(pool);
        return false;
    }
    pool_recover(pool);
    log_event(LOG_INFO, "pool opened", "pool", pool_name(pool), "kind", pool_kind(pool), "id", pool->id, NULL);
    return true;
}

/* Called with the mutex.  What ran into a time limit may have left a command that cannot be killed: the next one waits
 * as long as this one lasted.  What was not found is a part of the pool, and no volume that is asked for. */
static void note_failure(struct pool *pool, const struct error *error)
{
    int64_t now = monotonic_now(), lasted = now - pool->opening;
    pool->claimed = false;
    pool->due = now + (error->code == DEADLINE_EXCEEDED && lasted > TRY_AGAIN ? lasted : TRY_AGAIN);
    if (pool->quarantined)
        return;
    pool->failure = *error;
    if (error->code == NOT_FOUND)
        pool->failure.code = UNAVAILABLE;
}

static void *attempt(void *data)
{
    struct pool *pool = data;
    struct error error;
    bool good = open_pool(pool, &error);
    if (!good)
        log_event(LOG_ERROR, "pool cannot be used", "pool", pool_name(pool), "error", error.message, NULL);
    pthread_mutex_lock(&mutex);
    pool->open = good;
    if (!good)
        note_failure(pool, &error);
    else if (opened != NULL)
        opened(opened_data);
    pool->opening = 0;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

/* Called with the mutex. */
static void begin(struct pool *pool)
{
    pthread_t thread;
    struct error error;
    pool->opening = monotonic_now();
    int number = pthread_create(&thread, NULL, attempt, pool);
    if (number == 0) {
        pthread_detach(thread);
        return;
    }
    fail_errno(&error, number, "pool %s: cannot start a thread to open it", pool_name(pool));
    note_failure(pool, &error);
    pool->opening = 0;
}

/* --- waiting for it; called with the mutex --- */

static bool is_usable(const struct pool *pool)
{
    return pool->open && !pool->quarantined;
}

static bool is_due(const struct pool *pool)
{
    return !pool->open && !pool->quarantined && pool->opening == 0 && monotonic_now() > pool->due;
}

/* True if no attempt is under way. */
static bool await(const struct pool *pool, int64_t until)
{
    struct timespec time = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
    while (pool->opening != 0)
        if (pthread_cond_clockwait(&ended, &mutex, CLOCK_MONOTONIC, &time) == ETIMEDOUT)
            return pool->opening == 0;
    return true;
}

static int64_t earlier(int64_t one, int64_t other)
{
    return one < other ? one : other;
}

static bool tell_failure(const struct pool *pool, struct error *error)
{
    if (pool->opening == 0) {
        *error = pool->failure;
        return false;
    }
    return fail(error, UNAVAILABLE,
                "pool %s is being opened, for %jd s now; try again; if that lasts, a disk or LVM is stuck: look at the "
                "kernel's log and at what \"ps\" says of lvm",
                pool_name(pool), (intmax_t)((monotonic_now() - pool->opening) / NANOSECONDS_PER_SECOND));
}

/* --- for calls --- */

static bool open_within(struct pool *pool, int64_t most, struct error *error)
{
    pthread_mutex_lock(&mutex);
    if (is_due(pool))
        begin(pool);
    await(pool, earlier(pool->opening + most, caller_deadline - ANSWER_BEFORE));
    bool usable = is_usable(pool) || tell_failure(pool, error);
    pthread_mutex_unlock(&mutex);
    return usable;
}

static bool is_up_to_date(struct pool *pool, struct error *error)
{
    return pool->ops->usable == NULL || pool->ops->usable(pool, error);
}

bool pool_usable(struct pool *pool, struct error *error)
{
    return open_within(pool, OPEN_MOST, error) && is_up_to_date(pool, error);
}

bool pool_usable_soon(struct pool *pool, struct error *error)
{
    clock_limit(SOON_MOST);
    return open_within(pool, SOON_MOST, error) && is_up_to_date(pool, error);
}

bool pool_is_open(struct pool *pool, struct error *error)
{
    pthread_mutex_lock(&mutex);
    bool open = pool->open || tell_failure(pool, error);
    pthread_mutex_unlock(&mutex);
    if (!open)
        error->code = UNAVAILABLE;
    return open;
}

bool pool_is_listed(struct pool *pool)
{
    pthread_mutex_lock(&mutex);
    bool usable = is_usable(pool);
    pthread_mutex_unlock(&mutex);
    return usable;
}

/* --- start and end --- */

void pools_when_opened(void (*act)(void *data), void *data)
{
    pthread_mutex_lock(&mutex);
    opened = act;
    opened_data = data;
    pthread_mutex_unlock(&mutex);
}

void pool_begin_open(struct pool *pool)
{
    pthread_mutex_lock(&mutex);
    begin(pool);
    pthread_mutex_unlock(&mutex);
}

bool pool_await_open(struct pool *pool, struct error *error)
{
    pthread_mutex_lock(&mutex);
    bool ends = await(pool, pool->opening + OPEN_MOST), open = pool->open;
    if (ends && !open)
        *error = pool->failure;
    pthread_mutex_unlock(&mutex);
    return open || !ends;
}

bool pool_close(struct pool *pool, int64_t until)
{
    pthread_mutex_lock(&mutex);
    bool ends = await(pool, until), open = pool->open;
    pthread_mutex_unlock(&mutex);
    if (ends && open)
        close_pool(pool);
    return ends;
}
