/*
 * The JSON of LVM's reports: {"report": [{"vg": [ROW, ...], "pv": [ROW, ...], ...}, ...]}, where a row is an object of
 * strings.  Rows are read into structures as a table says.
 */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

enum lvm_field_type {
    FIELD_TEXT,   /* char[] */
    FIELD_NAME,   /* char[]: of a logical volume, whose brackets are taken off */
    FIELD_HIDDEN, /* bool: true if it has them */
    FIELD_LIST,   /* char *: allocated, what was there is freed */
    FIELD_NUMBER, /* int64_t: 0 or more; "" is left as it is */
    FIELD_FLAG,   /* bool: becomes true if the text is `word`; else left as it is */
};

struct lvm_field {
    const char *key;
    enum lvm_field_type type;
    size_t offset, size;
    const char *word;
};

#define LVM_FIELD(key, type, structure, member, word)                                              \
    {                                                                                              \
        key, type, offsetof(struct structure, member), sizeof((struct structure *)0)->member, word \
    }
#define LVM_FIELDS_END \
    {                  \
        .key = NULL    \
    }

/* INTERNAL says which field is missing, is no string, no number or does not fit. */
bool lvm_row_read(const json_t *row, const struct lvm_field *fields, void *structure, struct error *error);

/* A section of the report, and what is done with each of its rows and at its end. */
struct lvm_section {
    const char *key; /* with its quotes */
    bool (*add)(void *data, const json_t *row, struct error *error);
    bool (*finish)(void *data, struct error *error); /* may be NULL */
};

/* Reads a whole report, whose groups have these sections in this order.  INTERNAL for anything else. */
bool lvm_json_read(const char *text, const struct lvm_section *sections, size_t count, void *data, struct error *error);
