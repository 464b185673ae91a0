/* Freezing: the watchdog, recovery after a kill, and what others do meanwhile.  Every file system frozen here is our
 * own. */
#include "base/clock.h"
#include "base/log.h"
#include "filesystem/filesystem.h"
#include "filesystem/freeze.h"
#include "filesystem/mount.h"
#include "tests/unit/disk_fixture.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MILLISECOND NANOSECONDS_PER_MILLISECOND

static struct error error;
static struct disk disk;
static const char *mount_point, *state_directory;

static int set_up(void **state)
{
    disk_setup(state);
    log_configure(LOG_ERROR, false);
    return 0;
}

/* Thaws; true if it was frozen. */
static bool thaw(void)
{
    int directory = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(directory >= 0);
    bool was_frozen = ioctl(directory, FITHAW, 0) == 0;
    close(directory);
    return was_frozen;
}

static bool is_frozen(void)
{
    int directory = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(directory >= 0);
    bool frozen = ioctl(directory, FIFREEZE, 0) != 0;
    if (!frozen)
        ioctl(directory, FITHAW, 0);
    close(directory);
    return frozen;
}

/* What is mounted at a path now, or 0. */
static dev_t device_at(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_dev : 0;
}

static size_t notes(void)
{
    char command[256];
    snprintf(command, sizeof command, "ls %s/frozen | wc -l", state_directory);
    return strtoul(disk_run(command), NULL, 10);
}

static int mount_one(void **state)
{
    (void)state;
    struct error ignored;
    mount_point = disk_path("mount");
    state_directory = disk_path("state");
    if (access(mount_point, F_OK) == 0)
        return 0;
    const char *image = disk_image("image", 16 * MEBI);
    if (!filesystem_make(filesystem_find("ext4"), image, "", until(soon()), &ignored))
        return 0; /* the test says why */
    disk = disk_bind(image);
    mkdir(mount_point, 0755);
    good(mount_device(disk.path, mount_point, "ext4", "", &error));
    return 0;
}

static void begin_test(void)
{
    disk_need();
    mount_one(NULL);
    good(freeze_start(state_directory, &error));
}

/* Whatever a test did, nothing stays frozen, or the tear-down would hang. */
static int end_test(void **state)
{
    (void)state;
    freeze_stop(soon());
    if (mount_point != NULL && access(mount_point, F_OK) == 0)
        thaw();
    return 0;
}

static void test_freeze(void **state)
{
    (void)state;
    begin_test();
    struct freeze *freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error);
    assert_non_null(freeze);
    assert_true(is_frozen());
    assert_int_equal(notes(), 1);
    good(freeze_end(freeze, &error));
    assert_false(is_frozen());
    assert_int_equal(notes(), 0);
    good(freeze_end(NULL, &error));
}

/* What is copied of a frozen file system needs no repair. */
static void test_copy_is_clean(void **state)
{
    (void)state;
    char command[256];
    begin_test();
    disk_write_file(disk_path("mount/file"), "words", 0644);
    struct freeze *freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error);
    assert_non_null(freeze);
    snprintf(command, sizeof command, "cp --sparse=always %s %s", disk_path("image"), disk_path("copy"));
    disk_run(command);
    good(freeze_end(freeze, &error));
    snprintf(command, sizeof command, "e2fsck -fn %s 2>&1 && debugfs -R 'cat file' %s 2>/dev/null", disk_path("copy"),
             disk_path("copy"));
    disk_run(command);
    snprintf(command, sizeof command, "debugfs -R 'cat file' %s 2>/dev/null", disk_path("copy"));
    assert_string_equal(disk_run(command), "words");
    unlink(disk_path("copy"));
}

/* Between the look for the mount point and the freeze. */
static void test_mounted_over(void **state)
{
    (void)state;
    begin_test();
    bad(freeze_begin("volume-1", device_at("/"), mount_point, MINUTE, &error) != NULL, ABORTED, "unmounted meanwhile");
    assert_false(is_frozen());
    assert_int_equal(notes(), 0);
}

static void test_twice(void **state)
{
    (void)state;
    begin_test();
    struct freeze *first = freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error);
    assert_non_null(first);
    bad(freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error) != NULL, ABORTED,
        "being frozen already");
    bad(freeze_begin("volume-2", device_at(mount_point), mount_point, MINUTE, &error) != NULL, ABORTED,
        "frozen already, by somebody else");
    assert_true(is_frozen()); /* the failed ones thawed nothing and took no note away */
    assert_int_equal(notes(), 1);
    good(freeze_end(first, &error));
    assert_false(is_frozen());
}

static void test_cannot(void **state)
{
    (void)state;
    begin_test();
    bad(freeze_begin("volume-1", device_at(disk_path("nowhere")), disk_path("nowhere"), MINUTE, &error) != NULL,
        INTERNAL, "No such file");
    bad(freeze_begin("volume-1", device_at(disk_directory), disk_directory, MINUTE, &error) != NULL, INTERNAL,
        "cannot freeze the file system");
    bad(freeze_begin("../escape", device_at(mount_point), mount_point, MINUTE, &error) != NULL, INTERNAL,
        "cannot freeze");
    bad(freeze_begin("", device_at(mount_point), mount_point, MINUTE, &error) != NULL, INTERNAL, "cannot freeze");
    assert_int_equal(notes(), 0);
    assert_false(is_frozen());
}

static void test_lasts_too_long(void **state)
{
    (void)state;
    begin_test();
    struct freeze *freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, 100 * MILLISECOND, &error);
    assert_non_null(freeze);
    assert_true(is_frozen());
    int64_t until = monotonic_now() + 5 * NANOSECONDS_PER_SECOND;
    while (notes() > 0 && monotonic_now() < until)
        usleep(10000);
    assert_false(is_frozen());
    bad(freeze_end(freeze, &error), ABORTED, "frozen for too long");
    /* And it is good for the next. */
    freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error);
    assert_non_null(freeze);
    good(freeze_end(freeze, &error));
}

/* Each has its own time. */
static void test_times_are_their_own(void **state)
{
    (void)state;
    begin_test();
    struct freeze *freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, 300 * MILLISECOND, &error);
    good(freeze_end(freeze, &error));
    freeze = freeze_begin("volume-2", device_at(mount_point), mount_point, MINUTE, &error);
    usleep(500000); /* past the end of the first */
    assert_true(is_frozen());
    good(freeze_end(freeze, &error));
}

struct device {
    bool refuses, frozen;
    int thaws, releases;
};

static bool suspend(void *target, struct error *why)
{
    struct device *device = target;
    if (device->refuses)
        *why = (struct error){.code = UNAVAILABLE, .message = "no"};
    else
        device->frozen = true;
    return device->frozen;
}

static bool resume(void *target, struct error *why)
{
    struct device *device = target;
    (void)why;
    usleep(50000); /* what is borrowed must live as long as this takes */
    device->frozen = false;
    device->thaws++;
    return true;
}

static void let_go(void *target)
{
    struct device *device = target;
    device->releases++;
}

/* Something else than a file system is thawed in time, too, and has no note. */
static void test_another_freezer(void **state)
{
    (void)state;
    begin_test();
    struct device device = {.refuses = false};
    struct freezer freezer = {suspend, resume, let_go, &device};
    struct freeze *freeze = freeze_begin_by("volume-1", &freezer, MINUTE, &error);
    assert_true(freeze != NULL && device.frozen);
    assert_int_equal(notes(), 0);
    good(freeze_end(freeze, &error));
    assert_true(!device.frozen && device.thaws == 1);
    for (int i = 0; i < 2; i++) { /* the end comes after it was thawed for lasting too long, and meanwhile */
        freeze = freeze_begin_by("volume-1", &freezer, 50 * MILLISECOND, &error);
        usleep(i == 0 ? 300000 : 75000);
        bad(freeze_end(freeze, &error), ABORTED, "frozen for too long");
        assert_true(!device.frozen && device.thaws == 2 + i);
    }
    device.refuses = true;
    bad(freeze_begin_by("volume-1", &freezer, MINUTE, &error) != NULL, UNAVAILABLE, "no");
    assert_int_equal(device.thaws, 3);
    bad(freeze_begin_by("../escape", &freezer, MINUTE, &error) != NULL, INTERNAL, "cannot freeze");
    assert_int_equal(device.releases, 5); /* each time, also if it was never frozen */
}

/* As on a disk that hangs: the thaw begins, and comes to its end when the disk does. */
struct hanging {
    atomic_bool disk_is_back, thawing, frozen, released;
};

static bool freeze_hanging(void *target, struct error *why)
{
    struct hanging *hanging = target;
    (void)why;
    hanging->frozen = true;
    return true;
}

static bool thaw_hanging(void *target, struct error *why)
{
    struct hanging *hanging = target;
    (void)why;
    hanging->thawing = true;
    while (!hanging->disk_is_back)
        usleep(1000);
    hanging->frozen = false;
    return true;
}

static void release_hanging(void *target)
{
    struct hanging *hanging = target;
    hanging->released = true;
}

static bool becomes(const atomic_bool *value, bool wanted)
{
    int64_t until = soon();
    while (*value != wanted && monotonic_now() < until)
        usleep(1000);
    return *value == wanted;
}

/* What hangs in its thaw is left to its thread, with all that this uses; others are thawed in time. */
static void test_hanging_thaw(void **state)
{
    (void)state;
    static struct hanging first, second = {.disk_is_back = true};
    struct freezer first_freezer = {freeze_hanging, thaw_hanging, release_hanging, &first},
                   second_freezer = {freeze_hanging, thaw_hanging, release_hanging, &second};
    begin_test();
    struct freeze *hangs = freeze_begin_by("volume-1", &first_freezer, MILLISECOND, &error);
    assert_true(becomes(&first.thawing, true));
    struct freeze *other = freeze_begin_by("volume-2", &second_freezer, MILLISECOND, &error);
    assert_true(becomes(&second.frozen, false));
    bad(freeze_end(other, &error), ABORTED, "frozen for too long");
    assert_true(second.released);
    bad(freeze_end(hangs, &error), ABORTED, "still being thawed");
    assert_false(first.released);
    bad(freeze_begin_by("volume-1", &second_freezer, MINUTE, &error) != NULL, ABORTED, "still being thawed");
    assert_false(freeze_stop(monotonic_now() + 50 * MILLISECOND));
    first.disk_is_back = true;
    assert_true(becomes(&first.released, true));
    assert_true(!first.frozen && freeze_stop(soon()));
}

/* The same when it is its owner who ends it, and then the driver ends. */
static void test_hanging_end(void **state)
{
    (void)state;
    static struct hanging hanging;
    struct freezer freezer = {freeze_hanging, thaw_hanging, release_hanging, &hanging};
    begin_test();
    bad(freeze_end(freeze_begin_by("volume-1", &freezer, MINUTE, &error), &error), ABORTED, "still being thawed");
    assert_true(hanging.thawing && hanging.frozen && !hanging.released);
    assert_false(freeze_stop(monotonic_now() + 50 * MILLISECOND));
    hanging.disk_is_back = true;
    assert_true(becomes(&hanging.released, true));
}

static void test_thawed_by_others(void **state)
{
    (void)state;
    begin_test();
    struct freeze *freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error);
    assert_true(thaw());
    bad(freeze_end(freeze, &error), ABORTED, "thawed by somebody else");
    assert_int_equal(notes(), 0);
}

static void test_stop_thaws(void **state)
{
    (void)state;
    begin_test();
    struct freeze *freeze = freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error);
    assert_non_null(freeze);
    assert_true(freeze_stop(soon()));
    assert_false(is_frozen());
    bad(freeze_end(freeze, &error), ABORTED, "thawed");
    assert_int_equal(notes(), 0);
    assert_true(freeze_stop(soon()));
}

static void *freeze_often(void *key)
{
    struct error mine;
    for (int i = 0; i < 100; i++) {
        struct freeze *freeze = freeze_begin(key, device_at(mount_point), mount_point, MILLISECOND, &mine);
        if (freeze == NULL && mine.code != ABORTED)
            return key;
        if (i % 2 == 0)
            usleep(1000); /* about when it is thawed for lasting too long */
        if (!freeze_end(freeze, &mine) && mine.code != ABORTED)
            return key;
    }
    return NULL;
}

/* Each is told ABORTED or gets its turn; in the end nothing is frozen. */
static void test_many_at_once(void **state)
{
    (void)state;
    static char keys[4][16] = {"volume-1", "volume-2", "volume-3", "volume-3"};
    pthread_t threads[4];
    void *failed;
    begin_test();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, freeze_often, keys[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_true(freeze_stop(soon()));
    assert_false(is_frozen());
    assert_int_equal(notes(), 0);
}

/* A step that fails after the file system was noted or frozen leaves neither. */
static void test_fault_points(void **state)
{
    (void)state;
#ifdef PLINTH_FAULTS
    static const char *const faults[] = {"freeze.noted=fail", "freeze.frozen=fail"};
    disk_need();
    mount_one(NULL);
    for (size_t i = 0; i < 2; i++) {
        int status = -1;
        pid_t pid = fork(); /* passes of fault points are counted once in a process */
        if (pid == 0) {
            setenv("PLINTH_FAULT", faults[i], 1);
            bool right = freeze_start(state_directory, &error) &&
                         freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error) == NULL &&
                         error.code == INTERNAL;
            _exit(right ? 0 : 1);
        }
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        assert_false(is_frozen());
        assert_int_equal(notes(), 0);
    }
#else
    disk_skip_unless(false, "needs a build with fault points (FAULTS=1)");
#endif
}

/* A process that is killed while a file system is frozen. */
static void killed_while_frozen(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (!freeze_start(state_directory, &error) ||
            freeze_begin("volume-1", device_at(mount_point), mount_point, MINUTE, &error) == NULL)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void test_recovery(void **state)
{
    (void)state;
    disk_need();
    mount_one(NULL);
    killed_while_frozen();
    assert_true(is_frozen());
    assert_int_equal(notes(), 1);
    good(freeze_start(state_directory, &error));
    assert_false(is_frozen());
    assert_int_equal(notes(), 0);
}

/* The successor may see the file system elsewhere, as after a new start of the container. */
static void test_recovery_elsewhere(void **state)
{
    (void)state;
    char command[256];
    disk_need();
    mount_one(NULL);
    killed_while_frozen();
    snprintf(command, sizeof command, "mkdir %s && mount --move %s %s && rmdir %s", disk_path("moved"), mount_point,
             disk_path("moved"), mount_point);
    disk_run(command);
    mount_point = disk_path("moved");
    good(freeze_start(state_directory, &error));
    assert_false(is_frozen());
    snprintf(command, sizeof command, "mkdir %s && mount --move %s %s && rmdir %s", disk_path("mount"), mount_point,
             disk_path("mount"), mount_point);
    disk_run(command);
    mount_point = disk_path("mount");
}

/* Notes that lead nowhere, or are not notes, stop nobody. */
static void test_recovery_of_rubbish(void **state)
{
    (void)state;
    begin_test();
    assert_true(freeze_stop(soon()));
    disk_write_file(disk_path("state/frozen/empty"), "", 0600);
    disk_write_file(disk_path("state/frozen/cut"), "7:", 0600);
    disk_write_file(disk_path("state/frozen/gone"), "7:123 /nowhere\n", 0600);
    disk_write_file(disk_path("state/frozen/words"), "a b c d e\n", 0600);
    disk_write_file(disk_path("state/frozen/other"), "0:1 /proc\n", 0600);
    assert_int_equal(symlink("/etc/passwd", disk_path("state/frozen/link")), 0);
    good(freeze_start(state_directory, &error));
    assert_int_equal(notes(), 0);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void test_start_fails(void **state)
{
    (void)state;
    begin_test();
    assert_true(freeze_stop(soon()));
    disk_write_file(disk_path("file"), "", 0600);
    bad(freeze_start(disk_path("file/below"), &error), INTERNAL, "cannot make");
    bad(freeze_start(disk_path("file"), &error), INTERNAL, "cannot");
    unlink(disk_path("file"));
}

int main(void)
{
#define unit(name) cmocka_unit_test_teardown(name, end_test)
    const struct CMUnitTest tests[] = {
        unit(test_freeze),
        unit(test_copy_is_clean),
        unit(test_mounted_over),
        unit(test_twice),
        unit(test_cannot),
        unit(test_lasts_too_long),
        unit(test_times_are_their_own),
        unit(test_another_freezer),
        unit(test_hanging_thaw),
        unit(test_hanging_end),
        unit(test_thawed_by_others),
        unit(test_stop_thaws),
        unit(test_many_at_once),
        unit(test_fault_points),
        unit(test_recovery),
        unit(test_recovery_elsewhere),
        unit(test_recovery_of_rubbish),
        unit(test_start_fails),
    };
    return cmocka_run_group_tests(tests, set_up, disk_teardown);
}
