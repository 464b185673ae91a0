#include "cli/json.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "google/protobuf/timestamp.pb-c.h"

#define NAME_MOST 128

json_t *json_from_text(const char *text)
{
    size_t length = strlen(text);
    if (text_is_utf8(text, length))
        return json_stringn_nocheck(text, length);
    cleanup_free char *line = malloc(length + 1);
    if (line == NULL)
        abort();
    text_one_line(line, length + 1, text);
    return json_string(line);
}

/* capacity_bytes: capacityBytes */
static void camel_case(char name[static NAME_MOST], const char *field)
{
    size_t used = 0;
    for (; *field != '\0' && used < NAME_MOST - 1; field++) {
        bool capital = field[0] == '_' && field[1] != '\0';
        name[used++] = capital ? (char)toupper(*++field) : *field;
    }
    name[used] = '\0';
}

static json_t *from_timestamp(const Google__Protobuf__Timestamp *timestamp)
{
    char text[64];
    struct tm parts;
    time_t seconds = timestamp->seconds;
    if (gmtime_r(&seconds, &parts) == NULL)
        return json_null();
    size_t used = strftime(text, sizeof text, "%FT%T", &parts);
    if (timestamp->nanos != 0)
        snprintf(text + used, sizeof text - used, ".%09dZ", timestamp->nanos);
    else
        snprintf(text + used, sizeof text - used, "Z");
    return json_string(text);
}

static json_t *from_enum(const ProtobufCEnumDescriptor *type, int number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
    return value != NULL ? json_string(value->name) : json_integer(number);
}

/* One value of a field, at `member`. */
static json_t *from_value(const ProtobufCFieldDescriptor *field, const void *member)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
        return json_integer(*(const int32_t *)member);
    case PROTOBUF_C_TYPE_INT64:
        return json_integer(*(const int64_t *)member);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)member);
    case PROTOBUF_C_TYPE_ENUM:
        return from_enum(field->descriptor, *(const int *)member);
    case PROTOBUF_C_TYPE_STRING:
        return json_from_text(*(const char *const *)member);
    case PROTOBUF_C_TYPE_MESSAGE:
        return json_from_message(*(const ProtobufCMessage *const *)member);
    default: /* CSI has no others */
        return json_null();
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int32_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    default:
        return sizeof(void *);
    }
}

/* protobuf-c has no maps: they are lists of a message with `key` and `value`. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    return field->type == PROTOBUF_C_TYPE_MESSAGE && type->n_fields == 2 && strcmp(type->fields[0].name, "key") == 0 &&
           strcmp(type->fields[1].name, "value") == 0;
}

static void add_map_entry(json_t *map, const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
    json_t *key = from_value(&fields[0], (const char *)entry + fields[0].offset);
    json_object_set_new(map, json_string_value(key), from_value(&fields[1], (const char *)entry + fields[1].offset));
    json_decref(key);
}

static json_t *from_list(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    size_t count = *(const size_t *)((const char *)message + field->quantifier_offset);
    const char *values = *(const char *const *)((const char *)message + field->offset);
    bool map = is_map(field);
    json_t *list = map ? json_object() : json_array();
    for (size_t i = 0; i < count; i++) {
        const char *value = values + i * value_size(field);
        if (map)
            add_map_entry(list, *(const ProtobufCMessage *const *)value);
        else
            json_array_append_new(list, from_value(field, value));
    }
    return list;
}

static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *bytes = (const char *)message;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(bytes + field->quantifier_offset) == field->id;
    return field->type != PROTOBUF_C_TYPE_MESSAGE || *(const void *const *)(bytes + field->offset) != NULL;
}

json_t *json_from_message(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const bool wrapper = strncmp(type->name, "google.protobuf.", 16) == 0 && type->n_fields == 1;
    if (type == &google__protobuf__timestamp__descriptor)
        return from_timestamp((const Google__Protobuf__Timestamp *)message);
    if (wrapper)
        return from_value(type->fields, (const char *)message + type->fields[0].offset);
    json_t *object = json_object();
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char name[NAME_MOST];
        camel_case(name, field->name);
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            json_object_set_new(object, name, from_list(message, field));
        else if (is_set(message, field))
            json_object_set_new(object, name, from_value(field, (const char *)message + field->offset));
    }
    return object;
}

void json_print(json_t *value)
{
    cleanup_free char *text = json_dumps(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(value);
    if (text == NULL)
        abort();
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
        if (*at == 0x7f)
            fputs("\\u007f", stdout);
        else if (at[0] == 0xc2 && at[1] < 0xa0) /* U+0080 to U+009F in UTF-8 */
            printf("\\u00%02x", *++at);
        else
            putchar(*at);
    putchar('\n');
}
