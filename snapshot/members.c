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

bool group_remove(const struct driver *driver, struct group *group, struct error *error)
{
    for (int last = 0; last <= 1; last++)
        for (size_t i = 0; i < group->count; i++) {
            struct found *member = &group->members[i];
            bool creating = member->record.phase == PHASE_CREATING;
            if (creating == (last == 1) && !removal_run_here(driver, member->pool, &member->record, error))
                return false;
        }
    return true;
}
