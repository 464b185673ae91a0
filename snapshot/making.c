#include "snapshot/making.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/mount.h"
#include "transfer/copy.h"
#include "transfer/job.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_BEFORE (400 * NANOSECONDS_PER_MILLISECOND) /* the deadline, so that the progress still arrives */
#define FROZEN_FOR_REFLINK (10 * NANOSECONDS_PER_SECOND)
#define FROZEN_FOR_COPY (60 * NANOSECONDS_PER_SECOND)

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

static bool can_copy_at_once(const struct member *member)
{
    return member->source_pool == member->pool && pool_copies_at_once(member->pool, &member->source);
}

/* --- 1. freezing --- */

/* What has been written to a raw block device may still be in its page cache; the cut takes what the pool has. */
static bool flush_block(const struct member *member, struct error *error)
{
    struct attachment attachment;
    if (!can_copy_at_once(member))
        return fail(error, FAILED_PRECONDITION,
                    "volume %s is in use as a raw block device and pool %s cannot copy at once (its directory has no "
                    "reflink): stop what uses it, or put the pool on xfs or btrfs",
                    member->source.id, pool_name(member->source_pool));
    if (!pool_attach(member->source_pool, &member->source, ATTACH_BLOCK, &attachment, error))
        return false;
    cleanup_close int device = attachment.descriptor;
    return fsync(device) == 0 ||
           fail_errno(error, errno, "cannot flush %s of volume %s", attachment.path, member->source.id);
}

/* Copying takes as long as there are bytes, and everybody who writes waits. */
static bool check_frozen_size(const struct making *making, const struct member *member, struct error *error)
{
    int64_t bytes;
    char has[32], most[32];
    if (can_copy_at_once(member))
        return true;
    if (!pool_allocated(member->source_pool, &member->source, &bytes, error))
        return false;
    return bytes <= making->driver->frozen_copy_most ||
           fail(error, FAILED_PRECONDITION,
                "volume %s is mounted and holds %s, and pool %s has no reflink: it would have to stay frozen while "
                "that is copied (at most %s, --frozen-copy-most); stop what uses it, or put the pool on xfs or btrfs",
                member->source.id, text_from_size(bytes, has), pool_name(member->source_pool),
                text_from_size(making->driver->frozen_copy_most, most));
}

static bool freeze_member(const struct making *making, struct member *member, struct error *error)
{
    dev_t device;
    char mount_point[PATH_MAX];
    if (member->source.kind == RECORD_SNAPSHOT ||
        !pool_attached(member->source_pool, &member->source, ATTACH_MOUNT, &device))
        return true;
    if (member->source.filesystem[0] == '\0')
        return flush_block(member, error);
    if (!mount_find_device(device, mount_point))
        return fail(error, FAILED_PRECONDITION,
                    "volume %s is mounted where this process cannot see it, so it cannot be frozen; stop what uses it",
                    member->source.id);
    if (!check_frozen_size(making, member, error))
        return false;
    member->freeze = freeze_begin(member->source.id, mount_point,
                                  can_copy_at_once(member) ? FROZEN_FOR_REFLINK : FROZEN_FOR_COPY, error);
    return member->freeze != NULL;
}

/* Thaws every member; true if all had been frozen until now. */
static bool thaw(struct making *making, struct error *error)
{
    bool good = true;
    for (size_t i = 0; i < making->count; i++)
        good = freeze_end(steal_pointer(making->members[i].freeze), error) && good;
    return good;
}

/* --- 2. and 3. copying --- */

static bool make(struct member *member, struct error *error)
{
    if (member->made) /* by a predecessor: its copy goes on where it was */
        return true;
    member->record.copying = member->source.kind == RECORD_SNAPSHOT && !can_copy_at_once(member);
    if (member->source_pool == member->pool)
        member->made = pool_copy(member->pool, &member->source, &member->record, &member->copied, error);
    else
        member->made = pool_create(member->pool, &member->record, error);
    return member->made && fault("snapshot.making.made", error);
}

struct copying {
    struct job *job;
    struct member *member;
};

static bool go_on(int64_t done, void *data)
{
    const struct copying *copying = data;
    job_progress(copying->job, done, copying->member->source.bytes);
    return !job_should_stop(copying->job);
}

static bool checkpoint(int64_t done, void *data, struct error *error)
{
    struct member *member = ((const struct copying *)data)->member;
    if (!member->record.copying)
        return true;
    member->record.copied = done;
    return pool_write(member->pool, &member->record, error);
}

static bool copy_member(struct job *job, struct member *member, struct error *error)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct copying copying = {.job = job, .member = member};
    if (!pool_open_source(member->source_pool, &member->source, &member->record, from, error) ||
        !pool_open_data(member->pool, &member->record, to, error))
        return false;
    struct copy copy = {.from = from,
                        .to = to,
                        .bytes = member->source.bytes,
                        .start = member->record.copied,
                        .go_on = go_on,
                        .checkpoint = checkpoint,
                        .data = &copying};
    member->copied = copy_bytes(&copy, error);
    return member->copied;
}

/* --- 5. ready, or undone --- */

static bool finish_member(struct member *member, struct error *error)
{
    if (!pool_sync(member->pool, &member->record, error) || !fault("snapshot.making.synced", error))
        return false;
    member->record.phase = PHASE_READY;
    member->record.copying = false;
    member->record.copied = 0;
    return pool_write(member->pool, &member->record, error) && fault("snapshot.making.ready", error);
}

/* A group is whole or not at all: as long as one member is `creating`, none of it was promised to anybody. */
static void undo(struct making *making)
{
    for (size_t i = 0; i < making->count; i++) {
        struct member *member = &making->members[i];
        struct error error;
        bool marked = member->record.phase != PHASE_READY;
        if (!member->made)
            continue;
        if (!marked) {
            member->record.phase = PHASE_DELETING;
            marked = pool_write(member->pool, &member->record, &error);
        }
        if (!marked || !pool_remove(member->pool, &member->record, &error))
            log_event(LOG_WARNING, "half-made copy left for the next start", "volume_id", member->record.id, "error",
                      error.message, NULL);
    }
}

static bool finish(struct making *making, struct error *error)
{
    if (!thaw(making, error))
        return false;
    for (size_t i = 0; i < making->count; i++)
        if (!finish_member(&making->members[i], error))
            return false;
    return true;
}

static bool all_copied(const struct making *making)
{
    for (size_t i = 0; i < making->count; i++)
        if (!making->members[i].copied)
            return false;
    return true;
}

static bool begin(struct making *making, struct error *error)
{
    for (size_t i = 0; i < making->count; i++)
        if (!freeze_member(making, &making->members[i], error))
            return false;
    for (size_t i = 0; i < making->count; i++)
        if (!make(&making->members[i], error))
            return false;
    return true;
}

/* Keeps a copy that can be resumed after a shutdown; everything else that failed is undone. */
static bool is_resumable(const struct making *making, const struct error *error)
{
    const struct record *record = &making->members[0].record;
    return making->count == 1 && error->code == ABORTED && record->copying && record->copied > 0;
}

static bool give_up(struct making *making, struct error *error)
{
    struct error second;
    thaw(making, &second);
    if (!is_resumable(making, error))
        undo(making);
    return false;
}

static bool run_job(struct job *job, void *data, struct error *error)
{
    struct making *making = data;
    for (size_t i = 0; i < making->count; i++)
        if (!making->members[i].copied && !copy_member(job, &making->members[i], error))
            return give_up(making, error);
    return finish(making, error) || give_up(making, error);
}

static void release_job(void *data)
{
    making_free(data);
}

static bool caller_gave_up(const void *call)
{
    return rpc_cancelled(call) || rpc_stopping(call);
}

/* Until when this call can wait for a job, or 0 if too many wait already. */
static int64_t wait_begin(struct rpc_call *call)
{
    int64_t deadline = rpc_deadline(call);
    if (!rpc_wait_begin(call))
        return 0;
    return deadline == NO_DEADLINE ? deadline : deadline - ANSWER_BEFORE;
}

static void wait_end(struct rpc_call *call, int64_t deadline)
{
    if (deadline != 0)
        rpc_wait_end(call);
}

bool making_join(struct rpc_call *call, const char *id, struct error *error)
{
    int64_t deadline = wait_begin(call);
    enum job_state state = job_await(id, deadline, caller_gave_up, call, error);
    wait_end(call, deadline);
    if (state == JOB_NONE)
        error->code = OK;
    return state == JOB_DONE;
}

static bool hand_to_job(struct rpc_call *call, struct making *making, struct error *error)
{
    struct job_plan plan = {
        .pool = pool_name(making->members[0].pool), .run = run_job, .release = release_job, .data = making};
    char id[ID_BYTES];
    memcpy(id, making->id, sizeof id);
    int64_t deadline = wait_begin(call);
    enum job_state state = job_run(id, &plan, deadline, caller_gave_up, call, error);
    wait_end(call, deadline);
    if (state == JOB_NONE) {
        give_up(making, error);
        making_free(making);
    }
    return state == JOB_DONE;
}

bool making_run(struct rpc_call *call, struct making *making, struct error *error)
{
    bool good = begin(making, error);
    if (good && !all_copied(making))
        return hand_to_job(call, making, error);
    good = (good && finish(making, error)) || give_up(making, error);
    making_free(making);
    return good;
}
