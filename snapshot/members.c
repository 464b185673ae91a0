#include "snapshot/members.h"

#include "base/text.h"
#include "snapshot/removal.h"

#include <stdlib.h>
#include <string.h>

void group_free(struct group **group)
{
    free(*group);
}

static bool collect_member(struct pool *pool, const struct record *record, void *data)
{
    struct group *group = data;
    if (strcmp(record->group_id, group->id) != 0)
        return true;
    group->members[group->count++] = (struct found){.pool = pool, .record = *record};
    return group->count < GROUP_MEMBERS_MOST;
}

struct group *group_load(const struct driver *driver, const char *id)
{
    struct group *group = calloc(1, sizeof *group);
    if (group == NULL)
        abort();
    text_copy(group->id, sizeof group->id, id);
    pools_list(driver->pools, RECORD_SNAPSHOT, "", collect_member, group);
    return group;
}

static bool is_ready(const struct record *record)
{
    return record->phase == PHASE_READY;
}

/* As many as there should be, and `is` is true of all. */
static bool all(const struct group *group, bool (*is)(const struct record *record))
{
    bool good = group->count > 0 && (int32_t)group->count == group->members[0].record.group_members;
    for (size_t i = 0; i < group->count; i++)
        good = good && is(&group->members[i].record);
    return good;
}

bool group_is_whole(const struct group *group)
{
    return all(group, is_ready);
}

bool group_is_fixed(const struct group *group)
{
    return all(group, making_is_fixed);
}

static bool all_pools_are_usable(const struct driver *driver, struct error *error)
{
    for (size_t i = 0; i < pools_count(driver->pools); i++)
        if (!pool_usable(pools_at(driver->pools, i), error))
            return false;
    return true;
}

/* What is not found is not there, and the caller will say so. */
static bool all_are_found(const struct driver *driver, enum record_kind kind, char *const *ids, size_t count,
                          struct error *error)
{
    struct pool *pool;
    struct record record;
    for (size_t i = 0; i < count; i++)
        if (!pools_find(driver->pools, kind, ids[i], &pool, &record, error) && error->code != NOT_FOUND &&
            error->code != DATA_LOSS)
            return false;
    return true;
}

bool group_is_known(const struct driver *driver, const struct group *group, enum record_kind kind, char *const *ids,
                    size_t count, struct error *error)
{
    bool known = group_is_fixed(group) ||
                 (count == 0 ? all_pools_are_usable(driver, error) : all_are_found(driver, kind, ids, count, error));
    return known || fail_context(error, "cannot tell what there is of group snapshot %s", group->id);
}

/* --- removing --- */

bool group_join(struct rpc_call *call, const struct driver *driver, const char *id, struct error *error)
{
    cleanup_group struct group *group = group_load(driver, id);
    for (size_t i = 0; i < group->count; i++)
        if (!removal_join(call, &group->members[i].record, error) && error->code != OK)
            return false;
    return true;
}

static bool lock_members(const struct group *group, struct keylock *locks[], struct error *error)
{
    for (size_t i = 0; i < group->count; i++)
        if ((locks[i] = keylock_acquire(group->members[i].record.id, error)) == NULL)
            return false;
    return true;
}

/* What is to be wiped is only marked: nobody waits for one of them before all are. */
static bool begin_removal(const struct driver *driver, struct group *group, struct keylock *locks[],
                          struct error *error)
{
    for (int last = 0; last <= 1; last++)
        for (size_t i = 0; i < group->count; i++) {
            struct found *member = &group->members[i];
            struct record *record = &member->record;
            if ((record->phase == PHASE_CREATING) == (last == 1) &&
                !(record->wipe != WIPE_NONE ? removal_mark(member->pool, record, error)
                                            : removal_run(NULL, driver, member->pool, record, &locks[i], error)))
                return false;
        }
    return true;
}

/* All are tried, whatever comes of one; that a wipe goes on is told if nothing worse is to be told. */
static bool wipe_members(struct rpc_call *call, const struct driver *driver, struct group *group,
                         struct keylock *locks[], struct error *error)
{
    bool gone = true;
    for (size_t i = 0; i < group->count; i++) {
        struct found *member = &group->members[i];
        struct error failure;
        if (member->record.wipe == WIPE_NONE ||
            removal_run(call, driver, member->pool, &member->record, &locks[i], &failure))
            continue;
        if (gone || failure.code != ABORTED)
            *error = failure;
        gone = false;
    }
    return gone;
}

bool group_remove(struct rpc_call *call, const struct driver *driver, struct group *group, struct error *error)
{
    struct keylock *locks[GROUP_MEMBERS_MOST] = {NULL};
    bool gone = lock_members(group, locks, error) && begin_removal(driver, group, locks, error) &&
                wipe_members(call, driver, group, locks, error);
    for (size_t i = 0; i < group->count; i++)
        keylock_release(locks[i]);
    return gone;
}
