#include "rpc/wire.h"

#include "base/text.h"

#include <inttypes.h>
#include <string.h>

#define FIELDS_MOST 64  /* of one message type; ours have at most 14 */
#define DEPTH_MOST 32   /* messages within messages; CSI's go five deep */
#define VARINT_BYTES 10 /* of 64 bits (protobuf's encoding guide) */
#define SHORT_VARINT_BYTES 5
#define FIELD_NUMBER_MOST ((UINT64_C(1) << 29) - 1)

const struct wire_limits wire_limits_csi = {
    .string_bytes = 128,
    .map_bytes = 4096,
    .fields =
        (const struct wire_limit[]){
            {"staging_target_path", 4095}, /* PATH_MAX without its NUL */
            {"target_path", 4095},
            {"volume_path", 4095},
            {"volume_publish_path", 4095},
            {"node_id", 256},
            {"mount_flags", 4096},
            {"endpoint", 4095}, /* of the kubelet's plugin registration */
            {"error", 4096},
        },
    .count = 8,
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* The bytes that are still to be read. */
struct bytes {
    const uint8_t *at, *end;
};

struct walk {
    const struct wire_limits *limits;
    struct error *error;
    unsigned depth;
};

/* One message while it is walked: `spent` is what each of its fields has taken of its limit so far. */
struct frame {
    const ProtobufCMessageDescriptor *type;
    const char *map; /* the map field whose entry this is, else NULL */
    size_t spent[FIELDS_MOST];
    size_t strings; /* the bytes of all strings directly in it */
};

static bool walk_message(struct walk *walk, struct frame *frame, struct bytes bytes);

static bool malformed(const struct walk *walk, const struct frame *frame, const char *what)
{
    return fail(walk->error, INVALID_ARGUMENT, "malformed protobuf in %s: %s", frame->type->short_name, what);
}

static bool read_varint(struct bytes *bytes, size_t most, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < most && bytes->at < bytes->end; i++) {
        uint8_t byte = *bytes->at++;
        if (i == VARINT_BYTES - 1 && byte > 1)
            return false;
        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool skip(struct bytes *bytes, uint64_t count)
{
    if (count > (uint64_t)(bytes->end - bytes->at))
        return false;
    bytes->at += count;
    return true;
}

static enum wire_type wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

static const struct wire_limit *named_limit(const struct wire_limits *limits, const char *field)
{
    for (size_t i = 0; i < limits->count; i++)
        if (strcmp(limits->fields[i].field, field) == 0)
            return &limits->fields[i];
    return NULL;
}

/* proto3's map<K,V> is, on the wire and for protobuf-c, a repeated message of a key and a value. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE || entry->n_fields != 2)
        return false;
    size_t length = strlen(entry->short_name);
    return length > 5 && strcmp(entry->short_name + length - 5, "Entry") == 0 &&
           strcmp(entry->fields[0].name, "key") == 0 && strcmp(entry->fields[1].name, "value") == 0;
}

static bool check_text(const struct walk *walk, const char *text, size_t length, const char *prefix, const char *field)
{
    if (memchr(text, '\0', length) != NULL)
        return fail(walk->error, INVALID_ARGUMENT, "%s%s contains a NUL byte", prefix, field);
    if (!text_is_utf8(text, length))
        return fail(walk->error, INVALID_ARGUMENT, "%s%s is not valid UTF-8", prefix, field);
    if (text_has_control(text, length))
        return fail(walk->error, INVALID_ARGUMENT, "%s%s contains a control character", prefix, field);
    return true;
}

static bool check_string(struct walk *walk, struct frame *frame, const ProtobufCFieldDescriptor *field,
                         struct bytes bytes)
{
    const char *text = (const char *)bytes.at;
    size_t length = (size_t)(bytes.end - bytes.at);
    frame->strings += length;
    if (frame->map != NULL) /* whose limit is checked when the entry is complete */
        return check_text(walk, text, length, "a key or value of ", frame->map);

    const struct wire_limit *named = named_limit(walk->limits, field->name);
    size_t most = named != NULL ? named->bytes : walk->limits->string_bytes;
    size_t spent = length;
    if (named != NULL && field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t *all = &frame->spent[field - frame->type->fields];
        spent = *all += length > 0 ? length : 1;
    }
    if (spent > most)
        return fail(walk->error, INVALID_ARGUMENT, "%s is longer than %zu bytes", field->name, most);
    return check_text(walk, text, length, "", field->name);
}

static bool check_map_entry(struct walk *walk, struct frame *frame, const ProtobufCFieldDescriptor *field,
                            struct bytes bytes)
{
    const struct wire_limit *named = named_limit(walk->limits, field->name);
    size_t most = named != NULL ? named->bytes : walk->limits->map_bytes;
    struct frame entry = {.type = field->descriptor, .map = field->name};
    if (!walk_message(walk, &entry, bytes))
        return false;
    size_t *all = &frame->spent[field - frame->type->fields];
    *all += entry.strings > 0 ? entry.strings : 1; /* empty entries must not be free: there may be millions */
    if (*all > most)
        return fail(walk->error, INVALID_ARGUMENT, "the keys and values of %s are longer than %zu bytes together",
                    field->name, most);
    return true;
}

static bool check_message(struct walk *walk, struct frame *frame, const ProtobufCFieldDescriptor *field,
                          struct bytes bytes)
{
    if (is_map(field))
        return check_map_entry(walk, frame, field, bytes);
    /* A parser would merge the two, past the limits that each of them keeps. */
    if (field->label != PROTOBUF_C_LABEL_REPEATED && frame->spent[field - frame->type->fields]++ > 0)
        return fail(walk->error, INVALID_ARGUMENT, "%s occurs more than once", field->name);
    struct frame inner = {.type = field->descriptor};
    return walk_message(walk, &inner, bytes);
}

static bool check_packed(const struct walk *walk, const struct frame *frame, enum wire_type element, struct bytes bytes)
{
    uint64_t value;
    size_t length = (size_t)(bytes.end - bytes.at);
    if (element != WIRE_VARINT)
        return length % (element == WIRE_FIXED32 ? 4 : 8) == 0 || malformed(walk, frame, "truncated packed field");
    while (bytes.at < bytes.end)
        if (!read_varint(&bytes, VARINT_BYTES, &value))
            return malformed(walk, frame, "bad varint in a packed field");
    return true;
}

static bool check_bytes(struct walk *walk, struct frame *frame, const ProtobufCFieldDescriptor *field,
                        struct bytes bytes)
{
    if (field == NULL || field->type == PROTOBUF_C_TYPE_BYTES)
        return true;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return check_string(walk, frame, field, bytes);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(walk, frame, field, bytes);
    return check_packed(walk, frame, wire_type_of(field->type), bytes);
}

static bool read_tag(const struct walk *walk, const struct frame *frame, struct bytes *bytes, uint32_t *number,
                     unsigned *wire)
{
    uint64_t tag;
    if (!read_varint(bytes, SHORT_VARINT_BYTES, &tag))
        return malformed(walk, frame, "bad tag");
    *wire = tag & 7;
    if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MOST)
        return malformed(walk, frame, "bad field number");
    *number = (uint32_t)(tag >> 3);
    return true;
}

static bool walk_field(struct walk *walk, struct frame *frame, struct bytes *bytes)
{
    uint32_t number = 0;
    unsigned wire = 0;
    if (!read_tag(walk, frame, bytes, &number, &wire))
        return false;
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(frame->type, number);
    enum wire_type expected = field != NULL ? wire_type_of(field->type) : wire;
    bool packed = field != NULL && field->label == PROTOBUF_C_LABEL_REPEATED && wire == WIRE_BYTES;
    if (wire != expected && !packed)
        return malformed(walk, frame, "wrong wire type");

    uint64_t value;
    switch (wire) {
    case WIRE_VARINT:
        return read_varint(bytes, VARINT_BYTES, &value) || malformed(walk, frame, "bad varint");
    case WIRE_FIXED64:
        return skip(bytes, 8) || malformed(walk, frame, "truncated");
    case WIRE_FIXED32:
        return skip(bytes, 4) || malformed(walk, frame, "truncated");
    case WIRE_BYTES:
        if (!read_varint(bytes, SHORT_VARINT_BYTES, &value) || !skip(bytes, value))
            return malformed(walk, frame, "truncated");
        return check_bytes(walk, frame, field, (struct bytes){bytes->at - value, bytes->at});
    default: /* groups were dropped from proto3, and protobuf-c knows none */
        return malformed(walk, frame, "unsupported wire type");
    }
}

static bool walk_message(struct walk *walk, struct frame *frame, struct bytes bytes)
{
    if (frame->type->n_fields > FIELDS_MOST)
        return fail(walk->error, INTERNAL, "%s has more than %d fields", frame->type->name, FIELDS_MOST);
    if (++walk->depth > DEPTH_MOST)
        return malformed(walk, frame, "messages are nested too deeply");
    while (bytes.at < bytes.end)
        if (!walk_field(walk, frame, &bytes))
            return false;
    walk->depth--;
    return true;
}

bool wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t length,
                const struct wire_limits *limits, struct error *error)
{
    struct walk walk = {.limits = limits, .error = error};
    struct frame frame = {.type = type};
    return length == 0 || walk_message(&walk, &frame, (struct bytes){bytes, bytes + length});
}

static void *member(const ProtobufCMessage *message, size_t offset)
{
    return (char *)message + offset;
}

static const char *key_of(const ProtobufCMessage *entry)
{
    return *(char *const *)member(entry, entry->descriptor->fields[0].offset);
}

static bool is_among(const char *key, ProtobufCMessage *const *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(key_of(entries[i]), key) == 0)
            return true;
    return false;
}

/* Collects from the end, so that the last entry of a key is the one that stays. */
static void fold(ProtobufCMessage **entries, size_t *count)
{
    size_t kept = *count;
    for (size_t i = *count; i-- > 0;)
        if (!is_among(key_of(entries[i]), entries + kept, *count - kept))
            entries[--kept] = entries[i];
    *count -= kept;
    memmove(entries, entries + kept, *count * sizeof *entries);
}

static void fold_repeated(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    ProtobufCMessage **elements = *(ProtobufCMessage ***)member(message, field->offset);
    size_t *count = member(message, field->quantifier_offset);
    if (*count > 1 && is_map(field) &&
        ((const ProtobufCMessageDescriptor *)field->descriptor)->fields[0].type == PROTOBUF_C_TYPE_STRING)
        fold(elements, count);
    for (size_t i = 0; i < *count; i++)
        wire_fold_maps(elements[i]);
}

static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const uint32_t *)member(message, field->quantifier_offset) != field->id)
        return false;
    return *(ProtobufCMessage *const *)member(message, field->offset) != NULL;
}

void wire_fold_maps(ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            fold_repeated(message, field);
        else if (is_set(message, field))
            wire_fold_maps(*(ProtobufCMessage **)member(message, field->offset));
    }
}
