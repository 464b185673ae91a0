/*
 * A report of a thousand volumes is a megabyte of text, and several megabytes as a tree.  So jansson gets one row at a
 * time; what is around the rows is always the same.
 */
#include "pool/lvm_json.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static bool read_text(char *member, size_t size, const char *text, size_t length)
{
    if (length >= size)
        return false;
    memcpy(member, text, length);
    member[length] = '\0';
    return true;
}

static bool read_field(const struct lvm_field *field, char *member, const char *text)
{
    struct error unused;
    size_t length = strlen(text);
    bool hidden = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    switch (field->type) {
    case FIELD_TEXT:
        return read_text(member, field->size, text, length);
    case FIELD_NAME:
        return hidden ? read_text(member, field->size, text + 1, length - 2)
                      : read_text(member, field->size, text, length);
    case FIELD_HIDDEN:
        *(bool *)member = hidden;
        return true;
    case FIELD_LIST:
        free(*(char **)(void *)member);
        *(char **)(void *)member = strdup(text);
        return true;
    case FIELD_NUMBER:
        return length == 0 || text_to_number(text, 0, INT64_MAX, "", (int64_t *)(void *)member, &unused);
    case FIELD_FLAG:
        *(bool *)member |= strcmp(text, field->word) == 0;
        return true;
    }
    return false;
}

bool lvm_row_read(const json_t *row, const struct lvm_field *fields, void *structure, struct error *error)
{
    for (const struct lvm_field *field = fields; field->key != NULL; field++) {
        const char *text = json_string_value(json_object_get(row, field->key));
        if (text == NULL || !read_field(field, (char *)structure + field->offset, text))
            return fail(error, INTERNAL, "no good %s%s%.64s%s", field->key, text == NULL ? "" : ": \"",
                        text == NULL ? "" : text, text == NULL ? "" : "\"");
    }
    return true;
}

/* --- the text around the rows --- */

/* Where we are in the text, and what is made of it. */
struct cursor {
    const char *start, *at, *end;
    const struct lvm_section *sections, *section;
    size_t count;
    void *data;
};

/* Steps over white space and, if it is there, over the token. */
static bool take(struct cursor *cursor, const char *token)
{
    cursor->at += strspn(cursor->at, " \t\r\n");
    if (strncmp(cursor->at, token, strlen(token)) != 0)
        return false;
    cursor->at += strlen(token);
    return true;
}

static bool expect(struct cursor *cursor, const char *token, struct error *error)
{
    char words[32];
    if (take(cursor, token))
        return true;
    text_one_line(words, sizeof words, cursor->at);
    return fail(error, INTERNAL, "byte %td: \"%s\" where %s should be", cursor->at - cursor->start, words, token);
}

/* "[ITEM, ITEM ...]", each read by `item`. */
static bool take_list(struct cursor *cursor, bool (*item)(struct cursor *, struct error *), struct error *error)
{
    if (!expect(cursor, "[", error))
        return false;
    if (take(cursor, "]"))
        return true;
    do
        if (!item(cursor, error))
            return false;
    while (take(cursor, ","));
    return expect(cursor, "]", error);
}

static bool take_row(struct cursor *cursor, struct error *error)
{
    json_error_t reason;
    json_t *row = json_loadb(cursor->at, (size_t)(cursor->end - cursor->at),
                             JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &reason);
    if (row == NULL)
        return fail(error, INTERNAL, "byte %td: a row of %s: %s", cursor->at - cursor->start, cursor->section->key,
                    reason.text);
    bool done = cursor->section->add(cursor->data, row, error);
    json_decref(row);
    cursor->at += reason.position;
    return done;
}

static bool take_section(struct cursor *cursor, struct error *error)
{
    return expect(cursor, cursor->section->key, error) && expect(cursor, ":", error) &&
           take_list(cursor, take_row, error) &&
           (cursor->section->finish == NULL || cursor->section->finish(cursor->data, error));
}

static bool take_group(struct cursor *cursor, struct error *error)
{
    for (size_t i = 0; i < cursor->count; i++) {
        cursor->section = &cursor->sections[i];
        if (!expect(cursor, i == 0 ? "{" : ",", error) || !take_section(cursor, error))
            return false;
    }
    return expect(cursor, "}", error);
}

bool lvm_json_read(const char *text, const struct lvm_section *sections, size_t count, void *data, struct error *error)
{
    struct cursor cursor = {text, text, text + strlen(text), sections, sections, count, data};
    if (!expect(&cursor, "{", error) || !expect(&cursor, "\"report\"", error) || !expect(&cursor, ":", error) ||
        !take_list(&cursor, take_group, error) || !expect(&cursor, "}", error) || !expect(&cursor, "", error))
        return false;
    return cursor.at == cursor.end ||
           fail(error, INTERNAL, "byte %td: more text after its end", cursor.at - cursor.start);
}
