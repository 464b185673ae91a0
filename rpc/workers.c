#include "rpc/workers.h"

#include "base/clock.h"
#include "rpc/library.h"

#include <malloc.h>
#include <stdlib.h>

#define IDLE_SECONDS 5
#define WAITING_MOST 64

struct worker {
    struct lane *lane;
    struct worker *next; /* in lane->idle */
    struct task *task;   /* what it shall do next */
    pthread_cond_t wake;
};

struct lane {
    pthread_mutex_t mutex;
    pthread_cond_t empty;       /* no thread is left */
    struct worker *idle;        /* the latest first: it is warm, and the others get to their end */
    struct task *first, **last; /* queued */
    unsigned most, busy, waiting, threads;
    bool ending;
    bool left; /* a thread has ended and is to be joined by the next that does */
    pthread_t leaver;
};

static void *work(void *argument);

static void init_monotonic(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct lane *lane_create(unsigned most)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return NULL;
    pthread_mutex_init(&lane->mutex, NULL);
    pthread_cond_init(&lane->empty, NULL);
    lane->last = &lane->first;
    lane->most = most;
    return lane;
}

static struct task *next_task(struct lane *lane)
{
    struct task *task = lane->first;
    if (task == NULL || lane->busy >= lane->most)
        return NULL;
    lane->first = task->next;
    if (lane->first == NULL)
        lane->last = &lane->first;
    lane->busy++;
    return task;
}

/* Starts a thread for the task at the head of the queue. */
static bool hire(struct lane *lane)
{
    pthread_t thread;
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return false;
    worker->lane = lane;
    init_monotonic(&worker->wake);
    if (!library_thread(&thread, "rpc-worker", work, worker)) {
        pthread_cond_destroy(&worker->wake);
        free(worker);
        return false;
    }
    lane->threads++;
    worker->task = next_task(lane);
    return true;
}

static void wake_idle(struct lane *lane)
{
    struct worker *worker = lane->idle;
    lane->idle = worker->next;
    worker->task = next_task(lane);
    pthread_cond_signal(&worker->wake);
}

/* Finds threads for what is queued. */
static void dispatch(struct lane *lane)
{
    while (lane->first != NULL && lane->busy < lane->most) {
        if (lane->idle != NULL)
            wake_idle(lane);
        else if (!hire(lane))
            return;
    }
}

bool lane_submit(struct lane *lane, struct task *task)
{
    pthread_mutex_lock(&lane->mutex);
    task->next = NULL;
    *lane->last = task;
    lane->last = &task->next;
    dispatch(lane);
    /* With nobody at work nobody would ever look at the queue, in which this is the only task. */
    bool lost = lane->busy == 0 && lane->first == task;
    if (lost) {
        lane->first = NULL;
        lane->last = &lane->first;
    }
    pthread_mutex_unlock(&lane->mutex);
    return !lost;
}

bool lane_wait_begin(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    bool room = lane->waiting < WAITING_MOST;
    if (room) {
        lane->waiting++;
        lane->busy--;
        dispatch(lane);
    }
    pthread_mutex_unlock(&lane->mutex);
    return room;
}

/* May take the lane over its limit for a moment: what remains to be done after a wait is little. */
void lane_wait_end(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    lane->waiting--;
    lane->busy++;
    pthread_mutex_unlock(&lane->mutex);
}

static void stop_being_idle(struct worker *worker)
{
    struct worker **link = &worker->lane->idle;
    while (*link != NULL && *link != worker)
        link = &(*link)->next;
    if (*link != NULL)
        *link = worker->next;
}

/* Waits for a task.  False: it is time to go. */
static bool stay_idle(struct worker *worker)
{
    struct lane *lane = worker->lane;
    int64_t until = monotonic_now() + IDLE_SECONDS * NANOSECONDS_PER_SECOND;
    struct timespec limit = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
    worker->next = lane->idle;
    lane->idle = worker;
    int number = 0;
    while (worker->task == NULL && number == 0 && !lane->ending)
        number = pthread_cond_timedwait(&worker->wake, &lane->mutex, &limit);
    if (worker->task == NULL)
        stop_being_idle(worker);
    return worker->task != NULL;
}

/* Called with the lane's mutex held, which it gives back: afterwards the lane may be gone. */
static void leave(struct worker *worker)
{
    struct lane *lane = worker->lane;
    bool left = lane->left;
    pthread_t earlier = lane->leaver;
    lane->left = true;
    lane->leaver = pthread_self();
    bool last = --lane->threads == 0;
    if (last)
        pthread_cond_signal(&lane->empty);
    pthread_mutex_unlock(&lane->mutex);
    pthread_cond_destroy(&worker->wake);
    free(worker);
    if (left)
        pthread_join(earlier, NULL);
    if (last)
        malloc_trim(0); /* what a burst of work needed goes back to the system */
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct lane *lane = worker->lane;
    pthread_mutex_lock(&lane->mutex);
    do {
        struct task *task = worker->task;
        worker->task = NULL;
        while (task != NULL) {
            pthread_mutex_unlock(&lane->mutex);
            task->run(task);
            pthread_mutex_lock(&lane->mutex);
            lane->busy--;
            task = next_task(lane);
        }
    } while (stay_idle(worker));
    leave(worker);
    return NULL;
}

void lane_destroy(struct lane *lane)
{
    if (lane == NULL)
        return;
    pthread_mutex_lock(&lane->mutex);
    lane->ending = true;
    for (struct worker *worker = lane->idle; worker != NULL; worker = worker->next)
        pthread_cond_signal(&worker->wake);
    while (lane->threads > 0)
        pthread_cond_wait(&lane->empty, &lane->mutex);
    pthread_mutex_unlock(&lane->mutex);
    if (lane->left)
        pthread_join(lane->leaver, NULL);
    pthread_cond_destroy(&lane->empty);
    pthread_mutex_destroy(&lane->mutex);
    free(lane);
}
