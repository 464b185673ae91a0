/* The health of volumes as CSI messages, for the Controller and the Node service. */
#pragma once

#include "base/arena.h"
#include "pool/pool.h"

#include "csi.pb-c.h"

/* What the pool knows of a volume; no statuses: it is well. */
Csi__V1__VolumeHealth *volume_health_message(struct arena *arena, struct pool *pool, const struct record *record);

/* The health of a volume whose record cannot be used, with pools_find()'s error. */
Csi__V1__VolumeHealth *volume_health_damaged(struct arena *arena, const char *id, const struct error *why);

/* Adds one status: `reason` in CamelCase, `text` for a person. */
void volume_health_add(struct arena *arena, Csi__V1__VolumeHealth *message, enum health status, const char *reason,
                       const char *text);
