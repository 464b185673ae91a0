/* All pools of a node: opening them, recovery at start, and finding things in them. */
#include "pool/kind.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_MOST (15 * NANOSECONDS_PER_SECOND)
#define TRY_AGAIN NANOSECONDS_PER_SECOND
#define LIST_WAITS (2 * NANOSECONDS_PER_SECOND)
#define RECENT (24 * 3600 * NANOSECONDS_PER_SECOND)

struct pools {
    size_t count;
    struct pool *pools;
};

/* Every kind of pool there is. */
static const struct pool_ops *const kinds[] = {&file_pool_ops, &lvm_pool_ops, &disk_pool_ops};

/* For the check for a second pool with the same id, by whoever opens one. */
static struct pools *all;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

/* --- recovery: under the pool's exclusive lock, before anybody else sees it --- */

/* Undoing is for what we made a moment before we were killed, and nothing else. */
static bool may_undo(struct pool *pool, const struct record *record, struct error *error)
{
    bool recent = !pool->ops->undoes_recent_only || wall_clock_now() - record->created < RECENT;
    if (record->staged || !recent || pool->ops->in_use(pool, record))
        return fail(
            error, FAILED_PRECONDITION,
            "%s is in phase creating but is old or has been handed out; it is left alone: look at how its record came "
            "back (a restored backup of the pool?)",
            record->id);
    return true;
}

static void quarantine(struct pool *pool, const struct record *record, const struct error *why)
{
    log_event(LOG_ERROR, "left alone", "volume_id", record->id, "pool", pool_name(pool), "error", why->message, NULL);
    inventory_damage(pool, record->kind, record->id, why);
    inventory_drop(pool, record->kind, record->id);
}

/* A copy that has come some way goes on with the retry, which comes within a day or never. */
static bool is_resumable(const struct record *record)
{
    bool begun = record->copied > 0 || record->kind == RECORD_SNAPSHOT;
    return record->copying && begun && wall_clock_now() - record->created < RECENT;
}

static void recover_record(struct pool *pool, const struct record *record)
{
    struct error error;
    bool resumable = is_resumable(record) || record->group_id[0] != '\0'; /* by the retry; by snapshot_recover() */
    if (record->phase == PHASE_READY || (record->phase == PHASE_CREATING && resumable))
        return;
    if (record->phase == PHASE_CREATING && !may_undo(pool, record, &error)) {
        quarantine(pool, record, &error);
        return;
    }
    if (pool->ops->detach(pool, record, &error) && pool->ops->remove(pool, record, &error)) {
        log_event(LOG_INFO, record->phase == PHASE_CREATING ? "half-made volume undone" : "deletion finished",
                  "volume_id", record->id, "pool", pool_name(pool), NULL);
        inventory_drop(pool, record->kind, record->id);
    } else {
        log_event(LOG_WARNING, "recovery goes on with the retry", "volume_id", record->id, "error", error.message,
                  NULL);
    }
}

static void recover(struct pool *pool)
{
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        char after[ID_BYTES] = "";
        for (size_t index; (index = inventory_after(pool, kind, after)) < pool->entries[kind].count;) {
            struct record record = pool->entries[kind].sorted[index]->record;
            memcpy(after, record.id, sizeof after);
            recover_record(pool, &record);
        }
    }
}

/* --- opening --- */

static void close_pool(struct pool *pool)
{
    pool->ops->close(pool);
    pool->open = false;
    inventory_clear(pool);
}

/* Two pools with one id are copies of each other: neither can be told to be the right one. */
static bool check_twins(struct pool *pool, struct error *error)
{
    bool found = false;
    for (size_t i = 0; i < all->count; i++) {
        struct pool *other = &all->pools[i];
        if (other == pool || strcmp(other->id, pool->id) != 0 || (!other->open && !other->quarantined))
            continue;
        found = true;
        fail(error, FAILED_PRECONDITION,
             "pools %s and %s have the same id %s: one is a copy of the other; neither is used until one of them is "
             "taken out of the configuration",
             other->config.name, pool->config.name, pool->id);
        pthread_mutex_lock(&other->mutex); /* one opens at a time, so two mutexes are held by nobody else */
        if (other->open)
            close_pool(other);
        other->quarantined = pool->quarantined = true;
        other->failure = *error;
        pthread_mutex_unlock(&other->mutex);
    }
    return !found;
}

static bool open_pool(struct pool *pool, struct error *error)
{
    pool->looked = 0;
    if (!pool->ops->open(pool, error))
        return fail_context(error, "pool %s", pool->config.name);
    if (!check_twins(pool, error) || !pool->ops->scan(pool, error)) {
        close_pool(pool);
        return false;
    }
    recover(pool);
    pool->open = true;
    log_event(LOG_INFO, "pool opened", "pool", pool->config.name, "kind", pool->ops->kind, "id", pool->id, NULL);
    return true;
}

static bool try_open(struct pool *pool)
{
    bool good = !pool->quarantined && open_pool(pool, &pool->failure);
    pool->tried = monotonic_now();
    if (!good)
        log_event(LOG_ERROR, "pool cannot be used", "pool", pool->config.name, "error", pool->failure.message, NULL);
    return good;
}

bool pool_usable(struct pool *pool, struct error *error)
{
    pthread_mutex_lock(&pool->mutex);
    bool open = pool->open, due = monotonic_now() - pool->tried > TRY_AGAIN && !pool->quarantined;
    pthread_mutex_unlock(&pool->mutex);
    if (!open && due) {
        pthread_mutex_lock(&opening);
        pthread_mutex_lock(&pool->mutex);
        open = pool->open || try_open(pool);
        pthread_mutex_unlock(&pool->mutex);
        pthread_mutex_unlock(&opening);
    }
    if (open)
        return pool->ops->usable == NULL || pool->ops->usable(pool, error);
    pthread_mutex_lock(&pool->mutex);
    *error = pool->failure;
    pthread_mutex_unlock(&pool->mutex);
    return false;
}

static const struct pool_ops *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->kind, name) == 0)
            return kinds[i];
    return NULL;
}

/* One volume group is one pool: it has one inventory and one lock. */
static bool check_storage(const struct pools *pools, const struct pool *pool, struct error *error)
{
    const char *vg = pool_option(pool, "vg");
    for (size_t i = 0; vg != NULL && i + 1 < pools->count; i++) {
        const char *other = pool_option(&pools->pools[i], "vg");
        if (other != NULL && strcmp(other, vg) == 0)
            return fail(error, INVALID_ARGUMENT,
                        "pools %s and %s are both on volume group %s: make it one pool; the class parameter "
                        "provisioning says whether a volume is thin or thick",
                        pools->pools[i].config.name, pool->config.name, vg);
    }
    return true;
}

/* Opening holds it, and what recovery does takes it again. */
static void init_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static bool prepare(struct pools *pools, const struct pool_config *config, const char *node,
                    const char *state_directory, struct error *error)
{
    for (size_t i = 0; i < pools->count; i++)
        if (strcmp(pools->pools[i].config.name, config->name) == 0)
            return fail(error, INVALID_ARGUMENT, "there are two pools named %s", config->name);
    struct pool *pool = &pools->pools[pools->count++];
    *pool = (struct pool){.config = *config,
                          .lock = -1,
                          .node = node,
                          .state_directory = state_directory,
                          .ops = find_kind(config->kind)};
    init_mutex(&pool->mutex);
    record_node_hint(pool->node_hint, node);
    if (pool->ops == NULL)
        return fail(error, INVALID_ARGUMENT, "pool %s: there is no kind \"%s\" of pool; there are: file, lvm, disk",
                    config->name, config->kind);
    return pool_read_options(pool, error) && check_storage(pools, pool, error);
}

/* What waiting does not mend: a wrong configuration, another Plinth. */
static bool is_fatal(enum error_code code)
{
    return code == ALREADY_EXISTS || code == INVALID_ARGUMENT;
}

/* A disk that is stuck must not hinder the start: opening is tried again when somebody asks. */
static bool open_at_start(struct pool *pool)
{
    caller_deadline = monotonic_now() + OPEN_MOST;
    bool good = try_open(pool);
    caller_deadline = NO_DEADLINE;
    return good;
}

struct pools *pools_open(const struct pool_config *configs, size_t count, const char *node, const char *state_directory,
                         struct error *error)
{
    struct pools *pools = calloc(1, sizeof *pools);
    pools->pools = calloc(count, sizeof *pools->pools);
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = prepare(pools, &configs[i], node, state_directory, error);
    all = pools;
    loop_load();
    for (size_t i = 0; good && i < count; i++)
        if (!open_at_start(&pools->pools[i]) && is_fatal(pools->pools[i].failure.code)) {
            *error = pools->pools[i].failure;
            good = false;
        }
    if (good)
        return pools;
    pools_close(pools);
    return NULL;
}

void pools_close(struct pools *pools)
{
    if (pools == NULL)
        return;
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *pool = &pools->pools[i];
        if (pool->open)
            close_pool(pool);
        pthread_mutex_destroy(&pool->mutex);
    }
    all = NULL;
    free(pools->pools);
    free(pools);
}

/* --- finding --- */

size_t pools_count(const struct pools *pools)
{
    return pools->count;
}

struct pool *pools_at(struct pools *pools, size_t index)
{
    return &pools->pools[index];
}

struct pool *pools_named(struct pools *pools, const char *name, struct error *error)
{
    if (name == NULL || name[0] == '\0')
        return &pools->pools[0];
    char names[512] = "";
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *pool = &pools->pools[i];
        if (strcmp(pool->config.name, name) == 0)
            return pool;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ", pool->config.name);
    }
    fail(error, INVALID_ARGUMENT, "there is no pool \"%s\" on node %s; there is: %s", name, pools->pools[0].node,
         names);
    return NULL;
}

static struct pool *pool_of_id(struct pools *pools, const char *id)
{
    for (size_t i = 0; i < pools->count; i++)
        if (pools->pools[i].id[0] != '\0' && strncmp(pools->pools[i].id, id, POOL_ID_DIGITS) == 0)
            return &pools->pools[i];
    return NULL;
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

/*
 * The pool that an id belongs to.  NULL with error->code OK: it is no id of ours.  A pool that could never be opened
 * (its disk is not mounted yet) has an id we do not know, and may be the one: then the answer is not "not found".
 */
static struct pool *find_pool(struct pools *pools, enum record_kind kind, const char *id, struct error *error)
{
    struct pool *pool = NULL;
    bool is_id = record_is_id(id, kind == RECORD_VOLUME ? ID_MARK_VOLUME : ID_MARK_SNAPSHOT);
    error->code = OK;
    for (size_t i = 0; is_id && (pool = pool_of_id(pools, id)) == NULL && i < pools->count; i++)
        if (pools->pools[i].id[0] == '\0' && !pool_usable(&pools->pools[i], error))
            return NULL;
    return pool;
}

bool pools_find(struct pools *pools, enum record_kind kind, const char *id, struct pool **pool, struct record *record,
                struct error *error)
{
    *pool = find_pool(pools, kind, id, error);
    if (*pool != NULL && look_up(*pool, kind, id, record, error))
        return true;
    if (error->code != OK)
        return false;
    return fail(error, NOT_FOUND, "there is no %s %s on node %s", kind == RECORD_VOLUME ? "volume" : "snapshot", id,
                pools->pools[0].node);
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
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *candidate = &pools->pools[i];
        char id[ID_BYTES];
        struct error failure;
        if (!pool_usable(candidate, &failure))
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

static int compare_pools(const void *left, const void *right)
{
    return strcmp((*(struct pool *const *)left)->id, (*(struct pool *const *)right)->id);
}

/* What somebody else has changed is looked for, but a list does not wait for a pool that is stuck: what it has is told.
 */
static void bring_up_to_date(struct pools *pools)
{
    int64_t deadline = caller_deadline;
    struct error ignored;
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *pool = &pools->pools[i];
        pthread_mutex_lock(&pool->mutex);
        bool open = pool->open;
        pthread_mutex_unlock(&pool->mutex);
        int64_t soon = monotonic_now() + LIST_WAITS;
        caller_deadline = soon < deadline ? soon : deadline;
        if (open && pool->ops->usable != NULL)
            pool->ops->usable(pool, &ignored);
    }
    caller_deadline = deadline;
}

void pools_list(struct pools *pools, enum record_kind kind, const char *after,
                bool (*see)(struct pool *pool, const struct record *record, void *data), void *data)
{
    struct pool **order = calloc(pools->count, sizeof(struct pool *));
    bool more = order != NULL;
    bring_up_to_date(pools);
    for (size_t i = 0; more && i < pools->count; i++)
        order[i] = &pools->pools[i];
    if (more)
        qsort(order, pools->count, sizeof *order, compare_pools);
    for (size_t i = 0; more && i < pools->count; i++) {
        pthread_mutex_lock(&order[i]->mutex);
        const struct entries *entries = &order[i]->entries[kind];
        for (size_t k = inventory_after(order[i], kind, after); more && k < entries->count; k++)
            more = see(order[i], &entries->sorted[k]->record, data);
        pthread_mutex_unlock(&order[i]->mutex);
    }
    free(order);
}

void pools_list_damaged(struct pools *pools,
                        void (*see)(struct pool *pool, const char *id, const struct error *why, void *data), void *data)
{
    bring_up_to_date(pools);
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *pool = &pools->pools[i];
        pthread_mutex_lock(&pool->mutex);
        for (const struct damage *damage = pool->damaged; damage != NULL; damage = damage->next)
            see(pool, damage->id, &damage->why, data);
        pthread_mutex_unlock(&pool->mutex);
    }
}

bool pools_identify(struct pools *pools, dev_t device, char id[static ID_BYTES])
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i]->identify(device, id))
            return pool_of_id(pools, id) != NULL;
    return false;
}
