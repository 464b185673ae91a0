/* The disk pool: block devices, as sysfs tells. */
#include "pool/disk.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "pool/loop.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CLASS "/sys/class/block"
#define SECTOR 512

/* Reads a line of a file of the device, without what is around it. */
static bool read_line(const char *name, const char *file, char *line, size_t size)
{
    char path[512], text[256];
    snprintf(path, sizeof path, CLASS "/%s/%s", name, file);
    cleanup_file FILE *stream = fopen(path, "re");
    line[0] = '\0';
    if (stream == NULL || fgets(text, sizeof text, stream) == NULL)
        return false;
    text_one_line(line, size, text);
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == ' ')
        line[--length] = '\0';
    memmove(line, line + strspn(line, " "), strlen(line + strspn(line, " ")) + 1);
    return line[0] != '\0';
}

/* What belongs to the whole disk is found above a partition. */
static bool read_of_disk(const struct disk_device *device, const char *file, char *line, size_t size)
{
    char above[64];
    snprintf(above, sizeof above, "%s%s", device->partition > 0 ? "../" : "", file);
    return read_line(device->name, above, line, size);
}

static uintmax_t number(const char *text)
{
    return strtoumax(text, NULL, 10);
}

/* A partition has such a file itself, which is not to be seen by the name ".". */
static bool has_partitions(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, CLASS "/%s", name);
    cleanup_directory DIR *directory = opendir(path);
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        snprintf(path, sizeof path, CLASS "/%s/%.200s/partition", name, entry->d_name);
        if (entry->d_name[0] != '.' && access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static bool is_virtual(const char *name)
{
    char path[512], target[PATH_MAX];
    snprintf(path, sizeof path, CLASS "/%s", name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    return strstr(target, "/devices/virtual/") != NULL;
}

static void read_words(struct disk_device *device)
{
    static const char *const serials[] = {"wwid", "device/wwid", "serial", "device/serial", NULL};
    char line[DISK_WORDS_BYTES];
    read_of_disk(device, "device/model", device->model, sizeof device->model);
    for (size_t i = 0; serials[i] != NULL; i++)
        if (read_of_disk(device, serials[i], device->serial, sizeof device->serial))
            break;
    device->rotational = read_of_disk(device, "queue/rotational", line, sizeof line) && line[0] == '1';
    device->removable = read_of_disk(device, "removable", line, sizeof line) && line[0] == '1';
}

static bool read_number(const struct disk_device *device, bool of_disk, dev_t *number)
{
    char line[64];
    unsigned int first, second;
    if (!(of_disk ? read_of_disk(device, "dev", line, sizeof line)
                  : read_line(device->name, "dev", line, sizeof line)) ||
        sscanf(line, "%u:%u", &first, &second) != 2)
        return false;
    *number = makedev(first, second);
    return true;
}

bool disk_device_read(const char *name, struct disk_device *device)
{
    char line[128];
    *device = (struct disk_device){.bytes = 0};
    text_copy(device->name, sizeof device->name, name);
    device->partition = read_line(name, "partition", line, sizeof line) ? (int)number(line) : 0;
    if (!read_number(device, false, &device->device) || !read_number(device, true, &device->disk))
        return false;
    device->sequence = read_of_disk(device, "diskseq", line, sizeof line) ? number(line) : 0;
    if (read_line(name, "size", line, sizeof line))
        device->bytes = (int64_t)number(line) * SECTOR;
    device->read_only = read_line(name, "ro", line, sizeof line) && line[0] == '1';
    device->has_partitions = has_partitions(name);
    uint64_t writes = 0; /* the fifth number: Documentation/admin-guide/iostats.rst */
    if (read_line(name, "stat", line, sizeof line) && sscanf(line, "%*u %*u %*u %*u %" SCNu64, &writes) == 1)
        device->writes = writes;
    read_words(device);
    snprintf(device->path, sizeof device->path, "/dev/%s", name);
    for (char *mark; (mark = strchr(device->path, '!')) != NULL;)
        *mark = '/'; /* as the kernel writes a slash there */
    return true;
}

bool disk_device_at(const char *path, struct disk_device *device, struct error *error)
{
    struct stat status;
    char link[64], target[PATH_MAX];
    if (stat(path, &status) != 0) {
        fail_errno(error, errno, "cannot find the device %s", path);
        if (error->number == ENOENT || error->number == ENOTDIR)
            error->code = NOT_FOUND;
        return false;
    }
    if (!S_ISBLK(status.st_mode))
        return fail(error, INVALID_ARGUMENT, "%s is no block device", path);
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(status.st_rdev), minor(status.st_rdev));
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    const char *slash = strrchr(target, '/');
    return (slash != NULL && disk_device_read(slash + 1, device)) ||
           fail(error, NOT_FOUND, "the kernel has no device for %s", path);
}

void disk_devices_add(struct disk_device **devices, size_t *count, const struct disk_device *device)
{
    for (size_t i = 0; i < *count; i++)
        if ((*devices)[i].device == device->device) {
            (*devices)[i].named = (*devices)[i].named || device->named;
            if (device->named_as[0] != '\0')
                text_copy((*devices)[i].named_as, sizeof device->named_as, device->named_as);
            return;
        }
    *devices = realloc(*devices, (*count + 1) * sizeof **devices);
    if (*devices == NULL)
        abort();
    (*devices)[(*count)++] = *device;
}

struct disk_device *disk_devices(size_t *count)
{
    struct disk_device *devices = NULL;
    cleanup_directory DIR *directory = opendir(CLASS);
    *count = 0;
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct disk_device device;
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < sizeof device.name && !is_virtual(entry->d_name) &&
            disk_device_read(entry->d_name, &device))
            disk_devices_add(&devices, count, &device);
    }
    return devices;
}

bool disk_device_is_a_volume(const struct disk_device *device)
{
    char name[DEVICE_MAPPER_NAME_BYTES], uuid[DEVICE_MAPPER_UUID_BYTES];
    return loop_is_a_volume(device->device) ||
           (device_mapper_identify(device->device, name, uuid) && strncmp(uuid, "LVM-", 4) == 0);
}

/* open(2): O_EXCL without O_CREAT on a block device fails with EBUSY if it is in use by the system. */
bool disk_device_is_busy(const struct disk_device *device)
{
    cleanup_close int descriptor = open(device->path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    return descriptor < 0 && errno == EBUSY;
}
