#include "pool/lvm_tag.h"

#include "base/digest.h"
#include "base/text.h"
#include "filesystem/filesystem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_DIGITS 8
#define KIND_BYTES 16
#define HEAD_BYTES 200 /* of the fields before the check, at their longest */

/* What LVM takes in a tag (lvm(8), VALID NAMES), without the characters that mean something here. */
#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-!&#"
#define ESCAPED(bytes) (3 * ((bytes)-1) + 1)

static const char phases[] = {[PHASE_CREATING] = 'c', [PHASE_READY] = 'r', [PHASE_DELETING] = 'd', '\0'};
static const char kinds[] = {[RECORD_VOLUME] = 'v', [RECORD_SNAPSHOT] = 's', '\0'};
static const char *const id_marks[] = {[RECORD_VOLUME] = ID_MARK_VOLUME, [RECORD_SNAPSHOT] = ID_MARK_SNAPSHOT};

/* The letters of the file systems; new ones need one that is free. */
static const struct {
    char letter;
    const char *name;
} filesystems[] = {{'-', ""}, {'e', "ext4"}, {'x', "xfs"}};

static const struct {
    char letter;
    size_t member;
} flags[] = {{'t', offsetof(struct record, thick)},
             {'i', offsetof(struct record, own_identity)},
             {'y', offsetof(struct record, copying)}};

/* By enum wipe. */
static const char wipes[] = {[WIPE_NONE] = '\0', [WIPE_DISCARD] = 'd', [WIPE_ZERO] = 'z'};

#define COUNT(table) (sizeof table / sizeof *table)

/* --- writing --- */

static size_t escape(const char *text, char *escaped)
{
    size_t used = 0;
    for (const char *c = text; *c != '\0'; c++)
        if (strchr(PLAIN, *c) != NULL)
            escaped[used++] = *c;
        else
            used += (size_t)snprintf(escaped + used, 4, "=%02X", (unsigned char)*c);
    escaped[used] = '\0';
    return used;
}

static void write_kind(const struct record *record, char kind[static KIND_BYTES])
{
    size_t used = 0;
    kind[used++] = phases[record->phase];
    kind[used++] = kinds[record->kind];
    for (size_t i = 0; i < COUNT(filesystems); i++)
        if (strcmp(record->filesystem, filesystems[i].name) == 0)
            kind[used++] = filesystems[i].letter;
    for (size_t i = 0; i < COUNT(flags); i++)
        if (*(const bool *)((const char *)record + flags[i].member))
            kind[used++] = flags[i].letter;
    kind[used++] = wipes[record->wipe];
    kind[used] = '\0';
}

static void write_head(const struct record *record, char head[static HEAD_BYTES])
{
    char kind[KIND_BYTES], members[16] = "", copied[24] = "";
    write_kind(record, kind);
    if (record->group_members != 0)
        snprintf(members, sizeof members, "%" PRId32, record->group_members);
    if (record->copied != 0)
        snprintf(copied, sizeof copied, "%" PRId64, record->copied);
    snprintf(head, HEAD_BYTES, "%s:%" PRIx64 ":%s:%s:%s:%s:%s", kind, (uint64_t)record->created, record->digest,
             record->source_id, record->group_id, members, copied);
}

static void write_claim(const struct record *record, char *claim)
{
    claim[0] = '\0';
    if (record->claim_namespace[0] == '\0' && record->claim_name[0] == '\0')
        return;
    size_t used = escape(record->claim_namespace, claim);
    claim[used] = '/';
    escape(record->claim_name, claim + used + 1);
}

void lvm_tag_from_record(const struct record *record, char tag[static LVM_TAG_BYTES])
{
    char head[HEAD_BYTES], check[CHECK_DIGITS + 1], name[ESCAPED(sizeof record->name)];
    char claim[ESCAPED(sizeof record->claim_namespace) + ESCAPED(sizeof record->claim_name)];
    char checked[ID_BYTES + HEAD_BYTES + sizeof name + sizeof claim];
    write_head(record, head);
    size_t name_length = escape(record->name, name);
    write_claim(record, claim);

    size_t room = LVM_TAG_BYTES - 1 - strlen(LVM_TAG_START) - strlen(head) - CHECK_DIGITS - strlen(":::");
    if (name_length + strlen(claim) > room)
        claim[0] = '\0';
    if (name_length > room)
        name[0] = '\0';
    int length = snprintf(checked, sizeof checked, "%s:%s:%s:%s", record->id, head, name, claim);
    digest_hex(checked, (size_t)length, CHECK_DIGITS, check);
    snprintf(checked, sizeof checked, LVM_TAG_START "%s:%s:%s:%s", head, check, name, claim);
    text_copy(tag, LVM_TAG_BYTES, checked);
}

/* --- reading: only what could not be told apart later is refused here, the rest by writing the record again --- */

/* Undoes escape().  False if it does not fit or is no text. */
static bool unescape(const char *escaped, char *text, size_t size)
{
    size_t used = 0;
    for (const char *c = escaped; *c != '\0'; c++) {
        char digits[3] = "";
        if (used + 1 >= size)
            return false;
        if (*c == '=' && c[1] != '\0' && c[2] != '\0') {
            memcpy(digits, c + 1, 2);
            c += 2;
        }
        text[used++] = digits[0] == '\0' ? *c : (char)strtoul(digits, NULL, 16);
    }
    text[used] = '\0';
    return text_is_utf8(text, used);
}

static bool read_kind(const char *text, struct record *record)
{
    const char *phase = strchr(phases, text[0]);
    const char *kind = text[0] == '\0' ? NULL : strchr(kinds, text[1]);
    if (phase == NULL || kind == NULL || *kind == '\0')
        return false;
    record->phase = (enum phase)(phase - phases);
    record->kind = (enum record_kind)(kind - kinds);
    record->staged = record->phase == PHASE_READY; /* nobody can know that it was not */
    for (size_t i = 0; i < COUNT(filesystems); i++)
        if (text[2] == filesystems[i].letter)
            text_copy(record->filesystem, sizeof record->filesystem, filesystems[i].name);
    const char *letters = text[2] == '\0' ? "" : text + 3;
    for (size_t i = 0; i < COUNT(flags); i++)
        *(bool *)((char *)record + flags[i].member) = strchr(letters, flags[i].letter) != NULL;
    for (size_t i = WIPE_NONE + 1; i < COUNT(wipes); i++)
        if (strchr(letters, wipes[i]) != NULL)
            record->wipe = (enum wipe)i;
    return record_is_id(record->id, id_marks[record->kind]);
}

static bool read_created(const char *text, struct record *record)
{
    unsigned long long created = strtoull(text, NULL, 16);
    record->created = (int64_t)created;
    return created <= INT64_MAX;
}

static bool read_digest(const char *text, struct record *record)
{
    text_copy(record->digest, sizeof record->digest, text);
    return strspn(text, HEX_DIGITS) == strlen(text);
}

static bool read_source(const char *text, struct record *record)
{
    text_copy(record->source_id, sizeof record->source_id, text);
    return text[0] == '\0' || record_is_id(text, ID_MARK_VOLUME) ||
           (record->kind == RECORD_VOLUME && record_is_id(text, ID_MARK_SNAPSHOT));
}

static bool read_group(const char *text, struct record *record)
{
    text_copy(record->group_id, sizeof record->group_id, text);
    return text[0] == '\0' || record_is_id(text, ID_MARK_GROUP);
}

static bool read_number(const char *text, int64_t most, int64_t *number)
{
    struct error unused;
    return text[0] == '\0' || text_to_number(text, 1, most, "", number, &unused);
}

static bool read_members(const char *text, struct record *record)
{
    int64_t members = 0;
    bool read = read_number(text, INT32_MAX, &members);
    record->group_members = (int32_t)members;
    return read;
}

static bool read_copied(const char *text, struct record *record)
{
    return read_number(text, INT64_MAX, &record->copied);
}

static bool read_check(const char *text, struct record *record)
{
    (void)record; /* its value shows when the record is written again */
    return text_is_made_of(text, HEX_DIGITS, CHECK_DIGITS);
}

static bool read_name(const char *text, struct record *record)
{
    return unescape(text, record->name, sizeof record->name);
}

static bool read_claim(const char *text, struct record *record)
{
    char name_space[LVM_TAG_BYTES];
    const char *name = strchr(text, '/');
    if (name == NULL)
        return text[0] == '\0';
    text_copy(name_space, (size_t)(name - text) + 1, text);
    return unescape(name_space, record->claim_namespace, sizeof record->claim_namespace) &&
           unescape(name + 1, record->claim_name, sizeof record->claim_name);
}

static const struct {
    const char *name;
    bool (*read)(const char *text, struct record *record);
} fields[] = {{"phase and kind", read_kind}, {"time of creation", read_created},
              {"digest", read_digest},       {"source", read_source},
              {"group", read_group},         {"number of group members", read_members},
              {"progress", read_copied},     {"check", read_check},
              {"name", read_name},           {"claim", read_claim}};

/* Gives each field of the text, which is changed, to its reader. */
static bool read_fields(char *text, struct record *record, struct error *error)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        char *field = strsep(&text, ":");
        if (field == NULL || !fields[i].read(field, record))
            return fail(error, DATA_LOSS, "the tag of the logical volume %s is damaged: no good %s; it is left alone",
                        record->id, fields[i].name);
    }
    return text == NULL || fail(error, DATA_LOSS,
                                "the tag of the logical volume %s is damaged: more in it than there should be; "
                                "it is left alone",
                                record->id);
}

/* "plinth.2:" and any later. */
static bool is_newer(const char *tag)
{
    size_t start = strlen(LVM_TAG_START) - strlen("1:");
    size_t digits = strncmp(tag, LVM_TAG_START, start) == 0 ? strspn(tag + start, "0123456789") : 0;
    return digits > 0 && tag[start + digits] == ':' && tag[start] != '0' && strncmp(tag + start, "1:", 2) != 0;
}

bool lvm_tag_to_record(const char *tag, const char *id, struct record *record, struct error *error)
{
    char text[LVM_TAG_BYTES], again[LVM_TAG_BYTES];
    *record = (struct record){.phase = PHASE_READY};
    text_copy(record->id, sizeof record->id, id);
    if (is_newer(tag))
        return fail(error, FAILED_PRECONDITION,
                    "the tag of the logical volume %s was written by a newer Plinth (%.16s); it is left alone: "
                    "run that version here",
                    id, tag);
    if (!record_is_id(id, ID_MARK_VOLUME) && !record_is_id(id, ID_MARK_SNAPSHOT))
        return fail(error, DATA_LOSS,
                    "the logical volume %.128s has a tag of Plinth's but a name of another; it is left alone", id);
    if (strncmp(tag, LVM_TAG_START, strlen(LVM_TAG_START)) != 0 || strlen(tag) >= sizeof text)
        return fail(error, DATA_LOSS, "the tag of the logical volume %s is none of Plinth's; it is left alone", id);
    text_copy(text, sizeof text, tag + strlen(LVM_TAG_START));
    if (!read_fields(text, record, error))
        return false;
    lvm_tag_from_record(record, again);
    if (strcmp(tag, again) != 0)
        return fail(error, DATA_LOSS,
                    "the tag of the logical volume %s does not pass its check: it was made by hand or damaged, or the "
                    "logical volume was renamed; it is left alone",
                    id);
    return record->name[0] == '\0' || record_has_its_name(record) ||
           fail(error, DATA_LOSS, "the tag of the logical volume %s is damaged: no good name; it is left alone", id);
}
