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

/* Now since 1970, in nanoseconds. */
static inline int64_t wall_clock_now(void)
{
    return clock_nanoseconds(CLOCK_REALTIME);
}
