#include "filesystem/freeze.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/freeze_note.h"

#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

struct freeze {
    struct freeze *next;
    struct freezer freezer;
    int descriptor;        /* of the mount point: holds the mount; -1 for another kind of freezer */
    int64_t end;           /* then the watchdog thaws */
    bool thawing, expired; /* the watchdog is at it; it has thawed it */
    char key[FREEZE_KEY_MOST + 1];
};

/* Everything that is frozen now. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t watchdog;
    struct freeze *first;
    bool running;
} frozen = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* --- the watchdog --- */

/* A freeze whose time is up, as all are when the driver ends; else `*end` is when to look again. */
static struct freeze *find_expired(int64_t *end)
{
    *end = NO_DEADLINE;
    for (struct freeze *freeze = frozen.first; freeze != NULL; freeze = freeze->next) {
        if (freeze->expired)
            continue;
        if (!frozen.running || freeze->end <= monotonic_now())
            return freeze;
        if (freeze->end < *end)
            *end = freeze->end;
    }
    return NULL;
}

static void wait_until(int64_t end)
{
    struct timespec time = {.tv_sec = end / NANOSECONDS_PER_SECOND, .tv_nsec = end % NANOSECONDS_PER_SECOND};
    if (end == NO_DEADLINE)
        pthread_cond_wait(&frozen.changed, &frozen.mutex);
    else
        pthread_cond_timedwait(&frozen.changed, &frozen.mutex, &time);
}

/* Called with the mutex, which is released meanwhile: a thaw may wait for a slow disk. */
static void thaw_expired(struct freeze *freeze)
{
    struct error ignored;
    freeze->thawing = true;
    pthread_mutex_unlock(&frozen.mutex);
    freeze->freezer.thaw(freeze->freezer.target, &ignored);
    log_event(LOG_WARNING, "thawed before the copy was whole", "volume_id", freeze->key, NULL);
    pthread_mutex_lock(&frozen.mutex);
    freeze->thawing = false;
    freeze->expired = true;
    pthread_cond_broadcast(&frozen.changed);
}

static void *watch(void *unused)
{
    (void)unused;
    int64_t end;
    pthread_mutex_lock(&frozen.mutex);
    for (;;) {
        struct freeze *expired = find_expired(&end);
        if (expired != NULL)
            thaw_expired(expired);
        else if (frozen.running)
            wait_until(end);
        else
            break;
    }
    pthread_mutex_unlock(&frozen.mutex);
    return NULL;
}

static bool start_watchdog(struct error *error)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&frozen.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    frozen.running = true;
    int number = pthread_create(&frozen.watchdog, NULL, watch, NULL);
    if (number == 0)
        return true;
    frozen.running = false;
    return fail_errno(error, number, "cannot start the watchdog of frozen file systems");
}

bool freeze_start(const char *state_directory, struct error *error)
{
    if (!freeze_note_open(state_directory, error))
        return false;
    if (start_watchdog(error))
        return true;
    freeze_note_close();
    return false;
}

void freeze_stop(void)
{
    pthread_mutex_lock(&frozen.mutex);
    bool running = frozen.running;
    frozen.running = false;
    pthread_cond_broadcast(&frozen.changed);
    pthread_mutex_unlock(&frozen.mutex);
    if (!running)
        return;
    pthread_join(frozen.watchdog, NULL);
    pthread_cond_destroy(&frozen.changed);
    freeze_note_close();
}

/* --- file systems --- */

/* False if the file system had been thawed before. */
static bool thaw(int descriptor, struct error *error)
{
    if (ioctl(descriptor, FITHAW, 0) == 0)
        return true;
    if (errno == EINVAL)
        return fail(error, ABORTED,
                    "the file system was thawed by somebody else before it was copied whole; try again");
    return fail_errno(error, errno, "cannot thaw the file system");
}

static bool thaw_filesystem(void *target, struct error *error)
{
    const struct freeze *freeze = target;
    bool good = thaw(freeze->descriptor, error) && fault("freeze.thawed", error);
    freeze_note_remove(freeze->key);
    return good;
}

static bool freeze_noted(const struct freeze *freeze, const char *mount_point, struct error *error)
{
    struct error ignored;
    if (!fault("freeze.noted", error))
        return false;
    if (ioctl(freeze->descriptor, FIFREEZE, 0) == 0)
        return fault("freeze.frozen", error) || (thaw(freeze->descriptor, &ignored), false);
    if (errno == EBUSY)
        return fail(error, ABORTED, "the file system at \"%s\" is frozen already, by somebody else; try again",
                    mount_point);
    return fail_errno(error, errno, "cannot freeze the file system at \"%s\"", mount_point);
}

/* Something else may be mounted there by now, and what is asked for somewhere else. */
static bool open_mounted(dev_t device, const char *mount_point, int *descriptor, struct error *error)
{
    struct stat status;
    *descriptor = freeze_open_mount_point(mount_point);
    if (*descriptor < 0 || fstat(*descriptor, &status) != 0)
        return fail_errno(error, errno, "cannot freeze \"%s\"", mount_point);
    return status.st_dev == device ||
           fail(error, ABORTED, "the file system at \"%s\" was unmounted meanwhile; try again", mount_point);
}

static bool freeze_filesystem(struct freeze *freeze, dev_t device, const char *mount_point, struct error *error)
{
    if (!open_mounted(device, mount_point, &freeze->descriptor, error))
        return false;
    if (!freeze_note_write(freeze->key, freeze->descriptor, mount_point, error))
        return false;
    if (freeze_noted(freeze, mount_point, error))
        return true;
    freeze_note_remove(freeze->key);
    return false;
}

/* --- beginning and ending --- */

static struct freeze *create(const char *key, struct error *error)
{
    struct freeze *freeze = calloc(1, sizeof *freeze);
    if (freeze == NULL || !text_is_made_of(key, FREEZE_KEY_CHARACTERS, FREEZE_KEY_MOST)) {
        fail(error, INTERNAL, "cannot freeze under the name \"%.64s\"", key);
        free(freeze);
        return NULL;
    }
    freeze->descriptor = -1;
    text_copy(freeze->key, sizeof freeze->key, key);
    return freeze;
}

static void destroy(struct freeze *freeze)
{
    cleanup_close_descriptor(&freeze->descriptor);
    free(freeze);
}

/* From now on the watchdog looks after it. */
static struct freeze *enter(struct freeze *freeze, int64_t limit_nanoseconds)
{
    freeze->end = monotonic_now() + limit_nanoseconds;
    pthread_mutex_lock(&frozen.mutex);
    freeze->next = frozen.first;
    frozen.first = freeze;
    pthread_cond_broadcast(&frozen.changed);
    pthread_mutex_unlock(&frozen.mutex);
    return freeze;
}

struct freeze *freeze_begin(const char *key, dev_t device, const char *mount_point, int64_t limit_nanoseconds,
                            struct error *error)
{
    struct freeze *freeze = create(key, error);
    if (freeze == NULL)
        return NULL;
    freeze->freezer = (struct freezer){.thaw = thaw_filesystem, .target = freeze};
    if (freeze_filesystem(freeze, device, mount_point, error))
        return enter(freeze, limit_nanoseconds);
    destroy(freeze);
    return NULL;
}

struct freeze *freeze_begin_by(const char *key, const struct freezer *freezer, int64_t limit_nanoseconds,
                               struct error *error)
{
    struct freeze *freeze = create(key, error);
    if (freeze == NULL)
        return NULL;
    freeze->freezer = *freezer;
    if (freezer->freeze(freezer->target, error))
        return enter(freeze, limit_nanoseconds);
    destroy(freeze);
    return NULL;
}

/* Takes it from the list, once the watchdog has let it go; true if that had not thawed it. */
static bool take(struct freeze *freeze)
{
    pthread_mutex_lock(&frozen.mutex);
    while (freeze->thawing)
        pthread_cond_wait(&frozen.changed, &frozen.mutex);
    struct freeze **at = &frozen.first;
    while (*at != freeze)
        at = &(*at)->next;
    *at = freeze->next;
    pthread_mutex_unlock(&frozen.mutex);
    return !freeze->expired;
}

bool freeze_end(struct freeze *freeze, struct error *error)
{
    if (freeze == NULL)
        return true;
    bool good = take(freeze)
                    ? freeze->freezer.thaw(freeze->freezer.target, error)
                    : fail(error, ABORTED, "the volume was frozen for too long and has been thawed; try again");
    destroy(freeze);
    return good;
}
