/* pool/loop.c: which loop devices are looked at. */
#include "pool/loop.h"
#include "tests/unit/disk_fixture.h"

#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ID "0123456789ab-01234567-0123456789abcdef0123"

static int asked[4096]; /* how often LOOP_GET_STATUS64 was asked of a loop device, by its number */

/* Instead of the C library's. */
int ioctl(int descriptor, unsigned long request, ...)
{
    struct stat status;
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == LOOP_GET_STATUS64 && fstat(descriptor, &status) == 0 && minor(status.st_rdev) < 4096)
        asked[minor(status.st_rdev)]++;
    return (int)syscall(SYS_ioctl, descriptor, request, argument);
}

static int number_of(const struct disk *disk)
{
    return atoi(disk->path + strlen(LOOP_PATH));
}

static void what_cannot_be_ours_is_not_asked_about(void **state)
{
    (void)state;
    disk_need();
    disk_make_directory(disk_path("volumes"));
    disk_make_directory(disk_path("volumes/" ID));
    disk_make_directory(disk_path("volumes/other"));
    struct disk ours = disk_bind(disk_image("volumes/" ID "/data", MEBI)),
                foreign[] = {disk_bind(disk_image("image", MEBI)), disk_bind(disk_image("volumes/other/data", MEBI)),
                             disk_bind(disk_image("volumes/" ID "/meta", MEBI))};
    memset(asked, 0, sizeof asked);
    loop_load();
    assert_int_equal(asked[number_of(&ours)], 1);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        assert_int_equal(asked[number_of(&foreign[i])], 0);
        disk_detach(&foreign[i]);
    }
    disk_detach(&ours);
}

/* What a predecessor bound is known, by the name that it gave it. */
static void what_is_ours_is_found(void **state)
{
    (void)state;
    dev_t device;
    struct loop_info64 info;
    disk_need();
    struct disk ours = disk_bind(disk_image("volumes/" ID "/data", MEBI));
    assert_int_equal(ioctl(ours.descriptor, LOOP_GET_STATUS64, &info), 0);
    snprintf((char *)info.lo_file_name, LO_NAME_SIZE, "plinth:%s", ID);
    assert_int_equal(ioctl(ours.descriptor, LOOP_SET_STATUS64, &info), 0);
    assert_false(loop_attached(ID, ATTACH_MOUNT, &device));
    loop_load();
    assert_true(loop_attached(ID, ATTACH_MOUNT, &device));
    assert_int_equal(minor(device), number_of(&ours));
    disk_detach(&ours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_ours_is_not_asked_about),
        cmocka_unit_test(what_is_ours_is_found),
    };
    return cmocka_run_group_tests(tests, disk_setup, disk_teardown);
}
