#include "filesystem/freeze.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/mount.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define KEY_MOST 128
#define KEY_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

struct freeze {
    struct freeze *next;
    int descriptor; /* of the mount point: holds the mount; -1 once the watchdog has thawed it */
    int64_t end;    /* then the watchdog thaws */
    char key[KEY_MOST + 1];
};

/* Everything that is frozen now. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t watchdog;
    struct freeze *first;
    int notes; /* the directory <state directory>/frozen, or -1 */
    bool running;
} frozen = {.mutex = PTHREAD_MUTEX_INITIALIZER, .notes = -1};

static int open_mount_point(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void remove_note(const char *key)
{
    unlinkat(frozen.notes, key, 0);
}

/* A note is one line: the number of the device and the mount point. */
static bool write_note(const char *key, int descriptor, const char *mount_point, struct error *error)
{
    struct stat status;
    cleanup_close int note = openat(frozen.notes, key, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (note < 0 && errno == EEXIST)
        return fail(error, ABORTED, "\"%s\" is being frozen already; try again", mount_point);
    if (note >= 0 && fstat(descriptor, &status) == 0 &&
        dprintf(note, "%u:%u %s\n", major(status.st_dev), minor(status.st_dev), mount_point) > 0)
        return true;
    fail_errno(error, errno, "cannot note that \"%s\" is to be frozen", mount_point);
    if (note >= 0)
        remove_note(key);
    return false;
}

/* The mount point may have another path for us than for the process that froze it. */
static int open_noted(dev_t device, const char *mount_point)
{
    char path[PATH_MAX];
    struct stat status;
    int descriptor = open_mount_point(mount_point);
    if (descriptor >= 0 && fstat(descriptor, &status) == 0 && status.st_dev == device)
        return descriptor;
    if (descriptor >= 0)
        close(descriptor);
    return mount_find_device(device, path) ? open_mount_point(path) : -1;
}

static void recover(const char *key)
{
    unsigned device_major = 0, device_minor = 0;
    char mount_point[PATH_MAX] = "";
    int opened = openat(frozen.notes, key, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    cleanup_file FILE *note = opened >= 0 ? fdopen(opened, "r") : NULL;
    /* A note that is cut short was never followed by a freeze. */
    if (note != NULL && fscanf(note, "%u:%u ", &device_major, &device_minor) == 2 &&
        fgets(mount_point, sizeof mount_point, note) != NULL) {
        mount_point[strcspn(mount_point, "\n")] = '\0';
        cleanup_close int descriptor = open_noted(makedev(device_major, device_minor), mount_point);
        if (descriptor >= 0 && ioctl(descriptor, FITHAW, 0) == 0)
            log_event(LOG_WARNING, "thawed a file system that a killed process had left frozen", "volume_id", key,
                      "path", mount_point, NULL);
    }
    remove_note(key);
}

static bool recover_all(struct error *error)
{
    int opened = dup(frozen.notes);
    cleanup_directory DIR *notes = opened >= 0 ? fdopendir(opened) : NULL;
    if (notes == NULL)
        return fail_errno(error, errno, "cannot read the directory of frozen file systems");
    for (struct dirent *entry; (entry = readdir(notes)) != NULL;)
        if (text_is_made_of(entry->d_name, KEY_CHARACTERS, KEY_MOST))
            recover(entry->d_name);
    return true;
}

/* A freeze whose time is up, as all are when the driver ends; else `*end` is when to look again. */
static struct freeze *find_expired(int64_t *end)
{
    *end = NO_DEADLINE;
    for (struct freeze *freeze = frozen.first; freeze != NULL; freeze = freeze->next) {
        if (freeze->descriptor < 0)
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
    char key[KEY_MOST + 1];
    cleanup_close int descriptor = steal_descriptor(&freeze->descriptor);
    text_copy(key, sizeof key, freeze->key);
    pthread_mutex_unlock(&frozen.mutex);
    ioctl(descriptor, FITHAW, 0);
    remove_note(key);
    log_event(LOG_WARNING, "thawed a file system before its copy was whole", "volume_id", key, NULL);
    pthread_mutex_lock(&frozen.mutex);
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
    if (mkdir(state_directory, 0750) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s", state_directory);
    cleanup_close int directory = open(state_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || (mkdirat(directory, "frozen", 0700) != 0 && errno != EEXIST))
        return fail_errno(error, errno, "cannot make %s/frozen", state_directory);
    frozen.notes = openat(directory, "frozen", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (frozen.notes < 0)
        return fail_errno(error, errno, "cannot open %s/frozen", state_directory);
    if (recover_all(error) && start_watchdog(error))
        return true;
    close(steal_descriptor(&frozen.notes));
    return false;
}

void freeze_stop(void)
{
    pthread_mutex_lock(&frozen.mutex);
    bool running = frozen.running;
    frozen.running = false;
    pthread_cond_signal(&frozen.changed);
    pthread_mutex_unlock(&frozen.mutex);
    if (!running)
        return;
    pthread_join(frozen.watchdog, NULL);
    pthread_cond_destroy(&frozen.changed);
    close(steal_descriptor(&frozen.notes));
}

/* Thaws; false if the file system had been thawed before. */
static bool thaw(int descriptor, struct error *error)
{
    if (ioctl(descriptor, FITHAW, 0) == 0)
        return true;
    if (errno == EINVAL)
        return fail(error, ABORTED,
                    "the file system was thawed by somebody else before it was copied whole; try again");
    return fail_errno(error, errno, "cannot thaw the file system");
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

static bool freeze_now(struct freeze *freeze, const char *mount_point, struct error *error)
{
    freeze->descriptor = open_mount_point(mount_point);
    if (freeze->descriptor < 0)
        return fail_errno(error, errno, "cannot freeze \"%s\"", mount_point);
    if (!write_note(freeze->key, freeze->descriptor, mount_point, error))
        return false;
    if (freeze_noted(freeze, mount_point, error))
        return true;
    remove_note(freeze->key);
    return false;
}

struct freeze *freeze_begin(const char *key, const char *mount_point, int64_t limit_nanoseconds, struct error *error)
{
    struct freeze *freeze = calloc(1, sizeof *freeze);
    if (freeze == NULL || !text_is_made_of(key, KEY_CHARACTERS, KEY_MOST)) {
        fail(error, INTERNAL, "cannot freeze \"%s\" under the name \"%.64s\"", mount_point, key);
        free(freeze);
        return NULL;
    }
    text_copy(freeze->key, sizeof freeze->key, key);
    if (!freeze_now(freeze, mount_point, error)) {
        cleanup_close_descriptor(&freeze->descriptor);
        free(freeze);
        return NULL;
    }
    freeze->end = monotonic_now() + limit_nanoseconds;
    pthread_mutex_lock(&frozen.mutex);
    freeze->next = frozen.first;
    frozen.first = freeze;
    pthread_cond_signal(&frozen.changed);
    pthread_mutex_unlock(&frozen.mutex);
    return freeze;
}

/* Takes it from the list; the descriptor, or -1 if the watchdog has it. */
static int take(struct freeze *freeze)
{
    pthread_mutex_lock(&frozen.mutex);
    struct freeze **at = &frozen.first;
    while (*at != freeze)
        at = &(*at)->next;
    *at = freeze->next;
    int descriptor = steal_descriptor(&freeze->descriptor);
    pthread_mutex_unlock(&frozen.mutex);
    return descriptor;
}

bool freeze_end(struct freeze *freeze, struct error *error)
{
    if (freeze == NULL)
        return true;
    cleanup_close int descriptor = take(freeze);
    bool good = descriptor >= 0
                    ? thaw(descriptor, error) && fault("freeze.thawed", error)
                    : fail(error, ABORTED, "the file system was frozen for too long and has been thawed; try again");
    if (descriptor >= 0)
        remove_note(freeze->key);
    free(freeze);
    return good;
}
