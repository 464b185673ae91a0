/*
 * CSI's Controller service on the pools of this node: create, delete, validate, list, capacity, expand, health of
 * volumes. controller/create.c is the only caller of filesystem_make().
 */
#pragma once

#include "pool/driver.h"
#include "rpc/server.h"

extern const struct rpc_service controller_service;

/*
 * Grows a volume to at least `required` and at most `limit` bytes (0: no limit): its image, its block device if it
 * has one and its file system if that is mounted.  Smaller or equal to what it is: nothing is done.  The record is
 * brought up to date. The caller holds the volume's lock.  `progress` is pool_grow()'s.  OUT_OF_RANGE,
 * RESOURCE_EXHAUSTED, FAILED_PRECONDITION.
 */
bool controller_expand(struct pool *pool, struct record *record, int64_t required, int64_t limit,
                       const struct progress *progress, struct error *error);
