/* All pools of a node, and opening them. */
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

struct pools {
    size_t count;
    struct pool *pools;
};

/* Every kind of pool there is. */
static const struct pool_ops *const kinds[] = {&file_pool_ops, &lvm_pool_ops, &disk_pool_ops};

/* For the check for a second pool with the same id, by whoever opens one. */
static struct pools *all;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static void close_pool(struct pool *pool)
{
    pool->ops->close(pool);
    pool->open = false;
    inventory_clear(pool);
}

/* Two pools with one id are copies of each other: neither can be told to be the right one.  Calls may be using the
 * other one just now, so what it has stays until the end. */
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
    pool_recover(pool);
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
    bool open = pool->open && !pool->quarantined;
    bool due = !pool->open && !pool->quarantined && monotonic_now() - pool->tried > TRY_AGAIN;
    pthread_mutex_unlock(&pool->mutex);
    if (due) {
        pthread_mutex_lock(&opening);
        pthread_mutex_lock(&pool->mutex);
        open = (pool->open || try_open(pool)) && !pool->quarantined;
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

bool pool_is_open(struct pool *pool, struct error *error)
{
    LOCKED(pool);
    if (pool->open)
        return true;
    *error = pool->failure;
    error->code = UNAVAILABLE;
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

size_t pools_count(const struct pools *pools)
{
    return pools->count;
}

struct pool *pools_at(struct pools *pools, size_t index)
{
    return &pools->pools[index];
}

bool pools_identify(struct pools *pools, dev_t device, char id[static ID_BYTES])
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i]->identify(device, id))
            return pools_with_id(pools, id) != NULL;
    return false;
}
