#include "pool/loop_device.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "pool/loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

void loop_device_path(int number, char path[static 32])
{
    snprintf(path, 32, LOOP_PATH "%d", number);
}

int loop_device_open(int number, int flags)
{
    char path[32];
    loop_device_path(number, path);
    int descriptor = open(path, flags | O_CLOEXEC);
    /* In a container /dev may have been filled before the kernel made this device. */
    if (descriptor < 0 && errno == ENOENT && mknod(path, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)number)) == 0)
        descriptor = open(path, flags | O_CLOEXEC);
    return descriptor;
}

/* --- whose it is --- */

static void read_name(const struct loop_info64 *info, char id[static ID_BYTES])
{
    const char *name = (const char *)info->lo_file_name;
    size_t mark = strlen(LOOP_MARK), length = strnlen(name, LO_NAME_SIZE);
    if (length <= mark || length - mark >= ID_BYTES || memcmp(name, LOOP_MARK, mark) != 0)
        return;
    memcpy(id, name + mark, length - mark);
    id[length - mark] = '\0';
}

static bool read_attribute(int number, const char *name, char *text, int size, struct error *error)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/block/loop%d/%s", number, name);
    cleanup_file FILE *file = fopen(path, "re");
    text[0] = '\0';
    return (file != NULL && (fgets(text, size, file) != NULL || feof(file))) ||
           fail_errno(error, errno, "cannot tell what is bound to /dev/loop%d: cannot read %s", number, path);
}

/* A file pool has its images at .../volumes/<volume id>/data. */
static void read_image(const char *image, char id[static ID_BYTES])
{
    static const char above[] = "/volumes/";
    const char *found = NULL;
    for (const char *next = image; (next = strstr(next, above)) != NULL; next += strlen(above))
        found = next + strlen(above);
    size_t length = found != NULL ? strcspn(found, "/") : 0;
    if (length == 0 || length >= ID_BYTES || strncmp(found + length, "/data", 5) != 0)
        return;
    memcpy(id, found, length);
    id[length] = '\0';
    if (!record_is_id(id, ID_MARK_VOLUME))
        id[0] = '\0';
}

bool loop_device_may_be_ours(int number)
{
    char image[PATH_MAX], id[ID_BYTES] = "";
    struct error ignored;
    if (read_attribute(number, "loop/backing_file", image, sizeof image, &ignored))
        read_image(image, id);
    return id[0] != '\0';
}

static bool identify_by_image(int number, struct loop_binding *found, struct error *error)
{
    char image[PATH_MAX], read_only[8];
    if (!read_attribute(number, "loop/backing_file", image, sizeof image, error) ||
        !read_attribute(number, "ro", read_only, sizeof read_only, error))
        return error->number == ENOENT; /* nothing is bound */
    read_image(image, found->id);
    found->read_only = read_only[0] == '1';
    return true;
}

bool loop_device_identify(int number, int descriptor, struct loop_binding *found, struct error *error)
{
    struct loop_info64 info;
    *found = (struct loop_binding){.id = ""};
    if (descriptor >= 0 && ioctl(descriptor, LOOP_GET_STATUS64, &info) == 0) {
        read_name(&info, found->id);
        found->read_only = (info.lo_flags & LO_FLAGS_READ_ONLY) != 0;
        return true;
    }
    if (descriptor >= 0 && errno == ENXIO)
        return true;
    return identify_by_image(number, found, error);
}
