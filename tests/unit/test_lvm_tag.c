/* pool/lvm_tag.h: a record comes back from its tag as it was, and nothing else is believed. */
#include "base/text.h"
#include "filesystem/filesystem.h"
#include "pool/lvm_tag.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL "9c3003958547"
#define HINT "66570ff0"
#define TAG_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-/=!:&#" /* lvm(8) */

static struct record sample(enum record_kind kind, const char *name)
{
    struct record record = {
        .kind = kind, .phase = PHASE_READY, .staged = true, .thick = true, .created = 1795255502280000000};
    record_make_id(record.id, POOL, HINT, kind == RECORD_VOLUME ? ID_MARK_VOLUME : ID_MARK_SNAPSHOT, name);
    text_copy(record.name, sizeof record.name, name);
    text_copy(record.filesystem, sizeof record.filesystem, "ext4");
    text_copy(record.digest, sizeof record.digest, "0123456789abcdef0123456789abcdef");
    text_copy(record.claim_namespace, sizeof record.claim_namespace, "default");
    text_copy(record.claim_name, sizeof record.claim_name, "www-web-0");
    return record;
}

/* All fields at their longest. */
static struct record fullest(void)
{
    char name[NAME_BYTES];
    memset(name, '\n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct record record = sample(RECORD_VOLUME, name);
    record.phase = PHASE_CREATING;
    record.staged = false;
    record.own_identity = record.copying = true;
    record.wipe = WIPE_ZERO;
    record.created = record.copied = INT64_MAX;
    record.group_members = INT32_MAX;
    record_make_id(record.source_id, POOL, HINT, ID_MARK_SNAPSHOT, "source");
    record_make_id(record.group_id, POOL, HINT, ID_MARK_GROUP, "group");
    memset(record.claim_namespace, 'n', sizeof record.claim_namespace - 1);
    memset(record.claim_name, '/', sizeof record.claim_name - 1);
    return record;
}

static void assert_same(const struct record *one, const struct record *other)
{
    assert_int_equal(one->kind, other->kind);
    assert_int_equal(one->phase, other->phase);
    assert_string_equal(one->id, other->id);
    assert_string_equal(one->name, other->name);
    assert_string_equal(one->filesystem, other->filesystem);
    assert_int_equal(one->thick, other->thick);
    assert_int_equal(one->staged, other->staged);
    assert_int_equal(one->own_identity, other->own_identity);
    assert_int_equal(one->copying, other->copying);
    assert_int_equal(one->wipe, other->wipe);
    assert_true(one->copied == other->copied && one->created == other->created);
    assert_string_equal(one->source_id, other->source_id);
    assert_string_equal(one->group_id, other->group_id);
    assert_int_equal(one->group_members, other->group_members);
    assert_string_equal(one->digest, other->digest);
    assert_string_equal(one->claim_namespace, other->claim_namespace);
    assert_string_equal(one->claim_name, other->claim_name);
}

/* Writes the tag, reads it, and checks what LVM asks of a tag. */
static struct record through_tag(const struct record *record)
{
    struct record read;
    struct error error = {.message = ""};
    char tag[LVM_TAG_BYTES], again[LVM_TAG_BYTES];
    lvm_tag_from_record(record, tag);
    if (!text_is_made_of(tag, TAG_CHARACTERS, 256) || tag[0] == '-')
        fail_msg("not a tag of LVM's: %s", tag);
    if (!lvm_tag_to_record(tag, record->id, &read, &error))
        fail_msg("%s: %s", tag, error.message);
    lvm_tag_from_record(&read, again);
    assert_string_equal(tag, again);
    return read;
}

static void refused(const char *tag, const char *id, enum error_code code, const char *words)
{
    struct record read;
    struct error error = {.code = OK};
    if (lvm_tag_to_record(tag, id, &read, &error) || error.code != code || strstr(error.message, words) == NULL ||
        strstr(error.message, "left alone") == NULL)
        fail_msg("%s: accepted, or not as it should be refused: %s", tag, error.message);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const char *const names[] = {"pvc-62f7e4b8-8ed9-4c0a-a2d9-4d5d8a2f7c11", "a b:c/d=e%41=41\t\\\"'{}[],@",
                                        "gr\xc3\xb6\xc3\x9f"
                                        "e",
                                        "=", ":"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int choice = 0; choice < 144; choice++) {
            struct record record = sample(choice & 1 ? RECORD_SNAPSHOT : RECORD_VOLUME, names[i]);
            record.thick = choice & 2;
            record.own_identity = choice & 4;
            record.copying = choice & 8;
            record.phase = (enum phase)(choice / 16 % 3);
            record.wipe = (enum wipe)(choice / 48);
            record.staged = record.phase == PHASE_READY;
            struct record read = through_tag(&record);
            assert_same(&record, &read);
        }
}

static void the_tag_is_as_documented(void **state)
{
    (void)state;
    struct record record = sample(RECORD_SNAPSHOT, "daily 1");
    char tag[LVM_TAG_BYTES];
    record.group_members = 3;
    record.copied = 4096;
    record.wipe = WIPE_DISCARD;
    record_make_id(record.source_id, POOL, HINT, ID_MARK_VOLUME, "source");
    record_make_id(record.group_id, POOL, HINT, ID_MARK_GROUP, "group");
    lvm_tag_from_record(&record, tag);
    /* Its check is the beginning of the SHA-256 of "<id>:rsetd: ... :4096:daily=201:default/www-web-0". */
    assert_string_equal(tag, "plinth.1:rsetd:18ea075e1e770200:0123456789abcdef0123456789abcdef:"
                             "9c3003958547-66570ff0-41cf6794ba4200b839c5:9c3003958547-66570ff0-gad936fcbed631fa67e05:"
                             "3:4096:bf659e42:daily=201:default/www-web-0");
}

static void every_file_system_has_a_letter(void **state)
{
    (void)state;
    char names[256], *rest = names;
    text_copy(names, sizeof names, filesystem_names());
    for (const char *name; (name = strsep(&rest, ", ")) != NULL;) {
        struct record record = sample(RECORD_VOLUME, "a");
        text_copy(record.filesystem, sizeof record.filesystem, name);
        struct record read = through_tag(&record);
        assert_string_equal(read.filesystem, name);
    }
}

static void what_has_no_room_is_left_out(void **state)
{
    (void)state;
    struct record record = fullest(), read = through_tag(&record);
    record.name[0] = record.claim_namespace[0] = record.claim_name[0] = '\0';
    assert_same(&record, &read);

    /* The claim goes before the name. */
    record = sample(RECORD_VOLUME, "a name");
    memset(record.claim_name, 'c', sizeof record.claim_name - 1);
    read = through_tag(&record);
    record.claim_namespace[0] = record.claim_name[0] = '\0';
    assert_same(&record, &read);

    /* To the byte: the longest claim that is kept makes a tag of 256 bytes. */
    size_t longest = 0, length = 0;
    for (size_t claim = 1; claim < sizeof record.claim_name; claim++) {
        char tag[LVM_TAG_BYTES];
        record = sample(RECORD_VOLUME, "a name");
        memset(record.claim_name, 'c', claim);
        record.claim_name[claim] = '\0';
        read = through_tag(&record);
        lvm_tag_from_record(&record, tag);
        if (read.claim_name[0] == '\0')
            continue;
        longest = claim;
        length = strlen(tag);
    }
    assert_int_equal(length, 256);
    assert_true(longest > 100);
}

static void every_mutation_is_refused(void **state)
{
    (void)state;
    static const char bytes[] = TAG_CHARACTERS "\n\x80 ,%";
    srandom(4711);
    for (int round = 0; round < 20000; round++) {
        struct record record = round & 1 ? fullest() : sample(RECORD_VOLUME, "pvc-0815"), read;
        char tag[LVM_TAG_BYTES], changed[2 * LVM_TAG_BYTES];
        lvm_tag_from_record(&record, tag);
        size_t length = strlen(tag), at = (size_t)random() % length, more = (size_t)random() % 3;
        switch (random() % 4) {
        case 0: /* another byte */
            snprintf(changed, sizeof changed, "%s", tag);
            changed[at] = bytes[(size_t)random() % (sizeof bytes - 1)];
            break;
        case 1: /* some bytes fewer */
            snprintf(changed, sizeof changed, "%.*s%s", (int)at, tag, tag + (at + more > length ? length : at + more));
            break;
        case 2: /* a part twice */
            snprintf(changed, sizeof changed, "%.*s%s", (int)at, tag, tag + (size_t)random() % length);
            break;
        default: /* cut off */
            snprintf(changed, sizeof changed, "%.*s", (int)at, tag);
        }
        struct error error = {.code = OK};
        bool accepted = lvm_tag_to_record(changed, record.id, &read, &error);
        if (accepted != (strcmp(changed, tag) == 0) ||
            (!accepted && error.code != DATA_LOSS && error.code != FAILED_PRECONDITION))
            fail_msg("%s -> %s: %s", tag, changed, error.message);
    }
}

/* A tag whose check is right, as somebody could make it by hand: the rest must be refused all the same. */
static void refused_with_good_check(const struct record *record)
{
    char tag[LVM_TAG_BYTES];
    lvm_tag_from_record(record, tag);
    refused(tag, record->id, DATA_LOSS, "damaged: no good");
}

static void what_contradicts_itself_is_refused(void **state)
{
    (void)state;
    struct record record = sample(RECORD_VOLUME, "a"), changed = record;
    changed.kind = RECORD_SNAPSHOT;
    refused_with_good_check(&changed);
    changed = record;
    text_copy(changed.name, sizeof changed.name, "b");
    refused_with_good_check(&changed);
    changed = record;
    changed.created = -1;
    refused_with_good_check(&changed);
    changed = record;
    changed.group_members = -1;
    refused_with_good_check(&changed);
    changed = record;
    changed.copied = INT64_MIN;
    refused_with_good_check(&changed);
    changed = record;
    text_copy(changed.source_id, sizeof changed.source_id, "../../etc/passwd");
    refused_with_good_check(&changed);
    changed = record;
    record_make_id(changed.group_id, POOL, HINT, ID_MARK_SNAPSHOT, "no group");
    refused_with_good_check(&changed);
    changed = record;
    text_copy(changed.digest, sizeof changed.digest, "Not hexadecimal");
    refused_with_good_check(&changed);
    changed = record;
    text_copy(changed.claim_name, sizeof changed.claim_name, "\xff");
    refused_with_good_check(&changed);
    changed = sample(RECORD_SNAPSHOT, "a");
    text_copy(changed.source_id, sizeof changed.source_id, changed.id);
    refused_with_good_check(&changed);
}

static void others_and_newer_tags_are_left_alone(void **state)
{
    (void)state;
    struct record record = sample(RECORD_VOLUME, "a"), other = sample(RECORD_VOLUME, "b");
    char tag[LVM_TAG_BYTES];
    lvm_tag_from_record(&record, tag);
    refused("plinth.2:whatever", record.id, FAILED_PRECONDITION, "newer Plinth");
    refused("plinth.12:", record.id, FAILED_PRECONDITION, "newer Plinth");
    refused("plinth.0:x", record.id, DATA_LOSS, "none of Plinth's");
    refused("plinth.:x", record.id, DATA_LOSS, "none of Plinth's");
    refused(LVM_TAG_POOL POOL, record.id, DATA_LOSS, "none of Plinth's");
    refused("", record.id, DATA_LOSS, "none of Plinth's");
    refused(LVM_TAG_START, record.id, DATA_LOSS, "no good phase and kind");
    refused(LVM_TAG_CUT, record.id, DATA_LOSS, "no good phase and kind");
    refused(tag, other.id, DATA_LOSS, "renamed");
    refused(tag, "swap", DATA_LOSS, "a name of another");

    record = fullest(); /* has no name in it, so only the check tells */
    other = record;
    record_make_id(other.id, POOL, HINT, ID_MARK_VOLUME, "b");
    lvm_tag_from_record(&record, tag);
    refused(tag, other.id, DATA_LOSS, "renamed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_tag_is_as_documented),
        cmocka_unit_test(every_file_system_has_a_letter),
        cmocka_unit_test(what_has_no_room_is_left_out),
        cmocka_unit_test(every_mutation_is_refused),
        cmocka_unit_test(what_contradicts_itself_is_refused),
        cmocka_unit_test(others_and_newer_tags_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
