/*
 * The account of a pool: how much of it may still be promised.  For files in pool/ only; callers hold pool->mutex.
 */
#pragma once

#include "pool/kind.h"

/* What the configuration keeps free of a storage with so many bytes. */
int64_t account_reserve(const struct pool *pool, int64_t total);

/* factor * bytes, at most INT64_MAX. */
int64_t account_times(double factor, int64_t bytes);

/* Enters what one entry occupies now (pool_ops.allocated), in bytes. */
void account_occupied(struct pool *pool, struct entry *entry, int64_t occupied);

/* For storage that is shared with others and whose volumes may share blocks (a directory with images): fills `space`
 * from the bytes the storage has and those that are free. */
void account_space(struct pool *pool, int64_t total, int64_t free_bytes, struct pool_space *space);
