/*
 * A stand-in for libdevmapper, as far as pool/device_mapper*.c use it.  Devices are files that the pretended lvm
 * (volume_group.py) keeps in $PRETEND_LVM:
 *
 *   devices/<name>     three lines: "<uuid> <major>:<minor> <target> rw|ro", the status line, the table line
 *   suspended/<name>   there while the device is suspended
 *
 * A device that can be opened is a loop device; a file system on it is frozen while it is suspended.
 */
#include "base/cleanup.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/major.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define CONTROL_MINOR 236
#define TEXT 1024
#define VISIBLE __attribute__((visibility("default")))

struct dm_task {
    int type, number;
    char wanted_name[129], wanted_uuid[129];
    dev_t wanted_device;
    struct dm_info info;
    char name[129], uuid[129], target[32], status[TEXT], table[TEXT];
    struct dm_names *names;
    struct dm_deps deps;
};

static dm_log_with_errno_fn say;

static void path_of(char path[static PATH_MAX], const char *folder, const char *name)
{
    const char *top = getenv("PRETEND_LVM");
    snprintf(path, PATH_MAX, "%s/%s%s%s", top != NULL ? top : "/nowhere", folder, name[0] != '\0' ? "/" : "", name);
}

/* For pool/device_mapper_task.c, which is built to call this: the control node is a plain file here. */
VISIBLE int pretend_fstat(int descriptor, struct stat *status);
VISIBLE int pretend_fstat(int descriptor, struct stat *status)
{
    int result = fstat(descriptor, status);
    status->st_mode = S_IFCHR | 0600;
    status->st_rdev = makedev(MISC_MAJOR, CONTROL_MINOR);
    return result;
}

/* --- how often a device is open --- */

static int opens_of(const char *process, dev_t device)
{
    int count = 0;
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/fd", process);
    cleanup_directory DIR *descriptors = opendir(path);
    for (const struct dirent *entry; descriptors != NULL && (entry = readdir(descriptors)) != NULL;) {
        struct stat status;
        if (entry->d_name[0] != '.' && fstatat(dirfd(descriptors), entry->d_name, &status, 0) == 0 &&
            S_ISBLK(status.st_mode) && status.st_rdev == device)
            count++;
    }
    return count;
}

static int opens(dev_t device)
{
    int count = 0;
    cleanup_directory DIR *processes = opendir("/proc");
    for (const struct dirent *entry; processes != NULL && (entry = readdir(processes)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            count += opens_of(entry->d_name, device);
    return count;
}

/* Where a file system on the device is mounted: its first mount.  Counts it once, as the kernel does. */
static int find_mount(dev_t device, char *where)
{
    char line[4096], number[32];
    snprintf(number, sizeof number, "%u:%u", major(device), minor(device));
    cleanup_file FILE *mounts = fopen("/proc/self/mountinfo", "re");
    while (mounts != NULL && fgets(line, sizeof line, mounts) != NULL) {
        char which[32], path[2048];
        if (sscanf(line, "%*d %*d %31s %*s %2047s", which, path) != 2 || strcmp(which, number) != 0)
            continue;
        text_copy(where, PATH_MAX, path);
        return 1;
    }
    return 0;
}

/* Loop devices on it. */
static int loops_on(dev_t device)
{
    int count = 0;
    char wanted[32], path[300], backing[300];
    snprintf(wanted, sizeof wanted, "/dev/dm-%u\n", minor(device));
    cleanup_directory DIR *blocks = opendir("/sys/block");
    for (const struct dirent *entry; blocks != NULL && (entry = readdir(blocks)) != NULL;) {
        snprintf(path, sizeof path, "/sys/block/%.200s/loop/backing_file", entry->d_name);
        cleanup_file FILE *file = strncmp(entry->d_name, "loop", 4) == 0 ? fopen(path, "re") : NULL;
        count += file != NULL && fgets(backing, sizeof backing, file) != NULL && strcmp(backing, wanted) == 0;
    }
    return count;
}

static int open_count(dev_t device)
{
    char where[PATH_MAX];
    return major(device) != LOOP_MAJOR ? 0 : opens(device) + find_mount(device, where) + loops_on(device);
}

/* --- the devices --- */

static bool read_device(struct dm_task *task, const char *name)
{
    char path[PATH_MAX], first[TEXT], mode[8];
    path_of(path, "devices", name);
    cleanup_file FILE *file = fopen(path, "re");
    if (file == NULL || fgets(first, TEXT, file) == NULL || fgets(task->status, TEXT, file) == NULL ||
        fgets(task->table, TEXT, file) == NULL)
        return false;
    task->status[strcspn(task->status, "\n")] = task->table[strcspn(task->table, "\n")] = '\0';
    text_copy(task->name, sizeof task->name, name);
    bool good = sscanf(first, "%128s %u:%u %31s %7s", task->uuid, &task->info.major, &task->info.minor, task->target,
                       mode) == 5;
    task->info.read_only = good && strcmp(mode, "ro") == 0;
    return good;
}

static bool is_wanted(const struct dm_task *task)
{
    return task->wanted_name[0] != '\0'   ? strcmp(task->name, task->wanted_name) == 0
           : task->wanted_uuid[0] != '\0' ? strcmp(task->uuid, task->wanted_uuid) == 0
                                          : makedev(task->info.major, task->info.minor) == task->wanted_device;
}

static bool find_device(struct dm_task *task)
{
    char path[PATH_MAX];
    path_of(path, "devices", "");
    cleanup_directory DIR *devices = opendir(path);
    for (const struct dirent *entry; devices != NULL && (entry = readdir(devices)) != NULL;)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < sizeof task->name && read_device(task, entry->d_name) &&
            is_wanted(task)) {
            path_of(path, "suspended", task->name);
            task->info.suspended = access(path, F_OK) == 0;
            task->info.exists = task->info.live_table = 1;
            return true;
        }
    task->info = (struct dm_info){.exists = 0};
    task->name[0] = task->uuid[0] = '\0';
    return false;
}

static bool list_devices(struct dm_task *task)
{
    size_t used = 0, last = 0;
    char path[PATH_MAX], *buffer = calloc(1, sizeof *task->names + 8);
    path_of(path, "devices", "");
    cleanup_directory DIR *devices = opendir(path);
    for (const struct dirent *entry; devices != NULL && (entry = readdir(devices)) != NULL;) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof task->name || !read_device(task, entry->d_name))
            continue;
        size_t size = (sizeof(struct dm_names) + strlen(entry->d_name) + 1 + 7) / 8 * 8;
        buffer = realloc(buffer, used + size);
        if (used > 0)
            ((struct dm_names *)(void *)(buffer + last))->next = (uint32_t)(used - last);
        struct dm_names *row = (struct dm_names *)(void *)(buffer + used);
        row->dev = makedev(task->info.major, task->info.minor);
        row->next = 0;
        text_copy(row->name, size - sizeof *row, entry->d_name);
        last = used;
        used += size;
    }
    task->names = (struct dm_names *)(void *)buffer;
    return true;
}

static bool set_suspended(const struct dm_task *task, bool suspended)
{
    char path[PATH_MAX], where[PATH_MAX];
    path_of(path, "suspended", task->name);
    if (find_mount(makedev(task->info.major, task->info.minor), where)) {
        cleanup_close int directory = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directory >= 0)
            ioctl(directory, suspended ? FIFREEZE : FITHAW, 0);
    }
    if (!suspended)
        return unlink(path) == 0 || errno == ENOENT;
    cleanup_close int flag = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return flag >= 0;
}

/* --- libdevmapper.h --- */

VISIBLE void dm_log_with_errno_init(dm_log_with_errno_fn function)
{
    say = function;
}

VISIBLE void dm_udev_set_sync_support(int sync_with_udev)
{
    (void)sync_with_udev;
}

VISIBLE struct dm_task *dm_task_create(int type)
{
    struct dm_task *task = calloc(1, sizeof *task);
    if (task != NULL)
        task->type = type;
    return task;
}

VISIBLE void dm_task_destroy(struct dm_task *task)
{
    free(task->names);
    free(task);
}

VISIBLE int dm_task_set_name(struct dm_task *task, const char *name)
{
    text_copy(task->wanted_name, sizeof task->wanted_name, name);
    return 1;
}

VISIBLE int dm_task_set_uuid(struct dm_task *task, const char *uuid)
{
    text_copy(task->wanted_uuid, sizeof task->wanted_uuid, uuid);
    return 1;
}

VISIBLE int dm_task_set_major_minor(struct dm_task *task, int major_number, int minor_number, int fallback)
{
    (void)fallback;
    task->wanted_device = makedev((unsigned)major_number, (unsigned)minor_number);
    return 1;
}

VISIBLE int dm_task_no_flush(struct dm_task *task)
{
    (void)task;
    return 1;
}

VISIBLE int dm_task_set_sector(struct dm_task *task, uint64_t sector)
{
    (void)task, (void)sector;
    return 1;
}

/* A thin pool's messages do nothing: the pretended lvm copies a volume that is suspended as it is. */
VISIBLE int dm_task_set_message(struct dm_task *task, const char *message)
{
    (void)task, (void)message;
    return 1;
}

VISIBLE int dm_task_run(struct dm_task *task)
{
    if (task->type == DM_DEVICE_VERSION || task->type == DM_DEVICE_LIST)
        return task->type == DM_DEVICE_VERSION || list_devices(task);
    bool found = find_device(task);
    if (!found) {
        task->number = ENXIO;
        if (task->type == DM_DEVICE_INFO || task->type == DM_DEVICE_STATUS)
            return 1;
        say(3, __FILE__, __LINE__, ENXIO, "device-mapper: ioctl on %s%s failed: %s", task->wanted_name,
            task->wanted_uuid, strerror(ENXIO));
        return 0;
    }
    if (task->type == DM_DEVICE_INFO)
        task->info.open_count = open_count(makedev(task->info.major, task->info.minor));
    return task->type == DM_DEVICE_SUSPEND || task->type == DM_DEVICE_RESUME
               ? set_suspended(task, task->type == DM_DEVICE_SUSPEND)
               : 1;
}

VISIBLE int dm_task_get_errno(struct dm_task *task)
{
    return task->number;
}

VISIBLE int dm_task_get_info(struct dm_task *task, struct dm_info *info)
{
    *info = task->info;
    return 1;
}

VISIBLE const char *dm_task_get_name(const struct dm_task *task)
{
    return task->name;
}

VISIBLE const char *dm_task_get_uuid(const struct dm_task *task)
{
    return task->uuid;
}

VISIBLE struct dm_names *dm_task_get_names(struct dm_task *task)
{
    return task->names;
}

VISIBLE struct dm_deps *dm_task_get_deps(struct dm_task *task)
{
    return &task->deps;
}

VISIBLE void *dm_get_next_target(struct dm_task *task, void *next, uint64_t *start, uint64_t *length,
                                 char **target_type, char **params)
{
    (void)next;
    *start = *length = 0;
    *target_type = task->info.exists ? task->target : NULL;
    *params = !task->info.exists ? NULL : task->type == DM_DEVICE_TABLE ? task->table : task->status;
    return NULL;
}
