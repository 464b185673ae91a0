#include "pool/lvm_queue.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/lvm_execute.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN NANOSECONDS_PER_SECOND /* whether somebody else has changed the group */
#define LOOK_MOST (200 * NANOSECONDS_PER_MILLISECOND)

/* --- the thread --- */

void lvm_command_free(struct lvm_command *command)
{
    if (command == NULL)
        return;
    lvm_command_free(command->also);
    for (size_t i = 0; command->words[i] != NULL; i++)
        free(command->words[i]);
    free(command->kept);
    free(command);
}

static bool execute(const struct lvm_queue *queue, struct lvm_command *command)
{
    const char *const *also = command->also != NULL ? (const char *const *)command->also->words : NULL;
    return lvm_execute(queue->directory, queue->lock, (const char *const *)command->words,
                       command->wants_output ? &command->kept : NULL, &command->error) &&
           (also == NULL || lvm_execute(queue->directory, queue->lock, also, NULL, &command->error));
}

/*
 * Called with the mutex, which is released while the disk is asked: it may be stuck.  What was not changed by a command
 * of ours was changed by somebody else's.
 */
static void look(struct lvm_queue *queue, bool ours)
{
    struct lvm_header watched[LVM_WATCHED_MOST];
    size_t count = queue->watched_count;
    memcpy(watched, queue->watched, count * sizeof *watched);
    queue->look_began = monotonic_now();
    pthread_mutex_unlock(&queue->mutex);
    size_t readable;
    uint64_t now = lvm_header_read(watched, count, &readable);
    pthread_mutex_lock(&queue->mutex);
    queue->look_began = 0;
    queue->readable = readable;
    if (!ours && now != queue->seen && queue->seen != 0)
        queue->uncertain = true;
    queue->seen = now;
    queue->looked = monotonic_now();
    queue->wants_look = false;
}

/* Called with the mutex, which is released meanwhile. */
static void tell(struct lvm_queue *queue, struct lvm_command *command)
{
    if (!command->good || command->then == NULL || queue->orphaned)
        return;
    queue->telling = true;
    pthread_mutex_unlock(&queue->mutex);
    command->then(command->kept, command->data);
    pthread_mutex_lock(&queue->mutex);
    queue->telling = false;
}

void lvm_queue_resume(struct lvm_queue *queue)
{
    if (queue->group[0] == '\0' || device_mapper_resume_all(queue->group) == 0)
        return;
    log_event(LOG_WARNING, "resumed devices that a killed process had left suspended", "pool", queue->name, NULL);
    pthread_mutex_lock(&queue->mutex);
    queue->resumed = true;
    pthread_mutex_unlock(&queue->mutex);
}

/* Whoever writes to a device that is left suspended waits for ever, also if nobody calls us any more. */
static bool execute_and_resume(struct lvm_queue *queue, struct lvm_command *command)
{
    bool good = execute(queue, command);
    if (!good && command->error.number == EINTR)
        lvm_queue_resume(queue);
    return good;
}

/* Called with the mutex, which is released while it runs. */
static void run(struct lvm_queue *queue, struct lvm_command *command)
{
    queue->running = command;
    queue->since = monotonic_now();
    look(queue, false);
    pthread_mutex_unlock(&queue->mutex);
    command->good = execute_and_resume(queue, command);
    pthread_mutex_lock(&queue->mutex);
    tell(queue, command);
    look(queue, true);
    queue->running = NULL;
    command->done = true;
    queue->ended = queue->ended || (!command->good && command->error.number == EINTR);
    queue->uncertain = queue->uncertain || !command->good || (command->abandoned && command->then == NULL);
}

static struct lvm_command *take_first(struct lvm_queue *queue)
{
    struct lvm_command *command = queue->first;
    queue->first = command->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return command;
}

static void queue_free(struct lvm_queue *queue)
{
    pthread_cond_destroy(&queue->arrived);
    pthread_cond_destroy(&queue->done);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

static void *work(void *data)
{
    struct lvm_queue *queue = data;
    pthread_mutex_lock(&queue->mutex);
    for (;;) {
        while (queue->first == NULL && !queue->ending && !queue->wants_look)
            pthread_cond_wait(&queue->arrived, &queue->mutex);
        if (queue->first == NULL && queue->ending)
            break;
        struct lvm_command *command = queue->first != NULL ? take_first(queue) : NULL;
        if (command == NULL)
            look(queue, false);
        else if (!command->abandoned) /* else it never began: nothing has happened */
            run(queue, command);
        if (command != NULL && command->abandoned)
            lvm_command_free(command);
        pthread_cond_broadcast(&queue->done);
    }
    bool orphaned = queue->orphaned;
    pthread_mutex_unlock(&queue->mutex);
    if (orphaned)
        queue_free(queue);
    return NULL;
}

/* --- opening and closing --- */

static void init_conditions(struct lvm_queue *queue)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->arrived, &attributes);
    pthread_cond_init(&queue->done, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct lvm_queue *lvm_queue_open(const char *state_directory, const char *name, struct error *error)
{
    struct lvm_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        abort();
    *queue = (struct lvm_queue){.mutex = PTHREAD_MUTEX_INITIALIZER, .lock = -1};
    queue->last = &queue->first;
    text_copy(queue->name, sizeof queue->name, name);
    snprintf(queue->directory, sizeof queue->directory, "%s/lvm", state_directory);
    init_conditions(queue);
    if (lvm_execute_prepare(queue->directory, error)) {
        int number = pthread_create(&queue->thread, NULL, work, queue);
        if (number == 0)
            return queue;
        fail_errno(error, number, "cannot start the queue of pool %s", name);
    }
    free(queue);
    return NULL;
}

void lvm_queue_close(struct lvm_queue *queue)
{
    if (queue == NULL)
        return;
    pthread_mutex_lock(&queue->mutex);
    queue->ending = true;
    queue->orphaned = queue->running != NULL && queue->running->abandoned && !queue->telling;
    bool orphaned = queue->orphaned;
    pthread_t thread = queue->thread;
    pthread_cond_signal(&queue->arrived);
    pthread_mutex_unlock(&queue->mutex);
    if (orphaned) {
        pthread_detach(thread);
        return;
    }
    pthread_join(thread, NULL);
    queue_free(queue);
}

/* --- what is known of it --- */

void lvm_queue_set_devices(struct lvm_queue *queue, const char *filter)
{
    pthread_mutex_lock(&queue->mutex);
    text_copy(queue->filter, sizeof queue->filter, filter);
    pthread_mutex_unlock(&queue->mutex);
}

void lvm_queue_watch(struct lvm_queue *queue, const struct lvm_header *headers, size_t count)
{
    pthread_mutex_lock(&queue->mutex);
    queue->watched_count = queue->readable = count < LVM_WATCHED_MOST ? count : LVM_WATCHED_MOST;
    memcpy(queue->watched, headers, queue->watched_count * sizeof *headers);
    queue->seen = 0;
    pthread_mutex_unlock(&queue->mutex);
}

void lvm_queue_set_lock(struct lvm_queue *queue, int lock)
{
    queue->lock = lock;
}

void lvm_queue_set_group(struct lvm_queue *queue, const char *vg_uuid)
{
    device_mapper_uuid(queue->group, vg_uuid, "", "");
}

bool lvm_queue_has_ended_one(struct lvm_queue *queue, bool *resumed)
{
    pthread_mutex_lock(&queue->mutex);
    bool ended = queue->ended;
    *resumed = queue->resumed;
    pthread_mutex_unlock(&queue->mutex);
    return ended;
}

void lvm_queue_settle(struct lvm_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->ended = queue->resumed = false;
    pthread_mutex_unlock(&queue->mutex);
}

void lvm_queue_make_uncertain(struct lvm_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->uncertain = true;
    pthread_mutex_unlock(&queue->mutex);
}

/* Called with the mutex: has the thread look, and waits for it a moment. */
static void ask_for_look(struct lvm_queue *queue)
{
    int64_t until = monotonic_now() + LOOK_MOST;
    struct timespec time = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
    queue->wants_look = true;
    pthread_cond_signal(&queue->arrived);
    while (queue->wants_look && pthread_cond_timedwait(&queue->done, &queue->mutex, &time) != ETIMEDOUT)
        ;
}

/* Called with the mutex.  Not beside a command, which looks itself. */
static void look_if_idle(struct lvm_queue *queue)
{
    if (queue->running == NULL && queue->first == NULL && !queue->wants_look)
        ask_for_look(queue);
}

bool lvm_queue_can_read(struct lvm_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    look_if_idle(queue);
    bool readable = queue->readable == queue->watched_count;
    pthread_mutex_unlock(&queue->mutex);
    return readable;
}

bool lvm_queue_is_uncertain(struct lvm_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    if (monotonic_now() - queue->looked > LOOK_AGAIN)
        look_if_idle(queue);
    bool uncertain = queue->uncertain && queue->running == NULL;
    if (uncertain)
        queue->uncertain = false;
    pthread_mutex_unlock(&queue->mutex);
    return uncertain;
}

bool lvm_queue_is_stuck(struct lvm_queue *queue, int64_t nanoseconds, char *what, size_t size)
{
    pthread_mutex_lock(&queue->mutex);
    bool looks = queue->look_began != 0, busy = looks || queue->running != NULL;
    int64_t lasted = busy ? monotonic_now() - (looks ? queue->look_began : queue->since) : 0;
    intmax_t seconds = (intmax_t)(lasted / NANOSECONDS_PER_SECOND);
    if (lasted > nanoseconds && looks)
        snprintf(what, size, "LVM's metadata have been read for %jd s", seconds);
    else if (lasted > nanoseconds)
        snprintf(what, size, "\"lvm %s\" has been running for %jd s", queue->running->words[1], seconds);
    pthread_mutex_unlock(&queue->mutex);
    return lasted > nanoseconds;
}

bool lvm_queue_is_at_work_on(struct lvm_queue *queue, const char *full_name)
{
    bool found = false;
    pthread_mutex_lock(&queue->mutex);
    const struct lvm_command *command = queue->running;
    for (size_t i = 0; command != NULL && command->abandoned && command->words[i] != NULL; i++)
        found = found || strcmp(command->words[i], full_name) == 0;
    pthread_mutex_unlock(&queue->mutex);
    return found;
}
