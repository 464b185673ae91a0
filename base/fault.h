/*
 * Fault points.  Every step that changes the disk, a mount or a device passes one: `if (!fault("pool.file.x", error))
 * return false;`.  In release builds it is `true`.  Builds with FAULTS=1 read PLINTH_FAULT=point=action[:n[+]], where
 * the action, taken at the n-th pass (1), with "+" after n also at all later ones, is one of
 *     kill        SIGKILL to this process
 *     fail        an INTERNAL error that names the point
 *     nospace     the error of a full disk
 *     sleep       waits ten seconds
 * PLINTH_FAULT_TRACE=file appends the name of each point that is passed, a line each,
 * and `plinth faults` lists every point of the program.
 *
 * A limit that nobody wants to wait for in a test is written as hasten(nanoseconds): PLINTH_HASTE=n makes all of them n
 * times as short.
 */
#pragma once

#include "base/error.h"

#include <stdint.h>

#ifdef PLINTH_FAULTS

#include <stddef.h>

struct fault_point {
    const char *name;
};

bool fault_pass(const struct fault_point *point, struct error *error);

/* All points of the program, in link order. */
const struct fault_point *fault_points(size_t *count);

int64_t hasten(int64_t nanoseconds);

#define fault(point_name, error)                                                                                  \
    ({                                                                                                            \
        static const struct fault_point fault_here __attribute__((section("fault_points"), used)) = {point_name}; \
        fault_pass(&fault_here, (error));                                                                         \
    })

#else

#define fault(point_name, error) ((void)(error), true)
#define hasten(nanoseconds) (nanoseconds)

#endif
