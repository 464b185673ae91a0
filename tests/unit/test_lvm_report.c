/* pool/lvm_report.h: real reports (samples/lvm-capture), and what could come instead of one. */
#include "base/cleanup.h"
#include "base/text.h"
#include "pool/lvm_report.h"
#include "tests/unit/unit.h"

#include <inttypes.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THIN "0123456789ab-cdef0123-0123456789abcdef0123"
#define SNAPSHOT "0123456789ab-cdef0123-s0123456789abcdef0123"
#define MIB (1 << 20)

static char *sample(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "tests/unit/samples/%s.json", name);
    cleanup_file FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 16);
    if (file == NULL || fread(text, 1, (1 << 16) - 1, file) == 0)
        fail_msg("cannot read %s: run the test in the project's directory", path);
    return text;
}

static struct lvm_report parsed(const char *name)
{
    struct lvm_report report;
    struct error error;
    cleanup_free char *text = sample(name);
    if (!lvm_report_parse(text, &report, &error))
        fail_msg("%s: %s", name, error.message);
    return report;
}

static void a_volume_group_is_read(void **state)
{
    (void)state;
    struct lvm_report report = parsed("lvm-report");
    assert_string_equal(report.name, "vg0");
    assert_int_equal(strlen(report.uuid), LVM_UUID_BYTES - 1);
    assert_string_equal(report.tags, "plinth.pool.0123456789ab,rack=7");
    assert_int_equal(report.extent_bytes, 4 * MIB);
    assert_int_equal(report.extents, 196);
    assert_int_equal(report.free_extents, 147);
    assert_true(report.sequence > 10);
    assert_int_equal(report.metadata_bytes, 1044480);
    assert_in_range(report.metadata_free_bytes, 500000, 1044480 / 2);
    assert_false(report.partial || report.exported || report.clustered);
    assert_int_equal(report.device_count, 4); /* and not the foreign volume group's */
    for (size_t i = 0; i < report.device_count; i++) {
        assert_true(strncmp(report.devices[i].path, "/dev/ubd", 8) == 0);
        assert_int_equal(strlen(report.devices[i].uuid), LVM_UUID_BYTES - 1);
        assert_false(report.devices[i].missing);
    }
    lvm_report_free(&report);
    assert_null(report.volumes);
    lvm_report_free(&report);
}

/* Each kind of volume: what it is, and the extents it takes with its parts. */
static const struct {
    const char *name, *type;
    int64_t bytes, extents;
    const char *pool, *origin, *parent;
    bool hidden;
} expected[] = {
    {THIN, "thin", 1024 * MIB, 0, "tp0", "", "", false},
    {SNAPSHOT, "thin", 1024 * MIB, 0, "tp0", THIN, "", false},
    {"tp0", "thin-pool", 40 * MIB, 11, "", "", "", false},
    {"tp0_tdata", "linear", 40 * MIB, 10, "", "", "tp0", true},
    {"tp0_tmeta", "linear", 4 * MIB, 1, "", "", "tp0", true},
    {"lvol0_pmspare", "linear", 4 * MIB, 1, "", "", "", true},
    {"linear", "linear", 16 * MIB, 4, "", "", "", false},
    {"mixed", "linear", 12 * MIB, 3, "", "", "", false}, /* and then striped */
    {"cut", "linear", 4 * MIB, 1, "", "linear", "", false},
    {"striped", "striped", 16 * MIB, 4, "", "", "", false},
    {"mirrored", "raid1", 12 * MIB, 8, "", "", "", false},
    {"mirrored_rimage_0", "linear", 12 * MIB, 3, "", "", "mirrored", true},
    {"mirrored_rmeta_1", "linear", 4 * MIB, 1, "", "", "mirrored", true},
    {"raid5", "raid5", 16 * MIB, 9, "", "", "", false},
    {"inactive", "linear", 4 * MIB, 1, "", "", "", false},
    {"cached", "cache", 8 * MIB, 5, "fast_cvol", "cached_corig", "", false},
    {"cached_corig", "linear", 8 * MIB, 2, "", "", "cached", true},
    {"fast_cvol", "linear", 12 * MIB, 3, "", "", "cached", true},
};

static void volumes_are_read(void **state)
{
    (void)state;
    struct lvm_report report = parsed("lvm-report");
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct lvm_volume *volume = lvm_report_volume(&report, expected[i].name);
        if (volume == NULL)
            fail_msg("no %s", expected[i].name);
        assert_string_equal(volume->segment_type, expected[i].type);
        assert_int_equal(volume->bytes, expected[i].bytes);
        assert_int_equal(volume->extents, expected[i].extents);
        assert_string_equal(volume->pool, expected[i].pool);
        assert_string_equal(volume->origin, expected[i].origin);
        assert_string_equal(volume->parent, expected[i].parent);
        assert_int_equal(volume->hidden, expected[i].hidden);
        assert_int_equal(volume->zero, strcmp(volume->name, "tp0") == 0);
        assert_int_equal(volume->transaction_id, strcmp(volume->name, "tp0") == 0 ? 2 : 0);
        assert_int_equal(strlen(volume->uuid), LVM_UUID_BYTES - 1);
        assert_false(volume->partial);
    }
    assert_int_equal(lvm_report_volume(&report, "striped")->stripes, 2);
    assert_int_equal(lvm_report_volume(&report, "raid5")->stripes, 2);
    assert_int_equal(lvm_report_volume(&report, "mirrored")->stripes, 2);
    assert_int_equal(lvm_report_volume(&report, "mirrored")->copies, 2);
    assert_string_equal(lvm_report_volume(&report, THIN)->tags, "a/b=c,plinth.1:rv-:18ea");
    assert_string_equal(lvm_report_volume(&report, "linear")->tags, "");
    assert_true(lvm_report_volume(&report, THIN)->active);
    assert_false(lvm_report_volume(&report, SNAPSHOT)->active || lvm_report_volume(&report, "inactive")->active);
    assert_null(lvm_report_volume(&report, "other"));
    assert_null(lvm_report_volume(&report, "[tp0_tdata]"));
    lvm_report_free(&report);
}

static void every_extent_has_one_owner(void **state)
{
    (void)state;
    struct lvm_report report = parsed("lvm-report");
    int64_t sum = 0;
    for (size_t i = 0; i < report.volume_count; i++)
        if (report.volumes[i].parent[0] == '\0')
            sum += report.volumes[i].extents;
    assert_int_equal(sum, report.extents - report.free_extents);
    lvm_report_free(&report);
}

/* /dev/ubdd is away: a part of raid5, and the metadata of the thin pool. */
static void what_a_missing_device_touches_is_partial(void **state)
{
    static const char *const partial[] = {THIN,  SNAPSHOT,   "raid5", "raid5_rimage_2", "raid5_rmeta_2",
                                          "tp0", "tp0_tmeta"};
    (void)state;
    struct lvm_report report = parsed("lvm-report-missing");
    size_t found = 0, missing = 0;
    assert_true(report.partial);
    for (size_t i = 0; i < report.volume_count; i++)
        found += report.volumes[i].partial;
    for (size_t i = 0; i < sizeof partial / sizeof *partial; i++)
        assert_true(lvm_report_volume(&report, partial[i])->partial);
    assert_int_equal(found, sizeof partial / sizeof *partial);
    for (size_t i = 0; i < report.device_count; i++)
        if (report.devices[i].missing) {
            assert_string_equal(report.devices[i].path, "[unknown]");
            missing++;
        }
    assert_int_equal(missing, 1);
    assert_int_equal(report.device_count, 4);
    lvm_report_free(&report);
}

static void an_empty_group_and_no_group(void **state)
{
    (void)state;
    struct lvm_report report = parsed("lvm-report-empty");
    assert_string_equal(report.name, "foreign");
    assert_string_equal(report.tags, "");
    assert_int_equal(report.volume_count, 0);
    assert_null(lvm_report_volume(&report, "x"));
    lvm_report_free(&report);

    struct error error = {.code = OK};
    cleanup_free char *text = sample("lvm-report-none");
    assert_false(lvm_report_parse(text, &report, &error));
    assert_int_equal(error.code, NOT_FOUND);
    assert_null(report.volumes);
}

static char *replaced(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    char *result;
    assert_non_null(at);
    assert_true(asprintf(&result, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old)) > 0);
    return result;
}

static void what_is_no_report_is_refused(void **state)
{
    static char long_name[200] = "\"lv_name\":\"";
    static const char *const changes[][3] = {
        {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"9223372036854775808\"", "vg_extent_size"},
        {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"-1\"", "vg_extent_size"},
        {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"4.00m\"", "vg_extent_size"},
        {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":4194304", "vg_extent_size"},
        {"\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":null", "vg_extent_size"},
        {"\"vg_extent_size\":\"4194304\",", "", "vg_extent_size"},
        {"\"vg_tags\":\"", "\"vg_tags\":\"\\u0000", "\"vg\""},
        {"\"vg_tags\":\"", "\"vg_tags\":\"\xff", "\"vg\""},
        {"\"vg_name\":\"vg0\"", "\"vg_name\":\"\"", "no name"},
        {"\"vg_name\":\"vg0\"", "\"vg_name\":\"vg0\", \"vg_name\":\"vg1\"", "\"vg\""},
        {"\"lv_size\":\"", "\"lv_size\":\"99999999999999999999", "lv_size"},
        {"\"lv_name\":\"linear\"", long_name, "lv_name"},
        {"\"lv_name\":\"linear\"", "\"lv_name\":\"striped\"", "two logical volumes"},
        {"\"lv_name\":\"linear\"", "\"lv_name\":\"nobody\"", "no logical volume linear"},
        {"\"lv_name\":\"linear\"", "\"lv_name\":\"[]\"", "no name"},
        {"\"lv_parent\":\"tp0\"", "\"lv_parent\":\"tp0_tdata\"", "no end"},
        {"\"lv_parent\":\"tp0\"", "\"lv_parent\":\"nobody\"", "no logical volume nobody"},
        {"\"pvseg_size\":\"1\"", "\"pvseg_size\":\"9223372036854775807\"", "no end"},
        {"\"lv\": [", "\"lw\": [", "\"lv\""},
        {"\"lv\": [", "\"lv\": [[],", "lv_name"},
        {"\"lv\": [", "\"lv\": [1,", "\"lv\""},
        {"\"lv\": [", "\"lv\": {", "where [ should be"},
        {"\"report\"", "\"log\"", "\"report\""},
        {"{", "[", "where { should be"},
        {"{", "  WARNING: lvm speaks here {", "WARNING"},
        {"{", "", "where { should be"},
    };
    (void)state;
    memset(long_name + strlen(long_name), 'l', LVM_NAME_BYTES);
    long_name[strlen(long_name)] = '"';
    cleanup_free char *text = sample("lvm-report");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct lvm_report report;
        struct error error = {.code = OK};
        cleanup_free char *changed = replaced(text, changes[i][0], changes[i][1]);
        if (lvm_report_parse(changed, &report, &error) || error.code != INTERNAL ||
            strstr(error.message, changes[i][2]) == NULL)
            fail_msg("%s -> %s: accepted, or another error: %s", changes[i][0], changes[i][1], error.message);
        assert_null(report.volumes);
    }
    struct lvm_report report;
    struct error error = {.code = OK};
    cleanup_free char *twice = replaced(text, "]\n  }\n", "] } {\"report\": []}");
    assert_false(lvm_report_parse(twice, &report, &error));
    assert_non_null(strstr(error.message, "more text"));
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    cleanup_free char *text = sample("lvm-report-empty");
    for (size_t length = strlen(text) - 3; length > 0; length--) {
        struct lvm_report report;
        struct error error = {.code = OK};
        text[length] = '\0';
        if (lvm_report_parse(text, &report, &error) || error.code != INTERNAL)
            fail_msg("accepted, or another error: %s: %s", text, error.message);
    }
}

/* Whatever comes: no crash, no leak, and what is accepted holds together. */
static void mutations_do_no_harm(void **state)
{
    static const char bytes[] = "{}[]\",:\\ 0-9a\n\x80";
    (void)state;
    cleanup_free char *text = sample("lvm-report");
    size_t length = strlen(text);
    cleanup_free char *changed = malloc(2 * length + 1);
    int accepted = 0;
    srandom(4711);
    for (int round = 0; round < 5000; round++) {
        size_t at = (size_t)random() % length, from = (size_t)random() % length;
        struct lvm_report report;
        struct error error = {.code = OK};
        if (random() % 2)
            snprintf(changed, 2 * length + 1, "%.*s%s", (int)at, text, text + from);
        else
            snprintf(changed, 2 * length + 1, "%s", text);
        for (long flips = random() % 3; flips > 0; flips--)
            changed[(size_t)random() % strlen(changed)] = bytes[(size_t)random() % (sizeof bytes - 1)];
        bool read = lvm_report_parse(changed, &report, &error);
        assert_true(read || error.code == INTERNAL || error.code == NOT_FOUND);
        for (size_t i = 0; read && i < report.volume_count; i++)
            assert_ptr_equal(lvm_report_volume(&report, report.volumes[i].name), &report.volumes[i]);
        accepted += read;
        if (read)
            lvm_report_free(&report);
    }
    assert_in_range(accepted, 500, 4500);
}

/* --- a thousand volumes --- */

static size_t json_now, json_most;

static void *counted_malloc(size_t size)
{
    void *memory = malloc(size);
    json_now += malloc_usable_size(memory);
    json_most = json_now > json_most ? json_now : json_most;
    return memory;
}

static void counted_free(void *memory)
{
    json_now -= memory == NULL ? 0 : malloc_usable_size(memory);
    free(memory);
}

static char *report_of_many(int count)
{
    char *text;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    fputs("{\"report\":[{\"vg\":[{\"vg_name\":\"big\",\"vg_uuid\":\"\",\"vg_tags\":\"\",\"vg_extent_size\":\"4194304\","
          "\"vg_extent_count\":\"9\",\"vg_free_count\":\"9\",\"vg_seqno\":\"1\",\"vg_mda_size\":\"\",\"vg_mda_free\":"
          "\"\",\"vg_partial\":\"\",\"vg_exported\":\"exported\",\"vg_clustered\":\"\",\"vg_shared\":\"shared\"}],"
          "\"pv\":[],\"lv\":[",
          file);
    for (int i = 0; i < count; i++)
        fprintf(file,
                "%s{\"lv_name\":\"%d\",\"lv_uuid\":\"\",\"lv_size\":\"512\",\"lv_parent\":\"\",\"pool_lv\":\"tp0\","
                "\"origin\":\"\",\"lv_tags\":\"%0200d\",\"lv_active\":\"\",\"lv_when_full\":\"\"}",
                i == 0 ? "" : ",", count - i, i);
    fputs("],\"pvseg\":[],\"seg\":[", file);
    for (int i = 0; i < count; i++)
        fprintf(
            file,
            "%s{\"lv_name\":\"%d\",\"seg_start_pe\":\"0\",\"segtype\":\"thin\",\"data_stripes\":\"1\",\"data_copies\":"
            "\"1\",\"transaction_id\":\"%d\","
            "\"zero\":\"zero\"}",
            i == 0 ? "" : ",", i + 1, i);
    fputs("]}]}", file);
    fclose(file);
    return text;
}

static void many_volumes_need_no_tree(void **state)
{
    (void)state;
    struct lvm_report report;
    struct error error = {.message = ""};
    cleanup_free char *text = report_of_many(1000);
    json_set_alloc_funcs(counted_malloc, counted_free);
    bool read = lvm_report_parse(text, &report, &error);
    json_set_alloc_funcs(malloc, free);
    if (!read)
        fail_msg("%s", error.message);
    assert_int_equal(report.volume_count, 1000);
    assert_true(report.exported && report.clustered);
    assert_int_equal(lvm_report_volume(&report, "1000")->bytes, 512);
    assert_string_equal(lvm_report_volume(&report, "1")->segment_type, "thin");
    assert_int_equal(json_now, 0);
    assert_in_range(json_most, 1, 16 << 10); /* of one row, not of all */
    lvm_report_free(&report);
}

static void tags_are_found_in_lists(void **state)
{
    (void)state;
    char tag[16];
    assert_true(lvm_tags_have("a,bc,d", "a") && lvm_tags_have("a,bc,d", "bc") && lvm_tags_have("a,bc,d", "d"));
    assert_true(lvm_tags_have("abc,ab", "ab"));
    assert_false(lvm_tags_have("abc,xab,,", "ab") || lvm_tags_have("", "") || lvm_tags_have("", "a"));
    assert_false(lvm_tags_have("a,b", "a,b"));

    assert_true(lvm_tags_find("x,plinth.1:y,plinth.1:z", "plinth.1:", tag, sizeof tag));
    assert_string_equal(tag, "plinth.1:y");
    assert_true(lvm_tags_find("plinth.1:", "plinth.1:", tag, sizeof tag));
    assert_false(lvm_tags_find("xplinth.1:", "plinth.1:", tag, sizeof tag));
    assert_false(lvm_tags_find("", "p", tag, sizeof tag));
    assert_true(lvm_tags_find("p23456789012345", "p", tag, sizeof tag));
    assert_false(lvm_tags_find("p234567890123456", "p", tag, sizeof tag));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_group_is_read),      cmocka_unit_test(volumes_are_read),
        cmocka_unit_test(every_extent_has_one_owner),  cmocka_unit_test(what_a_missing_device_touches_is_partial),
        cmocka_unit_test(an_empty_group_and_no_group), cmocka_unit_test(what_is_no_report_is_refused),
        cmocka_unit_test(every_cut_is_refused),        cmocka_unit_test(mutations_do_no_harm),
        cmocka_unit_test(many_volumes_need_no_tree),   cmocka_unit_test(tags_are_found_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
