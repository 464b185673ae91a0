#include "pool/lvm_command.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "pool/lvm_queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lvm_command *command_make(struct lvm_queue *queue, const char *settings, const char *const argv[])
{
    struct lvm_command *command = calloc(1, sizeof *command);
    char config[LVM_CONFIG_BYTES];
    size_t count = 0;
    if (command == NULL)
        abort();
    pthread_mutex_lock(&queue->mutex);
    snprintf(config, sizeof config, "devices { global_filter=[%s] } %s", queue->filter, settings);
    pthread_mutex_unlock(&queue->mutex);
    const char *head[] = {"lvm", argv[0], "--config", config};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        command->words[count++] = strdup(head[i]);
    for (size_t i = 1; argv[i] != NULL && count < LVM_COMMAND_WORDS; i++)
        command->words[count++] = strdup(argv[i]);
    return command;
}

/* Called with the mutex.  Either the command has not begun, or it goes on alone. */
static void abandon(struct lvm_queue *queue, struct lvm_command *command, struct error *error)
{
    const struct lvm_command *busy = queue->running;
    int64_t seconds = busy != NULL ? (monotonic_now() - queue->since) / NANOSECONDS_PER_SECOND : 0;
    command->abandoned = true;
    if (busy == command)
        fail(error, DEADLINE_EXCEEDED,
             "pool %s: \"lvm %s\" has been running for %jd s and goes on; if that lasts, a disk or LVM is stuck: look "
             "at the kernel's log and at what \"ps\" says of it",
             queue->name, command->words[1], (intmax_t)seconds);
    else {
        fail(error, DEADLINE_EXCEEDED,
             "pool %s: waited for another command in vain (\"lvm %s\" for %jd s); nothing was done: try again",
             queue->name, busy != NULL ? busy->words[1] : "", (intmax_t)seconds);
        error->number = EAGAIN;
    }
}

static bool await(struct lvm_queue *queue, struct lvm_command *command)
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
static bool submit(struct lvm_queue *queue, struct lvm_command *command, char **output, struct error *error)
{
    pthread_mutex_lock(&queue->mutex);
    *queue->last = command;
    queue->last = &command->next;
    pthread_cond_signal(&queue->arrived);
    bool good = await(queue, command);
    if (!good)
        abandon(queue, command, error);
    bool was_there = queue->watched_count > 0;
    pthread_mutex_unlock(&queue->mutex);
    if (!good)
        return false;
    good = command->good;
    if (!good)
        *error = command->error;
    if (!good && error->code == NOT_FOUND && was_there &&
        strstr(error->message, "olume group") != NULL) /* it was there: its devices cannot be read */
        error->code = UNAVAILABLE;
    if (good && output != NULL)
        *output = steal_pointer(command->kept);
    lvm_command_free(command);
    return good || fail_context(error, "pool %s", queue->name);
}

bool lvm_run_with(struct lvm_queue *queue, const char *settings, const char *const argv[], char **output,
                  struct error *error)
{
    struct lvm_command *command = command_make(queue, settings, argv);
    command->wants_output = output != NULL;
    return submit(queue, command, output, error);
}

bool lvm_run_then(struct lvm_queue *queue, const char *settings, const char *const argv[],
                  void (*then)(const char *output, void *data), void *data, struct error *error)
{
    struct lvm_command *command = command_make(queue, settings, argv);
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
    struct lvm_command *command = command_make(queue, "", first);
    command->also = command_make(queue, "", second);
    return submit(queue, command, NULL, error);
}
