#include "snapshot/making.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "snapshot/copying.h"
#include "snapshot/hold.h"
#include "snapshot/removal.h"
#include "snapshot/waiting.h"

#include <stdlib.h>
#include <string.h>

struct making *making_create(const struct driver *driver, const char *id, size_t count)
{
    struct making *making = calloc(1, sizeof *making + count * sizeof *making->members);
    if (making == NULL)
        abort();
    making->driver = driver;
    making->count = count;
    text_copy(making->id, sizeof making->id, id);
    return making;
}

void making_free(struct making *making)
{
    if (making == NULL)
        return;
    for (size_t i = 0; i < making->count; i++) {
        keylock_release(making->members[i].source_lock);
        keylock_release(making->members[i].lock);
    }
    free(making);
}

bool making_is_fixed(const struct record *record)
{
    return record->phase == PHASE_READY || (record->phase == PHASE_CREATING && record->copying);
}

/* True if `is` is true of all members. */
static bool all(const struct making *making, bool (*is)(const struct member *member))
{
    for (size_t i = 0; i < making->count; i++)
        if (!is(&making->members[i]))
            return false;
    return true;
}

static bool each(struct making *making, bool (*act)(const struct making *making, struct member *member, struct error *),
                 struct error *error)
{
    for (size_t i = 0; i < making->count; i++)
        if (!act(making, &making->members[i], error))
            return false;
    return true;
}

/* --- 2. the moment --- */

static bool is_made(const struct member *member, struct error *error)
{
    return member->made && fault("snapshot.making.made", error);
}

static bool copy_at_once(const struct making *making, struct member *member, struct error *error)
{
    /* What one step makes whole needs no second one; but of a group none is ready before all are made. */
    if (making->count == 1 && pool_is_atomic(member->pool) && member->record.bytes == member->source.bytes)
        member->record.phase = PHASE_READY;
    member->made = pool_copy(member->pool, &member->source, &member->record, &member->copied, error);
    return is_made(member, error);
}

static bool mark(struct member *member, struct error *error)
{
    member->marked = pool_mark(member->source_pool, &member->source, &member->record, error);
    return member->marked && fault("snapshot.making.marked", error);
}

static bool fix(const struct making *making, struct member *member, struct error *error)
{
    if (member->made) /* by a predecessor: its copy goes on where it was */
        return true;
    if (!hold_check(member, error))
        return false;
    if (hold_is_for_a_moment(member))
        return member->suspended ? mark(member, error) : copy_at_once(making, member, error);
    if (member->source_pool == NULL || member->source.kind == RECORD_SNAPSHOT)
        return true;
    if (!pool_cut(member->source_pool, &member->source, &member->record, &member->cut, error))
        return false;
    return member->cut ? fault("snapshot.making.cut", error) : hold_until_copied(making, member, error);
}

static bool needs_no_hold(const struct member *member)
{
    return member->freeze == NULL || member->copied || member->marked || member->cut;
}

/* --- 4. copying --- */

static bool make(const struct making *making, struct member *member, struct error *error)
{
    if (member->made)
        return true;
    if (member->marked)
        return copy_at_once(making, member, error);
    member->record.copying = member->source_pool == NULL || member->cut || member->source.kind == RECORD_SNAPSHOT;
    if (member->source_pool == member->pool && !member->cut)
        member->made = pool_copy(member->pool, &member->source, &member->record, &member->copied, error);
    else
        member->made = pool_create(member->pool, &member->record, error);
    return is_made(member, error);
}

/* Others may use the source again, stage it for example: what is copied is the cut. */
static void release_cut_sources(struct making *making)
{
    for (size_t i = 0; i < making->count; i++)
        if (making->members[i].cut)
            keylock_release(steal_pointer(making->members[i].source_lock));
}

/* --- 5. ready, or undone --- */

static bool is_copied(const struct member *member)
{
    return member->copied;
}

static bool finish_member(const struct making *making, struct member *member, struct error *error)
{
    (void)making;
    if (!member->copied || member->record.phase == PHASE_READY)
        return true;
    if (!pool_sync(member->pool, &member->record, error) || !fault("snapshot.making.synced", error))
        return false;
    member->record.phase = PHASE_READY;
    member->record.copying = false;
    member->record.copied = 0;
    return pool_write(member->pool, &member->record, error) && fault("snapshot.making.ready", error);
}

static bool finish(struct making *making, struct error *error)
{
    if (!hold_end(making, error) || !each(making, finish_member, error))
        return false;
    /* Only now: without its cut a copy that is not ready would have lost its moment.  What waits for the job is told
     * later, and may then do something else with the source. */
    for (size_t i = 0; i < making->count; i++)
        copying_close(&making->members[i]);
    return true;
}

static void undo_member(const struct driver *driver, struct member *member)
{
    struct error error;
    bool marked = member->record.phase == PHASE_READY || record_wants_wipe(&member->record);
    bool gone = marked ? removal_run(NULL, driver, member->pool, &member->record, &member->lock, &error)
                       : pool_remove(member->pool, &member->record, &error);
    if (!gone && error.code != ABORTED) /* its wipe goes on */
        log_event(LOG_WARNING, "half-made copy left for the next start", "volume_id", member->record.id, "error",
                  error.message, NULL);
}

/* A group is whole or not at all: as long as one member is `creating`, none of it was promised to anybody. */
static void undo(struct making *making)
{
    for (size_t i = 0; i < making->count; i++) {
        if (making->members[i].marked)
            pool_unmark(making->members[i].source_pool, &making->members[i].record);
        if (making->members[i].made)
            undo_member(making->driver, &making->members[i]);
        copying_close(&making->members[i]);
    }
}

static bool can_go_on(const struct member *member)
{
    const struct record *record = &member->record;
    return member->made && (record->phase == PHASE_READY || (record->copying && (member->cut || record->copied > 0)));
}

/* Keeps copies that can be resumed after a shutdown; everything else that failed is undone. */
static bool give_up(struct making *making, struct error *error)
{
    struct error second;
    bool ended = error->code == ABORTED || error->code == UNAVAILABLE;
    hold_end(making, &second);
    if (!ended || !all(making, can_go_on))
        undo(making);
    return false;
}

/* --- all of it --- */

static bool begin(struct making *making, struct error *error)
{
    if (!hold_begin(making, error) || !each(making, fix, error))
        return false;
    bool fixed = all(making, needs_no_hold);
    if ((fixed && !hold_end(making, error)) || !each(making, make, error))
        return false;
    release_cut_sources(making);
    return !fixed || all(making, is_copied) || each(making, finish_member, error);
}

static bool run_job(struct job *job, void *data, struct error *error)
{
    struct making *making = data;
    for (size_t i = 0; i < making->count; i++)
        if (!making->members[i].copied && !copying_run(job, &making->members[i], error))
            return give_up(making, error);
    return finish(making, error) || give_up(making, error);
}

static void release_job(void *data)
{
    making_free(data);
}

bool making_join(struct rpc_call *call, const char *id, bool early, struct error *error)
{
    enum job_state state = waiting_join(call, id, early, error);
    if (state == JOB_NONE)
        error->code = OK;
    return state == JOB_DONE || (state == JOB_RUNNING && early);
}

bool making_await_end(struct rpc_call *call, const char *id, struct error *error)
{
    return making_join(call, id, false, error) || error->code == OK;
}

static bool is_promised(const struct member *member)
{
    return member->record.phase == PHASE_READY || member->cut;
}

static bool is_let_go(const struct member *member)
{
    return member->freeze == NULL;
}

static bool hand_to_job(struct rpc_call *call, struct making *making, struct error *error)
{
    struct job_plan plan = {.pool = pool_name(making->members[0].pool),
                            .what = "copied",
                            .at_once = !all(making, is_let_go),
                            .run = run_job,
                            .release = release_job,
                            .data = making};
    char id[ID_BYTES];
    bool early = making->early && all(making, is_promised);
    memcpy(id, making->id, sizeof id);
    enum job_state state = waiting_run(call, id, &plan, early, error);
    if (state == JOB_NONE) {
        give_up(making, error);
        making_free(making);
    }
    return state == JOB_DONE || (state == JOB_RUNNING && early);
}

bool making_run(struct rpc_call *call, struct making *making, struct error *error)
{
    bool good = begin(making, error);
    if (good && !all(making, is_copied))
        return hand_to_job(call, making, error);
    good = (good && finish(making, error)) || give_up(making, error);
    making_free(making);
    return good;
}
