#include "filesystem/device.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static bool measure(int descriptor, const char *path, const struct stat *status, int64_t *bytes, struct error *error)
{
    uint64_t size = 0;
    if (S_ISREG(status->st_mode))
        size = (uint64_t)status->st_size;
    else if (!S_ISBLK(status->st_mode))
        return fail(error, INTERNAL, "%s is neither a block device nor an image file", path);
    else if (ioctl(descriptor, BLKGETSIZE64, &size) != 0)
        return fail_errno(error, errno, "cannot tell the size of %s", path);
    *bytes = (int64_t)size;
    return true;
}

bool device_open(const char *path, int *descriptor, int64_t *bytes, struct error *error)
{
    struct stat status;
    /* O_NONBLOCK: a FIFO of that name would hang us until somebody writes to it. */
    cleanup_close int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (opened < 0 || fstat(opened, &status) != 0)
        return fail_errno(error, errno, "cannot open %s", path);
    if (!measure(opened, path, &status, bytes, error))
        return false;
    *descriptor = steal_descriptor(&opened);
    return true;
}

/* The name below /dev that the kernel gives a block device; udev's links may be missing in a container. */
static bool device_path(dev_t device, char path[static PATH_MAX], struct error *error)
{
    char events[64], line[NAME_MAX + 16];
    snprintf(events, sizeof events, "/sys/dev/block/%u:%u/uevent", major(device), minor(device));
    cleanup_file FILE *file = fopen(events, "re");
    if (file == NULL)
        return fail_errno(error, errno, "cannot find the block device %u:%u", major(device), minor(device));
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "DEVNAME=", 8) == 0) {
            snprintf(path, PATH_MAX, "/dev/%s", line + 8);
            return true;
        }
    }
    return fail(error, INTERNAL, "the block device %u:%u has no name in %s", major(device), minor(device), events);
}

bool device_open_number(dev_t device, int *descriptor, int64_t *bytes, struct error *error)
{
    char path[PATH_MAX];
    struct stat status;
    cleanup_close int opened = -1;
    if (!device_path(device, path, error) || !device_open(path, &opened, bytes, error))
        return false;
    if (fstat(opened, &status) != 0 || !S_ISBLK(status.st_mode) || status.st_rdev != device)
        return fail(error, INTERNAL, "%s is not the block device %u:%u: is /dev the host's?", path, major(device),
                    minor(device));
    *descriptor = steal_descriptor(&opened);
    return true;
}

bool device_read(int descriptor, const char *path, int64_t offset, void *buffer, size_t length, struct error *error)
{
    size_t done = 0;
    while (done < length) {
        ssize_t count = pread(descriptor, (char *)buffer + done, length - done, offset + (int64_t)done);
        if (count == 0)
            return fail(error, DATA_LOSS, "%s ends at byte %" PRId64 ", where more was to be read", path,
                        offset + (int64_t)done);
        if (count < 0 && errno != EINTR)
            return fail_errno(error, errno, "cannot read %s at byte %" PRId64, path, offset + (int64_t)done);
        done += count > 0 ? (size_t)count : 0;
    }
    return true;
}
