/* Making, probing, growing and renaming ext4 and xfs, on image files and loop devices. */
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "filesystem/device.h"
#include "filesystem/filesystem.h"
#include "filesystem/mount.h"
#include "tests/unit/disk_fixture.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

static struct error error;

static const char *make(const char *type, const char *name, int64_t bytes, const char *options)
{
    const char *image = disk_image(name, bytes);
    good(filesystem_make(filesystem_find(type), image, options, until(soon()), &error));
    return image;
}

static const char *probed(const char *path)
{
    static char found[FILESYSTEM_NAME_BYTES];
    good(filesystem_probe(path, found, &error));
    return found;
}

static char usual_path[4096];

/* Puts a directory of fake programs in front of PATH; `only` hides all others. */
static void fake_path(bool only)
{
    char path[8192];
    snprintf(path, sizeof path, "%s%s%s", disk_path("bin"), only ? "" : ":", only ? "" : usual_path);
    setenv("PATH", path, 1);
}

static void real_path(void)
{
    setenv("PATH", usual_path, 1);
}

static void fake(const char *program, const char *script)
{
    char name[64], text[512];
    mkdir(disk_path("bin"), 0755);
    snprintf(name, sizeof name, "bin/%s", program);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    disk_write_file(disk_path(name), text, 0755);
}

static int end_fakes(void **state)
{
    (void)state;
    real_path();
    unlink(disk_path("bin/mkfs.ext4"));
    unlink(disk_path("bin/e2fsck"));
    return 0;
}

/* --- the table and its options --- */

static void test_find(void **state)
{
    (void)state;
    assert_string_equal(filesystem_name(filesystem_find("ext4")), "ext4");
    assert_string_equal(filesystem_name(filesystem_find("xfs")), "xfs");
    assert_null(filesystem_find("ext3"));
    assert_null(filesystem_find(""));
    assert_string_equal(filesystem_names(), "ext4, xfs");
    assert_string_equal(filesystem_mount_options(filesystem_find("xfs"), true), "");
    assert_string_equal(filesystem_mount_options(filesystem_find("xfs"), false), "nouuid");
    assert_string_equal(filesystem_mount_options(filesystem_find("ext4"), false), "");
}

static void test_options_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *type, *options;
    } cases[] = {
        {"ext4", ""},
        {"ext4", "  "},
        {"ext4", "-I 512 -m 1"},
        {"ext4", "-I512"},
        {"ext4", "-i 65536 -J size=8 -T news"},
        {"ext4", "-E stride=16,stripe_width=64 -O ^has_journal,quota"},
        {"ext4", "-m 0.5 -L my_data"},
        {"xfs", "-d agcount=8,su=64k,sw=4 -i size=1024 -m reflink=0"},
        {"xfs", "-l size=64m,lazy-count=1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        good(filesystem_check_options(filesystem_find(cases[i].type), cases[i].options, &error));
}

static void test_options_refused(void **state)
{
    (void)state;
    static const struct {
        const char *type, *options, *words;
    } cases[] = {
        {"ext4", "/dev/sda", "\"/dev/sda\" has a character"},
        {"ext4", "sda", "\"sda\" is not allowed for ext4: allowed are -O"},
        {"ext4", "-J device=LABEL.x", "\"-J device=LABEL.x\" is not allowed: -J takes size="},
        {"ext4", "-J /dev/sda", "characters"},
        {"ext4", "-b 1024", "\"-b\" is not allowed"},
        {"ext4", "-U random", "\"-U\" is not allowed"},
        {"ext4", "-O journal_dev", "\"-O journal_dev\""},
        {"ext4", "-O ^metadata_csum_seed", "is not allowed"},
        {"ext4", "-O quota,journal_dev", "is not allowed"},
        {"ext4", "-E offset=4096", "is not allowed"},
        {"ext4", "-E size", "is not allowed"},
        {"ext4", "-d", "\"-d\" is not allowed"},
        {"ext4", "-I", "-I needs a value"},
        {"ext4", "-m $(reboot)", "characters"},
        {"ext4", "-m 1;reboot", "characters"},
        {"ext4", "--help", "is not allowed"},
        {"ext4", "-", "is not allowed"},
        {"ext4", "-I 512 16", "\"16\" is not allowed"},
        {"ext4", "-L \xc3\xa9", "characters"},
        {"xfs", "-p proto", "\"-p\" is not allowed"},
        {"xfs", "-c options=file", "\"-c\" is not allowed"},
        {"xfs", "-l logdev=x", "\"-l logdev=x\""},
        {"xfs", "-d file,name=x", "\"-d file,name=x\""},
        {"xfs", "-d size=1g", "is not allowed"},
        {"xfs", "-m uuid=x", "is not allowed"},
        {"xfs", "-r rtdev=x", "\"-r\" is not allowed"},
        {"xfs", "-s size=512", "\"-s\" is not allowed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bad(filesystem_check_options(filesystem_find(cases[i].type), cases[i].options, &error), INVALID_ARGUMENT,
            cases[i].words);
    char long_options[2000];
    memset(long_options, 'a', sizeof long_options - 1);
    long_options[sizeof long_options - 1] = '\0';
    bad(filesystem_check_options(filesystem_find("ext4"), long_options, &error), INVALID_ARGUMENT, "longer than");
}

/* --- making --- */

static void test_make_ext4(void **state)
{
    (void)state;
    disk_need();
    char command[256];
    const char *image = make("ext4", "ten", 10 * MEBI, "");
    assert_string_equal(probed(image), "ext4");
    snprintf(command, sizeof command,
             "dumpe2fs -h %s 2>/dev/null | grep -E '^(Block size|Reserved block count)' | tr -d ' \\n'", image);
    assert_string_equal(disk_run(command), "Reservedblockcount:0Blocksize:4096");
    snprintf(command, sizeof command,
             "dumpe2fs -h %s 2>/dev/null | grep -c -E 'features:.*has_journal.*metadata_csum_seed'", image);
    assert_string_equal(disk_run(command), "1");
    /* orphan_file needs Linux 5.15. */
    snprintf(command, sizeof command, "dumpe2fs -h %s 2>/dev/null | grep -c orphan_file || true", image);
    assert_string_equal(disk_run(command), "0");
}

static void test_make_with_options(void **state)
{
    (void)state;
    disk_need();
    char command[256];
    const char *image = make("ext4", "options", 64 * MEBI, "-I 512 -m 2 -O ^resize_inode,quota -E stride=16 -i 8192");
    snprintf(command, sizeof command,
             "dumpe2fs -h %s 2>/dev/null | grep -E '^(Inode size|Inode count|Reserved block count|RAID stride)' | tr "
             "-d ' \\t\\n'",
             image);
    assert_string_equal(disk_run(command), "Inodecount:8192Reservedblockcount:327RAIDstride:16Inodesize:512");
    snprintf(command, sizeof command, "dumpe2fs -h %s 2>/dev/null | grep -c 'features:.*quota'", image);
    assert_string_equal(disk_run(command), "1");
    image = make("xfs", "options-xfs", 300 * MEBI, "-i size=1024 -m reflink=0,rmapbt=0");
    snprintf(command, sizeof command,
             "xfs_db -c info %s | tr -d ' \\n' | grep -o -E 'isize=[0-9]+|sectsz=[0-9]+|reflink=.' | tr -d '\\n'",
             image);
    assert_string_equal(disk_run(command), "isize=1024sectsz=4096reflink=0sectsz=4096");
}

static void test_least_bytes(void **state)
{
    (void)state;
    disk_need();
    char command[256];
    const struct filesystem *ext4 = filesystem_find("ext4"), *xfs = filesystem_find("xfs");
    const char *image = make("ext4", "least-ext4", filesystem_least_bytes(ext4), "");
    snprintf(command, sizeof command, "dumpe2fs -h %s 2>/dev/null | grep -c 'features:.*has_journal'", image);
    assert_string_equal(disk_run(command), "1");
    make("xfs", "least-xfs", filesystem_least_bytes(xfs), "");
    image = disk_image("too-small", filesystem_least_bytes(xfs) - MEBI);
    bad(filesystem_make(xfs, image, "", until(soon()), &error), INTERNAL, "mkfs.xfs failed");
}

static void test_make_fails(void **state)
{
    (void)state;
    disk_need();
    const struct filesystem *ext4 = filesystem_find("ext4");
    const char *image = disk_image("victim", 10 * MEBI);
    bad(filesystem_make(ext4, image, "-b 1024", until(soon()), &error), INVALID_ARGUMENT, "-b");
    bad(filesystem_make(ext4, disk_path("missing"), "", until(soon()), &error), INTERNAL, "mkfs.ext4 failed");
    fake("mkfs.ext4", "echo 'no room on the left device' >&2; exit 3");
    fake_path(false);
    bad(filesystem_make(ext4, image, "", until(soon()), &error), INTERNAL, "status 3: no room on the left device");
    fake("mkfs.ext4", "sleep 60");
    bad(filesystem_make(ext4, image, "", until(monotonic_now() + NANOSECONDS_PER_SECOND / 5), &error),
        DEADLINE_EXCEEDED, "mkfs.ext4 did not end in time");
    unlink(disk_path("bin/mkfs.ext4"));
    fake_path(true);
    bad(filesystem_make(ext4, image, "", until(soon()), &error), FAILED_PRECONDITION, "not installed");
    assert_string_equal(probed(image), "");
}

/* An orphaned mkfs of a killed driver must hold the pool's lock. */
static void test_make_inherits_lock(void **state)
{
    (void)state;
    disk_need();
    char script[128];
    cleanup_close int lock = open(disk_directory, O_RDONLY | O_CLOEXEC);
    const char *image = disk_image("locked", 10 * MEBI);
    snprintf(script, sizeof script, "test -d /proc/self/fd/%d", lock);
    fake("mkfs.ext4", script);
    fake_path(false);
    good(filesystem_make(filesystem_find("ext4"), image, "",
                         &(struct child_options){.deadline = soon(), .inherit = lock}, &error));
    assert_false(filesystem_make(filesystem_find("ext4"), image, "", until(soon()), &error));
}

static void test_make_on_device(void **state)
{
    (void)state;
    disk_need();
    struct disk disk = disk_bind(disk_image("device", 16 * MEBI));
    good(filesystem_make(filesystem_find("ext4"), disk.path, "", until(soon()), &error));
    assert_string_equal(probed(disk.path), "ext4");
    /* mke2fs refuses a mounted device even if forced. */
    disk_make_directory(disk_path("device-mount"));
    good(mount_device(disk.path, disk_path("device-mount"), "ext4", "", &error));
    bad(filesystem_make(filesystem_find("ext4"), disk.path, "", until(soon()), &error), INTERNAL, "mounted");
    good(mount_unmount(disk_path("device-mount"), true, &error));
    disk_detach(&disk);
}

/* --- probing --- */

static void put(const char *image, int64_t offset, const void *bytes, size_t length)
{
    cleanup_close int file = open(image, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(file, bytes, length, offset), length);
}

static void test_probe_nothing(void **state)
{
    (void)state;
    disk_need();
    unsigned char garbage[8192];
    unsigned seed = 1;
    assert_string_equal(probed(disk_image("zeros", 10 * MEBI)), "");
    assert_string_equal(probed(disk_image("small", 4096)), "");
    const char *image = disk_image("garbage", 10 * MEBI);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (unsigned char)(rand_r(&seed) & 0x7f); /* 0x55 0xaa would be a partition table */
        put(image, 0, garbage, sizeof garbage);
        assert_string_equal(probed(image), "");
    }
}

/* From byte 446: one partition of Linux from sector 2048, 2048 long, and the mark of a table. */
static const unsigned char partition_table[66] = {
    [4] = 0x83, [9] = 0x08, [13] = 0x08, [64] = 0x55, [65] = 0xaa,
};

static void test_probe_others(void **state)
{
    (void)state;
    disk_need();
    char command[256];
    const char *image = disk_image("dos", 10 * MEBI);
    put(image, 446, partition_table, sizeof partition_table);
    assert_string_equal(probed(image), "dos");
    /* The label of an LVM physical volume, in its second sector (lib/format_text/layout.h). */
    image = disk_image("lvm", 10 * MEBI);
    put(image, 512, "LABELONE\1\0\0\0\0\0\0\0\0\0\0\0\40\0\0\0LVM2 001", 32);
    assert_string_equal(probed(image), "LVM2_member");
    image = disk_image("swap", 10 * MEBI);
    snprintf(command, sizeof command, "mkswap -q %s", image);
    disk_run(command);
    assert_string_equal(probed(image), "swap");
    image = disk_image("raid", 10 * MEBI); /* longer than most names */
    snprintf(command, sizeof command,
             "printf '\\374\\116\\053\\251' | dd of=%s bs=1 seek=%lld conv=notrunc status=none", image,
             (long long)(10 * MEBI - 65536));
    disk_run(command);
    assert_string_equal(probed(image), "linux_raid_member");
}

static void test_probe_several(void **state)
{
    (void)state;
    disk_need();
    char command[512];
    const char *image = make("ext4", "several", 300 * MEBI, "");
    put(image, 0, "XFSB", 4);
    const char *xfs = make("xfs", "several-xfs", 300 * MEBI, "");
    snprintf(command, sizeof command, "dd if=%s of=%s bs=512 count=1 conv=notrunc status=none", xfs, image);
    disk_run(command);
    assert_string_equal(probed(image), "several");
    /* A file system behind a partition table. */
    image = make("ext4", "table-and-ext4", 16 * MEBI, "");
    put(image, 446, partition_table, sizeof partition_table);
    assert_string_equal(probed(image), "several");
}

/* A file system that is damaged is still not an empty disk. */
static void test_probe_damaged(void **state)
{
    (void)state;
    disk_need();
    const char *image = make("ext4", "damaged", 16 * MEBI, "");
    put(image, 1024 + 0x78, "damage", 6);
    assert_string_equal(probed(image), "ext4");
    image = make("xfs", "damaged-xfs", 300 * MEBI, "");
    put(image, 108, "damage", 6);
    assert_string_equal(probed(image), "xfs");
    image = make("xfs", "cut-xfs", 300 * MEBI, "");
    assert_int_equal(truncate(image, 1 * MEBI), 0);
    assert_string_equal(probed(image), "xfs");
}

static void test_probe_unreadable(void **state)
{
    (void)state;
    disk_need();
    char found[FILESYSTEM_NAME_BYTES], byte[16];
    bad(filesystem_probe(disk_path("nowhere"), found, &error), INTERNAL, "No such file");
    bad(filesystem_probe(disk_directory, found, &error), INTERNAL, "neither a block device nor an image");
    bad(filesystem_probe("/dev/null", found, &error), INTERNAL, "neither a block device nor an image");
    assert_int_equal(mkfifo(disk_path("fifo"), 0600), 0);
    bad(filesystem_probe(disk_path("fifo"), found, &error), INTERNAL, "neither");
    bad(filesystem_probe(disk_image("cut-to-nothing", 0), found, &error), DATA_LOSS, "only 0 bytes");
    bad(filesystem_probe(disk_image("cut-to-little", 1000), found, &error), DATA_LOSS, "only 1000 bytes");
    /* A file that ends before its size says so, as a device that has gone: libblkid alone finds "nothing" there. */
    bad(filesystem_probe("/sys/kernel/uevent_seqnum", found, &error), DATA_LOSS, "where more was to be read");
    cleanup_close int image = open(disk_image("end", 4096), O_RDONLY | O_CLOEXEC);
    good(device_read(image, "end", 4080, byte, 16, &error));
    bad(device_read(image, "end", 4090, byte, 16, &error), DATA_LOSS, "end ends at byte 4096");
}

/* A device that is longer than what can be read of it. */
static void test_probe_short_device(void **state)
{
    (void)state;
    disk_need();
    char found[FILESYSTEM_NAME_BYTES], command[128];
    const char *image = disk_image("short", 10 * MEBI);
    struct disk disk = disk_bind(image);
    snprintf(command, sizeof command, "losetup --direct-io=on %s 2>&1 || true", disk.path);
    bool direct = disk_run(command)[0] == '\0';
    assert_int_equal(truncate(image, 4096), 0);
    snprintf(command, sizeof command,
             "dd if=%s of=/dev/null bs=4096 skip=1 count=1 iflag=direct 2>/dev/null && echo read || echo error",
             disk.path);
    bool fails = direct && strcmp(disk_run(command), "error") == 0;
    if (fails)
        bad(filesystem_probe(disk.path, found, &error), INTERNAL, "cannot read");
    disk_detach(&disk);
    disk_skip_unless(fails, "this kernel's loop devices read zeros behind the end of their image");
}

/* --- a new identity --- */

static void uuid_of(const char *image, char uuid[64])
{
    char command[256];
    snprintf(command, sizeof command, "blkid -p -s UUID -o value %s", image);
    snprintf(uuid, 64, "%s", disk_run(command));
}

static void test_identity(void **state)
{
    (void)state;
    disk_need();
    static const char *const types[] = {"ext4", "xfs"};
    for (size_t i = 0; i < 2; i++) {
        char before[64], after[64];
        bool done = false;
        const char *image = make(types[i], types[i], 300 * MEBI, "");
        uuid_of(image, before);
        good(filesystem_new_identity(filesystem_find(types[i]), image, -1, soon(), &done, &error));
        assert_true(done);
        uuid_of(image, after);
        assert_int_equal(strlen(after), 36);
        assert_string_not_equal(before, after);
        struct disk disk = disk_bind(image);
        disk_make_directory(disk_path("identity"));
        good(mount_device(disk.path, disk_path("identity"), types[i], "", &error));
        good(mount_unmount(disk_path("identity"), true, &error));
        disk_detach(&disk);
    }
    bool done = true;
    bad(filesystem_new_identity(filesystem_find("xfs"), disk_image("no-xfs", MEBI), -1, soon(), &done, &error),
        DATA_LOSS, "no xfs super block");
    assert_false(done);
    bad(filesystem_new_identity(filesystem_find("ext4"), disk_path("no-xfs"), -1, soon(), &done, &error), INTERNAL,
        "tune2fs failed");
    assert_false(done);
}

/* Copies what is on a mounted disk as it is after a freeze, which is what a snapshot is. */
static const char *snapshot_of(const char *image, const char *copy, const char *mount_point)
{
    char command[512];
    snprintf(command, sizeof command,
             "echo words > %s/file && fsfreeze -f %s && cp --sparse=always %s %s; fsfreeze -u %s", mount_point,
             mount_point, image, disk_path(copy), mount_point);
    disk_run(command);
    return disk_path(copy);
}

static void test_identity_of_snapshots(void **state)
{
    (void)state;
    disk_need();
    bool done = true;
    char before[64], after[64];
    const char *image = make("xfs", "origin-xfs", 300 * MEBI, ""), *mount_point = disk_path("origin");
    struct disk disk = disk_bind(image);
    disk_make_directory(mount_point);
    good(mount_device(disk.path, mount_point, "xfs", "", &error));
    const char *copy = snapshot_of(image, "copy-xfs", mount_point);
    uuid_of(copy, before);
    good(filesystem_new_identity(filesystem_find("xfs"), copy, -1, soon(), &done, &error));
    assert_false(done); /* its log has to be replayed first */
    uuid_of(copy, after);
    assert_string_equal(before, after);

    /* Beside its source it mounts with the option that says so, and not without. */
    struct disk second = disk_bind(copy);
    disk_make_directory(disk_path("copy"));
    assert_false(mount_device(second.path, disk_path("copy"), "xfs", "", &error));
    good(mount_device(second.path, disk_path("copy"), "xfs", filesystem_mount_options(filesystem_find("xfs"), false),
                      &error));
    good(mount_unmount(disk_path("copy"), true, &error));
    good(filesystem_new_identity(filesystem_find("xfs"), second.path, -1, soon(), &done, &error));
    assert_true(done);
    good(mount_unmount(mount_point, true, &error));
    disk_detach(&second);
    disk_detach(&disk);
}

/* A copy as after a power cut: the journal has to be replayed, and an open file was deleted. */
static void test_crashed_ext4(void **state)
{
    (void)state;
    disk_need();
    bool done = false;
    char before[64], after[64], command[512];
    const struct filesystem *ext4 = filesystem_find("ext4");
    const char *image = make("ext4", "crash", 32 * MEBI, ""), *mount_point = disk_path("crash-mount");
    const char *copy = disk_path("crash-copy");
    struct disk disk = disk_bind(image);
    disk_make_directory(mount_point);
    good(mount_device(disk.path, mount_point, "ext4", "", &error));
    snprintf(command, sizeof command,
             "cd %s && exec 7>deleted && rm deleted && echo words >&7 && sync -f . && cp --sparse=always %s %s",
             mount_point, image, copy);
    disk_run(command);
    good(mount_unmount(mount_point, true, &error));
    disk_detach(&disk);
    snprintf(command, sizeof command, "dumpe2fs -h %s 2>/dev/null | grep -c needs_recovery", copy);
    assert_string_equal(disk_run(command), "1");
    uuid_of(copy, before);
    good(filesystem_new_identity(ext4, copy, -1, soon(), &done, &error));
    assert_true(done);
    uuid_of(copy, after);
    assert_string_not_equal(before, after);
    disk_image("crash-copy", 64 * MEBI);
    good(filesystem_grow_unmounted(ext4, copy, -1, soon(), &error)); /* the deleted file makes e2fsck end with 1 */
    snprintf(command, sizeof command, "e2fsck -fn %s 2>&1", copy);
    disk_run(command);
}

/* One that we have not made: its UUID is the seed of its checksums, and it was mounted since it was checked. */
static void test_identity_of_foreign_ext4(void **state)
{
    (void)state;
    disk_need();
    bool done = false;
    char before[64], after[64], command[512];
    const char *image = disk_image("foreign", 32 * MEBI), *mount_point = disk_path("foreign-mount");
    snprintf(command, sizeof command, "mkfs.ext4 -q -F -O metadata_csum,^metadata_csum_seed %s && sleep 1.1", image);
    disk_run(command);
    struct disk disk = disk_bind(image);
    disk_make_directory(mount_point);
    good(mount_device(disk.path, mount_point, "ext4", "", &error));
    snprintf(command, sizeof command, "echo words > %s/file", mount_point);
    disk_run(command);
    good(mount_unmount(mount_point, true, &error));
    disk_detach(&disk);
    uuid_of(image, before);
    good(filesystem_new_identity(filesystem_find("ext4"), image, -1, soon(), &done, &error));
    assert_true(done);
    uuid_of(image, after);
    assert_string_not_equal(before, after);
    snprintf(command, sizeof command, "e2fsck -fn %s 2>&1", image);
    disk_run(command);
}

/* --- growing --- */

static int64_t blocks_of(const char *image)
{
    char command[256];
    snprintf(command, sizeof command, "dumpe2fs -h %s 2>/dev/null | awk '/^Block count/ {print $3}'", image);
    return strtoll(disk_run(command), NULL, 10);
}

static void test_grow_unmounted(void **state)
{
    (void)state;
    disk_need();
    const struct filesystem *ext4 = filesystem_find("ext4");
    const char *image = make("ext4", "origin-ext4", 32 * MEBI, ""), *mount_point = disk_path("grow-origin");
    struct disk disk = disk_bind(image);
    disk_make_directory(mount_point);
    good(mount_device(disk.path, mount_point, "ext4", "", &error));
    const char *copy = snapshot_of(image, "copy-ext4", mount_point);
    disk_image("copy-ext4", 200 * MEBI);
    good(filesystem_grow_unmounted(ext4, copy, -1, soon(), &error));
    assert_int_equal(blocks_of(copy), 200 * MEBI / 4096);
    fake_path(true); /* nothing is to be done any more, so nothing may be run */
    good(filesystem_grow_unmounted(ext4, copy, -1, soon(), &error));
    good(filesystem_grow_unmounted(filesystem_find("xfs"), copy, -1, soon(), &error));
    good(mount_unmount(mount_point, true, &error));
    disk_detach(&disk);
}

/* Grows, and again with no program to be found: once must have been enough. */
static void grows_once(const char *image, const char *what)
{
    const struct filesystem *ext4 = filesystem_find("ext4");
    bool grown = filesystem_grow_unmounted(ext4, image, -1, soon(), &error);
    fake_path(true);
    if (!grown || !filesystem_grow_unmounted(ext4, image, -1, soon(), &error))
        fail_msg("%s: %s", what, error.message);
    real_path();
}

/* Nor does it stop short of what resize2fs can do. */
static void cannot_grow(const char *image)
{
    char command[256];
    snprintf(command, sizeof command, "resize2fs -f %s 2>&1 | grep -c 'Nothing to do'", image);
    assert_string_equal(disk_run(command), "1");
}

/* A last group that would be too small for its own tables stays unused: that must not be tried again and again. */
static void test_grow_odd_sizes(void **state)
{
    (void)state;
    disk_need();
    static const char *const options[] = {"", "-i 4096", "-i 65536 -O ^resize_inode"};
    for (int64_t groups = 2; groups <= 9; groups++) /* 2, 4, 6 and 8 hold no copy of the super block */
        for (int64_t tail = 1 << 20; tail <= 4 * MEBI; tail += 100 << 10) {
            int64_t bytes = groups * 128 * MEBI + tail;
            grows_once(make("ext4", "odd", bytes, "-i 32768"), "odd");
            unlink(disk_path("odd"));
            if (groups > 4)
                continue;
            make("ext4", "odd", groups * 128 * MEBI, "-i 32768");
            grows_once(disk_image("odd", bytes), "odd");
            cannot_grow(disk_path("odd"));
            unlink(disk_path("odd"));
        }
    for (int i = 0; i < 3; i++)
        for (int64_t groups = 1; groups <= 9; groups += 2)
            for (int64_t tail = 64 << 10; tail <= 10 * MEBI; tail += 1777 << 10) {
                char what[128];
                int64_t bytes = groups * 128 * MEBI + tail;
                snprintf(what, sizeof what, "%s, %lld bytes", options[i], (long long)bytes);
                make("ext4", "odd", 100 * MEBI, options[i]);
                grows_once(disk_image("odd", bytes), what);
                unlink(disk_path("odd"));
                grows_once(make("ext4", "odd", bytes, options[i]), what);
                unlink(disk_path("odd"));
            }
}

static void test_grow_checks_first(void **state)
{
    (void)state;
    disk_need();
    const struct filesystem *ext4 = filesystem_find("ext4");
    const char *image = make("ext4", "checked", 16 * MEBI, "");
    disk_image("checked", 64 * MEBI);
    fake("e2fsck", "echo 'UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.'; exit 4");
    fake_path(false);
    bad(filesystem_grow_unmounted(ext4, image, -1, soon(), &error), INTERNAL, "status 4: UNEXPECTED INCONSISTENCY");
    assert_int_equal(blocks_of(image), 16 * MEBI / 4096);
    /* Status 1: everything was corrected. */
    char script[256];
    snprintf(script, sizeof script, "test -e %s || { touch %s; exit 1; }", disk_path("corrected"),
             disk_path("corrected"));
    fake("e2fsck", script);
    good(filesystem_grow_unmounted(ext4, image, -1, soon(), &error));
    assert_int_equal(blocks_of(image), 64 * MEBI / 4096);
    bad(filesystem_grow_unmounted(ext4, disk_image("blank", MEBI), -1, soon(), &error), DATA_LOSS,
        "no ext4 super block");
}

static int64_t size_of(const char *mount_point)
{
    struct statvfs status;
    assert_int_equal(statvfs(mount_point, &status), 0);
    return (int64_t)status.f_blocks * (int64_t)status.f_frsize;
}

static void test_grow_mounted_xfs(void **state)
{
    (void)state;
    disk_need();
    const struct filesystem *xfs = filesystem_find("xfs");
    const char *image = make("xfs", "online-xfs", 300 * MEBI, ""), *mount_point = disk_path("online-xfs-mount");
    struct disk disk = disk_bind(image);
    disk_make_directory(mount_point);
    good(mount_device(disk.path, mount_point, "xfs", "", &error));
    int64_t before = size_of(mount_point);
    good(filesystem_grow_mounted(xfs, mount_point, &error));
    assert_int_equal(size_of(mount_point), before);
    disk_resize(&disk, image, 600 * MEBI);
    good(filesystem_grow_mounted(xfs, mount_point, &error));
    assert_true(size_of(mount_point) >= before + 299 * MEBI);
    /* A rest too small for an allocation group. */
    disk_resize(&disk, image, 600 * MEBI + 65536);
    good(filesystem_grow_mounted(xfs, mount_point, &error));
    good(filesystem_grow_mounted(xfs, mount_point, &error));
    good(mount_unmount(mount_point, false, &error));
    good(mount_device(disk.path, mount_point, "xfs", "ro", &error));
    good(filesystem_grow_mounted(xfs, mount_point, &error)); /* asks for nothing, so it may be read-only */
    disk_resize(&disk, image, 900 * MEBI);
    bad(filesystem_grow_mounted(xfs, mount_point, &error), FAILED_PRECONDITION, "read-only");
    good(mount_unmount(mount_point, true, &error));
    disk_detach(&disk);
    bad(filesystem_grow_mounted(xfs, "relative", &error), INVALID_ARGUMENT, "not absolute");
    bad(filesystem_grow_mounted(xfs, disk_path("gone"), &error), INTERNAL, "No such file");
}

static bool may_grow_ext4(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    syscall(SYS_capget, &header, data);
    return (data[0].effective & 1U << CAP_SYS_RESOURCE) != 0;
}

static void test_grow_mounted_ext4(void **state)
{
    (void)state;
    disk_need();
    const struct filesystem *ext4 = filesystem_find("ext4");
    /* Of an odd size, so that there is a rest that cannot be used. */
    const char *image = make("ext4", "online-ext4", 128 * MEBI + 65536, ""),
               *mount_point = disk_path("online-ext4-mount");
    struct disk disk = disk_bind(image);
    disk_make_directory(mount_point);
    good(mount_device(disk.path, mount_point, "ext4", "", &error));
    good(filesystem_grow_mounted(ext4, mount_point, &error)); /* needs no capability: there is nothing to do */
    disk_resize(&disk, image, 300 * MEBI);
    bool grown = filesystem_grow_mounted(ext4, mount_point, &error);
    int64_t now = size_of(mount_point);
    good(mount_unmount(mount_point, true, &error));
    if (may_grow_ext4())
        assert_true(grown && now > 250 * MEBI);
    else
        bad(grown, FAILED_PRECONDITION, "to 300Mi: the kernel wants the capability CAP_SYS_RESOURCE");
    good(filesystem_grow_unmounted(ext4, disk.path, -1, soon(), &error));
    assert_int_equal(blocks_of(disk.path), 300 * MEBI / 4096);
    disk_detach(&disk);
}

static void test_grow_mounted_elsewhere(void **state)
{
    (void)state;
    disk_need();
    /* On a tmpfs: not a block device at all. */
    assert_false(filesystem_grow_mounted(filesystem_find("xfs"), disk_directory, &error));
}

/* --- errors that a file system has recorded --- */

static void test_error_count(void **state)
{
    (void)state;
    disk_need();
    const struct filesystem *ext4 = filesystem_find("ext4");
    char trigger[128];
    struct disk disk = disk_bind(make("ext4", "faulty", 16 * MEBI, ""));
    assert_int_equal(filesystem_error_count(ext4, disk.path), 0);
    disk_make_directory(disk_path("faulty-mount"));
    good(mount_device(disk.path, disk_path("faulty-mount"), "ext4", "", &error));
    assert_int_equal(filesystem_error_count(ext4, disk.path), 0);
    snprintf(trigger, sizeof trigger, "/sys/fs/ext4/%s/trigger_fs_error", strrchr(disk.path, '/') + 1);
    disk_write_file(trigger, "test", 0200);
    for (int i = 0; i < 100 && filesystem_error_count(ext4, disk.path) == 0; i++)
        usleep(10000); /* the kernel counts in the background */
    assert_int_equal(filesystem_error_count(ext4, disk.path), 1);
    assert_int_equal(filesystem_error_count(filesystem_find("xfs"), disk.path), 0);
    assert_int_equal(filesystem_error_count(ext4, disk_path("nowhere")), 0);
    good(mount_unmount(disk_path("faulty-mount"), true, &error));
    disk_detach(&disk);
}

#define unit(name) cmocka_unit_test_teardown(name, end_fakes)

int main(void)
{
    snprintf(usual_path, sizeof usual_path, "%s", getenv("PATH"));
    const struct CMUnitTest tests[] = {
        unit(test_find),
        unit(test_options_allowed),
        unit(test_options_refused),
        unit(test_make_ext4),
        unit(test_make_with_options),
        unit(test_least_bytes),
        unit(test_make_fails),
        unit(test_make_inherits_lock),
        unit(test_make_on_device),
        unit(test_probe_nothing),
        unit(test_probe_others),
        unit(test_probe_several),
        unit(test_probe_damaged),
        unit(test_probe_unreadable),
        unit(test_probe_short_device),
        unit(test_identity),
        unit(test_identity_of_snapshots),
        unit(test_crashed_ext4),
        unit(test_identity_of_foreign_ext4),
        unit(test_grow_unmounted),
        unit(test_grow_odd_sizes),
        unit(test_grow_checks_first),
        unit(test_grow_mounted_xfs),
        unit(test_grow_mounted_ext4),
        unit(test_grow_mounted_elsewhere),
        unit(test_error_count),
    };
    return cmocka_run_group_tests(tests, disk_setup, disk_teardown);
}
