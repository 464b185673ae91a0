#include "cli/table.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define LABEL_WIDTH 14
#define LINE_MOST 4096

struct table_row {
    struct table_row *next;
    char *cells[TABLE_COLUMNS];
};

static char *printable(struct arena *arena, const char *text)
{
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    char *line = arena_allocate(arena, size + 1);
    if (size > 0)
        text_one_line(line, size, text);
    return line[0] != '\0' ? line : arena_string(arena, "-");
}

/* Characters, for text in UTF-8. */
static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += (*text & 0xc0) != 0x80;
    return count;
}

struct table table_create(struct arena *arena, const char *const *columns, size_t width)
{
    struct table table = {.arena = arena, .columns = columns, .width = width};
    return table;
}

void table_add(struct table *table, const char *const *cells)
{
    struct table_row *row = arena_allocate(table->arena, sizeof *row);
    for (size_t i = 0; i < table->width; i++)
        row->cells[i] = printable(table->arena, cells[i]);
    if (table->last != NULL)
        table->last->next = row;
    else
        table->first = row;
    table->last = row;
}

static void print_row(const struct table *table, const char *const *cells, const size_t *widths)
{
    for (size_t i = 0; i < table->width; i++) {
        bool last = i + 1 == table->width;
        printf("%s%*s", cells[i], last ? 0 : (int)(widths[i] - characters(cells[i]) + 2), "");
    }
    putchar('\n');
}

void table_print(const struct table *table)
{
    size_t widths[TABLE_COLUMNS];
    for (size_t i = 0; i < table->width; i++) {
        widths[i] = characters(table->columns[i]);
        for (const struct table_row *row = table->first; row != NULL; row = row->next)
            widths[i] = characters(row->cells[i]) > widths[i] ? characters(row->cells[i]) : widths[i];
    }
    print_row(table, table->columns, widths);
    for (const struct table_row *row = table->first; row != NULL; row = row->next)
        print_row(table, (const char *const *)row->cells, widths);
}

void table_line(const char *label, const char *value)
{
    char line[LINE_MOST];
    text_one_line(line, sizeof line, value != NULL ? value : "");
    int used = printf("%s:", label);
    printf("%*s%s\n", used < LABEL_WIDTH ? LABEL_WIDTH - used : 1, "", line[0] != '\0' ? line : "-");
}

const char *table_size(struct arena *arena, int64_t bytes)
{
    char size[32];
    return arena_string(arena, text_from_size(bytes, size));
}
