/* What a killed process left of snapshots: copies from cuts go on, groups that were promised to nobody go. */
#include "snapshot/snapshot.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "snapshot/members.h"
#include "snapshot/removal.h"
#include "transfer/job.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RECOVERY_AWAITED (5 * NANOSECONDS_PER_SECOND)

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

/* Nobody waits here.  ABORTED: a call is at it already. */
static void resume(const struct driver *driver, const char *id, const struct found *members, size_t count)
{
    struct error error;
    if (making_resume(driver, NULL, id, members, count, &error))
        log_event(LOG_INFO, "the copy of a snapshot goes on", "volume_id", id, NULL);
    else if (error.code != ABORTED)
        log_event(LOG_WARNING, "the copy of a snapshot waits for the next CreateSnapshot", "volume_id", id, "error",
                  error.message, NULL);
}

/* What is missing may be in a pool that is not open yet, and the group whole with it. */
static bool may_be_fixed(const struct driver *driver, const struct group *group)
{
    return (int32_t)group->count < group->members[0].record.group_members && !pools_are_open(driver->pools);
}

static bool undo_group(const struct driver *driver, struct group *group, struct error *error)
{
    if (group_remove(NULL, driver, group, error))
        log_event(LOG_INFO, "half-made group snapshot undone", "group_snapshot_id", group->id, NULL);
    else if (error->code != ABORTED) /* it is wiped before */
        return fail_context(error, "half-made group snapshot %s", group->id);
    return true;
}

/* Calls may be served already: what is being made just now is left to them. */
static bool recover_group(const struct driver *driver, const char *id, struct error *error)
{
    struct error busy;
    cleanup_keylock struct keylock *lock = keylock_acquire(id, &busy);
    if (lock == NULL || making_join(NULL, id, false, &busy) || busy.code != OK)
        return true;
    cleanup_group struct group *group = group_load(driver, id);
    if (group_is_fixed(group))
        resume(driver, id, group->members, group->count);
    else if (group->count > 0 && !may_be_fixed(driver, group))
        return undo_group(driver, group, error);
    return true;
}

static bool recover(const struct driver *driver, struct error *error)
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

/* --- by a job: at start, and for pools that are opened later --- */

/* One after the other: each sees all pools that were opened before it began. */
static bool run_job(struct job *job, void *driver, struct error *error)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    (void)job;
    pthread_mutex_lock(&mutex);
    bool good = recover(driver, error);
    pthread_mutex_unlock(&mutex);
    return good;
}

static void release_nothing(void *driver)
{
    (void)driver;
}

static bool never(const void *data)
{
    (void)data;
    return false;
}

static void recover_by_job(void *driver, int64_t deadline)
{
    struct error ignored;
    struct job_plan plan = {
        .pool = "", .what = "recovered", .run = run_job, .release = release_nothing, .data = driver};
    job_run("snapshots", &plan, deadline, never, NULL, &ignored);
}

static void recover_opened(void *driver)
{
    recover_by_job(driver, 0);
}

void snapshot_recover(struct driver *driver)
{
    pools_when_opened(recover_opened, driver);
    recover_by_job(driver, monotonic_now() + RECOVERY_AWAITED);
}
