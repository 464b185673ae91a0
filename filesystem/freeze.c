#include "filesystem/freeze.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/freeze_note.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THAW_MOST (5 * NANOSECONDS_PER_SECOND)     /* waited for a thaw: on a dead disk it never ends */
#define RECOVERY_MOST (2 * NANOSECONDS_PER_SECOND) /* at start, for all of them */

/* Its owner and its thread have it; the last of them frees it. */
struct freeze {
    struct freeze *next;
    struct freezer freezer;
    int64_t end; /* then it is thawed */
    bool ended;  /* its owner wants it thawed */
    bool left;   /* its owner does not wait for that */
    bool thawed; /* its thread has come to its end: */
    bool good;   /* or `error` tells */
    struct error error;
    char key[FREEZE_KEY_MOST + 1];
};

/* Everything that is frozen now, or being thawed. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct freeze *first;
    bool running;
} frozen = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void destroy(struct freeze *freeze)
{
    if (freeze->freezer.release != NULL)
        freeze->freezer.release(freeze->freezer.target);
    free(freeze);
}

/* --- the thread of a freeze --- */

/* Called with the mutex.  False: there was no change before the time was up. */
static bool await_change(int64_t end)
{
    struct timespec time = {.tv_sec = end / NANOSECONDS_PER_SECOND, .tv_nsec = end % NANOSECONDS_PER_SECOND};
    return pthread_cond_clockwait(&frozen.changed, &frozen.mutex, CLOCK_MONOTONIC, &time) == 0;
}

/* True if it is its owner who ends it, and not its time or the driver. */
static bool await_end(const struct freeze *freeze)
{
    pthread_mutex_lock(&frozen.mutex);
    while (!freeze->ended && frozen.running && await_change(freeze->end))
        ;
    bool ended = freeze->ended;
    pthread_mutex_unlock(&frozen.mutex);
    return ended;
}

/* Afterwards it is its owner's; true if he has left it. */
static bool hand_back(struct freeze *freeze, bool good)
{
    pthread_mutex_lock(&frozen.mutex);
    struct freeze **at = &frozen.first;
    while (*at != freeze)
        at = &(*at)->next;
    *at = freeze->next;
    freeze->good = good;
    freeze->thawed = true;
    bool left = freeze->left;
    pthread_cond_broadcast(&frozen.changed);
    pthread_mutex_unlock(&frozen.mutex);
    return left;
}

static void *watch(void *data)
{
    struct freeze *freeze = data;
    bool in_time = await_end(freeze), good = freeze->freezer.thaw(freeze->freezer.target, &freeze->error);
    if (!in_time) {
        log_event(LOG_WARNING, "thawed before the copy was whole", "volume_id", freeze->key, NULL);
        good = fail(&freeze->error, ABORTED, "the volume was frozen for too long and has been thawed; try again");
    }
    if (hand_back(freeze, good))
        destroy(freeze);
    return NULL;
}

static bool start_thread(struct freeze *freeze, struct error *error)
{
    pthread_t thread;
    pthread_mutex_lock(&frozen.mutex);
    int number = pthread_create(&thread, NULL, watch, freeze);
    if (number == 0) {
        pthread_detach(thread);
        freeze->next = frozen.first;
        frozen.first = freeze;
    }
    pthread_mutex_unlock(&frozen.mutex);
    return number == 0 || fail_errno(error, number, "cannot start a thread to thaw %s", freeze->key);
}

/* From now on its thread looks after it. */
static struct freeze *enter(struct freeze *freeze, int64_t limit_nanoseconds, struct error *error)
{
    struct error ignored;
    freeze->end = monotonic_now() + limit_nanoseconds;
    if (start_thread(freeze, error))
        return freeze;
    freeze->freezer.thaw(freeze->freezer.target, &ignored);
    destroy(freeze);
    return NULL;
}

/* --- beginning and ending --- */

static bool is_frozen(const char *key)
{
    pthread_mutex_lock(&frozen.mutex);
    const struct freeze *freeze = frozen.first;
    while (freeze != NULL && strcmp(freeze->key, key) != 0)
        freeze = freeze->next;
    pthread_mutex_unlock(&frozen.mutex);
    return freeze != NULL;
}

static struct freeze *create(const char *key, struct error *error)
{
    if (!text_is_made_of(key, FREEZE_KEY_CHARACTERS, FREEZE_KEY_MOST)) {
        fail(error, INTERNAL, "cannot freeze under the name \"%.64s\"", key);
        return NULL;
    }
    if (is_frozen(key)) {
        fail(error, ABORTED,
             "%s is being frozen already, or still being thawed (if that lasts, its disk is dead); try again", key);
        return NULL;
    }
    struct freeze *freeze = calloc(1, sizeof *freeze);
    if (freeze == NULL)
        abort();
    text_copy(freeze->key, sizeof freeze->key, key);
    return freeze;
}

struct freeze *freeze_begin_by(const char *key, const struct freezer *freezer, int64_t limit_nanoseconds,
                               struct error *error)
{
    struct freeze *freeze = create(key, error);
    if (freeze == NULL) {
        freezer->release(freezer->target);
        return NULL;
    }
    freeze->freezer = *freezer;
    if (freezer->freeze(freezer->target, error))
        return enter(freeze, limit_nanoseconds, error);
    destroy(freeze);
    return NULL;
}

/* True if its thread has handed it back; else it is left to that. */
static bool end(struct freeze *freeze)
{
    int64_t until = monotonic_now() + THAW_MOST;
    pthread_mutex_lock(&frozen.mutex);
    freeze->ended = true;
    pthread_cond_broadcast(&frozen.changed);
    while (!freeze->thawed && await_change(until))
        ;
    bool thawed = freeze->thawed;
    freeze->left = !thawed;
    pthread_mutex_unlock(&frozen.mutex);
    return thawed;
}

bool freeze_end(struct freeze *freeze, struct error *error)
{
    if (freeze == NULL)
        return true;
    if (!end(freeze))
        return fail(error, ABORTED,
                    "the volume is still being thawed; if that lasts, its disk is dead: the kernel's log tells");
    bool good = freeze->good;
    if (!good)
        *error = freeze->error;
    destroy(freeze);
    return good;
}

/* --- all of them --- */

/* True if none is left.  Called with the mutex. */
static bool await_all(int64_t until)
{
    while (frozen.first != NULL && await_change(until))
        ;
    return frozen.first == NULL;
}

static bool thaw_noted(void *target, struct error *error)
{
    (void)error;
    freeze_note_thaw(target);
    return true;
}

/* Like a freeze that has ended, and that its owner has left. */
static void recover(const char *key)
{
    struct error error;
    struct freeze *freeze = create(key, &error);
    if (freeze == NULL)
        return;
    freeze->freezer = (struct freezer){.thaw = thaw_noted, .target = freeze->key};
    freeze->ended = freeze->left = true;
    enter(freeze, 0, &error);
}

bool freeze_start(const char *state_directory, struct error *error)
{
    if (!freeze_note_open(state_directory, error))
        return false;
    pthread_mutex_lock(&frozen.mutex);
    frozen.running = true;
    pthread_mutex_unlock(&frozen.mutex);
    if (!freeze_note_each(recover, error)) {
        freeze_stop(0);
        return false;
    }
    pthread_mutex_lock(&frozen.mutex);
    bool none = await_all(monotonic_now() + RECOVERY_MOST);
    pthread_mutex_unlock(&frozen.mutex);
    if (!none)
        log_event(LOG_WARNING, "what a killed process had left frozen is still being thawed: is its disk dead?", NULL);
    return true;
}

bool freeze_stop(int64_t deadline)
{
    pthread_mutex_lock(&frozen.mutex);
    frozen.running = false;
    pthread_cond_broadcast(&frozen.changed);
    bool none = await_all(deadline);
    if (none) /* else the notes are used until we are gone */
        freeze_note_close();
    pthread_mutex_unlock(&frozen.mutex);
    return none;
}
