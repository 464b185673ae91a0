#include "filesystem/mountinfo.h"

#include "filesystem/mount.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

void mountinfo_open(struct mountinfo *mounts)
{
    *mounts = (struct mountinfo){.file = fopen("/proc/self/mountinfo", "re")};
}

void mountinfo_close(struct mountinfo *mounts)
{
    if (mounts->file != NULL)
        fclose(mounts->file);
    free(mounts->line);
}

/* White space and backslashes are written as three octal digits. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        unsigned code;
        if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
static bool parse(char *line, struct mountinfo_entry *entry)
{
    unsigned device_major, device_minor;
    int at = 0;
    if (sscanf(line, "%d %d %u:%u %n", &entry->id, &entry->parent, &device_major, &device_minor, &at) < 4 || at == 0)
        return false;
    char *rest = line + at;
    entry->device = makedev(device_major, device_minor);
    entry->root = strsep(&rest, " ");
    entry->target = strsep(&rest, " ");
    char *type = rest != NULL ? strstr(rest, " - ") : NULL;
    if (type == NULL)
        return false;
    type += 3;
    entry->type = strsep(&type, " ");
    unescape(entry->root);
    unescape(entry->target);
    return true;
}

bool mountinfo_next(struct mountinfo *mounts, struct mountinfo_entry *entry)
{
    while (mounts->file != NULL && getline(&mounts->line, &mounts->size, mounts->file) > 0)
        if (parse(mounts->line, entry))
            return true;
    return false;
}

/* True if the mount is one of a device node alone, as for a published raw block volume, and that device is `device`. */
static bool is_bound_device(const struct mountinfo_entry *entry, dev_t device)
{
    struct stat status;
    if (entry->root[1] == '\0' || (strcmp(entry->type, "devtmpfs") != 0 && strcmp(entry->type, "tmpfs") != 0))
        return false;
    return lstat(entry->target, &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == device;
}

/* False if another mount covers it, or if it is a file of the file system that is bound somewhere. */
static bool is_reachable(const struct mountinfo_entry *entry)
{
    struct stat status;
    return strlen(entry->target) < PATH_MAX && lstat(entry->target, &status) == 0 && S_ISDIR(status.st_mode) &&
           status.st_dev == entry->device;
}

bool mount_find_device(dev_t device, char *path)
{
    cleanup_mountinfo struct mountinfo mounts;
    struct mountinfo_entry entry;
    mountinfo_open(&mounts);
    while (mountinfo_next(&mounts, &entry))
        if (entry.device == device && is_reachable(&entry)) {
            strcpy(path, entry.target);
            return true;
        }
    return false;
}

bool mount_is_used(dev_t device)
{
    cleanup_mountinfo struct mountinfo mounts;
    struct mountinfo_entry entry;
    mountinfo_open(&mounts);
    while (mountinfo_next(&mounts, &entry))
        if (entry.device == device || is_bound_device(&entry, device))
            return true;
    return false;
}
