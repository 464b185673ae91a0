/* File systems that are mounted: FIFREEZE, FITHAW (ioctl_fs(2)), and the note of it. */
#include "filesystem/freeze.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"
#include "filesystem/freeze_note.h"

#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

struct mounted {
    char key[FREEZE_KEY_MOST + 1];
    dev_t device;
    const char *mount_point; /* borrowed until it is frozen */
    int descriptor;          /* of the mount point: holds the mount */
};

/* False if the file system had been thawed before. */
static bool thaw(int descriptor, struct error *error)
{
    if (ioctl(descriptor, FITHAW, 0) == 0)
        return true;
    if (errno == EINVAL)
        return fail(error, ABORTED,
                    "the file system was thawed by somebody else before it was copied whole; try again");
    return fail_errno(error, errno, "cannot thaw the file system");
}

static bool thaw_filesystem(void *target, struct error *error)
{
    const struct mounted *mounted = target;
    bool good = thaw(mounted->descriptor, error) && fault("freeze.thawed", error);
    freeze_note_remove(mounted->key);
    return good;
}

static bool freeze_noted(const struct mounted *mounted, struct error *error)
{
    struct error ignored;
    if (!fault("freeze.noted", error))
        return false;
    if (ioctl(mounted->descriptor, FIFREEZE, 0) == 0)
        return fault("freeze.frozen", error) || (thaw(mounted->descriptor, &ignored), false);
    if (errno == EBUSY)
        return fail(error, ABORTED, "the file system at \"%s\" is frozen already, by somebody else; try again",
                    mounted->mount_point);
    return fail_errno(error, errno, "cannot freeze the file system at \"%s\"", mounted->mount_point);
}

/* Something else may be mounted there by now, and what is asked for somewhere else. */
static bool open_mounted(struct mounted *mounted, struct error *error)
{
    struct stat status;
    mounted->descriptor = freeze_open_mount_point(mounted->mount_point);
    if (mounted->descriptor < 0 || fstat(mounted->descriptor, &status) != 0)
        return fail_errno(error, errno, "cannot freeze \"%s\"", mounted->mount_point);
    return status.st_dev == mounted->device ||
           fail(error, ABORTED, "the file system at \"%s\" was unmounted meanwhile; try again", mounted->mount_point);
}

static bool freeze_filesystem(void *target, struct error *error)
{
    struct mounted *mounted = target;
    if (!open_mounted(mounted, error) ||
        !freeze_note_write(mounted->key, mounted->descriptor, mounted->mount_point, error))
        return false;
    if (freeze_noted(mounted, error))
        return true;
    freeze_note_remove(mounted->key);
    return false;
}

static void release(void *target)
{
    struct mounted *mounted = target;
    cleanup_close_descriptor(&mounted->descriptor);
    free(mounted);
}

struct freeze *freeze_begin(const char *key, dev_t device, const char *mount_point, int64_t limit_nanoseconds,
                            struct error *error)
{
    struct mounted *mounted = malloc(sizeof *mounted);
    if (mounted == NULL)
        abort();
    *mounted = (struct mounted){.device = device, .mount_point = mount_point, .descriptor = -1};
    text_copy(mounted->key, sizeof mounted->key, key);
    struct freezer freezer = {freeze_filesystem, thaw_filesystem, release, mounted};
    return freeze_begin_by(key, &freezer, limit_nanoseconds, error);
}
