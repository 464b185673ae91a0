#include "pool/id_set.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static size_t find(const struct id_set *set, const char *id)
{
    size_t i = 0;
    while (i < set->count && strcmp(set->ids[i], id) != 0)
        i++;
    return i;
}

bool id_set_has(const struct id_set *set, const char *id)
{
    return find(set, id) < set->count;
}

void id_set_add(struct id_set *set, const char *id)
{
    if (id_set_has(set, id))
        return;
    set->ids = reallocarray(set->ids, set->count + 1, sizeof *set->ids);
    if (set->ids == NULL)
        abort();
    text_copy(set->ids[set->count++], ID_BYTES, id);
}

void id_set_drop(struct id_set *set, const char *id)
{
    size_t i = find(set, id);
    if (i < set->count)
        memmove(set->ids[i], set->ids[--set->count], ID_BYTES);
}

void id_set_clear(struct id_set *set)
{
    free(set->ids);
    *set = (struct id_set){.ids = NULL};
}
