#include "filesystem/mountinfo.h"

#include "base/text.h"
#include "filesystem/mount.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct mountinfo mountinfo_open(void)
{
    return (struct mountinfo){.file = fopen("/proc/self/mountinfo", "re")};
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

bool mountinfo_may_be_node(const struct mountinfo_entry *entry)
{
    return entry->root[1] != '\0' && (strcmp(entry->type, "devtmpfs") == 0 || strcmp(entry->type, "tmpfs") == 0);
}

/* False if another mount covers it, or if it is a file of the file system that is bound somewhere. */
static bool is_reachable(dev_t device, const char *target)
{
    struct statx status;
    return strlen(target) < PATH_MAX && statx(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) == 0 &&
           S_ISDIR(status.stx_mode) && (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 &&
           makedev(status.stx_dev_major, status.stx_dev_minor) == device;
}

/* Where devices were mounted when last seen, since to read thousands of mounts takes milliseconds.  Only believed after
 * a look; one entry for each device, which are few. */
struct place {
    struct place *next;
    dev_t device;
    char *path;
};
static struct place *places;
static pthread_mutex_t places_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct place *find_place(dev_t device)
{
    struct place *place = places;
    while (place != NULL && place->device != device)
        place = place->next;
    return place;
}

void mountinfo_remember(dev_t device, const char *path)
{
    char *copy = strdup(path);
    pthread_mutex_lock(&places_mutex);
    struct place *place = find_place(device);
    if (place == NULL && (place = calloc(1, sizeof *place)) != NULL) {
        *place = (struct place){.next = places, .device = device};
        places = place;
    }
    if (place != NULL) {
        char *old = place->path;
        place->path = copy;
        copy = old;
    }
    pthread_mutex_unlock(&places_mutex);
    free(copy);
}

static bool recall(dev_t device, char path[static PATH_MAX])
{
    pthread_mutex_lock(&places_mutex);
    const struct place *place = find_place(device);
    snprintf(path, PATH_MAX, "%s", place != NULL && place->path != NULL ? place->path : "");
    pthread_mutex_unlock(&places_mutex);
    return path[0] != '\0' && is_reachable(device, path);
}

static bool scan(dev_t device, char *path)
{
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    while (mountinfo_next(&mounts, &entry))
        if (entry.device == device && is_reachable(device, entry.target)) {
            text_copy(path, PATH_MAX, entry.target);
            mountinfo_remember(device, path);
            return true;
        }
    return false;
}

bool mount_find_device(dev_t device, char *path)
{
    return recall(device, path) || scan(device, path);
}
