/* pool/record.h: a record is read back as it was written, and nothing else is believed. */
#include "base/cleanup.h"
#include "base/text.h"
#include "pool/record.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "9c3003958547-66570ff0-ff4c7fa8056dcb169524"

static struct record sample(void)
{
    struct record record = {.kind = RECORD_VOLUME,
                            .phase = PHASE_READY,
                            .bytes = 1 << 30,
                            .sector_bytes = SECTOR_BYTES_BLOCK,
                            .thick = true,
                            .staged = true,
                            .copied = 4096,
                            .group_members = 3,
                            .created = 1795255502280000000};
    strcpy(record.id, ID);
    strcpy(record.name, "pvc-0815 with \"quotes\" and \xc3\xa4");
    strcpy(record.filesystem, "ext4");
    strcpy(record.claim_namespace, "default");
    strcpy(record.claim_name, "www-web-0");
    return record;
}

static bool reads(const char *text, struct record *record, struct error *error)
{
    return record_from_json(text, strlen(text), ID, record, error);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct record record = sample(), read;
    struct error error;
    cleanup_free char *text = record_to_json(&record);
    assert_true(reads(text, &read, &error));
    cleanup_free char *again = record_to_json(&read);
    assert_string_equal(text, again);
    assert_string_equal(read.name, record.name);
    assert_true(read.staged && read.thick && !read.copying);
}

static void every_cut_is_damage(void **state)
{
    (void)state;
    struct record record = sample(), read;
    cleanup_free char *text = record_to_json(&record);
    size_t end = strlen(text) - 1;
    for (size_t length = 0; length < end; length++) {
        struct error error = {.code = OK};
        assert_false(record_from_json(text, length, ID, &read, &error));
        assert_int_equal(error.code, DATA_LOSS);
        assert_non_null(strstr(error.message, "left alone"));
    }
}

/* Replaces the first occurrence of `from`; the caller frees. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    char *result = malloc(strlen(text) + strlen(to) + 1);
    sprintf(result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return result;
}

static void what_contradicts_itself_is_damage(void **state)
{
    static const char *const changes[][2] = {
        {"\"volume\"", "\"vloume\""},
        {": 1073741824", ": -1"},
        {": 1073741824", ": \"1\""},
        {"\"staged\": true", "\"staged\": 1"},
        {ID, "9c3003958547-66570ff0-00"},
        {"\"groupMembers\": 3", "\"groupMembers\": 99999999999"},
        {"\"ext4\"", "\"a name too long for it\""},
        {"\"ext4\"", "\"../../etc\""},
        {"\"version\": 1", "\"version\": \"1\""},
        {"\"staged\"", "\"stagde\""},
        {": 512", ": 1024"},
        {"pvc-0815", "pvc-0816"},
        {"\"ext4\"", "\"ex\\u0000t4\""},
        {"\"bytes\"", "\"name\""},
    };
    (void)state;
    struct record record = sample(), read;
    cleanup_free char *text = record_to_json(&record);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct error error = {.code = OK};
        cleanup_free char *changed = replaced(text, changes[i][0], changes[i][1]);
        if (reads(changed, &read, &error) || error.code != DATA_LOSS)
            fail_msg("accepted, or not as damage: %s -> %s", changes[i][0], changes[i][1]);
    }
}

static void a_newer_record_is_left_alone(void **state)
{
    static const char *const changes[][2] = {{"\"version\": 1", "\"version\": 2"},
                                             {"\"incompatible\": 0", "\"incompatible\": 4"},
                                             {"\"readOnlyCompatible\": 0", "\"readOnlyCompatible\": 1"}};
    (void)state;
    struct record record = sample(), read;
    cleanup_free char *text = record_to_json(&record);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct error error = {.code = OK};
        cleanup_free char *changed = replaced(text, changes[i][0], changes[i][1]);
        assert_false(reads(changed, &read, &error));
        assert_int_equal(error.code, FAILED_PRECONDITION);
        assert_non_null(strstr(error.message, "newer Plinth"));
    }
}

static void ids_are_made_of_names_and_recognised(void **state)
{
    (void)state;
    char volume[ID_BYTES], again[ID_BYTES], snapshot[ID_BYTES], hint[NODE_HINT_DIGITS + 1];
    record_node_hint(hint, "node-a");
    record_make_id(volume, "9c3003958547", hint, ID_MARK_VOLUME, "pvc-1");
    record_make_id(again, "9c3003958547", hint, ID_MARK_VOLUME, "pvc-1");
    record_make_id(snapshot, "9c3003958547", hint, ID_MARK_SNAPSHOT, "pvc-1");
    assert_string_equal(volume, again);
    assert_true(record_is_id(volume, ID_MARK_VOLUME));
    assert_false(record_is_id(volume, ID_MARK_SNAPSHOT));
    assert_true(record_is_id(snapshot, ID_MARK_SNAPSHOT));
    assert_false(record_is_id(snapshot, ID_MARK_VOLUME));
    assert_false(record_is_id("", ID_MARK_VOLUME));
    assert_false(record_is_id("../../../../etc/passwd-00000000000000000000", ID_MARK_VOLUME));
    for (size_t cut = 0; cut < strlen(volume); cut++) {
        char shorter[ID_BYTES];
        text_copy(shorter, cut + 1, volume);
        assert_false(record_is_id(shorter, ID_MARK_VOLUME));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(every_cut_is_damage),
        cmocka_unit_test(what_contradicts_itself_is_damage),
        cmocka_unit_test(a_newer_record_is_left_alone),
        cmocka_unit_test(ids_are_made_of_names_and_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
