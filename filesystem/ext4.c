/* ext4: the default.  Kernel documentation: filesystems/ext4 ("The Super Block", "Block and Inode Allocation Policy").
 */
#include "base/child.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/kind.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

/* fs/ext4/ext4.h; the kernel has no public header for it. */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

/* The super block and the fields of it that are used here, as offsets. */
enum {
    SUPERBLOCK_AT = 1024,
    SUPERBLOCK_BYTES = 1024,
    BLOCKS_LOW = 0x4,
    LOG_BLOCK_SIZE = 0x18,
    BLOCKS_PER_GROUP = 0x20,
    INODES_PER_GROUP = 0x28,
    MAGIC = 0x38,
    INODE_SIZE = 0x58,
    FEATURE_INCOMPAT = 0x60,
    FEATURE_RO_COMPAT = 0x64,
    RESERVED_GDT_BLOCKS = 0xce,
    BLOCKS_HIGH = 0x150,
};

enum {
    CSUM_SEED = 0x2000,    /* of FEATURE_INCOMPAT */
    METADATA_CSUM = 0x400, /* of FEATURE_RO_COMPAT */
};

struct shape {
    int64_t blocks, block_bytes, blocks_per_group;
    int64_t group_tables;    /* blocks of metadata that each group may have to hold */
    int64_t superblock_copy; /* and more where a copy of the super block lies */
};

static uint32_t get32(const unsigned char *bytes, size_t at)
{
    uint32_t value;
    memcpy(&value, bytes + at, sizeof value);
    return le32toh(value);
}

static uint16_t get16(const unsigned char *bytes, size_t at)
{
    uint16_t value;
    memcpy(&value, bytes + at, sizeof value);
    return le16toh(value);
}

static bool read_shape(int device, const char *path, struct shape *shape, struct error *error)
{
    unsigned char bytes[SUPERBLOCK_BYTES];
    if (!device_read(device, path, SUPERBLOCK_AT, bytes, sizeof bytes, error))
        return false;
    if (get16(bytes, MAGIC) != 0xef53 || get32(bytes, LOG_BLOCK_SIZE) > 6 || get32(bytes, BLOCKS_PER_GROUP) == 0)
        return fail(error, DATA_LOSS, "%s has no ext4 super block", path);
    shape->block_bytes = INT64_C(1024) << get32(bytes, LOG_BLOCK_SIZE);
    shape->blocks = (int64_t)get32(bytes, BLOCKS_HIGH) << 32 | get32(bytes, BLOCKS_LOW);
    shape->blocks_per_group = get32(bytes, BLOCKS_PER_GROUP);
    shape->group_tables = 2 + (int64_t)get32(bytes, INODES_PER_GROUP) * get16(bytes, INODE_SIZE) / shape->block_bytes;
    shape->superblock_copy = 2 + get16(bytes, RESERVED_GDT_BLOCKS);
    return true;
}

/* sparse_super: copies lie in groups 0 and 1 and in powers of 3, 5 and 7. */
static bool has_superblock_copy(int64_t group)
{
    static const int bases[] = {3, 5, 7};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        int64_t power = bases[i];
        while (power < group)
            power *= bases[i];
        if (power == group)
            return true;
    }
    return group <= 1;
}

/* The blocks of a file system that fills `bytes` bytes: a last group too small for its own metadata is left out, as
 * by mke2fs and the kernel. */
static int64_t blocks_that_fit(const struct shape *shape, int64_t bytes)
{
    int64_t blocks = bytes / shape->block_bytes;
    int64_t rest = blocks % shape->blocks_per_group;
    bool copy = has_superblock_copy(blocks / shape->blocks_per_group);
    return rest < shape->group_tables + (copy ? shape->superblock_copy : 0) + 50 ? blocks - rest : blocks;
}

/* resize2fs wants a check that is younger than the last mount, and so may tune2fs. */
static bool check(const char *path, const struct child_options *child, struct error *error)
{
    const char *const argv[] = {"e2fsck", "-f", "-p", path, NULL};
    struct error first;
    if (child_run(argv, child, NULL, &first))
        return true;
    /* Status 1 says that all is corrected (e2fsck(8)): then the next run finds nothing and ends with 0. */
    if (first.code == INTERNAL && child_run(argv, child, NULL, error))
        return true;
    *error = first;
    return false;
}

/*
 * Where the UUID is the seed of all checksums they are written again, for which tune2fs wants a check.  Ours have a
 * seed of their own, but an imported one may have been made otherwise.
 */
static bool seeds_checksums(const char *path, bool *seeds, struct error *error)
{
    unsigned char bytes[SUPERBLOCK_BYTES];
    cleanup_close int device = -1;
    int64_t size;
    if (!device_open(path, &device, &size, error) ||
        !device_read(device, path, SUPERBLOCK_AT, bytes, sizeof bytes, error))
        return false;
    *seeds =
        (get32(bytes, FEATURE_RO_COMPAT) & METADATA_CSUM) != 0 && (get32(bytes, FEATURE_INCOMPAT) & CSUM_SEED) == 0;
    return true;
}

static bool new_identity(const char *path, int lock, int64_t deadline, bool *done, struct error *error)
{
    const char *const argv[] = {"tune2fs", "-U", "random", path, NULL};
    struct child_options child = {.deadline = deadline, .inherit = lock, .keep = true};
    bool seeds;
    *done = seeds_checksums(path, &seeds, error) && (!seeds || check(path, &child, error)) &&
            child_run(argv, &child, NULL, error);
    return *done;
}

static bool grow_unmounted(const char *path, int lock, int64_t deadline, struct error *error)
{
    const char *const argv[] = {"resize2fs", path, NULL};
    struct child_options child = {.deadline = deadline, .inherit = lock, .keep = true};
    cleanup_close int device = -1;
    struct shape shape;
    int64_t bytes;
    if (!device_open(path, &device, &bytes, error) || !read_shape(device, path, &shape, error))
        return false;
    if (blocks_that_fit(&shape, bytes) <= shape.blocks)
        return true;
    return check(path, &child, error) && child_run(argv, &child, NULL, error);
}

static bool explain(int number, const struct shape *shape, int64_t bytes, struct error *error)
{
    char from[32], to[32];
    text_from_size(shape->blocks * shape->block_bytes, from);
    text_from_size(bytes, to);
    if (number == EPERM)
        return fail(
            error, FAILED_PRECONDITION,
            "the mounted ext4 cannot grow from %s to %s: the kernel wants the capability CAP_SYS_RESOURCE, which the "
            "driver does not have; give it that, or stop the pods, and it grows before it is mounted again",
            from, to);
    if (number == EROFS)
        return fail(error, FAILED_PRECONDITION, "the ext4 cannot grow from %s to %s: it is mounted read-only", from,
                    to);
    if (number == EBUSY)
        return fail(error, ABORTED, "the ext4 is being grown already");
    return fail_errno(error, number, "the mounted ext4 cannot grow from %s to %s (the kernel's log says why)", from,
                      to);
}

static bool grow_mounted(int directory, int device, int64_t bytes, struct error *error)
{
    struct shape shape;
    if (!read_shape(device, "the device of the mounted file system", &shape, error))
        return false;
    uint64_t blocks = (uint64_t)blocks_that_fit(&shape, bytes);
    if ((int64_t)blocks <= shape.blocks || ioctl(directory, EXT4_IOC_RESIZE_FS, &blocks) == 0)
        return true;
    return explain(errno, &shape, bytes, error);
}

/* Bytes in an inode are left to mke2fs.conf, which knows small and huge ones. */
static const char *const make[] = {"mkfs.ext4", "-q", "-F", "-b", "4096", NULL};

const struct filesystem ext4_filesystem = {
    .name = "ext4",
    .least_bytes = INT64_C(8) << 20, /* a smaller one gets no journal: mke2fs(8), -j */
    .make = make,
    .make_options =
        {
            /* "none" first: not what the mke2fs.conf of this image likes, but what every kernel since 5.10 can mount.
             */
            {"-O",
             "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
             "huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed",
             "bigalloc casefold ea_inode encrypt fast_commit has_journal huge_file inline_data large_dir orphan_file "
             "project quota resize_inode stable_inodes verity"},
            /* The kernel zeroes the inode tables later; the pool hands out no stale bytes, so the journal needs
               nothing. */
            {"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
             "encoding= encoding_flags= lazy_itable_init= lazy_journal_init= num_backup_sb= packed_meta_blocks= "
             "quotatype= "
             "resize= root_owner= stride= stripe_width="},
            {"-J", NULL, "size= fast_commit_size="},
            {"-T", NULL, "default floppy small big huge news largefile largefile4"},
            /* Nothing is reserved for root: containers often are root, so it would protect nobody. */
            {"-m", "0", NULL},
            {"-i", NULL, NULL},
            {"-I", NULL, NULL},
            {"-N", NULL, NULL},
            {"-C", NULL, NULL},
            {"-G", NULL, NULL},
            {"-L", NULL, NULL},
        },
    .mount_options =
        "acl noacl auto_da_alloc noauto_da_alloc barrier barrier= nobarrier block_validity noblock_validity bsddf "
        "minixdf "
        "bsdgroups sysvgroups grpid nogrpid commit= data= data_err= dax dax= delalloc nodelalloc dioread_lock "
        "dioread_nolock discard nodiscard errors= grpquota usrquota prjquota quota noquota init_itable init_itable= "
        "noinit_itable inlinecrypt inode_readahead_blks= journal_async_commit journal_checksum nojournal_checksum "
        "journal_ioprio= max_batch_time= min_batch_time= max_dir_size_kb= mb_optimize_scan= noload norecovery "
        "prefetch_block_bitmaps no_prefetch_block_bitmaps nombcache resgid= resuid= stripe= user_xattr nouser_xattr",
    .copy_mount_options = "",
    .new_identity = new_identity,
    .grow_unmounted = grow_unmounted,
    .grow_mounted = grow_mounted,
};
