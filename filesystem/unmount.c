#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "filesystem/busy.h"
#include "filesystem/mount.h"
#include "filesystem/path.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define LAYERS_MOST 1000
#define BUSY_TRIES 5 /* a stat() by the kubelet's statistics holds a mount for a moment */
#define BUSY_PAUSE (20 * NANOSECONDS_PER_MILLISECOND)

enum outcome { UNMOUNTED, NOT_MOUNTED, FAILED };

static int look(const struct path *place, struct statx *status)
{
    return statx(place->parent, place->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
                 STATX_TYPE | STATX_SIZE | STATX_MNT_ID, status);
}

static int unmount(const struct path *place)
{
    char name[PATH_OF_NAME_BYTES];
    struct timespec pause = {.tv_nsec = BUSY_PAUSE};
    path_of_name(place, name);
    for (int i = 1; umount2(name, UMOUNT_NOFOLLOW) != 0; i++) {
        if (errno != EBUSY || i == BUSY_TRIES)
            return errno;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Takes off the topmost mount, if there is one. */
static enum outcome unmount_layer(const struct path *place, const char *path, struct error *error)
{
    struct statx status = {.stx_mask = 0};
    int looked = look(place, &status) == 0 ? 0 : errno;
    if (looked == ENOENT || (looked == 0 && (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0))
        return NOT_MOUNTED;
    int number = unmount(place); /* also if it cannot be looked at: a broken file system answers EIO */
    if (number == 0)
        return UNMOUNTED;
    if (number == EBUSY) {
        char holder[BUSY_WORDS_BYTES];
        busy_find(&status, path, holder);
        fail(error, FAILED_PRECONDITION, "cannot unmount \"%s\": %s", path, holder);
        return FAILED;
    }
    if (number == EINVAL && looked == 0) /* somebody else was faster */
        return NOT_MOUNTED;
    fail_errno(error, number == EINVAL ? looked : number, "cannot unmount \"%s\"", path);
    return FAILED;
}

/* Only what holds nothing: an empty directory or an empty file. */
static bool remove_target(const struct path *place, const char *path, struct error *error)
{
    struct statx status;
    if (look(place, &status) != 0)
        return errno == ENOENT || fail_errno(error, errno, "cannot look at \"%s\"", path);
    if (S_ISLNK(status.stx_mode))
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" is a symbolic link; it is left alone", path);
    if (!S_ISDIR(status.stx_mode) && (!S_ISREG(status.stx_mode) || status.stx_size != 0))
        return fail(error, FAILED_PRECONDITION, "\"%s\" is not an empty file; it is left alone", path);
    if (unlinkat(place->parent, place->name, S_ISDIR(status.stx_mode) ? AT_REMOVEDIR : 0) == 0 || errno == ENOENT)
        return true;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return fail(
            error, FAILED_PRECONDITION,
            "nothing is mounted at \"%s\" and the directory is not empty; it is left alone: look at what was written "
            "there and remove it",
            path);
    return fail_errno(error, errno, "cannot remove \"%s\"", path);
}

bool mount_unmount(const char *path, bool remove, struct error *error)
{
    cleanup_path struct path place;
    enum outcome outcome = UNMOUNTED;
    if (!path_open_parent(path, &place, error))
        return false;
    if (place.parent < 0)
        return true;
    for (int i = 0; i < LAYERS_MOST && outcome == UNMOUNTED; i++)
        outcome = unmount_layer(&place, path, error);
    if (outcome == UNMOUNTED)
        return fail(error, INTERNAL, "\"%s\" has more than %d mounts on top of each other", path, LAYERS_MOST);
    return outcome == NOT_MOUNTED && fault("mount.unmount.after", error) &&
           (!remove || remove_target(&place, path, error));
}
