/*
 * Mounting, in one place.  Paths come from outside (the kubelet) and are resolved with openat2(2) and
 * RESOLVE_NO_SYMLINKS below the kubelet's directory, so that a link planted there leads nowhere; what is mounted or
 * removed is named by descriptor of its parent and last component, never by the whole path again.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* The directory below which links are never followed; above it they are (/var/lib may be one).  Set once, at start. */
void mount_set_root(const char *kubelet_directory);

/* What is at a path now. */
struct mount_state {
    bool exists;    /* something is there */
    bool directory; /* it is a directory (else a file or a device) */
    bool mounted;   /* it is the root of a mount (statx(2), STATX_ATTR_MOUNT_ROOT) */
    bool read_only; /* that mount is read-only */
    dev_t device;   /* of a mounted file system: the device it lies on; of a mounted device node: that device */
};

/*
 * Looks at a path without following links or triggering automounts.  INVALID_ARGUMENT for a path that is not absolute,
 * has "." or ".." components, is longer than PATH_MAX - 1 or goes through a link; a missing path is no error (exists =
 * false).
 */
bool mount_inspect(const char *path, struct mount_state *state, struct error *error);

/*
 * Mounts a block device at an existing directory through libmount.  `options` are comma-separated, as in mount(8);
 * helpers, fstab and uid changes are off.  INVALID_ARGUMENT for options the kernel or the table of allowed ones refuses
 * (an option may not name a device or file), quoting the kernel's words.  ALREADY_EXISTS if something is mounted at the
 * path. A write-protected device is an error, not a read-only mount, unless the options have "ro".
 */
bool mount_device(const char *device, const char *path, const char *filesystem, const char *options,
                  struct error *error);

/*
 * Binds what is mounted at (or is the device node) `source` to `path`, which is made first: a directory, or a file if
 * `source` is not one.  Its parent must exist.  FAILED_PRECONDITION if nothing is mounted at a `source` that is no
 * device node, ALREADY_EXISTS if something is mounted at `path`; what was made is removed again after an error, what
 * was there before stays.  Links are followed in a `source` below /dev (udev's), nowhere else.  Atomic: open_tree(2),
 * mount_setattr(2), move_mount(2), so a read-only bind is never writable for a moment.  `options`: only ro, noexec,
 * nodev, nosuid, noatime, nodiratime, relatime count; others are superblock options that the stage mount has had, and
 * are ignored.
 */
bool mount_bind(const char *source, const char *path, bool read_only, const char *options, struct error *error);

/*
 * Unmounts `path` if something is mounted there (every layer) and, if `remove`, removes the empty directory or empty
 * file.  Nothing there: true.  FAILED_PRECONDITION when busy (for 0.1 s), naming the process that holds it
 * ("nginx (process 4711) has files open"); FAILED_PRECONDITION when a directory to be removed is not empty.
 */
bool mount_unmount(const char *path, bool remove, struct error *error);

/*
 * A directory where the device's file system is mounted, and not covered, in our mount namespace, into `path` (PATH_MAX
 * bytes).  False: nowhere. Costs microseconds where it was last seen, else it reads all mounts (2 microseconds each).
 */
bool mount_find_device(dev_t device, char *path);
