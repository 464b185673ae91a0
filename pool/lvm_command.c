#include "pool/lvm_command.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/lvm_execute.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BEFORE (400 * NANOSECONDS_PER_MILLISECOND) /* the caller's deadline */
#define LOOK_AGAIN NANOSECONDS_PER_SECOND                 /* whether somebody else has changed the group */
#define LOOK_MOST (200 * NANOSECONDS_PER_MILLISECOND)
#define WORDS_MOST 48
#define CONFIG_BYTES 16384

/*
 * One command.  It belongs to its caller and, while it waits or runs, to the queue: whoever lets go last frees it, so
 * its words are copies.
 */
struct command {
    struct command *next, *also; /* `also` runs right after it */
    char *words[WORDS_MOST + 1];
    char *kept;
    void (*then)(const char *output, void *data);
    void *data;
    struct error error;
    bool wants_output, done, good, abandoned;
};

struct lvm_queue {
    pthread_mutex_t mutex;
    pthread_cond_t arrived, done;
    pthread_t thread;
    struct command *first, **last, *running;
    int64_t since; /* when `running` began */
    struct lvm_header header;
    int64_t looked;
    uint64_t seen; /* of the header, after the last command of ours */
    bool ending, uncertain, ended, wants_look;
    bool telling;  /* `then` of a command is running */
    bool orphaned; /* nobody knows the queue any more: its thread frees it */
    int lock;
    char name[64], directory[PATH_MAX + 32], filter[CONFIG_BYTES / 2];
};

/* --- the thread --- */

static void command_free(struct command *command)
{
    if (command == NULL)
        return;
    command_free(command->also);
    for (size_t i = 0; command->words[i] != NULL; i++)
        free(command->words[i]);
    free(command->kept);
    free(command);
}

static bool execute(const struct lvm_queue *queue, struct command *command)
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
    struct lvm_header header = queue->header;
    pthread_mutex_unlock(&queue->mutex);
    uint64_t now = lvm_header_read(&header);
    pthread_mutex_lock(&queue->mutex);
    if (!ours && now != queue->seen && now != 0 && queue->seen != 0)
        queue->uncertain = true;
    queue->seen = now;
    queue->looked = monotonic_now();
    queue->wants_look = false;
}

/* Called with the mutex, which is released meanwhile. */
static void tell(struct lvm_queue *queue, struct command *command)
{
    if (!command->good || command->then == NULL || queue->orphaned)
        return;
    queue->telling = true;
    pthread_mutex_unlock(&queue->mutex);
    command->then(command->kept, command->data);
    pthread_mutex_lock(&queue->mutex);
    queue->telling = false;
}

/* Called with the mutex, which is released while it runs. */
static void run(struct lvm_queue *queue, struct command *command)
{
    queue->running = command;
    queue->since = monotonic_now();
    look(queue, false);
    bool doubt = queue->uncertain;
    pthread_mutex_unlock(&queue->mutex);
    command->good = execute(queue, command);
    /* Perhaps by a command that its caller has left: what there is shows when the inventory has been compared. */
    if (doubt && !command->good && command->error.code == ALREADY_EXISTS)
        command->error.code = ABORTED;
    pthread_mutex_lock(&queue->mutex);
    tell(queue, command);
    look(queue, true);
    queue->running = NULL;
    command->done = true;
    queue->ended = queue->ended || (!command->good && command->error.code == DEADLINE_EXCEEDED);
    queue->uncertain = queue->uncertain || !command->good || (command->abandoned && command->then == NULL);
}

static struct command *take_first(struct lvm_queue *queue)
{
    struct command *command = queue->first;
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
        struct command *command = queue->first != NULL ? take_first(queue) : NULL;
        if (command == NULL)
            look(queue, false);
        else if (!command->abandoned) /* else it never began: nothing has happened */
            run(queue, command);
        if (command != NULL && command->abandoned)
            command_free(command);
        pthread_cond_broadcast(&queue->done);
    }
    bool orphaned = queue->orphaned;
    pthread_mutex_unlock(&queue->mutex);
    if (orphaned)
        queue_free(queue);
    return NULL;
}

/* --- callers --- */

static struct command *command_make(struct lvm_queue *queue, const char *settings, const char *const argv[])
{
    struct command *command = calloc(1, sizeof *command);
    char config[CONFIG_BYTES];
    size_t count = 0;
    if (command == NULL)
        abort();
    pthread_mutex_lock(&queue->mutex);
    snprintf(config, sizeof config, "devices { global_filter=[%s] } %s", queue->filter, settings);
    pthread_mutex_unlock(&queue->mutex);
    const char *head[] = {"lvm", argv[0], "--config", config};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        command->words[count++] = strdup(head[i]);
    for (size_t i = 1; argv[i] != NULL && count < WORDS_MOST; i++)
        command->words[count++] = strdup(argv[i]);
    return command;
}

/* Called with the mutex.  Either the command has not begun, or it goes on alone. */
static void abandon(struct lvm_queue *queue, struct command *command, struct error *error)
{
    const struct command *busy = queue->running;
    int64_t seconds = busy != NULL ? (monotonic_now() - queue->since) / NANOSECONDS_PER_SECOND : 0;
    command->abandoned = true;
    if (busy == command)
        fail(error, DEADLINE_EXCEEDED,
             "pool %s: \"lvm %s\" has been running for %jd s and goes on; if that lasts, a disk or LVM is stuck: look "
             "at "
             "the kernel's log and at what \"ps\" says of it",
             queue->name, command->words[1], (intmax_t)seconds);
    else {
        fail(error, DEADLINE_EXCEEDED,
             "pool %s: waited for another command in vain (\"lvm %s\" for %jd s); nothing was done: try again",
             queue->name, busy != NULL ? busy->words[1] : "", (intmax_t)seconds);
        error->number = EAGAIN;
    }
}

static bool await(struct lvm_queue *queue, struct command *command)
{
    int64_t until = caller_deadline == NO_DEADLINE ? NO_DEADLINE : caller_deadline - ANSWER_BEFORE;
    struct timespec time = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
    while (!command->done) {
        if (until == NO_DEADLINE)
            pthread_cond_wait(&queue->done, &queue->mutex);
        else if (pthread_cond_timedwait(&queue->done, &queue->mutex, &time) == ETIMEDOUT && !command->done)
            return false;
    }
    return true;
}

/* Frees the command, or leaves it to the queue. */
static bool submit(struct lvm_queue *queue, struct command *command, char **output, struct error *error)
{
    pthread_mutex_lock(&queue->mutex);
    *queue->last = command;
    queue->last = &command->next;
    pthread_cond_signal(&queue->arrived);
    bool good = await(queue, command);
    if (!good)
        abandon(queue, command, error);
    pthread_mutex_unlock(&queue->mutex);
    if (!good)
        return false;
    good = command->good;
    if (!good)
        *error = command->error;
    if (!good && error->code == NOT_FOUND && queue->header.path[0] != '\0' &&
        strstr(error->message, "olume group") != NULL) /* it was there: its devices cannot be read */
        error->code = UNAVAILABLE;
    if (good && output != NULL)
        *output = steal_pointer(command->kept);
    command_free(command);
    return good || fail_context(error, "pool %s", queue->name);
}

bool lvm_run_with(struct lvm_queue *queue, const char *settings, const char *const argv[], char **output,
                  struct error *error)
{
    struct command *command = command_make(queue, settings, argv);
    command->wants_output = output != NULL;
    return submit(queue, command, output, error);
}

bool lvm_run_then(struct lvm_queue *queue, const char *settings, const char *const argv[],
                  void (*then)(const char *output, void *data), void *data, struct error *error)
{
    struct command *command = command_make(queue, settings, argv);
    command->wants_output = true;
    command->then = then;
    command->data = data;
    return submit(queue, command, NULL, error);
}

bool lvm_run(struct lvm_queue *queue, const char *const argv[], struct error *error)
{
    return lvm_run_with(queue, "", argv, NULL, error);
}

bool lvm_run_both(struct lvm_queue *queue, const char *const first[], const char *const second[], struct error *error)
{
    struct command *command = command_make(queue, "", first);
    command->also = command_make(queue, "", second);
    return submit(queue, command, NULL, error);
}

/* --- the queue --- */

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

void lvm_queue_set_devices(struct lvm_queue *queue, const char *filter)
{
    pthread_mutex_lock(&queue->mutex);
    text_copy(queue->filter, sizeof queue->filter, filter);
    pthread_mutex_unlock(&queue->mutex);
}

void lvm_queue_set_header(struct lvm_queue *queue, const struct lvm_header *header)
{
    pthread_mutex_lock(&queue->mutex);
    queue->header = *header;
    queue->seen = 0;
    pthread_mutex_unlock(&queue->mutex);
}

void lvm_queue_set_lock(struct lvm_queue *queue, int lock)
{
    queue->lock = lock;
}

bool lvm_queue_has_ended_one(struct lvm_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    bool ended = queue->ended;
    queue->ended = false;
    pthread_mutex_unlock(&queue->mutex);
    return ended;
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

bool lvm_queue_is_uncertain(struct lvm_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    if (queue->running == NULL && queue->first == NULL && !queue->wants_look &&
        monotonic_now() - queue->looked > LOOK_AGAIN)
        ask_for_look(queue);
    bool uncertain = queue->uncertain && queue->running == NULL;
    if (uncertain)
        queue->uncertain = false;
    pthread_mutex_unlock(&queue->mutex);
    return uncertain;
}

bool lvm_queue_is_stuck(struct lvm_queue *queue, int64_t nanoseconds, char *what, size_t size)
{
    pthread_mutex_lock(&queue->mutex);
    int64_t lasted = queue->running != NULL ? monotonic_now() - queue->since : 0;
    if (lasted > nanoseconds)
        snprintf(what, size, "\"lvm %s\" has been running for %jd s", queue->running->words[1],
                 (intmax_t)(lasted / NANOSECONDS_PER_SECOND));
    pthread_mutex_unlock(&queue->mutex);
    return lasted > nanoseconds;
}
