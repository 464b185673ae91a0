/*
 * File systems as a table: ext4 and xfs.  A new one is one table line and, where it differs, one file.
 *
 * filesystem/ knows block devices, image files and mount points; it knows nothing of volumes, pools or CSI.
 * Only filesystem_make() formats, and only controller/create.c calls it, on a volume in phase `creating`.
 */
#pragma once

#include "base/child.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct filesystem;

/* Room for the name of what is found on a device: libblkid's longest is "silicon_medley_raid_member". */
#define FILESYSTEM_NAME_BYTES 32

/* The file system of that name, or NULL.  `filesystem_names()` is "ext4, xfs", for messages. */
const struct filesystem *filesystem_find(const char *name);
const char *filesystem_names(void);
const char *filesystem_name(const struct filesystem *filesystem);

/* The smallest volume it can be made on, in bytes: 8 MiB for ext4 (less gets no journal), 300 MiB for xfs
 * (mkfs.xfs(8)). */
int64_t filesystem_least_bytes(const struct filesystem *filesystem);

/*
 * Checks mkfs options from a StorageClass ("-I 512 -m 1", "-d agcount=8"): only the letters, and for letters that take
 * "key=value" only the keys, of the file system's table, and no character but letters, digits and "=,.^_%-", so that no
 * option can name another device or file.  Block size, sector size and UUID are ours.  INVALID_ARGUMENT says which word
 * is refused and what is allowed.
 */
bool filesystem_check_options(const struct filesystem *filesystem, const char *options, struct error *error);

/*
 * Makes the file system on all of a device or image file, whatever was there before.  ext4: 4 KiB blocks, nothing
 * reserved for root, metadata_csum_seed (so that a copy gets a new UUID cheaply), features that Linux 5.10 knows; xfs:
 * 4 KiB sectors, reflink; both without a discard pass.  `options` as above, or "".  `child` is how mkfs is run
 * (base/child.h); errors are child_run()'s and quote mkfs.
 */
bool filesystem_make(const struct filesystem *filesystem, const char *path, const char *options,
                     const struct child_options *child, struct error *error);

/*
 * What is on a device or image file, by libblkid's safe probing.  `found` receives the type ("ext4", "xfs",
 * "LVM2_member", "dos" ...), "" if there is no signature at all, or "several" when signatures contradict each
 * other.  A damaged super block still counts.  A read error, a short read or a file too short for anything is an error,
 * never "".
 */
bool filesystem_probe(const char *path, char found[static FILESYSTEM_NAME_BYTES], struct error *error);

/*
 * Gives an unmounted copy an identity of its own (ext4: tune2fs -U random; xfs: xfs_db, as xfs_admin -U generate does).
 * `*done` is false, without an error, if that is not possible yet: the log of an xfs has to be replayed by a mount
 * first, which is so for every copy of a mounted one.
 */
bool filesystem_new_identity(const struct filesystem *filesystem, const char *path, int lock, int64_t deadline,
                             bool *done, struct error *error);

/*
 * Grows an unmounted file system to the size of its device, if it can (ext4: e2fsck -f -p and resize2fs, only when it
 * is smaller than the device).  xfs grows only mounted: nothing is done.
 */
bool filesystem_grow_unmounted(const struct filesystem *filesystem, const char *path, int lock, int64_t deadline,
                               struct error *error);

/*
 * Grows a mounted file system to the size of its device by ioctl, no child process: EXT4_IOC_RESIZE_FS,
 * XFS_IOC_FSGROWFSDATA.  Nothing is done, and no capability wanted, if it fills the device already as far as it can.
 * FAILED_PRECONDITION with a sentence if the kernel wants a capability we lack (ext4: CAP_SYS_RESOURCE) or the mount is
 * read-only; ABORTED if it is being grown already.  `mount_point` is resolved as in mount.h.
 */
bool filesystem_grow_mounted(const struct filesystem *filesystem, const char *mount_point, struct error *error);

/* The options the file system itself needs to be mounted: "" or "nouuid" for an xfs copy without an identity of its
 * own. */
const char *filesystem_mount_options(const struct filesystem *filesystem, bool own_identity);

/* Errors that the file system on this device has recorded since it was made (/sys/fs/ext4/<name>/errors_count); 0 where
 * that is not known. */
int64_t filesystem_error_count(const struct filesystem *filesystem, const char *device);
