#include "filesystem/freeze_note.h"

#include "base/cleanup.h"
#include "base/clock.h"
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

#define RECOVERY_MOST (2 * NANOSECONDS_PER_SECOND) /* waited for at start */

static int notes = -1; /* the directory */

/* Of what a predecessor left; a thread for each, as on a dead disk that never ends. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t under_way;
} recovery = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int freeze_open_mount_point(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void freeze_note_remove(const char *key)
{
    unlinkat(notes, key, 0);
}

/* A note is one line: the number of the device and the mount point. */
bool freeze_note_write(const char *key, int descriptor, const char *mount_point, struct error *error)
{
    struct stat status;
    cleanup_close int note = openat(notes, key, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (note < 0 && errno == EEXIST)
        return fail(error, ABORTED, "\"%s\" is being frozen already; try again", mount_point);
    if (note >= 0 && fstat(descriptor, &status) == 0 &&
        dprintf(note, "%u:%u %s\n", major(status.st_dev), minor(status.st_dev), mount_point) > 0)
        return true;
    fail_errno(error, errno, "cannot note that \"%s\" is to be frozen", mount_point);
    if (note >= 0)
        freeze_note_remove(key);
    return false;
}

/* The mount point may have another path for us than for the process that froze it. */
static int open_noted(dev_t device, const char *mount_point)
{
    char path[PATH_MAX];
    struct stat status;
    int descriptor = freeze_open_mount_point(mount_point);
    if (descriptor >= 0 && fstat(descriptor, &status) == 0 && status.st_dev == device)
        return descriptor;
    if (descriptor >= 0)
        close(descriptor);
    return mount_find_device(device, path) ? freeze_open_mount_point(path) : -1;
}

static void thaw_noted(const char *key)
{
    unsigned device_major = 0, device_minor = 0;
    char mount_point[PATH_MAX] = "";
    int opened = openat(notes, key, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
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
    freeze_note_remove(key);
}

static void *recover(void *data)
{
    char *key = data;
    thaw_noted(key);
    free(key);
    pthread_mutex_lock(&recovery.mutex);
    recovery.under_way--;
    pthread_cond_signal(&recovery.changed);
    pthread_mutex_unlock(&recovery.mutex);
    return NULL;
}

/* Called with the mutex.  What nobody thaws keeps its note, for the next start. */
static void begin(const char *key)
{
    pthread_t thread;
    char *copy = strdup(key);
    if (copy != NULL && pthread_create(&thread, NULL, recover, copy) == 0) {
        pthread_detach(thread);
        recovery.under_way++;
        return;
    }
    free(copy);
    log_event(LOG_ERROR, "cannot start a thread to thaw what a killed process had left frozen", "volume_id", key, NULL);
}

/* Called with the mutex. */
static void await_all(void)
{
    int64_t until = monotonic_now() + RECOVERY_MOST;
    struct timespec time = {.tv_sec = until / NANOSECONDS_PER_SECOND, .tv_nsec = until % NANOSECONDS_PER_SECOND};
    while (recovery.under_way > 0)
        if (pthread_cond_clockwait(&recovery.changed, &recovery.mutex, CLOCK_MONOTONIC, &time) == ETIMEDOUT) {
            log_event(LOG_WARNING, "what a killed process had left frozen is still being thawed: is its disk dead?",
                      NULL);
            return;
        }
}

static bool recover_all(struct error *error)
{
    int opened = dup(notes);
    cleanup_directory DIR *directory = opened >= 0 ? fdopendir(opened) : NULL;
    if (directory == NULL)
        return fail_errno(error, errno, "cannot read the directory of frozen file systems");
    pthread_mutex_lock(&recovery.mutex);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (text_is_made_of(entry->d_name, FREEZE_KEY_CHARACTERS, FREEZE_KEY_MOST))
            begin(entry->d_name);
    await_all();
    pthread_mutex_unlock(&recovery.mutex);
    return true;
}

bool freeze_note_open(const char *state_directory, struct error *error)
{
    if (mkdir(state_directory, 0750) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s", state_directory);
    cleanup_close int directory = open(state_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || (mkdirat(directory, "frozen", 0700) != 0 && errno != EEXIST))
        return fail_errno(error, errno, "cannot make %s/frozen", state_directory);
    notes = openat(directory, "frozen", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (notes < 0)
        return fail_errno(error, errno, "cannot open %s/frozen", state_directory);
    if (recover_all(error))
        return true;
    freeze_note_close();
    return false;
}

void freeze_note_close(void)
{
    pthread_mutex_lock(&recovery.mutex);
    if (recovery.under_way == 0) /* else it is used until we are gone */
        close(steal_descriptor(&notes));
    pthread_mutex_unlock(&recovery.mutex);
}
