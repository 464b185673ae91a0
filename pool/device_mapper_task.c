/*
 * Threads.  libdevmapper keeps, without a lock: whether it has looked at the kernel's version (and a bad answer it
 * keeps for ever), the control descriptor, whether udev runs, the log function, and by how much to enlarge the buffer
 * of an ioctl.  All but the last are settled once, in set_up(), under a mutex, before the first task; then a task
 * touches only what is its own.  The buffer grows when an answer does not fit, which only a list of hundreds of devices
 * does not: lists are made under the mutex.  No other ioctl is, as any of them can wait for a disk.
 *
 * udev.  Waiting for it is switched off, no task has a cookie, and a task that names its device by UUID makes no nodes.
 */
#include "pool/device_mapper_task.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CONTROL "/dev/mapper/control"
#define CONTROL_MINOR 236 /* MAPPER_CTRL_MINOR of the kernel, which its headers for programs do not have */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool ready; /* libdevmapper has opened the control device */

/* --- what libdevmapper says --- */

static _Thread_local char last_words[256];

/* Replaces the library's own, which prints.  Levels are those of syslog with flags above; 3 is an error. */
__attribute__((format(printf, 5, 6))) static void keep_words(int level, const char *file, int line, int number,
                                                             const char *format, ...)
{
    (void)file, (void)line, (void)number;
    if ((level & 7) > 3)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_words, sizeof last_words, format, arguments);
    va_end(arguments);
}

/* --- the first task --- */

/*
 * Opens the control device ourselves first: the library, when it cannot, remembers that for ever, and removes a node
 * that is not the right one.  Opening it makes the kernel load the module if it can.
 */
static bool is_there(struct error *error)
{
    struct stat node;
    cleanup_close int control = open(CONTROL, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (control >= 0 && fstat(control, &node) == 0 && S_ISCHR(node.st_mode) &&
        node.st_rdev == makedev(MISC_MAJOR, CONTROL_MINOR))
        return true;
    return fail(error, FAILED_PRECONDITION, "there is no device-mapper (" CONTROL ": %s): load the module dm_mod%s",
                control < 0 ? strerror(errno) : "not its device", control < 0 && errno == EACCES ? ", be root" : "");
}

static bool set_up(struct error *error)
{
    if (!is_there(error))
        return false;
    dm_log_with_errno_init(keep_words);
    dm_udev_set_sync_support(0);
    cleanup_task struct dm_task *task = dm_task_create(DM_DEVICE_VERSION);
    if (task == NULL || !dm_task_run(task))
        return fail(error, FAILED_PRECONDITION, "device-mapper does not answer: %s", last_words);
    return true;
}

static bool use_library(struct error *error)
{
    pthread_mutex_lock(&mutex);
    ready = ready || set_up(error);
    bool usable = ready;
    pthread_mutex_unlock(&mutex);
    return usable;
}

/* --- tasks --- */

bool device_mapper_task(struct dm_task **task, int type, struct error *error)
{
    if (!use_library(error))
        return false;
    last_words[0] = '\0';
    *task = dm_task_create(type);
    return *task != NULL || fail(error, INTERNAL, "libdevmapper makes no task: %s", last_words);
}

static bool not_there(const char *uuid, struct error *error)
{
    return fail(error, NOT_FOUND, "there is no device-mapper device %s: its logical volume is not active", uuid);
}

bool device_mapper_run(struct dm_task **task, int type, const char *uuid, const char *done, struct error *error)
{
    struct dm_info info = {.exists = 1};
    if (!device_mapper_task(task, type, error))
        return false;
    /* Flushing a thin pool before its status is told would wait for its disks. */
    if (dm_task_set_uuid(*task, uuid) && (type == DM_DEVICE_SUSPEND || dm_task_no_flush(*task)) && dm_task_run(*task) &&
        (type == DM_DEVICE_DEPS || dm_task_get_info(*task, &info)))
        return info.exists || not_there(uuid, error);
    int number = dm_task_get_errno(*task);
    if (number == ENXIO)
        return not_there(uuid, error);
    fail(error, INTERNAL, "the device-mapper device %s cannot be %s: %s", uuid, done, last_words);
    error->number = number;
    return false;
}

bool device_mapper_ask(struct dm_task **task, int type, const char *uuid, const char *target, const char **line,
                       struct error *error)
{
    uint64_t start, length;
    char *found = NULL, *parameters = NULL;
    if (!device_mapper_run(task, type, uuid, "read", error))
        return false;
    dm_get_next_target(*task, NULL, &start, &length, &found, &parameters);
    if (found == NULL || parameters == NULL || strcmp(found, target) != 0)
        return fail(error, FAILED_PRECONDITION, "the device-mapper device %s is not a %s but %s", uuid, target,
                    found == NULL ? "empty" : found);
    *line = parameters;
    return true;
}

bool device_mapper_list(struct dm_task **task, struct error *error)
{
    if (!device_mapper_task(task, DM_DEVICE_LIST, error))
        return false;
    pthread_mutex_lock(&mutex);
    bool listed = dm_task_run(*task);
    pthread_mutex_unlock(&mutex);
    return listed || fail(error, INTERNAL, "device-mapper does not list its devices: %s", last_words);
}
