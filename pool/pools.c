/* All pools of a node. */
#include "pool/kind.h"

#include "base/clock.h"
#include "pool/loop.h"

#include <stdlib.h>
#include <string.h>

#define CLOSE_MOST (2 * NANOSECONDS_PER_SECOND) /* waited at the end for what is being opened just now */

struct pools {
    size_t count;
    struct pool *pools;
};

/* Every kind of pool there is. */
static const struct pool_ops *const kinds[] = {&file_pool_ops, &lvm_pool_ops, &disk_pool_ops};

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
                          .pools = pools,
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

/* All at a time: each may take as long as one. */
static bool open_all(struct pools *pools, struct error *error)
{
    for (size_t i = 0; i < pools->count; i++)
        pool_begin_open(&pools->pools[i]);
    for (size_t i = 0; i < pools->count; i++)
        if (!pool_await_open(&pools->pools[i], error) && is_fatal(error->code))
            return false;
    return true;
}

struct pools *pools_open(const struct pool_config *configs, size_t count, const char *node, const char *state_directory,
                         struct error *error)
{
    struct pools *pools = calloc(1, sizeof *pools);
    pools->pools = calloc(count, sizeof *pools->pools);
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = prepare(pools, &configs[i], node, state_directory, error);
    loop_load(); /* also those of pools that cannot be opened */
    if (good && open_all(pools, error))
        return pools;
    pools_close(pools);
    return NULL;
}

void pools_close(struct pools *pools)
{
    if (pools == NULL)
        return;
    bool closed = true;
    int64_t until = monotonic_now() + CLOSE_MOST;
    for (size_t i = 0; i < pools->count; i++)
        closed = pool_close(&pools->pools[i], until) && closed;
    if (!closed) /* what is opened just now is in use; the process ends anyway */
        return;
    for (size_t i = 0; i < pools->count; i++)
        pthread_mutex_destroy(&pools->pools[i].mutex);
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

bool pools_can_detach(struct pools *pools, const char *id, struct error *error)
{
    bool known = pools_with_id(pools, id) != NULL;
    for (size_t i = 0; !known && i < pools->count; i++) {
        struct pool *pool = &pools->pools[i];
        if (pool_may_have(pool, id) && !pool->ops->detaches_closed && !pool_is_open(pool, error))
            return fail_context(error, "cannot tell whether volume %s keeps a block device", id);
    }
    return true;
}

bool pools_identify(struct pools *pools, dev_t device, char id[static ID_BYTES])
{
    bool found = false;
    for (size_t i = 0; !found && i < sizeof kinds / sizeof *kinds; i++)
        found = kinds[i]->identify(device, id);
    for (size_t i = 0; found && i < pools->count; i++)
        if (pool_may_have(&pools->pools[i], id))
            return true;
    return false;
}
