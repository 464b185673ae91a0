#include "pool/record.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/text.h"
#include "filesystem/filesystem.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define RECORD_VERSION 1

static const char *const kind_names[] = {[RECORD_VOLUME] = "volume", [RECORD_SNAPSHOT] = "snapshot"};
#define NAMES(table) table, sizeof table / sizeof *table

enum field_type { FIELD_TEXT, FIELD_BYTES, FIELD_COUNT, FIELD_FLAG };

/* How each member of struct record is written; reading and writing both go through this table. */
static const struct field {
    const char *name;
    enum field_type type;
    size_t offset, size;
} fields[] = {
#define FIELD(json, type, member)                                                       \
    {                                                                                   \
        json, type, offsetof(struct record, member), sizeof((struct record *)0)->member \
    }
    FIELD("id", FIELD_TEXT, id),
    FIELD("name", FIELD_TEXT, name),
    FIELD("bytes", FIELD_BYTES, bytes),
    FIELD("filesystem", FIELD_TEXT, filesystem),
    FIELD("sectorBytes", FIELD_COUNT, sector_bytes),
    FIELD("thick", FIELD_FLAG, thick),
    FIELD("staged", FIELD_FLAG, staged),
    FIELD("ownIdentity", FIELD_FLAG, own_identity),
    FIELD("copying", FIELD_FLAG, copying),
    FIELD("copied", FIELD_BYTES, copied),
    FIELD("source", FIELD_TEXT, source_id),
    FIELD("group", FIELD_TEXT, group_id),
    FIELD("groupMembers", FIELD_COUNT, group_members),
    FIELD("digest", FIELD_TEXT, digest),
    FIELD("created", FIELD_BYTES, created),
    FIELD("claimNamespace", FIELD_TEXT, claim_namespace),
    FIELD("claimName", FIELD_TEXT, claim_name),
#undef FIELD
};

#define FIELD_COUNT_ALL (sizeof fields / sizeof *fields)

static void json_cleanup(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json CLEANUP(json_cleanup)

void record_make_id(char id[static ID_BYTES], const char *pool_id, const char *node_hint, const char *mark,
                    const char *name)
{
    char digits[NAME_DIGITS + 1];
    digest_hex(name, strlen(name), NAME_DIGITS, digits);
    snprintf(id, ID_BYTES, "%s-%s-%s%s", pool_id, node_hint, mark, digits);
}

bool record_is_id(const char *id, const char *mark)
{
    size_t rest = POOL_ID_DIGITS + 1 + NODE_HINT_DIGITS + 1;
    return strnlen(id, ID_BYTES) == rest + strlen(mark) + NAME_DIGITS && strspn(id, HEX_DIGITS) == POOL_ID_DIGITS &&
           id[POOL_ID_DIGITS] == '-' && strspn(id + POOL_ID_DIGITS + 1, HEX_DIGITS) == NODE_HINT_DIGITS &&
           id[rest - 1] == '-' && strncmp(id + rest, mark, strlen(mark)) == 0 &&
           strspn(id + rest + strlen(mark), HEX_DIGITS) == NAME_DIGITS;
}

void record_node_hint(char hint[static NODE_HINT_DIGITS + 1], const char *node)
{
    digest_hex(node, strlen(node), NODE_HINT_DIGITS, hint);
}

static json_t *field_to_json(const struct record *record, const struct field *field)
{
    const char *member = (const char *)record + field->offset;
    switch (field->type) {
    case FIELD_TEXT:
        return json_string(member);
    case FIELD_BYTES:
        return json_integer(*(const int64_t *)(const void *)member);
    case FIELD_COUNT:
        return json_integer(*(const int32_t *)(const void *)member);
    case FIELD_FLAG:
        return json_boolean(*(const bool *)member);
    }
    return NULL;
}

char *record_to_json(const struct record *record)
{
    cleanup_json json_t *json = json_pack("{si si si ss}", "version", RECORD_VERSION, "incompatible", 0,
                                          "readOnlyCompatible", 0, "kind", kind_names[record->kind]);
    for (size_t i = 0; i < FIELD_COUNT_ALL; i++)
        json_object_set_new(json, fields[i].name, field_to_json(record, &fields[i]));
    return json_dumps(json, JSON_INDENT(1));
}

static bool field_from_json(struct record *record, const struct field *field, const json_t *value)
{
    char *member = (char *)record + field->offset;
    switch (field->type) {
    case FIELD_TEXT:
        if (!json_is_string(value) || json_string_length(value) >= field->size)
            return false;
        memcpy(member, json_string_value(value), json_string_length(value) + 1);
        return strlen(member) == json_string_length(value);
    case FIELD_BYTES:
        *(int64_t *)(void *)member = json_integer_value(value);
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case FIELD_COUNT:
        *(int32_t *)(void *)member = (int32_t)json_integer_value(value);
        return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= INT32_MAX;
    case FIELD_FLAG:
        *(bool *)member = json_is_true(value);
        return json_is_boolean(value);
    }
    return false;
}

/* The index of a word in a table, or -1. */
static int word(const json_t *value, const char *const *names, size_t count)
{
    for (size_t i = 0; json_is_string(value) && i < count; i++)
        if (strcmp(json_string_value(value), names[i]) == 0)
            return (int)i;
    return -1;
}

static bool read_version(const json_t *json, const char *id, struct error *error)
{
    const json_t *version = json_object_get(json, "version");
    const json_t *incompatible = json_object_get(json, "incompatible");
    const json_t *read_only = json_object_get(json, "readOnlyCompatible");
    if (!json_is_integer(version) || !json_is_integer(incompatible) || !json_is_integer(read_only))
        return fail(error, DATA_LOSS, "the record of %s is damaged: it has no version; it is left alone", id);
    if (json_integer_value(version) > RECORD_VERSION || json_integer_value(incompatible) != 0 ||
        json_integer_value(read_only) != 0)
        return fail(error, FAILED_PRECONDITION,
                    "the record of %s was written by a newer Plinth (version %" JSON_INTEGER_FORMAT
                    "); it is left alone: run that version here",
                    id, json_integer_value(version));
    return true;
}

bool record_has_its_name(const struct record *record)
{
    char digits[NAME_DIGITS + 1];
    size_t length = strlen(record->id);
    digest_hex(record->name, strlen(record->name), NAME_DIGITS, digits);
    return length > NAME_DIGITS && strcmp(record->id + length - NAME_DIGITS, digits) == 0;
}

void record_begin_removal(struct record *record)
{
    record->phase = PHASE_DELETING;
    record->copying = false;
    record->copied = 0;
}

bool record_wants_wipe(const struct record *record)
{
    if (record->wipe == WIPE_NONE)
        return false;
    return record->phase == PHASE_CREATING ? record->source_id[0] != '\0' : record->copied < record->bytes;
}

bool record_from_json(const char *text, size_t length, const char *id, struct record *record, struct error *error)
{
    json_error_t reason;
    cleanup_json json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &reason);
    if (!json_is_object(json))
        return fail(error, DATA_LOSS,
                    "the record of %s is damaged (line %d is not what it should be); it is left alone", id,
                    reason.line);
    if (!read_version(json, id, error))
        return false;
    *record = (struct record){.phase = PHASE_READY};
    int kind = word(json_object_get(json, "kind"), NAMES(kind_names));
    if (kind < 0)
        return fail(error, DATA_LOSS, "the record of %s is damaged: unknown kind; it is left alone", id);
    record->kind = (enum record_kind)kind;
    for (size_t i = 0; i < FIELD_COUNT_ALL; i++)
        if (!field_from_json(record, &fields[i], json_object_get(json, fields[i].name)))
            return fail(error, DATA_LOSS, "the record of %s is damaged: no good \"%s\"; it is left alone", id,
                        fields[i].name);
    if (strcmp(record->id, id) != 0)
        return fail(error, DATA_LOSS, "the record of %s says that it is of %s; it is left alone", id, record->id);
    if (!record_has_its_name(record))
        return fail(error, DATA_LOSS, "the record of %s has another's name, \"%s\"; it is left alone", id,
                    record->name);
    if (record->filesystem[0] != '\0' && filesystem_find(record->filesystem) == NULL)
        return fail(error, DATA_LOSS, "the record of %s is damaged: there is no file system \"%s\"; it is left alone",
                    id, record->filesystem);
    if (record->sector_bytes != SECTOR_BYTES_FILESYSTEM && record->sector_bytes != SECTOR_BYTES_BLOCK)
        return fail(error, DATA_LOSS, "the record of %s is damaged: sectors of %d bytes; it is left alone", id,
                    record->sector_bytes);
    return true;
}
