#include "tests/unit/disk_fixture.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

char disk_directory[64];
static bool ready;

/* Paths that tests have asked for, until the end. */
static struct path_kept {
    struct path_kept *next;
    char text[192];
} * paths;

int disk_setup(void **state)
{
    (void)state;
    strcpy(disk_directory, "/tmp/plinth-unit.XXXXXX");
    if (geteuid() != 0 || mkdtemp(disk_directory) == NULL)
        return 0;
    ready = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("plinth-unit", disk_directory, "tmpfs", 0, "mode=0755") == 0;
    return 0;
}

int disk_teardown(void **state)
{
    (void)state;
    umount2(disk_directory, MNT_DETACH);
    rmdir(disk_directory);
    for (struct path_kept *path; (path = paths) != NULL; free(path))
        paths = path->next;
    return 0;
}

void disk_skip_unless(bool condition, const char *reason)
{
    if (condition)
        return;
    printf("skip: %s\n", reason);
    skip();
}

void disk_need(void)
{
    disk_skip_unless(ready, "needs root and a mount namespace of its own");
}

const char *disk_path(const char *name)
{
    struct path_kept *path = malloc(sizeof *path);
    assert_non_null(path);
    path->next = paths;
    paths = path;
    snprintf(path->text, sizeof path->text, "%s/%s", disk_directory, name);
    return path->text;
}

const char *disk_image(const char *name, int64_t bytes)
{
    const char *path = disk_path(name);
    int image = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(image >= 0);
    assert_int_equal(ftruncate(image, bytes), 0);
    close(image);
    return path;
}

void disk_write_file(const char *path, const char *text, unsigned mode)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(file, mode), 0);
    close(file);
}

void disk_make_directory(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
}

static struct disk attach(const char *image, unsigned flags)
{
    struct disk disk = {.descriptor = -1};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    disk_skip_unless(control >= 0, "needs loop devices");
    int backing = open(image, O_RDWR | O_CLOEXEC);
    assert_true(backing >= 0);
    struct loop_config config = {.fd = (unsigned)backing, .info.lo_flags = flags};
    for (int tries = 0; tries < 50; tries++) { /* others take the free one between the two calls */
        snprintf(disk.path, sizeof disk.path, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
        disk.descriptor = open(disk.path, O_RDWR | O_CLOEXEC);
        if (disk.descriptor >= 0 && ioctl(disk.descriptor, LOOP_CONFIGURE, &config) == 0)
            break;
        close(disk.descriptor);
        disk.descriptor = -1;
    }
    close(backing);
    close(control);
    assert_true(disk.descriptor >= 0);
    return disk;
}

struct disk disk_bind(const char *image)
{
    return attach(image, LO_FLAGS_AUTOCLEAR);
}

struct disk disk_attach_read_only(const char *image)
{
    return attach(image, LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY);
}

void disk_detach(struct disk *disk)
{
    close(disk->descriptor);
    disk->descriptor = -1;
}

void disk_resize(const struct disk *disk, const char *image, int64_t bytes)
{
    assert_int_equal(truncate(image, bytes), 0);
    assert_int_equal(ioctl(disk->descriptor, LOOP_SET_CAPACITY, 0), 0);
}

bool disk_is_unbound(const struct disk *disk)
{
    struct loop_info64 info;
    int opened = open(disk->path, O_RDONLY | O_CLOEXEC);
    bool is_free = opened < 0 || ioctl(opened, LOOP_GET_STATUS64, &info) != 0;
    if (opened >= 0)
        close(opened);
    return is_free;
}

const char *disk_run(const char *command)
{
    static char line[1024];
    char ignored[1024];
    line[0] = '\0';
    FILE *output = popen(command, "r");
    assert_non_null(output);
    if (fgets(line, sizeof line, output) != NULL)
        while (fgets(ignored, sizeof ignored, output) != NULL)
            ;
    line[strcspn(line, "\n")] = '\0';
    int status = pclose(output);
    if (status != 0)
        fail_msg("%s: status %d: %s", command, status, line);
    return line;
}

void disk_expect_good(bool outcome, const struct error *error, const char *file, int line)
{
    if (outcome)
        return;
    print_error("%s: %s\n", error_code_name(error->code), error->message);
    _fail(file, line);
}

void disk_expect_bad(bool outcome, const struct error *error, enum error_code code, const char *words, const char *file,
                     int line)
{
    if (!outcome && error->code == code && strstr(error->message, words) != NULL)
        return;
    print_error("%s: %s\n", outcome ? "succeeded" : error_code_name(error->code), outcome ? "" : error->message);
    _fail(file, line);
}
