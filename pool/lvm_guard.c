/*
 * The lvm pool: a thin pool that fills up is grown while there is time.  Nobody else does it: dmeventd is not asked
 * for (docs/lvm.md).  Asks device-mapper every few seconds, which costs microseconds; a command only to grow.
 */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define EVERY (5 * NANOSECONDS_PER_SECOND)
#define FILLING 80 /* percent */
#define STEP 5     /* it grows by one part of so many */

/* The next size of something that has `bytes`; 0 if the volume group has nothing left for it. */
static int64_t next_size(struct pool *pool, int64_t bytes)
{
    struct lvm_pool *own = pool->own;
    int64_t extent = own->extent_bytes, step = (bytes / STEP + extent - 1) / extent;
    int64_t most;
    if (pthread_mutex_trylock(&pool->mutex) != 0) /* whoever closes the pool has it and waits for us */
        return 0;
    most = own->free_extents;
    pthread_mutex_unlock(&pool->mutex);
    if (step > most)
        step = most;
    return step <= 0 ? 0 : bytes + step * extent;
}

static void grow(struct pool *pool, const char *what, const char *option, int64_t bytes)
{
    struct lvm_pool *own = pool->own;
    struct lvm_words words = {.count = 0};
    struct error error;
    char percent[32];
    int64_t size = next_size(pool, bytes);
    if (size == 0)
        return; /* from 95 percent on health says so */
    lvm_words(&words, "lvextend", option, lvm_bytes(&words, size), lvm_full_name(&words, own, own->thin_pool, ""),
              NULL);
    snprintf(percent, sizeof percent, "%d%%", FILLING);
    if (!fault("pool.lvm.guard.before", &error) || !lvm_run(own->queue, words.argv, &error) ||
        !fault("pool.lvm.guard.after", &error)) {
        if (!own->guard.told)
            log_event(LOG_ERROR, "a thin pool that fills up could not be grown; this is tried on", "pool",
                      pool_name(pool), "part", what, "error", error.message, NULL);
        own->guard.told = true;
        return;
    }
    own->guard.told = false;
    lvm_queue_make_uncertain(own->queue); /* the inventory's numbers are older now */
    log_event(LOG_INFO, "a thin pool that filled up has been grown", "pool", pool_name(pool), "part", what, "above",
              percent, NULL);
}

static void look(struct pool *pool)
{
    struct thin_pool_status status;
    struct error ignored;
    if (!lvm_thin_status(pool->own, &status, &ignored) || lvm_needs_repair(&status))
        return;
    if (lvm_percent(status.metadata_used, status.metadata_bytes) >= FILLING)
        grow(pool, "metadata", "--poolmetadatasize", status.metadata_bytes);
    if (lvm_percent(status.data_used, status.data_bytes) >= FILLING)
        grow(pool, "data", "--size", status.data_bytes);
}

static void *watch(void *data)
{
    struct pool *pool = data;
    struct lvm_guard *guard = &((struct lvm_pool *)pool->own)->guard;
    pthread_mutex_lock(&guard->mutex);
    while (!guard->ending) {
        int64_t until = monotonic_now() + EVERY;
        struct timespec time = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
        pthread_cond_timedwait(&guard->end, &guard->mutex, &time);
        if (guard->ending)
            break;
        pthread_mutex_unlock(&guard->mutex);
        look(pool);
        pthread_mutex_lock(&guard->mutex);
    }
    pthread_mutex_unlock(&guard->mutex);
    return NULL;
}

bool lvm_guard_start(struct pool *pool, struct error *error)
{
    struct lvm_guard *guard = &((struct lvm_pool *)pool->own)->guard;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&guard->mutex, NULL);
    pthread_cond_init(&guard->end, &attributes);
    pthread_condattr_destroy(&attributes);
    int number = pthread_create(&guard->thread, NULL, watch, pool);
    guard->running = number == 0;
    return guard->running || fail_errno(error, number, "cannot start the guard of thin pool %s", pool_name(pool));
}

void lvm_guard_stop(struct lvm_pool *own)
{
    struct lvm_guard *guard = &own->guard;
    if (!guard->running)
        return;
    pthread_mutex_lock(&guard->mutex);
    guard->ending = true;
    pthread_cond_signal(&guard->end);
    pthread_mutex_unlock(&guard->mutex);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->end);
    pthread_mutex_destroy(&guard->mutex);
    guard->running = false;
}
