#include "filesystem/freeze_note.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/mount.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int notes = -1; /* the directory */

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

void freeze_note_thaw(const char *key)
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

bool freeze_note_each(void (*act)(const char *key), struct error *error)
{
    int opened = dup(notes);
    cleanup_directory DIR *directory = opened >= 0 ? fdopendir(opened) : NULL;
    if (directory == NULL)
        return fail_errno(error, errno, "cannot read the directory of frozen file systems");
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (text_is_made_of(entry->d_name, FREEZE_KEY_CHARACTERS, FREEZE_KEY_MOST))
            act(entry->d_name);
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
    return notes >= 0 || fail_errno(error, errno, "cannot open %s/frozen", state_directory);
}

void freeze_note_close(void)
{
    close(steal_descriptor(&notes));
}
