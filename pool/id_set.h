/* A small set of ids of volumes and snapshots.  Not locked. */
#pragma once

#include "pool/record.h"

#include <stdbool.h>
#include <stddef.h>

struct id_set {
    char (*ids)[ID_BYTES];
    size_t count;
};

bool id_set_has(const struct id_set *set, const char *id);
void id_set_add(struct id_set *set, const char *id); /* once */
void id_set_drop(struct id_set *set, const char *id);
void id_set_clear(struct id_set *set);
