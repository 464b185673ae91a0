#include "cli/progress.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define QUIET (2 * NANOSECONDS_PER_SECOND)
#define TERMINAL_EVERY (NANOSECONDS_PER_SECOND / 2)
#define LOG_EVERY (10 * NANOSECONDS_PER_SECOND)
#define LINE_BEGIN "\r\033[K" /* to the left edge, and clear to the right */
#define LINE_MOST 512

struct progress {
    const char *doing;
    int64_t begin;
    bool terminal, watched;
    pthread_t thread;
    pthread_mutex_t mutex; /* for the rest */
    pthread_cond_t changed;
    char words[256];
    bool ended, shown;
};

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : LINE_MOST;
}

static void show(struct progress *progress)
{
    char text[LINE_MOST], line[LINE_MOST];
    int64_t seconds = (monotonic_now() - progress->begin) / NANOSECONDS_PER_SECOND;
    snprintf(text, sizeof text, "%s: %" PRId64 " s%s%s", progress->doing, seconds,
             progress->words[0] != '\0' ? ", " : "", progress->words);
    text_one_line(line, sizeof line, text); /* the driver's words, and ids that a driver made up */
    if (progress->terminal)
        fprintf(stderr, LINE_BEGIN "%.*s", columns(), line);
    else
        fprintf(stderr, "%s\n", line);
    progress->shown = true;
}

static void *watch(void *argument)
{
    struct progress *progress = argument;
    int64_t next = progress->begin + QUIET;
    pthread_mutex_lock(&progress->mutex);
    while (!progress->ended) {
        struct timespec until = {.tv_sec = next / NANOSECONDS_PER_SECOND, .tv_nsec = next % NANOSECONDS_PER_SECOND};
        pthread_cond_timedwait(&progress->changed, &progress->mutex, &until);
        if (!progress->ended && monotonic_now() >= next) {
            show(progress);
            next += progress->terminal ? TERMINAL_EVERY : LOG_EVERY;
        }
    }
    pthread_mutex_unlock(&progress->mutex);
    return NULL;
}

struct progress *progress_begin(const char *doing)
{
    pthread_condattr_t monotonic;
    struct progress *progress = calloc(1, sizeof *progress);
    if (progress == NULL)
        abort();
    *progress = (struct progress){.doing = doing, .begin = monotonic_now(), .terminal = isatty(STDERR_FILENO) == 1};
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&progress->mutex, NULL);
    pthread_cond_init(&progress->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    progress->watched = pthread_create(&progress->thread, NULL, watch, progress) == 0;
    return progress;
}

void progress_say(struct progress *progress, const char *words)
{
    pthread_mutex_lock(&progress->mutex);
    text_copy(progress->words, sizeof progress->words, words);
    pthread_mutex_unlock(&progress->mutex);
}

void progress_end(struct progress *progress)
{
    if (progress == NULL)
        return;
    pthread_mutex_lock(&progress->mutex);
    progress->ended = true;
    pthread_cond_signal(&progress->changed);
    pthread_mutex_unlock(&progress->mutex);
    if (progress->watched)
        pthread_join(progress->thread, NULL);
    if (progress->shown && progress->terminal)
        fputs(LINE_BEGIN, stderr);
    pthread_cond_destroy(&progress->changed);
    pthread_mutex_destroy(&progress->mutex);
    free(progress);
}
