/* Mounting, binding and unmounting, with hostile paths, in a mount namespace of our own. */
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "filesystem/filesystem.h"
#include "filesystem/mount.h"
#include "tests/unit/disk_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct error error;

static struct mount_state look(const char *path)
{
    struct mount_state state;
    good(mount_inspect(path, &state, &error));
    return state;
}

/* A disk with a file system, a directory to stage it at and one for targets; each test has its own. */
struct stage {
    struct disk disk;
    const char *image, *directory, *targets;
};

static struct stage stage_of(const char *name, const char *type, int64_t bytes)
{
    char image[64], directory[64], targets[64];
    snprintf(image, sizeof image, "%s.image", name);
    snprintf(directory, sizeof directory, "%s.staging", name);
    snprintf(targets, sizeof targets, "%s.targets", name);
    struct stage stage = {
        .image = disk_image(image, bytes), .directory = disk_path(directory), .targets = disk_path(targets)};
    good(filesystem_make(filesystem_find(type), stage.image, "", until(soon()), &error));
    stage.disk = disk_bind(stage.image);
    disk_make_directory(stage.directory);
    disk_make_directory(stage.targets);
    return stage;
}

static const char *target(const struct stage *stage, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", strrchr(stage->targets, '/') + 1, name);
    return disk_path(path);
}

static struct stage staged(const char *name)
{
    struct stage stage = stage_of(name, "ext4", 16 * MEBI);
    good(mount_device(stage.disk.path, stage.directory, "ext4", "", &error));
    return stage;
}

/* Nothing of it may be left: no mount, no file, and the loop device clears itself. */
static void end(struct stage *stage)
{
    good(mount_unmount(stage->directory, true, &error));
    assert_false(look(stage->directory).exists);
    assert_int_equal(rmdir(stage->targets), 0);
    disk_detach(&stage->disk);
    for (int i = 0; i < 100 && !disk_is_unbound(&stage->disk); i++)
        usleep(10000);
    assert_true(disk_is_unbound(&stage->disk));
    assert_int_equal(unlink(stage->image), 0);
}

static dev_t number_of(const char *device)
{
    struct stat status;
    assert_int_equal(stat(device, &status), 0);
    return status.st_rdev;
}

/* --- looking --- */

static void test_inspect(void **state)
{
    (void)state;
    disk_need();
    struct mount_state seen = look(disk_path("nothing"));
    assert_false(seen.exists || seen.mounted || seen.directory);
    assert_false(look(disk_path("nothing/below/it")).exists);
    disk_make_directory(disk_path("plain"));
    seen = look(disk_path("plain"));
    assert_true(seen.exists && seen.directory && !seen.mounted);
    disk_write_file(disk_path("file"), "", 0600);
    seen = look(disk_path("file"));
    assert_true(seen.exists && !seen.directory && !seen.mounted);
    assert_false(look(disk_path("file/below")).exists);

    struct stage stage = staged("inspect");
    seen = look(stage.directory);
    assert_true(seen.exists && seen.directory && seen.mounted && !seen.read_only);
    assert_true(seen.device == number_of(stage.disk.path));
    end(&stage);
}

static void test_paths_refused(void **state)
{
    (void)state;
    disk_need();
    char path[PATH_MAX + 10], name[NAME_MAX + 10];
    struct mount_state seen;
    static const struct {
        const char *path, *words;
    } cases[] = {
        {"relative/path", "not absolute"}, {"", "not absolute"},        {"/tmp/../etc", "component \"..\""},
        {"/tmp/./x", "component \".\""},   {"/..", "component \"..\""}, {"/tmp/x/..", "component \"..\""},
        {"/", "root directory"},           {"///", "root directory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bad(mount_inspect(cases[i].path, &seen, &error), INVALID_ARGUMENT, cases[i].words);
        bad(mount_unmount(cases[i].path, true, &error), INVALID_ARGUMENT, cases[i].words);
        bad(mount_bind("/dev/null", cases[i].path, false, "", &error), FAILED_PRECONDITION, "nothing is mounted");
    }
    memset(path, 'a', sizeof path - 1);
    for (size_t i = 0; i < sizeof path; i += 100)
        path[i] = '/';
    path[PATH_MAX] = '\0';
    bad(mount_inspect(path, &seen, &error), INVALID_ARGUMENT, "longer than 4095 bytes");
    path[PATH_MAX - 1] = '\0';
    good(mount_inspect(path, &seen, &error));
    memset(name, 'a', sizeof name - 1);
    name[0] = '/';
    name[NAME_MAX + 2] = '\0';
    bad(mount_inspect(name, &seen, &error), INVALID_ARGUMENT, "longer than 255 bytes");
    /* Slashes more than needed change nothing. */
    snprintf(path, sizeof path, "%s//", disk_directory);
    assert_true(look(path).mounted);
    snprintf(path, sizeof path, "/%s", disk_directory);
    assert_true(look(path).mounted);
}

/* A link planted at each component of a path, the last one included, and one that leads nowhere. */
static void test_links(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("links");
    struct mount_state seen;
    disk_make_directory(disk_path("a"));
    disk_make_directory(disk_path("a/b"));
    disk_make_directory(disk_path("a/b/c"));
    assert_int_equal(symlink("a", disk_path("link-a")), 0);
    assert_int_equal(symlink("b", disk_path("a/link-b")), 0);
    assert_int_equal(symlink("c", disk_path("a/b/link-c")), 0);
    assert_int_equal(symlink("nowhere", disk_path("a/b/dangling")), 0);
    assert_int_equal(symlink(stage.directory, disk_path("a/b/to-mount")), 0);
    static const char *const names[] = {"link-a/b/c", "a/link-b/c", "a/b/link-c", "a/b/dangling", "a/b/to-mount"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = disk_path(names[i]);
        bad(mount_inspect(path, &seen, &error), INVALID_ARGUMENT, "symbolic link");
        bad(mount_unmount(path, true, &error), INVALID_ARGUMENT, "symbolic link");
        bad(mount_bind(stage.directory, path, false, "", &error), INVALID_ARGUMENT, "symbolic link");
        bad(mount_device(stage.disk.path, path, "ext4", "", &error), INVALID_ARGUMENT, "symbolic link");
    }
    assert_true(look(stage.directory).mounted);
    assert_false(look(disk_path("a/b/c")).mounted);
    bad(mount_bind(disk_path("a/b/to-mount"), target(&stage, "t"), false, "", &error), INVALID_ARGUMENT,
        "symbolic link");
    assert_false(look(target(&stage, "t")).exists);
    /* Nothing was removed, neither a link nor what it leads to. */
    for (size_t i = 2; i < sizeof names / sizeof *names; i++) {
        struct stat status;
        assert_int_equal(lstat(disk_path(names[i]), &status), 0);
        assert_true(S_ISLNK(status.st_mode));
    }
    end(&stage);
}

/* Links above the kubelet's directory are an administrator's, below it they are refused. */
static void test_root(void **state)
{
    (void)state;
    disk_need();
    struct mount_state seen;
    disk_make_directory(disk_path("big-disk"));
    disk_make_directory(disk_path("big-disk/kubelet"));
    disk_make_directory(disk_path("big-disk/kubelet/pods"));
    assert_int_equal(symlink("big-disk", disk_path("var")), 0);
    assert_int_equal(symlink("pods", disk_path("big-disk/kubelet/link")), 0);
    bad(mount_inspect(disk_path("var/kubelet/pods"), &seen, &error), INVALID_ARGUMENT, "symbolic link");
    mount_set_root(disk_path("var/kubelet/"));
    assert_true(look(disk_path("var/kubelet/pods")).directory);
    assert_true(look(disk_path("var/kubelet//pods/")).directory);
    assert_true(look(disk_path("big-disk/kubelet/pods")).directory);
    bad(mount_inspect(disk_path("var/kubelet/link"), &seen, &error), INVALID_ARGUMENT, "symbolic link");
    bad(mount_inspect(disk_path("var/kubelet/../kubelet"), &seen, &error), INVALID_ARGUMENT, "\"..\"");
    bad(mount_inspect(disk_path("var/kubelet2"), &seen, &error), INVALID_ARGUMENT, "symbolic link");
    mount_set_root("");
}

/* --- mounting a device --- */

static void test_mount_device(void **state)
{
    (void)state;
    disk_need();
    char found[PATH_MAX];
    struct stage stage = stage_of("device", "ext4", 16 * MEBI);
    dev_t device = number_of(stage.disk.path);
    assert_false(mount_find_device(device, found));
    good(mount_device(stage.disk.path, stage.directory, "ext4", "noatime,discard,nosuid,commit=30", &error));
    assert_true(mount_find_device(device, found));
    assert_string_equal(found, stage.directory);
    char command[256];
    snprintf(command, sizeof command, "findmnt -no SOURCE,FSTYPE,OPTIONS %s | tr -s ' '", stage.directory);
    snprintf(found, sizeof found, "%s ext4 rw,nosuid,noatime,discard,commit=30", stage.disk.path);
    assert_string_equal(disk_run(command), found);
    bad(mount_device(stage.disk.path, stage.directory, "ext4", "", &error), ALREADY_EXISTS, "something is mounted");
    good(mount_unmount(stage.directory, false, &error));
    good(mount_device(stage.disk.path, stage.directory, "ext4", "ro", &error));
    assert_true(look(stage.directory).read_only);
    end(&stage);
}

static void test_mount_device_refused(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = stage_of("refused", "ext4", 16 * MEBI);
    static const char *const options[] = {
        "loop",
        "loop=/dev/loop7",
        "x-systemd.automount",
        "X-mount.mkdir",
        "device=/dev/sda",
        "journal_dev=1",
        "journal_path=/dev/x",
        "bind",
        "remount,ro",
        "move",
        "helper=reboot",
        "uhelper=reboot",
        "offset=4096",
        "user",
        "uid=5",
        "shared",
        "subdir=x",
        "usrjquota=x",
        "noatime,loop,ro",
        "nouuid",
        "dev=/dev/sda",
        "ro=1",
        "commit",
        "verity.hashdevice=/dev/sda",
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        error.message[0] = '\0';
        mount_device(stage.disk.path, stage.directory, "ext4", options[i], &error);
        if (error.code != INVALID_ARGUMENT || strstr(error.message, "is not allowed for ext4") == NULL)
            fail_msg("%s: %s", options[i], error.message);
    }
    bad(mount_device(stage.disk.path, stage.directory, "ext4", "context=\"a", &error), INVALID_ARGUMENT,
        "open quotation mark");
    bad(mount_device(stage.disk.path, stage.directory, "ext4", "commit=soon", &error), INVALID_ARGUMENT, "commit=soon");
    bad(mount_device(stage.disk.path, stage.directory, "vfat", "", &error), INVALID_ARGUMENT, "not one of ext4, xfs");
    bad(mount_device(stage.image, stage.directory, "ext4", "", &error), INTERNAL, "not a block device");
    bad(mount_device("/dev/nowhere", stage.directory, "ext4", "", &error), INTERNAL, "cannot find /dev/nowhere");
    bad(mount_device(stage.disk.path, disk_path("missing"), "ext4", "", &error), INTERNAL, "No such file");
    bad(mount_device(stage.disk.path, stage.image, "ext4", "", &error), INVALID_ARGUMENT, "not a directory");
    assert_false(mount_device(stage.disk.path, stage.directory, "xfs", "", &error)); /* it holds ext4 */
    assert_false(look(stage.directory).mounted);
    end(&stage);
}

/* A write-protected device must not come up read-only without a word. */
static void test_mount_device_write_protected(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = stage_of("protected", "ext4", 16 * MEBI);
    disk_detach(&stage.disk);
    stage.disk = disk_attach_read_only(stage.image);
    assert_false(mount_device(stage.disk.path, stage.directory, "ext4", "", &error));
    assert_false(look(stage.directory).mounted);
    good(mount_device(stage.disk.path, stage.directory, "ext4", "ro", &error));
    end(&stage);
}

/* --- binding --- */

static void write_file(const char *directory, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    disk_write_file(path, "words", 0644);
}

static bool can_write(const char *directory)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/try", directory);
    cleanup_close int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return file >= 0 && write(file, "x", 1) == 1;
}

static void test_bind(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("bind");
    const char *first = target(&stage, "first"), *second = target(&stage, "second");
    good(mount_bind(stage.directory, first, false, "", &error));
    good(mount_bind(stage.directory, second, true, "noexec,nosuid,discard,commit=5", &error));
    write_file(first, "file");
    struct mount_state seen = look(second);
    assert_true(seen.mounted && seen.directory && seen.read_only);
    assert_true(seen.device == number_of(stage.disk.path));
    assert_false(look(first).read_only);
    assert_false(can_write(second));
    assert_int_equal(errno, EROFS);
    assert_true(can_write(first));
    char command[256];
    snprintf(command, sizeof command, "findmnt -no VFS-OPTIONS %s", second);
    assert_string_equal(disk_run(command), "ro,nosuid,noexec,relatime");
    bad(mount_bind(stage.directory, first, false, "", &error), ALREADY_EXISTS, "something is mounted");
    good(mount_unmount(first, true, &error));
    good(mount_unmount(first, true, &error)); /* again: nothing there */
    good(mount_unmount(second, true, &error));
    assert_false(look(first).exists || look(second).exists);
    end(&stage);
}

static void test_bind_atime(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("atime");
    char command[256];
    const char *path = target(&stage, "t");
    good(mount_bind(stage.directory, path, false, "noatime,nodiratime,nodev", &error));
    snprintf(command, sizeof command, "findmnt -no VFS-OPTIONS %s", path);
    assert_string_equal(disk_run(command), "rw,nodev,noatime,nodiratime");
    good(mount_unmount(path, true, &error));
    good(mount_bind(stage.directory, path, false, "ro", &error));
    assert_true(look(path).read_only);
    good(mount_unmount(path, true, &error));
    end(&stage);
}

/* What was there before stays; what was made goes again when the bind fails. */
static void test_bind_target_there(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("there");
    const char *path = target(&stage, "t"), *file = target(&stage, "file");
    disk_make_directory(path);
    good(mount_bind(stage.directory, path, false, "", &error));
    good(mount_unmount(path, false, &error));
    assert_true(look(path).exists);
    disk_write_file(file, "precious", 0600);
    bad(mount_bind(stage.directory, file, false, "", &error), FAILED_PRECONDITION, "is no directory");
    assert_true(look(file).exists);
    bad(mount_bind(stage.disk.path, path, false, "", &error), FAILED_PRECONDITION, "is a directory");
    bad(mount_bind(stage.directory, target(&stage, "no/parent"), false, "", &error), INTERNAL, "parent is missing");
    assert_int_equal(unlink(file), 0);
    good(mount_unmount(path, true, &error));
    end(&stage);
}

/* A staging directory that nothing is mounted at (a reboot) would give the pod the node's own disk. */
static void test_bind_nothing_staged(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = stage_of("unstaged", "ext4", 16 * MEBI);
    bad(mount_bind(stage.directory, target(&stage, "t"), false, "", &error), FAILED_PRECONDITION, "nothing is mounted");
    bad(mount_bind(stage.image, target(&stage, "t"), false, "", &error), FAILED_PRECONDITION, "nothing is mounted");
    bad(mount_bind(disk_path("missing"), target(&stage, "t"), false, "", &error), INTERNAL, "No such file");
    assert_false(look(target(&stage, "t")).exists);
    end(&stage);
}

static void test_bind_device(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = stage_of("block", "ext4", 16 * MEBI);
    const char *path = target(&stage, "volume");
    dev_t device = number_of(stage.disk.path);
    good(mount_bind(stage.disk.path, path, false, "", &error));
    struct mount_state seen = look(path);
    assert_true(seen.mounted && !seen.directory && seen.device == device);
    char found[PATH_MAX];
    assert_false(mount_find_device(device, found)); /* no file system of it is mounted */
    /* A published device can be bound on: staged at a file, published at another. */
    good(mount_bind(path, target(&stage, "again"), true, "", &error));
    assert_true(look(target(&stage, "again")).read_only);
    good(mount_unmount(target(&stage, "again"), true, &error));
    good(mount_unmount(path, true, &error));
    assert_false(look(path).exists);
    end(&stage);
}

/* A target that was made goes again when the bind fails, one that was there stays. */
static void test_bind_fault(void **state)
{
    (void)state;
#ifdef PLINTH_FAULTS
    disk_need();
    struct stage stage = staged("fault");
    const char *made = target(&stage, "made"), *there = target(&stage, "there");
    disk_make_directory(there);
    for (int i = 0; i < 2; i++) {
        int status = -1;
        pid_t pid = fork(); /* passes of fault points are counted once in a process */
        if (pid == 0) {
            setenv("PLINTH_FAULT", "mount.bind.target=fail", 1);
            bool right =
                !mount_bind(stage.directory, i == 0 ? made : there, false, "", &error) && error.code == INTERNAL;
            _exit(right ? 0 : 1);
        }
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
    }
    assert_false(look(made).exists);
    assert_true(look(there).exists && !look(there).mounted);
    good(mount_unmount(there, true, &error));
    end(&stage);
#else
    disk_skip_unless(false, "needs a build with fault points (FAULTS=1)");
#endif
}

/* Targets below a mount that is shared, as the kubelet's directory is: the bind must reach the other side, and go there
 * too. */
static void test_bind_below_shared(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("shared");
    const char *peer = disk_path("peer");
    disk_make_directory(peer);
    assert_int_equal(mount(stage.targets, stage.targets, NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount(NULL, stage.targets, NULL, MS_SHARED, NULL), 0);
    assert_int_equal(mount(stage.targets, peer, NULL, MS_BIND, NULL), 0);
    good(mount_bind(stage.directory, target(&stage, "t"), true, "", &error));
    assert_true(look(disk_path("peer/t")).mounted && look(disk_path("peer/t")).read_only);
    good(mount_unmount(target(&stage, "t"), true, &error));
    assert_false(look(disk_path("peer/t")).exists);
    assert_int_equal(umount(peer), 0);
    assert_int_equal(umount(stage.targets), 0);
    end(&stage);
}

/* --- unmounting --- */

static void test_unmount_layers(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("layers");
    const char *path = target(&stage, "t");
    disk_make_directory(path);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mount(stage.directory, path, NULL, MS_BIND, NULL), 0);
    good(mount_unmount(path, true, &error));
    assert_false(look(path).exists);
    end(&stage);
}

static void test_unmount_leaves_content(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("content");
    const char *directory = target(&stage, "t"), *file = target(&stage, "file"), *fifo = target(&stage, "fifo");
    disk_make_directory(directory);
    write_file(directory, "precious");
    bad(mount_unmount(directory, true, &error), FAILED_PRECONDITION, "directory is not empty");
    good(mount_unmount(directory, false, &error));
    disk_write_file(file, "precious", 0600);
    bad(mount_unmount(file, true, &error), FAILED_PRECONDITION, "not an empty file");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    bad(mount_unmount(fifo, true, &error), FAILED_PRECONDITION, "not an empty file");
    assert_true(look(target(&stage, "t/precious")).exists && look(file).exists && look(fifo).exists);
    good(mount_unmount(target(&stage, "no/such/parent"), true, &error));
    good(mount_unmount(target(&stage, "file/below"), true, &error));
    assert_int_equal(unlink(target(&stage, "t/precious")), 0);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(truncate(file, 0), 0);
    good(mount_unmount(file, true, &error));
    good(mount_unmount(directory, true, &error));
    end(&stage);
}

/* Ways to hold a mount: each starts a child that says when it does so and waits to be killed. */
static void hold_directory(const char *path)
{
    if (chdir(path) != 0)
        _exit(1);
}

static void hold_file(const char *path)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/held", path);
    if (open(name, O_RDWR | O_CREAT, 0600) < 0) /* stays open */
        _exit(1);
}

static void hold_mapping(const char *path)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/mapped", path);
    int file = open(name, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, 4096) != 0 || mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED)
        _exit(1);
    close(file);
}

static void hold_root(const char *path)
{
    if (chroot(path) != 0)
        _exit(1);
}

static pid_t start_holder(void (*hold)(const char *), const char *path)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "holder");
        hold(path);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void stop_holder(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_unmount_busy(void **state)
{
    (void)state;
    disk_need();
    static const struct {
        void (*hold)(const char *);
        const char *words;
    } cases[] = {
        {hold_directory, "has its working directory there"},
        {hold_file, "has files open"},
        {hold_mapping, "has files mapped"},
        {hold_root, "has its root directory there"},
    };
    struct stage stage = staged("busy");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[128];
        pid_t pid = start_holder(cases[i].hold, stage.directory);
        snprintf(words, sizeof words, "\": holder (process %d) %s", (int)pid, cases[i].words);
        bad(mount_unmount(stage.directory, true, &error), FAILED_PRECONDITION, words);
        assert_true(look(stage.directory).mounted);
        stop_holder(pid);
    }
    end(&stage);
}

/* Found where it is, wherever that is and was. */
static void test_find_device(void **state)
{
    (void)state;
    disk_need();
    char found[PATH_MAX];
    struct stage stage = staged("find");
    dev_t device = number_of(stage.disk.path);
    const char *path = target(&stage, "a b\\c\n"); /* such are escaped in mountinfo */
    assert_true(mount_find_device(device, found));
    assert_string_equal(found, stage.directory);
    good(mount_bind(stage.directory, path, false, "", &error));
    good(mount_unmount(stage.directory, false, &error));
    assert_true(mount_find_device(device, found));
    assert_string_equal(found, path);
    /* Something lies over it: frozen would be the wrong one. */
    assert_int_equal(mount("cover", path, "tmpfs", 0, NULL), 0);
    assert_false(mount_find_device(device, found));
    assert_int_equal(umount(path), 0);
    assert_true(mount_find_device(device, found));
    good(mount_unmount(path, true, &error));
    assert_false(mount_find_device(device, found));
    /* A file of it, bound somewhere, is no place to freeze it from. */
    good(mount_device(stage.disk.path, stage.directory, "ext4", "", &error));
    write_file(stage.directory, "file");
    disk_write_file(target(&stage, "file"), "", 0600);
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s/file", stage.directory);
    assert_int_equal(mount(file, target(&stage, "file"), NULL, MS_BIND, NULL), 0);
    good(mount_unmount(stage.directory, false, &error));
    assert_false(mount_find_device(device, found));
    good(mount_unmount(target(&stage, "file"), true, &error));
    end(&stage);
}

/* Who uses the same file system through another mount does not hold this one. */
static void test_unmount_busy_elsewhere(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("elsewhere");
    const char *path = target(&stage, "t");
    good(mount_bind(stage.directory, path, false, "", &error));
    pid_t other = start_holder(hold_file, path);
    good(mount_unmount(stage.directory, false, &error));
    bad(mount_unmount(path, true, &error), FAILED_PRECONDITION, "has files open");
    stop_holder(other);
    good(mount_unmount(path, true, &error));
    end(&stage);
}

/* Held on the other side of a shared mount, as by a process of the host: unmounting would take that away too. */
static void test_unmount_busy_peer(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("peers");
    const char *peer = disk_path("other-side");
    disk_make_directory(peer);
    assert_int_equal(mount(stage.targets, stage.targets, NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount(NULL, stage.targets, NULL, MS_SHARED, NULL), 0);
    assert_int_equal(mount(stage.targets, peer, NULL, MS_BIND, NULL), 0);
    good(mount_bind(stage.directory, target(&stage, "t"), false, "", &error));
    pid_t pid = start_holder(hold_file, disk_path("other-side/t"));
    char words[128];
    snprintf(words, sizeof words, "\": holder (process %d) has files open", (int)pid);
    bad(mount_unmount(target(&stage, "t"), true, &error), FAILED_PRECONDITION, words);
    stop_holder(pid);
    good(mount_unmount(target(&stage, "t"), true, &error));
    assert_int_equal(umount(peer), 0);
    assert_int_equal(umount(stage.targets), 0);
    end(&stage);
}

static void test_unmount_busy_otherwise(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("other");
    char inner[PATH_MAX], words[128];
    snprintf(inner, sizeof inner, "%s/inner", stage.directory);
    disk_make_directory(inner);
    assert_int_equal(mount("inner", inner, "tmpfs", 0, NULL), 0);
    bad(mount_unmount(stage.directory, true, &error), FAILED_PRECONDITION, "something else (tmpfs) is mounted at");
    assert_int_equal(umount(inner), 0);

    snprintf(inner, sizeof inner, "%s/inner.image", stage.directory);
    disk_write_file(inner, "", 0600);
    assert_int_equal(truncate(inner, MEBI), 0);
    struct disk disk = disk_bind(inner);
    snprintf(words, sizeof words, "the loop device %s uses a file on it", disk.path);
    bad(mount_unmount(stage.directory, true, &error), FAILED_PRECONDITION, words);
    disk_detach(&disk);
    for (int i = 0; i < 100 && !disk_is_unbound(&disk); i++)
        usleep(10000);
    end(&stage);
}

/* For a moment is not busy: the kubelet looks at volumes all the time. */
static void test_unmount_busy_for_a_moment(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = staged("moment");
    pid_t pid = fork();
    if (pid == 0) {
        int opened = open(stage.directory, O_PATH);
        usleep(30000);
        _exit(opened < 0);
    }
    usleep(10000);
    good(mount_unmount(stage.directory, false, &error));
    waitpid(pid, NULL, 0);
    end(&stage);
}

/* After an I/O error xfs shuts down and answers EIO to everything; it must still be seen and taken off. */
static void test_unmount_shut_down(void **state)
{
    (void)state;
    disk_need();
    struct stage stage = stage_of("shutdown", "xfs", 300 * MEBI);
    const char *path = target(&stage, "t");
    good(mount_device(stage.disk.path, stage.directory, "xfs", "", &error));
    good(mount_bind(stage.directory, path, false, "", &error));
    char command[256];
    snprintf(command, sizeof command, "xfs_io -x -c shutdown %s", stage.directory);
    disk_run(command);
    struct mount_state seen = look(path);
    assert_true(seen.exists && seen.mounted && seen.directory);
    assert_true(seen.device == number_of(stage.disk.path));
    good(mount_unmount(path, true, &error));
    end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_paths_refused),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_root),
        cmocka_unit_test(test_mount_device),
        cmocka_unit_test(test_mount_device_refused),
        cmocka_unit_test(test_mount_device_write_protected),
        cmocka_unit_test(test_bind),
        cmocka_unit_test(test_bind_atime),
        cmocka_unit_test(test_bind_target_there),
        cmocka_unit_test(test_bind_nothing_staged),
        cmocka_unit_test(test_bind_device),
        cmocka_unit_test(test_bind_fault),
        cmocka_unit_test(test_bind_below_shared),
        cmocka_unit_test(test_unmount_layers),
        cmocka_unit_test(test_unmount_leaves_content),
        cmocka_unit_test(test_unmount_busy),
        cmocka_unit_test(test_find_device),
        cmocka_unit_test(test_unmount_busy_elsewhere),
        cmocka_unit_test(test_unmount_busy_peer),
        cmocka_unit_test(test_unmount_busy_otherwise),
        cmocka_unit_test(test_unmount_busy_for_a_moment),
        cmocka_unit_test(test_unmount_shut_down),
    };
    return cmocka_run_group_tests(tests, disk_setup, disk_teardown);
}
