/* Finding volumes and snapshots in all pools of a node. */
#include "pool/kind.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool *pools_named(struct pools *pools, const char *name, struct error *error)
{
    if (name == NULL || name[0] == '\0')
        return pools_at(pools, 0);
    char names[512] = "";
    for (size_t i = 0; i < pools_count(pools); i++) {
        struct pool *pool = pools_at(pools, i);
        if (strcmp(pool->config.name, name) == 0)
            return pool;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ", pool->config.name);
    }
    fail(error, INVALID_ARGUMENT, "there is no pool \"%s\" on node %s; there is: %s", name, pools_at(pools, 0)->node,
         names);
    return NULL;
}

static bool is_known(const struct pool *pool)
{
    char id[POOL_ID_DIGITS + 1];
    pool_get_id(pool, id);
    return id[0] != '\0';
}

bool pool_may_have(const struct pool *pool, const char *id)
{
    char known[POOL_ID_DIGITS + 1];
    pool_get_id(pool, known);
    return known[0] == '\0' || strncmp(known, id, POOL_ID_DIGITS) == 0;
}

struct pool *pools_with_id(struct pools *pools, const char *id)
{
    struct pool *found = NULL;
    for (size_t i = 0; i < pools_count(pools); i++) {
        struct pool *pool = pools_at(pools, i);
        if (is_known(pool) && pool_may_have(pool, id) && (found == NULL || pool_has_claimed_its_id(pool)))
            found = pool;
    }
    return found;
}

/* Copies the record out.  False with error->code OK: it is not there. */
static bool look_up(struct pool *pool, enum record_kind kind, const char *id, struct record *record,
                    struct error *error)
{
    if (!pool_usable(pool, error))
        return false;
    error->code = OK;
    pthread_mutex_lock(&pool->mutex);
    const struct entry *entry = inventory_find(pool, kind, id);
    const struct damage *damage = entry == NULL ? inventory_find_damage(pool, kind, id) : NULL;
    if (entry != NULL)
        *record = entry->record;
    else if (damage != NULL)
        *error = damage->why;
    pthread_mutex_unlock(&pool->mutex);
    return entry != NULL;
}

static bool is_id_of(enum record_kind kind, const char *id)
{
    return record_is_id(id, kind == RECORD_VOLUME ? ID_MARK_VOLUME : ID_MARK_SNAPSHOT);
}

/*
 * The pool that an id belongs to.  NULL: it is no id of ours.  A pool that could never be opened (its disk is not
 * mounted yet) has an id we do not know, and may be the one: that one, with its failure.
 */
static struct pool *find_pool(struct pools *pools, enum record_kind kind, const char *id, struct error *error)
{
    struct pool *pool = NULL;
    bool is_id = is_id_of(kind, id);
    error->code = OK;
    for (size_t i = 0; is_id && (pool = pools_with_id(pools, id)) == NULL && i < pools_count(pools); i++)
        if (!is_known(pools_at(pools, i)) && !pool_usable_soon(pools_at(pools, i), error))
            return pools_at(pools, i);
    return pool;
}

static const char *name_of(enum record_kind kind)
{
    return kind == RECORD_VOLUME ? "volume" : "snapshot";
}

/* Of some kinds a part can be missing that has volumes or snapshots. */
static bool has_parts(const struct pool *pool, enum record_kind kind)
{
    return pool->ops->is_whole != NULL && (kind == RECORD_VOLUME || pool->ops->no_snapshots == NULL);
}

/* False if a part is missing that may have what was not found: of that pool; NULL: no pool has such an id, but what is
 * missing may have another one than the rest. */
static bool nothing_is_missing(struct pools *pools, struct pool *pool, enum record_kind kind, const char *id,
                               struct error *error)
{
    if (pool != NULL)
        return !has_parts(pool, kind) || pool->ops->is_whole(pool, id, error);
    for (size_t i = 0; i < pools_count(pools); i++) {
        struct pool *other = pools_at(pools, i);
        if (has_parts(other, kind) && !(pool_usable_soon(other, error) && other->ops->is_whole(other, id, error)))
            return false;
    }
    return true;
}

bool pools_find(struct pools *pools, enum record_kind kind, const char *id, struct pool **pool, struct record *record,
                struct error *error)
{
    *pool = find_pool(pools, kind, id, error);
    if (error->code == OK && *pool != NULL && look_up(*pool, kind, id, record, error))
        return true;
    if (error->code != OK)
        return false;
    if (is_id_of(kind, id) && !nothing_is_missing(pools, *pool, kind, id, error))
        return fail_context(error, "cannot tell whether there is a %s %s", name_of(kind), id);
    return fail(error, NOT_FOUND, "there is no %s %s on node %s", name_of(kind), id, pools_at(pools, 0)->node);
}

bool pools_may_miss_it(const struct error *error)
{
    return error->code == UNAVAILABLE && error->number == ENODEV;
}

bool pools_know_it_gone(const struct error *error)
{
    return error->code == DATA_LOSS && error->number == ESTALE;
}

bool pools_find_name(struct pools *pools, enum record_kind kind, const char *name, struct pool **pool,
                     struct record *record, struct error *error)
{
    const char *mark = kind == RECORD_VOLUME ? ID_MARK_VOLUME : ID_MARK_SNAPSHOT;
    *pool = NULL;
    for (size_t i = 0; i < pools_count(pools); i++) {
        struct pool *candidate = pools_at(pools, i);
        char id[ID_BYTES];
        struct error failure;
        if (!pool_usable_soon(candidate, &failure))
            continue; /* decided by the caller, who knows which pool it wants */
        pool_make_id(candidate, mark, name, id);
        if (look_up(candidate, kind, id, record, error)) {
            *pool = candidate;
            return true;
        }
        if (error->code != OK)
            return false;
    }
    return true;
}

bool pools_are_open(struct pools *pools)
{
    for (size_t i = 0; i < pools_count(pools); i++)
        if (!pool_is_listed(pools_at(pools, i)))
            return false;
    return true;
}

static int compare_pools(const void *left, const void *right)
{
    return strcmp((*(struct pool *const *)left)->id, (*(struct pool *const *)right)->id);
}

/*
 * The pools that can be used now, in the order of ids; the caller frees the array.  What somebody else has changed is
 * looked for, but a list does not wait for a pool that is stuck: what it has is told.
 */
static struct pool **listed_pools(struct pools *pools, size_t *count)
{
    struct pool **listed = calloc(pools_count(pools), sizeof(struct pool *));
    struct error ignored;
    *count = 0;
    for (size_t i = 0; listed != NULL && i < pools_count(pools); i++)
        if (pool_is_listed(pools_at(pools, i))) {
            pool_usable_soon(pools_at(pools, i), &ignored);
            listed[(*count)++] = pools_at(pools, i);
        }
    if (*count > 0)
        qsort(listed, *count, sizeof *listed, compare_pools);
    return listed;
}

void pools_list(struct pools *pools, enum record_kind kind, const char *after,
                bool (*see)(struct pool *pool, const struct record *record, void *data), void *data)
{
    size_t count;
    bool more = true;
    cleanup_free struct pool **listed = listed_pools(pools, &count);
    for (size_t i = 0; more && i < count; i++) {
        LOCKED(listed[i]);
        const struct entries *entries = &listed[i]->entries[kind];
        for (size_t k = inventory_after(listed[i], kind, after); more && k < entries->count; k++)
            more = see(listed[i], &entries->sorted[k]->record, data);
    }
}

void pools_list_damaged(struct pools *pools,
                        void (*see)(struct pool *pool, const char *id, const struct error *why, void *data), void *data)
{
    size_t count;
    cleanup_free struct pool **listed = listed_pools(pools, &count);
    for (size_t i = 0; i < count; i++) {
        LOCKED(listed[i]);
        for (const struct damage *damage = listed[i]->damaged; damage != NULL; damage = damage->next)
            see(listed[i], damage->id, &damage->why, data);
    }
}
