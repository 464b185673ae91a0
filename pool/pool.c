#include "pool/pool.h"

#include "pool/kind.h"

#include <stdio.h>

const char *pool_name(const struct pool *pool)
{
    return pool->config.name;
}

const char *pool_kind(const struct pool *pool)
{
    return pool->ops->kind;
}

const char *pool_node(const struct pool *pool)
{
    return pool->node;
}

void pool_note_path(const char *state_directory, const char *id, char path[static PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.4000s/volumes/%s.json", state_directory, id);
}

int pool_lock_descriptor(const struct pool *pool)
{
    return pool->lock;
}

bool pool_copies_at_once(const struct pool *pool, const struct record *source, const struct record *record)
{
    return pool->ops->copies_at_once(pool, source, record);
}

bool pool_is_atomic(const struct pool *pool)
{
    return pool->ops->atomic;
}

bool pool_reads_as_zeros(const struct pool *pool, const struct record *record)
{
    return pool->ops->reads_as_zeros == NULL || pool->ops->reads_as_zeros(pool, record);
}

bool pool_needs_zeroing(const struct pool *pool, const struct record *record)
{
    return record->filesystem[0] == '\0' && !pool_reads_as_zeros(pool, record);
}

bool pool_freezes_itself(const struct pool *pool)
{
    return pool->ops->freezes_itself;
}

bool pool_has_snapshots(const struct pool *pool, struct error *error)
{
    const char *why = pool->ops->no_snapshots;
    return why == NULL ||
           fail(error, UNIMPLEMENTED, "pool %s of kind %s has no snapshots: %s", pool_name(pool), pool_kind(pool), why);
}

bool pool_is_thick(const struct pool *pool)
{
    return pool->thick;
}

void pool_make_id(const struct pool *pool, const char *mark, const char *name, char id[static ID_BYTES])
{
    char own[POOL_ID_DIGITS + 1];
    pool_get_id(pool, own);
    record_make_id(id, own, pool->node_hint, mark, name);
}

int64_t pool_round(const struct pool *pool, const struct record *shape, int64_t bytes)
{
    return pool->ops->round(pool, shape, bytes);
}

bool pool_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error)
{
    return pool->ops->allocated(pool, record, bytes, error);
}

bool pool_open_data(struct pool *pool, const struct record *record, char *path, struct error *error)
{
    return pool_usable(pool, error) && pool->ops->open_data(pool, record, path, error);
}

/* --- reading a source --- */

bool pool_cut(struct pool *pool, const struct record *source, const struct record *record, bool *cut,
              struct error *error)
{
    *cut = false;
    return pool->ops->cut == NULL || pool->ops->cut(pool, source, record, cut, error);
}

bool pool_has_cut(struct pool *pool, const struct record *record)
{
    return pool->ops->has_cut != NULL && pool->ops->has_cut(pool, record);
}

bool pool_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                      struct error *error)
{
    return pool->ops->open_source != NULL ? pool->ops->open_source(pool, source, record, path, error)
                                          : pool_open_data(pool, source, path, error);
}

bool pool_close_source(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    return pool->ops->close_source == NULL || pool->ops->close_source(pool, source, record, error);
}

bool pool_suspend(struct pool *pool, const struct record *record, struct error *error)
{
    return pool->ops->suspend == NULL || pool->ops->suspend(pool, record, error);
}

bool pool_is_suspended(struct pool *pool, const struct record *record)
{
    return pool->ops->is_suspended != NULL && pool->ops->is_suspended(pool, record);
}

bool pool_resume(struct pool *pool, const struct record *record, struct error *error)
{
    return pool->ops->resume == NULL || pool->ops->resume(pool, record, error);
}

bool pool_mark(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    return pool->ops->mark != NULL
               ? pool->ops->mark(pool, source, record, error)
               : fail(error, FAILED_PRECONDITION, "pool %s cannot snapshot several volumes in use at one moment",
                      pool_name(pool));
}

void pool_unmark(struct pool *pool, const struct record *record)
{
    if (pool->ops->unmark != NULL)
        pool->ops->unmark(pool, record);
}

/* --- devices and health --- */

bool pool_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error)
{
    return pool_usable(pool, error) && pool->ops->attach(pool, record, mode, attachment, error);
}

static bool can_detach(struct pool *pool, struct error *error)
{
    return pool->ops->detaches_closed || pool_is_open(pool, error);
}

bool pool_detach(struct pool *pool, const struct record *record, struct error *error)
{
    if (!can_detach(pool, error))
        return fail_context(error, "volume %s keeps its block device until its pool can be used", record->id);
    return pool->ops->detach(pool, record, error);
}

bool pool_attached(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device)
{
    struct error ignored;
    return can_detach(pool, &ignored) && pool->ops->attached(pool, record, mode, device);
}

void pool_volume_health(struct pool *pool, const struct record *record,
                        void (*see)(enum health status, const char *reason, const char *message, void *data),
                        void *data)
{
    struct error failure;
    if (!pool_usable(pool, &failure))
        see(HEALTH_INACCESSIBLE, "PoolUnavailable", failure.message, data);
    else
        pool->ops->volume_health(pool, record, see, data);
}

void pool_health(struct pool *pool,
                 void (*see)(enum health status, const char *reason, const char *message, void *data), void *data)
{
    struct error failure;
    if (!pool_usable_soon(pool, &failure))
        see(HEALTH_INACCESSIBLE, "PoolUnavailable", failure.message, data);
    else
        pool->ops->health(pool, see, data);
}
