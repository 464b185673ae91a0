/* rpc/wire.h: what of a request is refused before it is unpacked. */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/wire.h"
#include "tests/unit/unit.h"

#include "csi.pb-c.h"

#include <stdio.h>
#include <string.h>

#define CREATE &csi__v1__create_volume_request__descriptor
#define PUBLISH &csi__v1__node_publish_volume_request__descriptor

/* Tags of CreateVolumeRequest and NodePublishVolumeRequest: a field number and wire type 2. */
enum { NAME = 0x0a, CAPACITY = 0x12, CAPABILITY = 0x1a, PARAMETERS = 0x22, SECRETS = 0x2a, TARGET = 0x22 };

struct bytes {
    uint8_t at[16384];
    size_t count;
};

static void put(struct bytes *bytes, const void *more, size_t count)
{
    assert_true(count <= sizeof bytes->at - bytes->count);
    memcpy(bytes->at + bytes->count, more, count);
    bytes->count += count;
}

static void put_field(struct bytes *bytes, uint8_t tag, const void *content, size_t count)
{
    uint8_t head[4] = {tag, (uint8_t)(count | 0x80), (uint8_t)(count >> 7)};
    put(bytes, head, 3);
    put(bytes, content, count);
}

static void put_entry(struct bytes *bytes, uint8_t tag, const char *key, const char *value)
{
    struct bytes entry = {.count = 0};
    put_field(&entry, 0x0a, key, strlen(key));
    put_field(&entry, 0x12, value, strlen(value));
    put_field(bytes, tag, entry.at, entry.count);
}

static bool accepted(const ProtobufCMessageDescriptor *type, const void *at, size_t count, struct error *error)
{
    /* A copy of exactly that size, so that AddressSanitizer sees a read past the end. */
    cleanup_free uint8_t *copy = malloc(count > 0 ? count : 1);
    memcpy(copy, at, count);
    *error = (struct error){.code = OK};
    bool good = wire_check(type, copy, count, &wire_limits_csi, error);
    assert_int_equal(error->code, good ? OK : INVALID_ARGUMENT);
    return good;
}

#define assert_refused(type, bytes, length, words)                          \
    do {                                                                    \
        struct error refusal;                                               \
        assert_false(accepted(type, bytes, length, &refusal));              \
        if (strstr(refusal.message, words) == NULL)                         \
            fail_msg("\"%s\" does not say \"%s\"", refusal.message, words); \
    } while (0)

#define assert_accepted(type, bytes, length)          \
    do {                                              \
        struct error refusal;                         \
        if (!accepted(type, bytes, length, &refusal)) \
            fail_msg("refused: %s", refusal.message); \
    } while (0)

/* A CreateVolume as csi-provisioner sends it. */
static void ordinary(struct bytes *bytes)
{
    static const uint8_t capability[] = {0x12, 0x0f, 0x0a, 0x04, 'e', 'x', 't',  '4',  0x12, 0x07, 'n',
                                         'o',  'a',  't',  'i',  'm', 'e', 0x1a, 0x02, 0x08, 0x01};
    static const uint8_t capacity[] = {0x08, 0x80, 0x80, 0x80, 0x80, 0x04};
    bytes->count = 0;
    put_field(bytes, NAME, "pvc-0a1b2c3d", 12);
    put_field(bytes, CAPACITY, capacity, sizeof capacity);
    put_field(bytes, CAPABILITY, capability, sizeof capability);
    put_entry(bytes, PARAMETERS, "pool", "fast");
    put_entry(bytes, PARAMETERS, "csi.storage.k8s.io/pvc/name", "www-web-0");
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *type, const struct bytes *bytes, struct arena *arena)
{
    return protobuf_c_message_unpack(type, arena_allocator(arena, 1 << 20), bytes->count, bytes->at);
}

static void an_ordinary_request_passes(void **state)
{
    (void)state;
    struct bytes bytes;
    ordinary(&bytes);
    assert_accepted(CREATE, bytes.at, bytes.count);
    assert_accepted(CREATE, "", 0);
}

/* Whatever passes must be readable for protobuf-c: a NULL from it then means that the memory budget is spent. */
static void assert_passed_is_readable(const struct bytes *bytes)
{
    struct error error;
    if (!accepted(CREATE, bytes->at, bytes->count, &error))
        return;
    struct arena *arena = arena_create();
    ProtobufCMessage *message = unpack(CREATE, bytes, arena);
    assert_non_null(message);
    wire_fold_maps(message);
    arena_destroy(arena);
}

static void every_truncation_is_refused_or_readable(void **state)
{
    (void)state;
    struct bytes bytes;
    int refused = 0;
    ordinary(&bytes);
    for (size_t all = bytes.count; bytes.count > 0; bytes.count--) {
        struct error error;
        refused += !accepted(CREATE, bytes.at, bytes.count, &error);
        assert_passed_is_readable(&bytes);
        assert_true(bytes.count <= all);
    }
    assert_true(refused > 100); /* only cuts between two fields leave a message */
}

static void every_mutation_is_refused_or_readable(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252u; /* xorshift64: the same run each time */
    for (int round = 0; round < 100000; round++) {
        struct bytes bytes;
        ordinary(&bytes);
        for (int i = 0; i < 1 + round % 4; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes.at[random % bytes.count] = (uint8_t)(random >> 32);
        }
        assert_passed_is_readable(&bytes);
    }
}

static void strings_must_be_text(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *refusal;
        size_t count;
    } cases[] = {
        {"pvc\0X", "name contains a NUL byte", 5},
        {"\0", "name contains a NUL byte", 1},
        {"\xff\xfe", "name is not valid UTF-8", 2},
        {"a\xc3", "name is not valid UTF-8", 2},        /* cut within a character */
        {"\xc0\x80", "name is not valid UTF-8", 2},     /* an overlong NUL */
        {"\xed\xa0\x80", "name is not valid UTF-8", 3}, /* a surrogate */
        {"a\x1b[2J", "name contains a control character", 5},
        {"a\x7f", "name contains a control character", 2},
        {"a\xc2\x85", "name contains a control character", 3},
        {"tab\tnewline\nreturn\r", NULL, 19}, /* CSI allows these */
        {"S\xc3\xa4ule \xf0\x9f\x8f\x9b", NULL, 11},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes bytes = {.count = 0};
        put_field(&bytes, NAME, cases[i].bytes, cases[i].count);
        if (cases[i].refusal == NULL)
            assert_accepted(CREATE, bytes.at, bytes.count);
        else
            assert_refused(CREATE, bytes.at, bytes.count, cases[i].refusal);
    }
}

static void lengths_are_those_of_csi(void **state)
{
    (void)state;
    char text[8192];
    memset(text, '/', sizeof text);
    static const struct {
        const ProtobufCMessageDescriptor *type;
        uint8_t tag;
        size_t most;
        const char *refusal;
    } cases[] = {
        {CREATE, NAME, 128, "name is longer than 128 bytes"},
        {PUBLISH, NAME, 128, "volume_id is longer than 128 bytes"},
        {PUBLISH, TARGET, 4095, "target_path is longer than 4095 bytes"},
        {PUBLISH, 0x1a, 4095, "staging_target_path is longer than 4095 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes bytes = {.count = 0};
        put_field(&bytes, cases[i].tag, text, cases[i].most);
        assert_accepted(cases[i].type, bytes.at, bytes.count);
        bytes.count = 0;
        put_field(&bytes, cases[i].tag, text, cases[i].most + 1);
        assert_refused(cases[i].type, bytes.at, bytes.count, cases[i].refusal);
    }
}

static void put_capability(struct bytes *bytes, int flags, size_t length)
{
    struct bytes mount = {.count = 0}, capability = {.count = 0};
    char flag[512];
    memset(flag, 'f', sizeof flag);
    for (int i = 0; i < flags; i++)
        put_field(&mount, 0x12, flag, length);
    put_field(&capability, 0x12, mount.at, mount.count);
    put_field(bytes, CAPABILITY, capability.at, capability.count);
}

static void mount_flags_are_limited_together(void **state)
{
    (void)state;
    struct bytes bytes = {.count = 0};
    put_capability(&bytes, 8, 512);
    put_capability(&bytes, 8, 512); /* a capability of its own */
    assert_accepted(CREATE, bytes.at, bytes.count);
    bytes.count = 0;
    put_capability(&bytes, 9, 456);
    assert_refused(CREATE, bytes.at, bytes.count, "mount_flags is longer than 4096 bytes");
}

static void maps_are_limited_together(void **state)
{
    (void)state;
    char value[4096];
    struct bytes bytes = {.count = 0};
    memset(value, 'v', sizeof value);
    value[4096 - 3] = '\0';
    put_entry(&bytes, PARAMETERS, "key", value);
    put_entry(&bytes, SECRETS, "key", value);
    assert_accepted(CREATE, bytes.at, bytes.count);
    put_entry(&bytes, PARAMETERS, "k", "");
    assert_refused(CREATE, bytes.at, bytes.count, "the keys and values of parameters are longer than 4096 bytes");
}

static void a_refusal_never_quotes_a_secret(void **state)
{
    (void)state;
    struct error error;
    struct bytes bytes = {.count = 0};
    put_entry(&bytes, SECRETS, "passphrase", "tell-nobody\x01");
    assert_false(accepted(CREATE, bytes.at, bytes.count, &error));
    assert_string_equal(error.message, "a key or value of secrets contains a control character");
}

static void millions_of_empty_entries_are_refused_at_once(void **state)
{
    (void)state;
    size_t count = (size_t)4 << 20;
    cleanup_free uint8_t *bytes = malloc(count);
    for (size_t i = 0; i < count; i += 2) {
        bytes[i] = PARAMETERS;
        bytes[i + 1] = 0;
    }
    int64_t best = INT64_MAX; /* of some tries: the machine may be busy */
    for (int i = 0; i < 5; i++) {
        struct error error;
        int64_t start = monotonic_now();
        assert_false(wire_check(CREATE, bytes, count, &wire_limits_csi, &error));
        int64_t taken = monotonic_now() - start;
        best = taken < best ? taken : best;
    }
    assert_true(best < 10 * NANOSECONDS_PER_MILLISECOND);
    assert_refused(CREATE, bytes, count, "the keys and values of parameters are longer than 4096 bytes");
}

static void malformed_protobuf_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *refusal;
        size_t count;
    } cases[] = {
        {"\x0a", "truncated", 1},
        {"\x0a\x05"
         "abc",
         "truncated", 5},
        {"\x0a\xff\xff\xff\xff\x0f", "truncated", 6},                                   /* a length of 2^32-1 */
        {"\x0a\x80\x80\x80\x80\x80\x00", "truncated", 7},                               /* a length of six bytes */
        {"\x12\x0c\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "bad varint", 14}, /* eleven bytes */
        {"\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "bad varint", 13},     /* over 64 bits */
        {"\x12\x02\x08\x80", "bad varint", 4},
        {"\x12\x03\x09\x01\x02", "wrong wire type", 5},   /* an int64 as fixed64 */
        {"\x08\x01", "wrong wire type", 2},               /* a string as a varint */
        {"\x0b\x0c", "wrong wire type", 2},               /* a string as a group */
        {"\xf3\x07\xf4\x07", "unsupported wire type", 4}, /* an unknown group */
        {"\xf6\x07\x01", "unsupported wire type", 3},
        {"\xf7\x07\x01", "unsupported wire type", 3},
        {"\xf9\x07\x01\x02", "truncated", 4},                /* an unknown fixed64 */
        {"\xfd\x07\x01\x02", "truncated", 4},                /* an unknown fixed32 */
        {"\x02\x00", "bad field number", 2},                 /* 0 */
        {"\xfa\xff\xff\xff\x1f\x00", "bad field number", 6}, /* 2^29 and more */
        {"\x8a\x80\x80\x80\x80\x00\x00", "bad tag", 7},      /* six bytes */
        {"\x80", "bad tag", 1},
        {"\x12\x00\x12\x00", "capacity_range occurs more than once", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(CREATE, cases[i].bytes, cases[i].count, cases[i].refusal);
}

static void unknown_fields_are_skipped(void **state)
{
    (void)state;
    struct bytes bytes = {.count = 0};
    put(&bytes, "\xf8\x07\x2a", 3); /* a varint */
    put(&bytes,
        "\xf9\x07"
        "12345678",
        10); /* fixed64 */
    put(&bytes,
        "\xfd\x07"
        "1234",
        6);                                         /* fixed32 */
    put(&bytes, "\xfa\x07\x04\xff\x00\x0b\x1b", 7); /* bytes, whatever is in them */
    put_field(&bytes, NAME, "x", 1);
    assert_accepted(CREATE, bytes.at, bytes.count);
}

/* message Nest { Nest inner = 1; repeated int32 numbers = 2; repeated fixed64 fixed = 3; }, as protoc would write it.
 */
struct nest {
    ProtobufCMessage base;
    struct nest *inner;
    size_t n_numbers;
    int32_t *numbers;
    size_t n_fixed;
    uint64_t *fixed;
};
static const ProtobufCMessageDescriptor nest_descriptor;
static const ProtobufCFieldDescriptor nest_fields[] = {
    {.name = "inner",
     .id = 1,
     .label = PROTOBUF_C_LABEL_NONE,
     .type = PROTOBUF_C_TYPE_MESSAGE,
     .offset = offsetof(struct nest, inner),
     .descriptor = &nest_descriptor},
    {.name = "numbers",
     .id = 2,
     .label = PROTOBUF_C_LABEL_REPEATED,
     .type = PROTOBUF_C_TYPE_INT32,
     .quantifier_offset = offsetof(struct nest, n_numbers),
     .offset = offsetof(struct nest, numbers)},
    {.name = "fixed",
     .id = 3,
     .label = PROTOBUF_C_LABEL_REPEATED,
     .type = PROTOBUF_C_TYPE_FIXED64,
     .quantifier_offset = offsetof(struct nest, n_fixed),
     .offset = offsetof(struct nest, fixed)},
};
static const ProtobufCMessageDescriptor nest_descriptor = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "Nest",
    .short_name = "Nest",
    .sizeof_message = sizeof(struct nest),
    .n_fields = 3,
    .fields = nest_fields,
    .n_field_ranges = 1,
    .field_ranges = (const ProtobufCIntRange[]){{1, 0}, {0, 3}},
};

static void packed_fields_are_walked(void **state)
{
    (void)state;
    assert_accepted(&nest_descriptor, "\x12\x03\x01\xac\x02", 5);
    assert_accepted(&nest_descriptor, "\x10\x01\x10\x02", 4); /* the same field not packed */
    assert_accepted(&nest_descriptor,
                    "\x1a\x08"
                    "12345678",
                    10);
    assert_refused(&nest_descriptor, "\x12\x02\x01\xac", 4, "bad varint in a packed field");
    assert_refused(&nest_descriptor,
                   "\x1a\x07"
                   "1234567",
                   9, "truncated packed field");
}

static void messages_nested_too_deeply_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[200];
    size_t depth = sizeof bytes / 2;
    for (size_t i = 0; i < depth; i++) {
        bytes[2 * i] = 0x0a;
        bytes[2 * i + 1] = (uint8_t)(2 * (depth - 1 - i)); /* below 128 for the last 64 */
    }
    assert_accepted(&nest_descriptor, bytes + sizeof bytes - 2 * 31, 2 * 31);
    assert_refused(&nest_descriptor, bytes + sizeof bytes - 2 * 32, 2 * 32, "nested too deeply");
}

static void the_last_of_a_map_key_wins(void **state)
{
    (void)state;
    struct bytes bytes = {.count = 0};
    struct arena *arena = arena_create();
    put_entry(&bytes, PARAMETERS, "a", "1");
    put_entry(&bytes, PARAMETERS, "b", "2");
    put_entry(&bytes, PARAMETERS, "a", "3");
    put_field(&bytes, PARAMETERS, "", 0); /* an absent key is the empty key */
    put_entry(&bytes, PARAMETERS, "", "4");
    put_entry(&bytes, SECRETS, "a", "5");
    Csi__V1__CreateVolumeRequest *request = (Csi__V1__CreateVolumeRequest *)unpack(CREATE, &bytes, arena);
    wire_fold_maps(&request->base);
    static const char *const expected[][2] = {{"b", "2"}, {"a", "3"}, {"", "4"}};
    assert_int_equal(request->n_parameters, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(request->parameters[i]->key, expected[i][0]);
        assert_string_equal(request->parameters[i]->value, expected[i][1]);
    }
    assert_int_equal(request->n_secrets, 1);
    arena_destroy(arena);
}

static void maps_within_messages_are_folded(void **state)
{
    (void)state;
    struct bytes topology = {.count = 0}, requirement = {.count = 0}, bytes = {.count = 0};
    struct arena *arena = arena_create();
    put_entry(&topology, 0x0a, "k", "1");
    put_entry(&topology, 0x0a, "k", "2");
    put_field(&requirement, 0x0a, "", 0);
    put_field(&requirement, 0x0a, topology.at, topology.count);
    put_field(&bytes, 0x3a, requirement.at, requirement.count);
    assert_accepted(CREATE, bytes.at, bytes.count);
    ProtobufCMessage *message = unpack(CREATE, &bytes, arena);
    wire_fold_maps(message);
    const Csi__V1__TopologyRequirement *folded = ((Csi__V1__CreateVolumeRequest *)message)->accessibility_requirements;
    assert_int_equal(folded->n_requisite, 2);
    assert_int_equal(folded->requisite[1]->n_segments, 1);
    assert_string_equal(folded->requisite[1]->segments[0]->value, "2");
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_request_passes),
        cmocka_unit_test(every_truncation_is_refused_or_readable),
        cmocka_unit_test(every_mutation_is_refused_or_readable),
        cmocka_unit_test(strings_must_be_text),
        cmocka_unit_test(lengths_are_those_of_csi),
        cmocka_unit_test(mount_flags_are_limited_together),
        cmocka_unit_test(maps_are_limited_together),
        cmocka_unit_test(a_refusal_never_quotes_a_secret),
        cmocka_unit_test(millions_of_empty_entries_are_refused_at_once),
        cmocka_unit_test(malformed_protobuf_is_refused),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(packed_fields_are_walked),
        cmocka_unit_test(messages_nested_too_deeply_are_refused),
        cmocka_unit_test(the_last_of_a_map_key_wins),
        cmocka_unit_test(maps_within_messages_are_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
