/* pool/lvm_filter.c: a filter is always whole, however many devices there are. */
#include "pool/lvm.h"
#include "pool/lvm_queue.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#define DEVICES_MOST 3000

static struct lvm_queue queue;
static struct lvm_pool own = {.queue = &queue};

static void look_at(size_t count, const char *name)
{
    static struct lvm_device devices[DEVICES_MOST];
    struct lvm_report report = {.devices = devices, .device_count = count};
    for (size_t i = 0; i < count; i++)
        snprintf(devices[i].path, sizeof devices[i].path, "/dev/mapper/%s%d", name, (int)i);
    lvm_look_at_devices_of(&own, &report);
}

static bool ends_with(const char *end)
{
    size_t length = strlen(queue.filter), wanted = strlen(end);
    return length >= wanted && strcmp(queue.filter + length - wanted, end) == 0;
}

static void only_the_devices_of_a_group_are_accepted(void **state)
{
    (void)state;
    look_at(2, "disk.");
    assert_string_equal(queue.filter, "\"a|^/dev/mapper/disk\\\\.0$|\",\"a|^/dev/mapper/disk\\\\.1$|\",\"r|.*|\"");
}

static void too_many_devices_are_looked_for_everywhere_but_in_loop_devices(void **state)
{
    (void)state;
    for (size_t count = 1; count < DEVICES_MOST; count += 7) {
        look_at(count, "a+long(name)");
        bool some = ends_with("$|\",\"r|.*|\"");
        assert_true(some || (strncmp(queue.filter, "\"r|^/dev/loop|\",", 16) == 0 && ends_with(",\"a|.*|\"")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_devices_of_a_group_are_accepted),
        cmocka_unit_test(too_many_devices_are_looked_for_everywhere_but_in_loop_devices),
    };
    pthread_mutex_init(&queue.mutex, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
