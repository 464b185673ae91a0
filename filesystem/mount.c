#include "filesystem/mount.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "filesystem/filesystem.h"
#include "filesystem/mountinfo.h"
#include "filesystem/options.h"
#include "filesystem/path.h"

#include <fcntl.h>
#include <libmount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

void mount_set_root(const char *kubelet_directory)
{
    path_set_root(kubelet_directory);
}

static int mount_id(int descriptor)
{
    struct file_handle handle = {.handle_bytes = 0};
    int id = -1;
    /* Fails for want of room, having told the mount: name_to_handle_at(2). */
    name_to_handle_at(descriptor, "", &handle, &id, AT_EMPTY_PATH);
    return id;
}

/* A file system that has shut itself down (xfs, after an error) answers EIO even to statx(), but can be unmounted. */
static bool inspect_broken(const struct path *opened, int descriptor, struct mount_state *state)
{
    int id = mount_id(descriptor);
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    while (id >= 0 && id != mount_id(opened->parent) && mountinfo_next(&mounts, &entry))
        if (entry.id == id) {
            state->mounted = state->directory = true;
            state->device = entry.device;
            return true;
        }
    return false;
}

static bool inspect_open(const char *path, const struct path *opened, int descriptor, struct mount_state *state,
                         struct error *error)
{
    struct statx status;
    struct statfs mount;
    state->exists = true;
    if (statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0)
        return (errno == EIO && inspect_broken(opened, descriptor, state)) ||
               fail_errno(error, errno, "cannot look at \"%s\"", path);
    if (S_ISLNK(status.stx_mode))
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" is a symbolic link", path);
    if ((status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0)
        return fail(error, FAILED_PRECONDITION, "the kernel cannot tell mounts: Linux 5.12 or later is needed");
    state->directory = S_ISDIR(status.stx_mode);
    state->mounted = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    if (!state->mounted)
        return true;
    state->device = S_ISBLK(status.stx_mode) ? makedev(status.stx_rdev_major, status.stx_rdev_minor)
                                             : makedev(status.stx_dev_major, status.stx_dev_minor);
    state->read_only = fstatfs(descriptor, &mount) == 0 && (mount.f_flags & ST_RDONLY) != 0;
    return true;
}

bool mount_inspect(const char *path, struct mount_state *state, struct error *error)
{
    cleanup_path struct path opened;
    *state = (struct mount_state){.exists = false};
    if (!path_open_parent(path, &opened, error))
        return false;
    if (opened.parent < 0)
        return true;
    cleanup_close int descriptor = path_open_name(&opened);
    if (descriptor < 0)
        return errno == ENOENT || fail_errno(error, errno, "cannot look at \"%s\"", path);
    return inspect_open(path, &opened, descriptor, state, error);
}

static void free_context(struct libmnt_context **context)
{
    mnt_free_context(*context);
}

/* libmount without what mount(8) adds: helper programs, fstab, mtab, links followed, a second try read-only. */
static struct libmnt_context *prepare(const char *device, const char *target, const char *filesystem,
                                      const char *options)
{
    struct libmnt_context *context = mnt_new_context();
    if (context == NULL)
        return NULL;
    mnt_context_disable_helpers(context, 1);
    mnt_context_disable_canonicalize(context, 1);
    mnt_context_disable_mtab(context, 1);
    mnt_context_enable_rwonly_mount(context, !options_have(options, "ro"));
    mnt_context_set_optsmode(context, MNT_OMODE_NOTAB);
    if (mnt_context_set_source(context, device) == 0 && mnt_context_set_target(context, target) == 0 &&
        mnt_context_set_fstype(context, filesystem) == 0 && mnt_context_set_options(context, options) == 0)
        return context;
    mnt_free_context(context);
    return NULL;
}

/* mount(2) says EINVAL to a bad option and to a bad file system alike. */
static bool explain(struct libmnt_context *context, int status, const struct filesystem *filesystem,
                    const char *options, struct error *error)
{
    char words[256] = "";
    int number = mnt_context_syscall_called(context) ? mnt_context_get_syscall_errno(context) : -status;
    if (!options_ask_kernel(filesystem, options, words, sizeof words))
        return fail(error, INVALID_ARGUMENT, "the kernel refuses the options \"%s\": %s", options, words);
    mnt_context_get_excode(context, status, words, sizeof words);
    fail(error, number == EUCLEAN || number == EBADMSG ? DATA_LOSS : INTERNAL, "%s (the kernel's log may say more)",
         words);
    error->number = number;
    return false;
}

static bool check_source(const char *device, dev_t *number, struct error *error)
{
    struct stat status;
    if (stat(device, &status) != 0)
        return fail_errno(error, errno, "cannot find %s", device);
    if (!S_ISBLK(status.st_mode)) /* of a file libmount would make a loop device, which nobody would remove */
        return fail(error, INTERNAL, "%s is not a block device", device);
    *number = status.st_rdev;
    return true;
}

static bool open_free_directory(const char *path, int *target, struct error *error)
{
    struct statx status;
    if (!path_open(path, O_PATH, target, error))
        return false;
    if (*target < 0 || statx(*target, "", AT_EMPTY_PATH, STATX_TYPE, &status) != 0)
        return fail_errno(error, errno, "cannot mount at \"%s\"", path);
    if (!S_ISDIR(status.stx_mode))
        return fail(error, INVALID_ARGUMENT, "cannot mount at \"%s\": it is not a directory", path);
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        return fail(error, ALREADY_EXISTS, "something is mounted at \"%s\" already", path);
    return true;
}

bool mount_device(const char *device, const char *path, const char *filesystem, const char *options,
                  struct error *error)
{
    cleanup_close int target = -1;
    char name[64];
    dev_t number = 0;
    const struct filesystem *known = filesystem_find(filesystem);
    if (known == NULL)
        return fail(error, INVALID_ARGUMENT, "the file system \"%s\" is not one of %s", filesystem, filesystem_names());
    if (!options_check_mount(known, options, error) || !check_source(device, &number, error) ||
        !open_free_directory(path, &target, error))
        return false;
    snprintf(name, sizeof name, "/proc/self/fd/%d", target);
    CLEANUP(free_context) struct libmnt_context *context = prepare(device, name, filesystem, options);
    if (context == NULL)
        return fail(error, INTERNAL, "libmount refuses the options \"%s\"", options);
    if (!fault("mount.device.before", error))
        return false;
    int status = mnt_context_mount(context);
    if (status != 0) {
        explain(context, status, known, options, error);
        return fail_context(error, "cannot mount %s at \"%s\"", device, path);
    }
    mountinfo_remember(number, path);
    return fault("mount.device.after", error);
}
