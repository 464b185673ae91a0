/* The mounts of our mount namespace, read from /proc/self/mountinfo (proc(5)).  Costs time with their number: not for
 * every call. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct mountinfo {
    FILE *file;
    char *line;
    size_t size;
};

/* One mount.  The strings live until the next one is read. */
struct mountinfo_entry {
    int id, parent;
    dev_t device;
    char *root;   /* the directory or file of the file system that is mounted: "/" unless it is a bind */
    char *target; /* where, seen from our root directory */
    char *type;   /* "ext4" */
};

/* Opens it; reading from one that could not be opened gives nothing. */
struct mountinfo mountinfo_open(void);
bool mountinfo_next(struct mountinfo *mounts, struct mountinfo_entry *entry);

/* True for a mount of one file of /dev, such as a device node. */
bool mountinfo_may_be_node(const struct mountinfo_entry *entry);
void mountinfo_close(struct mountinfo *mounts);
#define cleanup_mountinfo __attribute__((cleanup(mountinfo_close)))

/* Notes where a device was mounted, so that mount_find_device() can look there first. */
void mountinfo_remember(dev_t device, const char *path);
