/* One line of the table of file systems.  Only filesystem/ looks inside. */
#pragma once

#include "filesystem/filesystem.h"

#define MAKE_OPTIONS_MOST 12 /* letters of one mkfs that somebody may use */

/* One letter of mkfs. */
struct make_option {
    const char *letter; /* "-O" */
    const char *ours;   /* what we give it, or NULL */
    const char *keys;   /* what users may add, comma by comma: "size= reflink=", "quota".  NULL: one plain value instead
                           of ours */
};

struct filesystem {
    const char *name;
    int64_t least_bytes;
    const char *const *make; /* mkfs and what is always the same, ended by NULL */
    struct make_option make_options[MAKE_OPTIONS_MOST + 1];
    const char *mount_options;      /* what may be asked of this one beside the general ones: "commit= discard" */
    const char *copy_mount_options; /* to mount a copy that still has its source's identity */

    /* As in filesystem.h; NULL where there is nothing to do. */
    bool (*new_identity)(const char *path, int lock, int64_t deadline, bool *done, struct error *error);
    bool (*grow_unmounted)(const char *path, int lock, int64_t deadline, struct error *error);

    /* `directory` is open on the mounted file system, `device` on what it lies on, which has `bytes` bytes. */
    bool (*grow_mounted)(int directory, int device, int64_t bytes, struct error *error);
};

extern const struct filesystem ext4_filesystem, xfs_filesystem;
