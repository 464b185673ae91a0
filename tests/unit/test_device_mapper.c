/* pool/device_mapper_status.h: what the kernel writes is read, what it would not write is refused.  And what is said
 * where there is no device-mapper.  What needs one is in tests/lvm/device_mapper.c. */
#include "base/clock.h"
#include "pool/device_mapper.h"
#include "pool/device_mapper_status.h"
#include "pool/lvm.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE "252:1 252:2 128 0 1 skip_block_zeroing"
#define BLOCK INT64_C(65536)
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static struct error error;

static void check(bool outcome)
{
    if (!outcome)
        fail_msg("%s", error.message);
}

/* The line lies at the end of its memory, so that ASan sees a byte read beyond it. */
static char *own(const char *line)
{
    char *copy = strdup(line);
    assert_non_null(copy);
    return copy;
}

static void a_thin_pool(void **state)
{
    (void)state;
    struct thin_pool_status pool;
    check(thin_pool_status_parse("7 13/4096 3/16384 - rw discard_passdown queue_if_no_space - 1024", TABLE, &pool,
                                 &error));
    assert_true(pool.transaction_id == 7 && pool.metadata_used == 13 * 4096 && pool.metadata_bytes == 4096 * 4096);
    assert_true(pool.data_used == 3 * BLOCK && pool.data_bytes == 16384 * BLOCK);
    assert_false(pool.read_only || pool.out_of_data_space || pool.needs_check || pool.failed || pool.errors_when_full);
    assert_false(pool.ignores_discards);
}

static void a_thin_pool_in_trouble(void **state)
{
    (void)state;
    struct thin_pool_status pool;
    check(thin_pool_status_parse("0 1/2 2/2 33 out_of_data_space no_discard_passdown error_if_no_space - 1024", TABLE,
                                 &pool, &error));
    assert_true(pool.out_of_data_space && pool.errors_when_full && !pool.read_only && !pool.needs_check);
    check(thin_pool_status_parse("0 1/2 2/2 - ro ignore_discard queue_if_no_space needs_check 1024", TABLE, &pool,
                                 &error));
    assert_true(pool.ignores_discards);
    assert_true(pool.read_only && pool.needs_check && !pool.out_of_data_space && !pool.errors_when_full);
    check(thin_pool_status_parse("Fail", TABLE, &pool, &error));
    assert_true(pool.failed && pool.data_bytes == 0);
    /* Linux 3.x wrote no more than this. */
    check(thin_pool_status_parse("0 1/2 2/2 - ro", TABLE, &pool, &error));
    assert_true(pool.read_only);
}

static void a_thin_volume(void **state)
{
    (void)state;
    int64_t bytes;
    check(thin_status_parse("16384 1048575", &bytes, &error));
    assert_true(bytes == 8 << 20);
    check(thin_status_parse("0 -", &bytes, &error));
    assert_true(bytes == 0);
    assert_false(thin_status_parse("Fail", &bytes, &error));
    assert_int_equal(error.code, FAILED_PRECONDITION);
    assert_false(thin_status_parse("-", &bytes, &error));
    assert_int_equal(error.code, FAILED_PRECONDITION);
}

static void a_raid_volume(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int devices, dead;
        bool rebuilding;
    } cases[] = {
        {"raid1 2 AA 131072/131072 idle 0 0 -", 2, 0, false}, {"raid1 2 Aa 65536/131072 recover 0 0 -", 2, 0, true},
        {"raid1 2 aa 0/131072 resync 0", 2, 0, false},        {"raid1 2 AD 131072/131072 idle 0 0 -", 2, 1, false},
        {"raid1 2 A- 131072/131072 idle 0 0 -", 2, 1, false}, {"raid6_zr 5 AADDA 10/10 idle 0 0 -", 5, 2, false},
        {"raid5_ls 3 AAA 5/131072 check 0 0 -", 3, 0, false}, {"raid5_ls 3 AAa 5/131072 repair 0 0 -", 3, 0, true},
        {"raid1 2 Aa 0/131072 frozen 0 0 -", 2, 0, true},     {"raid1 2 AA 0/131072 frozen 0 0 -", 2, 0, false},
    };
    struct raid_status raid;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        check(raid_status_parse(cases[i].line, &raid, &error));
        if (raid.devices != cases[i].devices || raid.dead != cases[i].dead || raid.rebuilding != cases[i].rebuilding)
            fail_msg("%s: %d devices, %d dead, rebuilding %d", cases[i].line, raid.devices, raid.dead, raid.rebuilding);
    }
    check(raid_status_parse("raid1 2 Aa 65536/131072 recover 0 0 -", &raid, &error));
    assert_true(raid.synced == 65536 && raid.total == 131072);
}

static void the_legs_of_a_raid_volume(void **state)
{
    (void)state;
    struct raid_status raid;
    check(raid_status_parse("raid6_zr 5 AaD-A 10/10 idle 0 0 -", &raid, &error));
    assert_string_equal(raid.legs, "AaD-A");
}

static void a_layout_serves_without_as_many_legs_as_it_bears(void **state)
{
    (void)state;
    static const struct {
        enum layout layout;
        int mirrors;
        const char *serves[4], *fails[4];
    } cases[] = {
        {LAYOUT_RAID1, 1, {"AA", "DA", "A-"}, {"DD", "-D"}},
        {LAYOUT_RAID1, 2, {"AAA", "DAD", "--A"}, {"DDD"}},
        {LAYOUT_RAID5, 0, {"AAA", "DAA", "Aa-"}, {"DDA", "-AD", "DDD"}},
        {LAYOUT_RAID6, 0, {"AAAAA", "DAAAD", "A--AA"}, {"DDDAA", "-ADA-"}},
        {LAYOUT_RAID10, 1, {"AAAA", "DAAD", "ADDA", "A-A-"}, {"DDAA", "AADD", "A-DD"}},
        {LAYOUT_RAID10, 1, {"ADADAD", "DADAAD"}, {"AADDAA"}},
        {LAYOUT_RAID10, 2, {"DDADDA", "ADDAAA"}, {"AAADDD", "DDDAAA"}},
        {LAYOUT_RAID10, 0, {"DAAD"}, {"DDAA"}}, /* 0: the default, one further copy */
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct record record = {.thick = true, .layout = cases[i].layout, .mirrors = cases[i].mirrors};
        for (size_t j = 0; j < 4; j++) {
            if (cases[i].serves[j] != NULL && !lvm_serves(&record, cases[i].serves[j]))
                fail_msg("case %zu: %s serves all data", i, cases[i].serves[j]);
            if (cases[i].fails[j] != NULL && lvm_serves(&record, cases[i].fails[j]))
                fail_msg("case %zu: %s does not serve all data", i, cases[i].fails[j]);
        }
    }
}

static void a_snapshot(void **state)
{
    (void)state;
    struct snapshot_status snapshot;
    check(snapshot_status_parse("2064/65536 24", &snapshot, &error));
    assert_true(snapshot.used_bytes == 2064 * 512 && snapshot.total_bytes == 65536 * 512);
    assert_false(snapshot.invalid || snapshot.overflowed);
    check(snapshot_status_parse("16/65536", &snapshot, &error));
    check(snapshot_status_parse("Invalid", &snapshot, &error));
    assert_true(snapshot.invalid && !snapshot.overflowed);
    check(snapshot_status_parse("Overflow", &snapshot, &error));
    assert_true(snapshot.invalid && snapshot.overflowed);
    check(snapshot_status_parse("Merge failed", &snapshot, &error));
    assert_true(snapshot.invalid && !snapshot.overflowed);
}

static void used_is_never_more_than_total(void **state)
{
    (void)state;
    struct snapshot_status snapshot;
    check(snapshot_status_parse("70000/65536 24", &snapshot, &error));
    assert_true(snapshot.used_bytes == snapshot.total_bytes);
}

static bool read_thin_pool(const char *line)
{
    struct thin_pool_status pool;
    return thin_pool_status_parse(line, TABLE, &pool, &error);
}

static bool read_table(const char *table)
{
    struct thin_pool_status pool;
    return thin_pool_status_parse("0 1/2 2/2 - rw", table, &pool, &error);
}

static bool read_thin(const char *line)
{
    int64_t bytes;
    return thin_status_parse(line, &bytes, &error);
}

static bool read_raid(const char *line)
{
    struct raid_status raid;
    return raid_status_parse(line, &raid, &error);
}

static bool read_snapshot(const char *line)
{
    struct snapshot_status snapshot;
    return snapshot_status_parse(line, &snapshot, &error);
}

typedef bool reader(const char *line);
static reader *const readers[] = {read_thin_pool, read_table, read_thin, read_raid, read_snapshot};

static void refused(reader *read, const char *line)
{
    char *copy = own(line);
    error = (struct error){.code = OK};
    bool taken = read(copy);
    free(copy);
    if (taken || error.code != INTERNAL)
        fail_msg("taken, or refused otherwise: %.60s: %s", line, error.message);
}

static void what_the_kernel_would_not_write_is_refused(void **state)
{
    (void)state;
    static const char *const nothing[] = {"",     " ",     "/",        "Error",  "Unknown",
                                          "fail", "Fail ", "\xff\xfe", "-1/2 3", "/ / / / /"};
    for (size_t i = 0; i < LENGTH(readers); i++)
        for (size_t j = 0; j < LENGTH(nothing); j++)
            refused(readers[i], nothing[j]);
    refused(read_thin_pool, "0 1/2 2/2 -");                      /* no mode */
    refused(read_thin_pool, "0 1/2 2/9223372036854775807 - rw"); /* more bytes than there are */
    refused(read_thin_pool, "0 1/9223372036854775808 2/2 - rw");
    refused(read_thin_pool, "-1 1/2 2/2 - rw");
    refused(read_thin_pool, "0 1/2/3 2/2 - rw");
    refused(read_thin_pool, "0 0x1/2 2/2 - rw");
    refused(read_table, "252:1 252:2 0 0 0");
    refused(read_table, "252:1 252:2 128k 0 0");
    refused(read_thin, "18014398509481984 0");
    refused(read_raid, "raid1 2 AAA 1/1 idle 0");
    refused(read_raid, "raid1 3 AA 1/1 idle 0");
    refused(read_raid, "raid1 2 AX 1/1 idle 0");
    refused(read_raid, "raid1 0  1/1 idle 0");
    refused(read_raid, "raid1 99999999999 A 1/1 idle 0");
    refused(read_snapshot, "1/ 2");
    refused(read_snapshot, "1/2x 3");
}

static void a_long_line_is_refused_or_cut_into_32_words(void **state)
{
    (void)state;
    char line[5000];
    memset(line, '9', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    for (size_t i = 0; i < LENGTH(readers); i++)
        refused(readers[i], line);
    snprintf(line, sizeof line, "16/32");
    for (int i = 0; i < 400; i++)
        strcat(line, " 1");
    assert_true(read_snapshot(line));
}

/* Every line with a byte changed or its end cut off: whatever is said of it, nothing is read beyond it. */
static void damaged_lines_do_no_harm(void **state)
{
    (void)state;
    static const char *const lines[] = {"7 13/4096 3/16384 - rw discard_passdown queue_if_no_space - 1024", TABLE,
                                        "16384 1048575", "raid1 2 Aa 65536/131072 recover 0 0 -", "2064/65536 24"};
    static const char bytes[] = " /-9A\n\xff";
    for (size_t i = 0; i < LENGTH(lines); i++)
        for (size_t at = 0; lines[i][at] != '\0'; at++)
            for (size_t j = 0; j < sizeof bytes; j++) { /* with its NUL, which cuts */
                char *line = own(lines[i]);
                line[at] = bytes[j];
                char *copy = own(line);
                readers[i](copy);
                free(copy);
                free(line);
            }
}

static void the_uuid_of_a_volume(void **state)
{
    (void)state;
    char uuid[DEVICE_MAPPER_UUID_BYTES], longest[400];
    const char *vg = "jMkfbi-4Zyh-yyyy-1111-2222-3333-abcdef", *lv = "AAAAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGGGG";
    device_mapper_uuid(uuid, vg, lv, "");
    assert_string_equal(uuid, "LVM-jMkfbi4Zyhyyyy111122223333abcdefAAAAAABBBBCCCCDDDDEEEEFFFFGGGGGG");
    device_mapper_uuid(uuid, vg, "", "");
    assert_string_equal(uuid, "LVM-jMkfbi4Zyhyyyy111122223333abcdef");
    device_mapper_uuid(uuid, vg, lv, "tpool");
    assert_string_equal(uuid, "LVM-jMkfbi4Zyhyyyy111122223333abcdefAAAAAABBBBCCCCDDDDEEEEFFFFGGGGGG-tpool");
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    device_mapper_uuid(uuid, longest, longest, longest);
    assert_int_equal(strlen(uuid), DEVICE_MAPPER_UUID_BYTES - 1);
}

static void without_device_mapper_a_sentence_says_so(void **state)
{
    (void)state;
    struct device_mapper_device device;
    struct thin_pool_status pool;
    char name[DEVICE_MAPPER_NAME_BYTES], uuid[DEVICE_MAPPER_UUID_BYTES];
    int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    if (control >= 0) {
        close(control);
        printf("skip: this machine has device-mapper\n");
        skip();
    }
    int64_t started = monotonic_now();
    for (int i = 0; i < 100; i++) {
        error = (struct error){.code = OK};
        assert_false(device_mapper_find("LVM-x", &device, &error));
        assert_int_equal(error.code, FAILED_PRECONDITION);
        assert_non_null(strstr(error.message, "dm_mod"));
        assert_false(device_mapper_named("x", uuid, &error) || device_mapper_thin_pool("LVM-x", &pool, &error) ||
                     device_mapper_suspend("LVM-x", &error) || device_mapper_resume("LVM-x", &error));
        assert_int_equal(error.code, FAILED_PRECONDITION);
        assert_false(device_mapper_identify(0, name, uuid));
    }
    assert_true(monotonic_now() - started < NANOSECONDS_PER_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thin_pool),
        cmocka_unit_test(a_thin_pool_in_trouble),
        cmocka_unit_test(a_thin_volume),
        cmocka_unit_test(a_raid_volume),
        cmocka_unit_test(the_legs_of_a_raid_volume),
        cmocka_unit_test(a_layout_serves_without_as_many_legs_as_it_bears),
        cmocka_unit_test(a_snapshot),
        cmocka_unit_test(used_is_never_more_than_total),
        cmocka_unit_test(what_the_kernel_would_not_write_is_refused),
        cmocka_unit_test(a_long_line_is_refused_or_cut_into_32_words),
        cmocka_unit_test(damaged_lines_do_no_harm),
        cmocka_unit_test(the_uuid_of_a_volume),
        cmocka_unit_test(without_device_mapper_a_sentence_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
