#include "base/cleanup.h"
#include "base/fault.h"
#include "filesystem/mount.h"
#include "filesystem/options.h"
#include "filesystem/path.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define TARGET_MODE 0750

/* The options that belong to a mount, not to the file system under it: mount_setattr(2). */
static const struct {
    const char *option;
    unsigned set, clear;
} attributes[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

static struct mount_attr wanted(bool read_only, const char *options)
{
    struct mount_attr attr = {.attr_set = read_only ? MOUNT_ATTR_RDONLY : 0};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        if (options_have(options, attributes[i].option)) {
            attr.attr_set = (attr.attr_set & ~(uint64_t)attributes[i].clear) | attributes[i].set;
            attr.attr_clr |= attributes[i].clear;
        }
    return attr;
}

/* Our own device nodes may be reached through udev's links; everything else is somebody else's path. */
static bool open_source(const char *source, int *descriptor, struct error *error)
{
    struct statx status;
    if (strncmp(source, "/dev/", 5) == 0)
        *descriptor = open(source, O_PATH | O_CLOEXEC);
    else if (!path_open(source, O_PATH, descriptor, error))
        return false;
    if (*descriptor < 0 || statx(*descriptor, "", AT_EMPTY_PATH, STATX_TYPE, &status) != 0)
        return fail_errno(error, errno, "cannot bind \"%s\"", source);
    if (!S_ISBLK(status.stx_mode) && (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0)
        return fail(error, FAILED_PRECONDITION, "nothing is mounted at \"%s\": the volume is not staged", source);
    return true;
}

/* A copy of the mount that is nowhere yet, with its attributes. */
static bool copy_mount(const char *source, bool read_only, const char *options, bool *directory, int *tree,
                       struct error *error)
{
    cleanup_close int descriptor = -1;
    struct statx status;
    if (!open_source(source, &descriptor, error))
        return false;
    *tree = open_tree(descriptor, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (*tree < 0 || statx(*tree, "", AT_EMPTY_PATH, STATX_TYPE, &status) != 0)
        return fail_errno(error, errno, "cannot copy the mount of \"%s\"", source);
    *directory = S_ISDIR(status.stx_mode);
    struct mount_attr attr = wanted(read_only, options);
    if ((attr.attr_set | attr.attr_clr) == 0 || mount_setattr(*tree, "", AT_EMPTY_PATH, &attr, sizeof attr) == 0)
        return true;
    if (errno == ENOSYS)
        return fail(error, FAILED_PRECONDITION, "the kernel has no mount_setattr(2): Linux 5.12 or later is needed");
    return fail_errno(error, errno, "cannot give the copied mount of \"%s\" its options", source);
}

/* Makes the target if it is not there: `*made`. */
static bool make_target(const struct path *target, const char *path, bool directory, bool *made, struct error *error)
{
    cleanup_close int file = -1;
    if (directory)
        *made = mkdirat(target->parent, target->name, TARGET_MODE) == 0;
    else
        *made = (file = openat(target->parent, target->name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640)) >= 0;
    return *made || errno == EEXIST || fail_errno(error, errno, "cannot make \"%s\"", path);
}

static bool move_to(int tree, const struct path *target, const char *path, bool directory, struct error *error)
{
    struct statx status;
    cleanup_close int place = path_open_name(target);
    if (place < 0 || statx(place, "", AT_EMPTY_PATH, STATX_TYPE, &status) != 0)
        return fail_errno(error, errno, "cannot mount at \"%s\"", path);
    if (S_ISLNK(status.stx_mode))
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" is a symbolic link", path);
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        return fail(error, ALREADY_EXISTS, "something is mounted at \"%s\" already", path);
    if (directory != S_ISDIR(status.stx_mode))
        return fail(error, FAILED_PRECONDITION, "\"%s\" is there and is %s directory", path, directory ? "no" : "a");
    if (!fault("mount.bind.target", error))
        return false;
    return move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0 ||
           fail_errno(error, errno, "cannot mount at \"%s\"", path);
}

bool mount_bind(const char *source, const char *path, bool read_only, const char *options, struct error *error)
{
    cleanup_close int tree = -1;
    cleanup_path struct path target = {.parent = -1};
    bool directory = false, made = false;
    if (!copy_mount(source, read_only, options, &directory, &tree, error) || !path_open_parent(path, &target, error))
        return false;
    if (target.parent < 0)
        return fail_errno(error, errno, "cannot make \"%s\": its parent is missing", path);
    if (!make_target(&target, path, directory, &made, error))
        return false;
    if (move_to(tree, &target, path, directory, error))
        return fault("mount.bind.after", error);
    if (made)
        unlinkat(target.parent, target.name, directory ? AT_REMOVEDIR : 0);
    return false;
}
