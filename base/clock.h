/* Time.  Deadlines are points on CLOCK_MONOTONIC in nanoseconds; times in records are on CLOCK_REALTIME. */
#pragma once

#include <stdint.h>
#include <time.h>

#define NANOSECONDS_PER_SECOND INT64_C(1000000000)
#define NANOSECONDS_PER_MILLISECOND INT64_C(1000000)
#define NO_DEADLINE INT64_MAX

static inline int64_t clock_nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

/* Now on CLOCK_MONOTONIC, in nanoseconds. */
static inline int64_t monotonic_now(void)
{
    return clock_nanoseconds(CLOCK_MONOTONIC);
}

/*
 * Until when the caller of this thread's work waits for an answer: set by rpc/ around a handler, NO_DEADLINE for jobs
 * and at start.  For work that may have to wait for others; work that has begun is not ended by it.
 */
extern _Thread_local int64_t caller_deadline;

/* So much before its deadline a caller that waits in vain is told, or he would not hear why. */
#define ANSWER_BEFORE (400 * NANOSECONDS_PER_MILLISECOND)

/*
 * After work that takes as long as it takes (formatting, zeroing): what is left to do has ten seconds, even if the
 * caller does not wait any more.  Else a retry would begin anew, and never come to an end either.
 */
static inline void clock_allow_to_finish(void)
{
    int64_t soon = monotonic_now() + 10 * NANOSECONDS_PER_SECOND;
    if (caller_deadline < soon)
        caller_deadline = soon;
}

/*
 * A deadline for a part of the work, no later than the caller's: `clock_limit(5 * NANOSECONDS_PER_SECOND);` holds to
 * the end of the block.
 */
#define clock_limit(nanoseconds) \
    const int64_t clock_limited __attribute__((cleanup(clock_set_deadline), unused)) = clock_shorten(nanoseconds)

static inline int64_t clock_shorten(int64_t nanoseconds)
{
    int64_t before = caller_deadline, most = monotonic_now() + nanoseconds;
    if (most < before)
        caller_deadline = most;
    return before;
}

static inline void clock_set_deadline(const int64_t *deadline)
{
    caller_deadline = *deadline;
}

/* Now since 1970, in nanoseconds. */
static inline int64_t wall_clock_now(void)
{
    return clock_nanoseconds(CLOCK_REALTIME);
}
