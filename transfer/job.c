#include "transfer/job.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNNING_MOST 2 /* of one pool: two already fill a disk's queue */
#define ASK_AGAIN (100 * NANOSECONDS_PER_MILLISECOND)
#define STACK_BYTES (256 * 1024)

struct job {
    struct job *next;
    char id[64];
    char pool[64];
    struct job_plan plan;
    bool at_work, ended, good;
    int waiters;
    struct error error;
    atomic_bool stop;
    atomic_int_fast64_t done, total;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job *jobs;
    bool stopping;
} all = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&all.changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void lock(void)
{
    pthread_once(&once, prepare);
    pthread_mutex_lock(&all.mutex);
}

/* Waits for a change, at most until then.  Call with the mutex. */
static void wait_until(int64_t then)
{
    struct timespec time = {.tv_sec = then / NANOSECONDS_PER_SECOND, .tv_nsec = then % NANOSECONDS_PER_SECOND};
    pthread_cond_timedwait(&all.changed, &all.mutex, &time);
}

static struct job *find(const char *id)
{
    struct job *job = all.jobs;
    while (job != NULL && strcmp(job->id, id) != 0)
        job = job->next;
    return job;
}

/* Takes an ended job that nobody waits for out of the list.  Call with the mutex. */
static void forget(struct job *job)
{
    if (!job->ended || job->waiters > 0)
        return;
    struct job **link = &all.jobs;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    free(job);
}

static bool turn_has_come(const struct job *job)
{
    int at_work = 0;
    for (const struct job *other = all.jobs; other != NULL; other = other->next)
        at_work += other->at_work && strcmp(other->pool, job->pool) == 0;
    return job->plan.at_once || at_work < RUNNING_MOST;
}

static void *run(void *argument)
{
    struct job *job = argument;
    lock();
    while (!turn_has_come(job) && !job_should_stop(job))
        wait_until(monotonic_now() + NANOSECONDS_PER_SECOND);
    job->at_work = true;
    pthread_mutex_unlock(&all.mutex);

    bool good = job->plan.run(job, job->plan.data, &job->error);
    if (!good)
        log_event(LOG_WARNING, "job failed", "volume_id", job->id, "error", job->error.message, NULL);
    job->plan.release(job->plan.data);

    lock();
    job->at_work = false;
    job->good = good;
    job->ended = true;
    pthread_cond_broadcast(&all.changed);
    forget(job);
    pthread_mutex_unlock(&all.mutex);
    return NULL;
}

static bool start_thread(struct job *job)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool good = pthread_create(&thread, &attributes, run, job) == 0;
    pthread_attr_destroy(&attributes);
    return good;
}

static bool tell_progress(const struct job *job, struct error *error)
{
    int64_t done = atomic_load(&job->done), total = atomic_load(&job->total);
    if (total == 0)
        return fail(error, ABORTED,
                    "%s is to be %s, and is waiting for its turn or for the storage (health tells if that is stuck); "
                    "ask again",
                    job->id, job->plan.what);
    int percent = (int)(100.0 * (double)done / (double)total);
    return fail(error, ABORTED, "%s is being %s: %d %% of %" PRId64 " bytes; it goes on, ask again", job->id,
                job->plan.what, percent, total);
}

/* Waits, and gives up the hold on the job.  Call with the mutex. */
static enum job_state await_held(struct job *job, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                                 struct error *error)
{
    for (int64_t now; !job->ended && (now = monotonic_now()) < deadline && !give_up(data);)
        wait_until(now + ASK_AGAIN < deadline ? now + ASK_AGAIN : deadline);
    enum job_state state = !job->ended ? JOB_RUNNING : job->good ? JOB_DONE : JOB_FAILED;
    if (state == JOB_FAILED)
        *error = job->error;
    else if (state == JOB_RUNNING)
        tell_progress(job, error);
    job->waiters--;
    forget(job);
    return state;
}

/* Enters a job that the caller holds.  Call with the mutex. */
static struct job *enter(const char *id, const struct job_plan *plan)
{
    struct job *job = all.stopping ? NULL : calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    snprintf(job->id, sizeof job->id, "%s", id);
    snprintf(job->pool, sizeof job->pool, "%s", plan->pool);
    job->plan = *plan;
    job->waiters = 1;
    if (!start_thread(job)) {
        free(job);
        return NULL;
    }
    job->next = all.jobs;
    all.jobs = job;
    return job;
}

enum job_state job_run(const char *id, const struct job_plan *plan, int64_t deadline, bool (*give_up)(const void *data),
                       const void *data, struct error *error)
{
    enum job_state state = JOB_NONE;
    lock();
    struct job *job = enter(id, plan);
    if (job != NULL)
        state = await_held(job, deadline, give_up, data, error);
    else
        fail(error, UNAVAILABLE, "cannot start the work on %s: the driver is shutting down or out of memory", id);
    pthread_mutex_unlock(&all.mutex);
    return state;
}

enum job_state job_await(const char *id, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                         struct error *error)
{
    enum job_state state = JOB_NONE;
    lock();
    struct job *job = find(id);
    if (job != NULL) {
        job->waiters++;
        state = await_held(job, deadline, give_up, data, error);
    }
    pthread_mutex_unlock(&all.mutex);
    return state;
}

bool job_cancel(const char *id, int64_t deadline, bool (*give_up)(const void *data), const void *data,
                struct error *error)
{
    lock();
    struct job *job = find(id);
    if (job != NULL)
        atomic_store(&job->stop, true);
    pthread_cond_broadcast(&all.changed);
    pthread_mutex_unlock(&all.mutex);
    return job == NULL || job_await(id, deadline, give_up, data, error) != JOB_RUNNING;
}

bool job_stop_all(int64_t deadline)
{
    lock();
    all.stopping = true;
    for (struct job *job = all.jobs; job != NULL; job = job->next)
        atomic_store(&job->stop, true);
    pthread_cond_broadcast(&all.changed);
    while (all.jobs != NULL && monotonic_now() < deadline)
        wait_until(deadline);
    bool none = all.jobs == NULL;
    pthread_mutex_unlock(&all.mutex);
    return none;
}

bool job_go_on(struct job *job, int64_t done, int64_t total)
{
    atomic_store(&job->done, done);
    atomic_store(&job->total, total);
    return !job_should_stop(job);
}

bool job_should_stop(const struct job *job)
{
    return atomic_load(&job->stop);
}
