/* What a killed process left of snapshots: copies from cuts go on, groups that were promised to nobody go. */
#include "snapshot/snapshot.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "snapshot/members.h"
#include "snapshot/removal.h"

#include <stdlib.h>
#include <string.h>

/* Snapshots that are half made; of a group, one. */
struct half_made {
    struct found *found;
    size_t count, room;
};

static bool is_known(const struct half_made *half_made, const char *group_id)
{
    for (size_t i = 0; group_id[0] != '\0' && i < half_made->count; i++)
        if (strcmp(half_made->found[i].record.group_id, group_id) == 0)
            return true;
    return false;
}

static bool find_half_made(struct pool *pool, const struct record *record, void *data)
{
    struct half_made *half_made = data;
    bool ours = record->group_id[0] != '\0' || record->copying;
    if (record->phase != PHASE_CREATING || !ours || is_known(half_made, record->group_id))
        return true;
    if (half_made->count == half_made->room) {
        half_made->room = half_made->room * 2 + 16;
        half_made->found = reallocarray(half_made->found, half_made->room, sizeof *half_made->found);
        if (half_made->found == NULL)
            abort();
    }
    half_made->found[half_made->count++] = (struct found){.pool = pool, .record = *record};
    return true;
}

/* The caller waits for nothing, so an ABORTED that tells the progress is no error here. */
static void resume(const struct driver *driver, const char *id, const struct found *members, size_t count)
{
    struct error error;
    if (making_resume(driver, NULL, id, members, count, &error))
        log_event(LOG_INFO, "the copy of a snapshot goes on", "volume_id", id, NULL);
    else
        log_event(LOG_WARNING, "the copy of a snapshot waits for the next CreateSnapshot", "volume_id", id, "error",
                  error.message, NULL);
}

static bool recover_group(const struct driver *driver, const char *id, struct error *error)
{
    cleanup_group struct group *group = group_load(driver, id);
    if (group_is_fixed(group)) {
        resume(driver, id, group->members, group->count);
        return true;
    }
    bool gone = group_remove(NULL, driver, group, error);
    if (!gone && error->code != ABORTED)
        return fail_context(error, "half-made group snapshot %s", id);
    log_event(LOG_INFO, gone ? "half-made group snapshot undone" : "half-made group snapshot is wiped, then undone",
              "group_snapshot_id", id, NULL);
    return true;
}

bool snapshot_recover(struct driver *driver, struct error *error)
{
    struct half_made half_made = {.count = 0};
    bool good = true;
    pools_list(driver->pools, RECORD_SNAPSHOT, "", find_half_made, &half_made);
    for (size_t i = 0; i < half_made.count; i++) {
        const struct found *found = &half_made.found[i];
        if (found->record.group_id[0] == '\0')
            resume(driver, found->record.id, found, 1);
        else
            good = recover_group(driver, found->record.group_id, error) && good;
    }
    free(half_made.found);
    removal_recover(driver);
    return good;
}
