/* Tables for people: columns as wide as their widest cell. */
#pragma once

#include "base/arena.h"

#include <stdint.h>

#define TABLE_COLUMNS 8 /* at most */

struct table {
    struct arena *arena;
    const char *const *columns; /* headings */
    size_t width;
    struct table_row *first, *last;
};

/* An empty table; its cells live in the arena. */
struct table table_create(struct arena *arena, const char *const *columns, size_t width);

/*
 * Adds a row of as many cells as there are columns.  What is not printable in them (they come from a driver) is
 * replaced; NULL and "" are printed as "-".
 */
void table_add(struct table *table, const char *const *cells);
void table_print(const struct table *table);

/* Prints "Label:        value", with the same care for the value. */
void table_line(const char *label, const char *value);

/* A size in bytes as a cell: "1Gi". */
const char *table_size(struct arena *arena, int64_t bytes);
