#include "pool/kind.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* A copy may share blocks with what it was made from: then what images occupy cannot be added up. */
static int may_share(const struct pool *pool, const struct record *record)
{
    return pool->copies_at_once && record->source_id[0] != '\0';
}

/* The first index whose id is not less than `id` (or, with `beyond`, is greater). */
static size_t position(const struct entries *entries, const char *id, bool beyond)
{
    size_t low = 0, high = entries->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(entries->sorted[middle]->record.id, id);
        if (order < 0 || (beyond && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct entry *inventory_find(struct pool *pool, enum record_kind kind, const char *id)
{
    const struct entries *entries = &pool->entries[kind];
    size_t index = position(entries, id, false);
    bool found = index < entries->count && strcmp(entries->sorted[index]->record.id, id) == 0;
    return found ? entries->sorted[index] : NULL;
}

size_t inventory_after(const struct pool *pool, enum record_kind kind, const char *after)
{
    return position(&pool->entries[kind], after, true);
}

void inventory_add(struct pool *pool, const struct record *record, int64_t promised)
{
    struct entries *entries = &pool->entries[record->kind];
    if (entries->count == entries->room) {
        entries->room = entries->room * 2 + 16;
        entries->sorted = realloc(entries->sorted, entries->room * sizeof *entries->sorted);
    }
    struct entry *entry = malloc(sizeof *entry);
    if (entries->sorted == NULL || entry == NULL)
        abort(); /* out of memory for a few hundred bytes: end, the storage has it all */
    *entry = (struct entry){.record = *record, .promised = promised};
    size_t index = position(entries, record->id, false);
    memmove(entries->sorted + index + 1, entries->sorted + index, (entries->count - index) * sizeof *entries->sorted);
    entries->sorted[index] = entry;
    entries->count++;
    pool->promised += promised;
    pool->sharing += may_share(pool, record);
}

void inventory_drop(struct pool *pool, enum record_kind kind, const char *id)
{
    struct entries *entries = &pool->entries[kind];
    size_t index = position(entries, id, false);
    if (index == entries->count || strcmp(entries->sorted[index]->record.id, id) != 0)
        return;
    pool->promised -= entries->sorted[index]->promised;
    pool->ours -= entries->sorted[index]->occupied;
    pool->sharing -= may_share(pool, &entries->sorted[index]->record);
    free(entries->sorted[index]);
    entries->count--;
    memmove(entries->sorted + index, entries->sorted + index + 1, (entries->count - index) * sizeof *entries->sorted);
}

void inventory_damage(struct pool *pool, enum record_kind kind, const char *id, const struct error *why)
{
    struct damage *damage = calloc(1, sizeof *damage);
    if (damage == NULL)
        abort();
    *damage = (struct damage){.next = pool->damaged, .kind = kind, .why = *why};
    text_copy(damage->id, sizeof damage->id, id);
    pool->damaged = damage;
}

void inventory_quarantine(struct pool *pool, enum record_kind kind, const char *id, const struct error *why)
{
    inventory_drop(pool, kind, id);
    inventory_damage(pool, kind, id, why);
    pool->damaged->quarantined = true;
}

void inventory_mend(struct pool *pool, enum record_kind kind, const char *id)
{
    for (struct damage **at = &pool->damaged, *damage; (damage = *at) != NULL;) {
        if (damage->kind != kind || strcmp(damage->id, id) != 0) {
            at = &damage->next;
            continue;
        }
        *at = damage->next;
        free(damage);
    }
}

const struct damage *inventory_find_damage(const struct pool *pool, enum record_kind kind, const char *id)
{
    const struct damage *damage = pool->damaged;
    while (damage != NULL && (damage->kind != kind || strcmp(damage->id, id) != 0))
        damage = damage->next;
    return damage;
}

void inventory_clear(struct pool *pool)
{
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        struct entries *entries = &pool->entries[kind];
        for (size_t i = 0; i < entries->count; i++)
            free(entries->sorted[i]);
        free(entries->sorted);
        *entries = (struct entries){.sorted = NULL};
    }
    for (struct damage *damage = pool->damaged, *next; damage != NULL; damage = next) {
        next = damage->next;
        free(damage);
    }
    pool->damaged = NULL;
    pool->promised = pool->ours = pool->others = 0;
    pool->sharing = 0;
}
