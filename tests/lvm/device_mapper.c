/*
 * pool/device_mapper.h against a real kernel, in user-mode Linux with three disks (/dev/ubda to ubdc): LVM makes the
 * volumes, and what device-mapper says is compared with what LVM's commands say.
 */
#include "pool/device_mapper.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "tests/unit/disk_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char uuid[DEVICE_MAPPER_UUID_BYTES], name[DEVICE_MAPPER_NAME_BYTES];
static struct device_mapper_device device;
static struct error error;

/* The first word that an LVM command prints. */
__attribute__((format(printf, 1, 2))) static const char *run(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    const char *line = disk_run(command);
    return line + strspn(line, " ");
}

static int64_t number(const char *column, const char *volume)
{
    return strtoll(run("lvs --noheadings --nosuffix --units b -a -o %s %s", column, volume), NULL, 10);
}

/* The UUID of a volume's device. */
static const char *of(const char *volume, const char *layer)
{
    char vg[64];
    text_copy(vg, sizeof vg, run("vgs --noheadings -o vg_uuid vg"));
    device_mapper_uuid(uuid, vg, run("lvs --noheadings -a -o lv_uuid vg/%s", volume), layer);
    return uuid;
}

static int make_volumes(void **state)
{
    (void)state;
    setenv("LVM_SUPPRESS_FD_WARNINGS", "1", 1); /* popen() leaves commands the control device; base/child.c does not */
    run("modprobe -a dm-thin-pool dm-snapshot dm-raid");
    run("pvcreate -q /dev/ubda /dev/ubdb /dev/ubdc 2>&1 && vgcreate -q vg /dev/ubda /dev/ubdb /dev/ubdc 2>&1");
    run("lvcreate -q -y -L 128M --chunksize 192k --poolmetadatasize 8M -T vg/pool 2>&1");
    run("lvcreate -q -y -V 64M -T vg/pool -n thin 2>&1");
    run("lvcreate -q -y -L 64M -n plain vg 2>&1");
    run("lvcreate -q -y -L 8M -s -n cow vg/plain 2>&1");
    run("lvcreate -q -y -L 64M -n files vg 2>&1 && mkfs.ext4 -q /dev/vg/files");
    run("lvcreate -q -y --type raid1 -m 2 -L 32M --nosync -n mirror vg 2>&1");
    return disk_setup(state);
}

static void a_volume_is_found_by_its_uuid(void **state)
{
    (void)state;
    struct stat node;
    good(device_mapper_find(of("thin", ""), &device, &error));
    assert_string_equal(device.name, "vg-thin");
    assert_int_equal(stat("/dev/vg/thin", &node), 0);
    assert_true(node.st_rdev == device.device);
    assert_int_equal(stat(device.path, &node), 0);
    assert_true(node.st_rdev == device.device && S_ISBLK(node.st_mode));
    assert_false(device.suspended || device.read_only);
}

static void who_has_it_open_is_counted(void **state)
{
    (void)state;
    good(device_mapper_find(of("thin", ""), &device, &error));
    assert_int_equal(device.open_count, 0);
    int one = open(device.path, O_RDONLY | O_CLOEXEC);
    good(device_mapper_find(uuid, &device, &error));
    close(one);
    assert_int_equal(device.open_count, 1);
}

static void a_read_only_volume(void **state)
{
    (void)state;
    run("lvchange -q -pr vg/thin 2>&1");
    good(device_mapper_find(of("thin", ""), &device, &error));
    assert_true(device.read_only);
    run("lvchange -q -prw vg/thin 2>&1");
}

static void what_is_not_active_is_not_found(void **state)
{
    (void)state;
    int64_t bytes;
    run("lvchange -q -an vg/thin 2>&1");
    bad(device_mapper_find(of("thin", ""), &device, &error), NOT_FOUND, "not active");
    bad(device_mapper_thin_used(uuid, &bytes, &error), NOT_FOUND, "not active");
    bad(device_mapper_suspend(uuid, &error), NOT_FOUND, "not active");
    bad(device_mapper_resume(uuid, &error), NOT_FOUND, "not active");
    bad(device_mapper_named("vg-thin", uuid, &error), NOT_FOUND, "vg-thin");
    run("lvchange -q -ay vg/thin 2>&1");
}

static void a_device_tells_name_and_uuid(void **state)
{
    (void)state;
    char other[DEVICE_MAPPER_UUID_BYTES];
    good(device_mapper_named("vg-thin", other, &error));
    assert_string_equal(other, of("thin", ""));
    good(device_mapper_find(uuid, &device, &error));
    assert_true(device_mapper_identify(device.device, name, other));
    assert_string_equal(other, uuid);
    assert_string_equal(name, "vg-thin");
}

/* The disk's minor number is that of a device-mapper device too. */
static void another_device_is_none_of_device_mappers(void **state)
{
    (void)state;
    struct stat disk;
    assert_int_equal(stat("/dev/ubda", &disk), 0);
    assert_int_equal(minor(disk.st_rdev), 0);
    good(device_mapper_named("vg-thin", uuid, &error) && device_mapper_find(uuid, &device, &error));
    assert_true(device_mapper_identify(makedev(major(device.device), 0), name, uuid));
    assert_false(device_mapper_identify(disk.st_rdev, name, uuid));
    assert_false(device_mapper_identify(makedev(1, 3), name, uuid));
    assert_false(device_mapper_identify(makedev(major(device.device), 9999), name, uuid));
}

static void a_thin_pool_is_as_lvm_says(void **state)
{
    (void)state;
    struct thin_pool_status pool;
    int64_t used, before;
    good(device_mapper_thin_pool(of("pool", "tpool"), &pool, &error));
    before = pool.data_used;
    run("dd if=/dev/urandom of=/dev/vg/thin bs=192K count=40 oflag=direct status=none");
    good(device_mapper_thin_pool(uuid, &pool, &error));
    assert_int_equal(pool.data_used - before, 40 * 192 << 10);
    /* In whole blocks: LVM's size need not be. */
    assert_int_equal(pool.data_bytes, number("lv_size", "vg/pool") / (192 << 10) * (192 << 10));
    assert_int_equal(pool.metadata_bytes, number("lv_metadata_size", "vg/pool"));
    assert_int_equal(pool.transaction_id, number("transaction_id", "vg/pool"));
    assert_true(pool.metadata_used > 0 && pool.metadata_used < pool.metadata_bytes / 2);
    assert_false(pool.failed || pool.read_only || pool.needs_check || pool.out_of_data_space || pool.errors_when_full);
    good(device_mapper_thin_used(of("thin", ""), &used, &error));
    assert_int_equal(used, 40 * 192 << 10);
}

static void a_full_thin_pool(void **state)
{
    (void)state;
    struct thin_pool_status pool;
    run("lvcreate -q -y -L 16M --errorwhenfull y -T vg/small 2>&1 && lvcreate -q -y -V 64M -T vg/small -n big 2>&1");
    good(device_mapper_thin_pool(of("small", "tpool"), &pool, &error));
    assert_true(pool.errors_when_full && !pool.out_of_data_space);
    run("! dd if=/dev/zero of=/dev/vg/big bs=1M oflag=direct 2>/dev/null");
    good(device_mapper_thin_pool(uuid, &pool, &error));
    assert_true(pool.out_of_data_space && pool.data_used == pool.data_bytes && pool.data_bytes == 16 << 20);
}

/* After a_full_thin_pool(): its metadata becomes unreadable. */
static void a_failed_thin_pool(void **state)
{
    (void)state;
    struct thin_pool_status pool;
    int64_t used;
    run("echo \"0 $(blockdev --getsz /dev/mapper/vg-small_tmeta) error\" | dmsetup load vg-small_tmeta && "
        "dmsetup suspend --noflush --nolockfs vg-small_tmeta && dmsetup resume vg-small_tmeta");
    run("dmsetup message vg-small-tpool 0 'create_thin 77' 2>/dev/null; dd if=/dev/zero of=/dev/vg/big bs=64K count=1 "
        "seek=900 oflag=direct 2>/dev/null; true");
    good(device_mapper_thin_pool(of("small", "tpool"), &pool, &error));
    assert_true(pool.failed && pool.data_bytes == 0);
    bad(device_mapper_thin_used(of("big", ""), &used, &error), FAILED_PRECONDITION, "has failed");
}

static void a_mirror_and_a_dead_disk_of_it(void **state)
{
    (void)state;
    struct raid_status raid;
    good(device_mapper_raid(of("mirror", ""), &raid, &error));
    assert_int_equal(raid.devices, 3);
    assert_int_equal(raid.dead, 0);
    assert_true(!raid.rebuilding && raid.synced == raid.total && raid.total == (32 << 20) / 512);
    run("echo \"0 $(blockdev --getsz /dev/mapper/vg-mirror_rimage_1) error\" | dmsetup load vg-mirror_rimage_1 && "
        "dmsetup suspend vg-mirror_rimage_1 && dmsetup resume vg-mirror_rimage_1");
    run("dd if=/dev/zero of=/dev/vg/mirror bs=1M count=1 oflag=direct status=none");
    good(device_mapper_raid(uuid, &raid, &error));
    assert_int_equal(raid.devices, 3);
    assert_int_equal(raid.dead, 1);
}

static void a_mirror_that_is_being_made(void **state)
{
    (void)state;
    struct raid_status raid;
    run("lvcreate -q -y --type raid1 -m 1 -L 64M --maxrecoveryrate 128k -n slow vg 2>&1");
    good(device_mapper_raid(of("slow", ""), &raid, &error));
    assert_int_equal(raid.dead, 0);
    assert_true(!raid.rebuilding && raid.synced < raid.total); /* both have all that was written */
    run("lvremove -q -y vg/slow 2>&1");
}

static void a_snapshot_fills_and_overflows(void **state)
{
    (void)state;
    struct snapshot_status snapshot;
    good(device_mapper_snapshot(of("cow", ""), &snapshot, &error));
    assert_int_equal(snapshot.total_bytes, 8 << 20);
    assert_true(snapshot.used_bytes > 0 && snapshot.used_bytes < 1 << 20 && !snapshot.invalid);
    int64_t before = snapshot.used_bytes;
    run("dd if=/dev/zero of=/dev/vg/plain bs=1M count=2 oflag=direct status=none");
    good(device_mapper_snapshot(uuid, &snapshot, &error));
    /* and what it notes of them */
    assert_in_range(snapshot.used_bytes - before, 2 << 20, (2 << 20) + (64 << 10));
    run("dd if=/dev/zero of=/dev/vg/plain bs=1M count=20 oflag=direct status=none");
    good(device_mapper_snapshot(uuid, &snapshot, &error));
    assert_true(snapshot.invalid);
}

static void a_volume_of_another_type_is_named(void **state)
{
    (void)state;
    struct raid_status raid;
    struct snapshot_status snapshot;
    struct thin_pool_status pool;
    bad(device_mapper_raid(of("files", ""), &raid, &error), FAILED_PRECONDITION, "is not a raid but linear");
    bad(device_mapper_thin_pool(uuid, &pool, &error), FAILED_PRECONDITION, "is not a thin-pool but linear");
    bad(device_mapper_snapshot(of("plain", ""), &snapshot, &error), FAILED_PRECONDITION, "but snapshot-origin");
}

/* Writes are held while it is suspended, and the file system was flushed: a reader below sees its content. */
static void a_mounted_file_system_is_suspended(void **state)
{
    (void)state;
    const char *mounted = disk_path("files");
    disk_make_directory(mounted);
    run("mount /dev/vg/files %s && echo content-in-the-cache >%s/one", mounted, mounted);
    good(device_mapper_suspend(of("files", ""), &error));
    good(device_mapper_find(uuid, &device, &error));
    assert_true(device.suspended);
    run("(echo two >%s/two; sync %s/two; echo >%s) >/dev/null 2>&1 &", mounted, mounted, disk_path("written"));
    run("dmsetup table vg-files | sed 's/^/ /' | dmsetup create below && grep -qa content-in-the-cache "
        "/dev/mapper/below");
    run("sleep 1; test ! -e %s", disk_path("written"));
    good(device_mapper_resume(uuid, &error));
    good(device_mapper_find(uuid, &device, &error));
    assert_false(device.suspended);
    run("for i in $(seq 50); do test -e %s && exit; sleep 0.1; done; false", disk_path("written"));
    good(device_mapper_resume(uuid, &error));
    run("dmsetup remove below && umount %s", mounted);
}

static bool is_suspended(const char *device_name)
{
    good(device_mapper_named(device_name, uuid, &error) && device_mapper_find(uuid, &device, &error));
    return device.suspended;
}

/* A mirror that is resumed before what it is made of would wait for ever. */
static void all_of_a_group_are_resumed(void **state)
{
    (void)state;
    static const char *const names[] = {"vg-mirror",     "vg-mirror_rimage_0", "vg-mirror_rmeta_0", "vg-thin",
                                        "vg-pool-tpool", "vg-pool_tdata",      "vg-pool_tmeta"};
    char start[DEVICE_MAPPER_UUID_BYTES];
    device_mapper_uuid(start, run("vgs --noheadings -o vg_uuid vg"), "", "");
    run("echo '0 8 zero' | dmsetup create other --uuid OTHER-1 && dmsetup suspend other");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        run("timeout 20 dmsetup suspend %s", names[i]);
    assert_int_equal(device_mapper_resume_all(start), sizeof names / sizeof *names);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(is_suspended(names[i]));
    assert_true(is_suspended("other"));
    assert_int_equal(device_mapper_resume_all(start), 0);
    run("timeout 20 dd if=/dev/zero of=/dev/vg/mirror bs=1M count=1 oflag=direct status=none && "
        "timeout 20 dd if=/dev/zero of=/dev/vg/thin bs=1M count=1 oflag=direct status=none");
    run("dmsetup resume other && dmsetup remove other");
}

static void *suspend_slowly(void *outcome)
{
    struct error unused;
    *(bool *)outcome = device_mapper_suspend("TEST-above", &unused);
    return NULL;
}

/* A write below waits, so the suspend above it does; everybody else is answered. */
static void a_suspend_that_waits_holds_nobody_up(void **state)
{
    (void)state;
    bool suspended = false;
    struct thin_pool_status pool;
    pthread_t thread;
    char tpool[DEVICE_MAPPER_UUID_BYTES];
    text_copy(tpool, sizeof tpool, of("pool", "tpool"));
    run("echo \"0 $(blockdev --getsz /dev/vg/files) linear /dev/vg/files 0\" | dmsetup create above --uuid TEST-above");
    good(device_mapper_suspend(of("files", ""), &error));
    run("dd if=/dev/zero of=/dev/mapper/above bs=4k count=1 oflag=direct status=none >/dev/null 2>&1 & sleep 0.5");
    assert_int_equal(pthread_create(&thread, NULL, suspend_slowly, &suspended), 0);
    usleep(500 * 1000);
    assert_false(suspended);
    int64_t started = monotonic_now();
    good(device_mapper_find(tpool, &device, &error));
    good(device_mapper_thin_pool(tpool, &pool, &error));
    assert_int_equal(device_mapper_resume_all("LVM-nobody"), 0);
    assert_true(monotonic_now() - started < NANOSECONDS_PER_SECOND);
    good(device_mapper_resume(uuid, &error));
    pthread_join(thread, NULL);
    assert_true(suspended);
    good(device_mapper_resume("TEST-above", &error));
    run("dmsetup remove above");
}

/* libdevmapper's cookies are semaphores of System V, which would stay. */
static void udev_is_told_nothing(void **state)
{
    (void)state;
    assert_string_equal(run("wc -l </proc/sysvipc/sem"), "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_is_found_by_its_uuid),
        cmocka_unit_test(who_has_it_open_is_counted),
        cmocka_unit_test(a_read_only_volume),
        cmocka_unit_test(what_is_not_active_is_not_found),
        cmocka_unit_test(a_device_tells_name_and_uuid),
        cmocka_unit_test(another_device_is_none_of_device_mappers),
        cmocka_unit_test(a_thin_pool_is_as_lvm_says),
        cmocka_unit_test(a_full_thin_pool),
        cmocka_unit_test(a_failed_thin_pool),
        cmocka_unit_test(a_mirror_that_is_being_made),
        cmocka_unit_test(a_snapshot_fills_and_overflows),
        cmocka_unit_test(a_volume_of_another_type_is_named),
        cmocka_unit_test(a_mounted_file_system_is_suspended),
        cmocka_unit_test(all_of_a_group_are_resumed),
        cmocka_unit_test(a_suspend_that_waits_holds_nobody_up),
        cmocka_unit_test(a_mirror_and_a_dead_disk_of_it),
        cmocka_unit_test(udev_is_told_nothing),
    };
    return cmocka_run_group_tests(tests, make_volumes, disk_teardown);
}
