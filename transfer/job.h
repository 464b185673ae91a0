/*
 * Jobs: work that may take longer than a call, one for each volume or snapshot it makes.  A job runs on a thread of its
 * own; at most two of a pool run at a time, the others wait their turn, but for those that hold up others.  A call that
 * waits for a job can go away; the job goes on.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct job;

struct job_plan {
    const char *pool; /* its name, for the limit */
    const char *what; /* is done to the volume or snapshot: "copied"; for who asks how far it is */
    bool at_once;     /* it does not wait its turn, as something is frozen until it has ended */

    /* The work.  Looks at job_should_stop() now and then. */
    bool (*run)(struct job *job, void *data, struct error *error);

    /* Frees `data` and the locks in it, when the job has ended. */
    void (*release)(void *data);
    void *data;
};

enum job_state {
    JOB_NONE,    /* there is no job for that id; or it could not be started: `data` is still the caller's */
    JOB_RUNNING, /* still; the message says how far it is */
    JOB_DONE,
    JOB_FAILED, /* with the job's error */
};

/* Starts a job for the volume or snapshot `id` and waits for it as job_await() does. */
enum job_state job_run(const char *id, const struct job_plan *plan, int64_t deadline, bool (*give_up)(const void *data),
                       const void *data, struct error *error);

/*
 * Waits for the job of `id` until it ends, `deadline` (CLOCK_MONOTONIC, nanoseconds) or `give_up(data)`, which is asked
 * ten times a second.  With JOB_RUNNING the error is ABORTED and tells the progress; with JOB_FAILED it is the job's.
 */
enum job_state job_await(const char *id, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                         struct error *error);

/* Tells the job of `id`, if there is one, to stop, and waits as job_await() does.  ABORTED if it has not ended then. */
bool job_cancel(const char *id, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                struct error *error);

/* Tells all jobs to stop and waits for them until the deadline.  True if none is left.  No new ones start. */
bool job_stop_all(int64_t deadline);

/* --- for the work --- */

/* Notes how far it is, in bytes, for who asks.  False: it is to stop. */
bool job_go_on(struct job *job, int64_t done, int64_t total);
bool job_should_stop(const struct job *job);
