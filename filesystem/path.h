/*
 * Paths from outside, opened with openat2(2) and RESOLVE_NO_SYMLINKS: a link anywhere below the kubelet's directory is
 * refused, so is "." or "..".  What is found is used through its descriptor, or as a name in its parent's, never by the
 * path again.
 */
#pragma once

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>

/* A name in a directory that is held open. */
struct path {
    int parent; /* O_PATH, or -1: there is no such directory */
    char name[NAME_MAX + 1];
};

/* Opens the parent of a path.  A parent that is missing is no error. */
bool path_open_parent(const char *path, struct path *opened, struct error *error);
void path_close(struct path *opened);
#define cleanup_path __attribute__((cleanup(path_close)))

/* Opens what is at a path, with the flags of open(2).  -1 if there is nothing (errno says ENOENT or ENOTDIR): no error.
 */
bool path_open(const char *path, int flags, int *descriptor, struct error *error);

/* Opens a name in its parent, O_PATH, a link as the link itself; -1 and errno. */
int path_open_name(const struct path *path);

/* A path to a name that the kernel resolves from the descriptor of its parent, for calls that know only paths:
 * umount2(2) with UMOUNT_NOFOLLOW. */
#define PATH_OF_NAME_BYTES (NAME_MAX + 32)
const char *path_of_name(const struct path *path, char buffer[static PATH_OF_NAME_BYTES]);

/* The directory below which links are refused and above which they are followed (mount_set_root()). */
void path_set_root(const char *directory);
