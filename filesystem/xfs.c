/* xfs.  Grows only while mounted; two with one UUID cannot be mounted side by side without `nouuid`. */
#include "base/child.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/kind.h"

#include <string.h>
#include <xfs/xfs.h>

#define UUID_AT 32 /* sb_uuid in struct xfs_dsb, xfs_format.h */
#define UUID_BYTES 16
#define SMALLEST_GROUP_BLOCKS 64 /* XFS_MIN_AG_BLOCKS: the kernel leaves out a smaller last allocation group */

static bool read_uuid(const char *path, unsigned char uuid[static UUID_BYTES], struct error *error)
{
    cleanup_close int device = -1;
    char magic[4];
    int64_t bytes;
    if (!device_open(path, &device, &bytes, error) || !device_read(device, path, 0, magic, sizeof magic, error))
        return false;
    if (memcmp(magic, "XFSB", sizeof magic) != 0)
        return fail(error, DATA_LOSS, "%s has no xfs super block", path);
    return device_read(device, path, UUID_AT, uuid, UUID_BYTES, error);
}

/*
 * What xfs_admin -U generate runs, without the shell.  It ends with status 0 even if it refuses because the log has to
 * be replayed first, so the UUID itself tells.
 */
static bool new_identity(const char *path, int lock, int64_t deadline, bool *done, struct error *error)
{
    const char *const argv[] = {"xfs_db", "-x", "-p", "xfs_admin", "-c", "uuid generate", path, NULL};
    struct child_options child = {.deadline = deadline, .inherit = lock, .keep = true};
    unsigned char before[UUID_BYTES], after[UUID_BYTES];
    if (!read_uuid(path, before, error) || !child_run(argv, &child, NULL, error) || !read_uuid(path, after, error))
        return false;
    *done = memcmp(before, after, UUID_BYTES) != 0;
    return true;
}

static bool explain(int number, struct error *error)
{
    if (number == EROFS)
        return fail(error, FAILED_PRECONDITION, "the xfs cannot grow: it is mounted read-only");
    if (number == EWOULDBLOCK)
        return fail(error, ABORTED, "the xfs is being grown already");
    if (number == EPERM)
        return fail(
            error, FAILED_PRECONDITION,
            "the xfs cannot grow: the kernel wants the capability CAP_SYS_ADMIN, which the driver does not have");
    return fail_errno(error, number, "the xfs cannot grow (the kernel's log says why)");
}

static bool grow_mounted(int directory, int device, int64_t bytes, struct error *error)
{
    struct xfs_fsop_geom_v1 now;
    (void)device;
    if (ioctl(directory, XFS_IOC_FSGEOMETRY_V1, &now) != 0)
        return fail_errno(error, errno, "the mounted file system is not xfs");
    uint64_t blocks = (uint64_t)bytes / now.blocksize, rest = blocks % now.agblocks;
    if (rest < SMALLEST_GROUP_BLOCKS)
        blocks -= rest;
    struct xfs_growfs_data wanted;
    memset(&wanted, 0, sizeof wanted); /* its padding too: the kernel gets all of it */
    wanted.newblocks = blocks;
    wanted.imaxpct = now.imaxpct;
    if (blocks <= now.datablocks || ioctl(directory, XFS_IOC_FSGROWFSDATA, &wanted) == 0)
        return true;
    return explain(errno, error);
}

/* -K: no discard pass.  4 KiB sectors: the volume can move to a 4Kn disk. */
static const char *const make[] = {"mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096", NULL};

const struct filesystem xfs_filesystem = {
    .name = "xfs",
    .least_bytes = INT64_C(300) << 20, /* mkfs.xfs(8) since xfsprogs 5.19 */
    .make = make,
    .make_options =
        {
            {"-d", NULL, "agcount= agsize= cowextsize= extszinherit= noalign projinherit= su= sunit= sw= swidth="},
            {"-i", NULL, "align= attr= exchange= maxpct= nrext64= perblock= projid32bit= size= sparse="},
            {"-l", NULL, "agnum= lazy-count= size= su= sunit= version="},
            {"-m", NULL, "autofsck= bigtime= finobt= inobtcount= reflink= rmapbt="},
            {"-n", NULL, "ftype= parent= size= version="},
            {"-L", NULL, NULL},
        },
    .mount_options =
        "allocsize= attr2 noattr2 bsdgroups sysvgroups grpid nogrpid dax dax= discard nodiscard filestreams "
        "gqnoenforce "
        "gquota grpquota ikeep noikeep inode32 inode64 largeio nolargeio logbsize= logbufs= max_atomic_write= noalign "
        "noquota norecovery "
        "nouuid pqnoenforce pquota prjquota quota sunit= swalloc swidth= uqnoenforce uquota usrquota wsync",
    .copy_mount_options = "nouuid",
    .new_identity = new_identity,
    .grow_unmounted = NULL,
    .grow_mounted = grow_mounted,
};
