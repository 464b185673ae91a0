/* transfer/wipe.h: a wiped device reads as zeros, a wipe goes on where it was, and what is not asked for is kept. */
#include "tests/unit/disk_fixture.h"
#include "transfer/wipe.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIBI (INT64_C(1) << 30)
#define BYTES (2 * GIBI + 300 * MEBI + 512)

static struct disk disk;

static bool wipe(const char *path, int64_t bytes, enum wipe how, int64_t start, bool (*go_on)(int64_t, void *),
                 bool (*checkpoint)(int64_t, void *, struct error *), void *data, struct error *error)
{
    struct wiping wiping = {.path = path,
                            .start = start,
                            .bytes = bytes,
                            .how = how,
                            .go_on = go_on,
                            .checkpoint = checkpoint,
                            .data = data};
    return wipe_device(&wiping, error);
}

static int detach(void **state)
{
    (void)state;
    disk_detach(&disk);
    return 0;
}

/* Marks that must go, in each piece and at both ends. */
static const int64_t marks[] = {0, 64 * MEBI - 512, 64 * MEBI, 700 * MEBI, GIBI - 512, GIBI, 2 * GIBI, BYTES - 512};
#define MARKS (sizeof marks / sizeof *marks)

static void write_marks(void)
{
    char sector[512];
    memset(sector, 0xff, sizeof sector);
    for (size_t i = 0; i < MARKS; i++)
        assert_int_equal(pwrite(disk.descriptor, sector, sizeof sector, marks[i]), sizeof sector);
    assert_int_equal(fsync(disk.descriptor), 0);
}

/* How many marks are left at or after `offset`. */
static size_t marks_left(int64_t offset)
{
    size_t left = 0;
    char sector[512];
    for (size_t i = 0; i < MARKS; i++) {
        assert_int_equal(pread(disk.descriptor, sector, sizeof sector, marks[i]), sizeof sector);
        left += marks[i] >= offset && sector[0] != 0;
    }
    return left;
}

static void make_disk(const char *name)
{
    disk_need();
    disk = disk_bind(disk_image(name, BYTES));
    write_marks();
    assert_int_equal(marks_left(0), MARKS);
}

static void the_three_ways_have_names(void **state)
{
    (void)state;
    struct error error;
    enum wipe how;
    good(wipe_parse("none", &how, &error));
    assert_int_equal(how, WIPE_NONE);
    good(wipe_parse("discard", &how, &error));
    assert_int_equal(how, WIPE_DISCARD);
    good(wipe_parse("zero", &how, &error));
    assert_int_equal(how, WIPE_ZERO);
    static const char *const others[] = {"", "Zero", "zeros", "none "};
    for (size_t i = 0; i < 4; i++)
        bad(wipe_parse(others[i], &how, &error), INVALID_ARGUMENT, "none, discard or zero");
}

static void nothing_is_wiped_that_is_to_be_kept(void **state)
{
    (void)state;
    struct error error;
    make_disk("kept");
    good(wipe(disk.path, BYTES, WIPE_NONE, 0, NULL, NULL, NULL, &error));
    assert_int_equal(marks_left(0), MARKS);
    good(wipe(disk.path, BYTES - 512, WIPE_ZERO, GIBI, NULL, NULL, NULL, &error));
    assert_int_equal(marks_left(0), MARKS - 2); /* at 1 and 2 GiB */
}

struct crash {
    int64_t saved;
    int checkpoints, die_at;
};

static bool checkpoint(int64_t done, void *data, struct error *error)
{
    struct crash *crash = data;
    assert_true(done > crash->saved);
    crash->saved = done;
    return ++crash->checkpoints != crash->die_at || fail(error, INTERNAL, "crashed");
}

static void wipe_with_crashes(enum wipe how, int checkpoints)
{
    struct error error;
    struct crash crash = {.die_at = 1};
    while (!wipe(disk.path, BYTES, how, crash.saved, NULL, checkpoint, &crash, &error)) {
        assert_string_equal(error.message, "crashed");
        crash.die_at++;
        if (crash.saved == BYTES)
            break;
    }
    assert_int_equal(crash.saved, BYTES);
    assert_int_equal(crash.checkpoints, checkpoints);
    assert_int_equal(marks_left(0), 0);
}

static void zeros_go_on_at_each_checkpoint(void **state)
{
    (void)state;
    make_disk("zero");
    wipe_with_crashes(WIPE_ZERO, 3);
}

static void a_discard_goes_on_at_each_checkpoint(void **state)
{
    (void)state;
    make_disk("discard"); /* the loop device punches holes into the tmpfs */
    wipe_with_crashes(WIPE_DISCARD, 3);
}

static bool stop_at_once(int64_t done, void *data)
{
    int *asked = data;
    assert_int_equal(done, 0);
    ++*asked;
    return false;
}

static void a_wipe_can_be_stopped(void **state)
{
    (void)state;
    struct error error;
    int asked = 0;
    make_disk("stopped");
    bad(wipe(disk.path, BYTES, WIPE_DISCARD, 0, stop_at_once, NULL, &asked, &error), ABORTED, "stopped");
    bad(wipe(disk.path, BYTES, WIPE_ZERO, 0, stop_at_once, NULL, &asked, &error), ABORTED, "stopped");
    assert_int_equal(asked, 2);
    assert_int_equal(marks_left(0), MARKS);
}

static void a_device_without_discard_is_overwritten_with_zeros(void **state)
{
    (void)state;
    struct error error;
    char command[256];
    disk_need();
    disk_make_directory(disk_path("ramfs"));
    snprintf(command, sizeof command, "mount -t ramfs none %s/ramfs", disk_directory);
    disk_run(command);
    disk = disk_bind(disk_image("ramfs/image", 130 * MEBI + 512)); /* ramfs has no holes to punch, so neither has it */
    assert_int_equal(pwrite(disk.descriptor, "\377", 1, 130 * MEBI + 511), 1);
    good(wipe(disk.path, 130 * MEBI + 512, WIPE_DISCARD, 0, NULL, NULL, NULL, &error));
    snprintf(command, sizeof command, "cmp -n %jd %s /dev/zero", (intmax_t)(130 * MEBI + 512), disk.path);
    disk_run(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_three_ways_have_names),
        cmocka_unit_test_teardown(nothing_is_wiped_that_is_to_be_kept, detach),
        cmocka_unit_test_teardown(zeros_go_on_at_each_checkpoint, detach),
        cmocka_unit_test_teardown(a_discard_goes_on_at_each_checkpoint, detach),
        cmocka_unit_test_teardown(a_wipe_can_be_stopped, detach),
        cmocka_unit_test_teardown(a_device_without_discard_is_overwritten_with_zeros, detach),
    };
    return cmocka_run_group_tests(tests, disk_setup, disk_teardown);
}
