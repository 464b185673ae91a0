/*
 * Locks by key.  One operation at a time per volume: a second one is not queued but told ABORTED, as CSI wants
 * (spec.md, "Error Scheme": operation pending for volume).  Holding several keys cannot deadlock, as nobody waits, but
 * for jobs, and those only for a while.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"

#define KEYLOCK_AWAITED (60 * NANOSECONDS_PER_SECOND) /* by a job: who has the lock may wait for jobs to end */

struct keylock;

/* Takes the lock of `key`, or fails with ABORTED and a sentence that names the key.  Release with keylock_release(). */
struct keylock *keylock_acquire(const char *key, struct error *error);

/* The same for readers of something that does not change (a snapshot): several may hold it together, no one else may.
 */
struct keylock *keylock_acquire_shared(const char *key, struct error *error);

/*
 * keylock_acquire() for work that nobody would ask again soon: tries until `deadline` (CLOCK_MONOTONIC, nanoseconds) or
 * `give_up(data)`, which is asked each time and may be NULL.
 */
struct keylock *keylock_await(const char *key, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                              struct error *error);

/* Releases the lock.  Takes NULL. */
void keylock_release(struct keylock *lock);

static inline void keylock_cleanup(struct keylock **lock)
{
    keylock_release(*lock);
}

#define cleanup_keylock __attribute__((cleanup(keylock_cleanup)))
