/*
 * Child processes.  This is the only place that starts one: never a shell, default signals, no inherited descriptors
 * but the one named, a deadline, bounded output, always reaped.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct child_options {
    int64_t deadline;              /* on CLOCK_MONOTONIC in nanoseconds; past it the child's process group is killed */
    int inherit;                   /* a descriptor the child inherits (a lock that must outlive us), or -1 */
    bool keep;                     /* a kill would leave half written what it works on: child_stop_all() does not */
    bool has_subcommand;           /* argv[1] says what it does ("lvm lvcreate"): errors name both */
    size_t output_most;            /* bytes of standard output to keep; more is an error.  0: only for the error text */
    const char *const *variables;  /* "NAME=value" for the child besides our environment, ended by NULL; or NULL */
    void (*meanwhile)(void *data); /* called once while the child runs; may be NULL */
    void *data;
};

/*
 * Runs argv[0] (found in PATH) with argv, ended by NULL, and waits for it.  True only if it exited with status 0.
 *
 * `output`, if not NULL, receives its standard output, NUL-terminated; the caller frees it (NULL on failure).
 * Errors name the program and quote its own last words:
 *   FAILED_PRECONDITION  the program is not installed
 *   INTERNAL             it exited with another status or by a signal
 *   DEADLINE_EXCEEDED    it was killed at the deadline; if it could not even be killed (stuck in the kernel) it is
 *                        left to be reaped by a later call, and the message says so
 * error->number is EINTR if it did not end by itself: a signal ended it, ours or somebody else's.
 */
bool child_run(const char *const argv[], const struct child_options *options, char **output, struct error *error);

/*
 * Kills every running child and makes later child_run() fail with UNAVAILABLE: the daemon is ending.  Those to keep run
 * on, also after our end: what they inherit then still holds the lock.
 */
void child_stop_all(void);
