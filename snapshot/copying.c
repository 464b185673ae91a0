#include "snapshot/copying.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "transfer/copy.h"

#include <inttypes.h>
#include <stdio.h>

#define TELL_EVERY (10 * NANOSECONDS_PER_SECOND)

struct copying {
    struct job *job;
    struct member *member;
    int64_t total, told; /* when the log was told last */
};

static void tell(struct copying *copying, int64_t done)
{
    char percent[16], bytes[32];
    copying->told = monotonic_now();
    snprintf(percent, sizeof percent, "%d",
             copying->total > 0 ? (int)(100.0 * (double)done / (double)copying->total) : 100);
    snprintf(bytes, sizeof bytes, "%" PRId64, copying->total);
    log_event(LOG_INFO, "copying", "volume_id", copying->member->record.id, "percent", percent, "bytes", bytes, NULL);
}

static bool go_on(int64_t done, void *data)
{
    struct copying *copying = data;
    if (monotonic_now() - copying->told >= TELL_EVERY)
        tell(copying, done);
    return job_go_on(copying->job, done, copying->total);
}

/* The end needs no word of its own: the record becomes `ready` then. */
static bool checkpoint(int64_t done, void *data, struct error *error)
{
    const struct copying *copying = data;
    struct member *member = copying->member;
    if (!member->record.copying || done >= copying->total)
        return true;
    member->record.copied = done;
    return pool_write(member->pool, &member->record, error);
}

static bool open_source(struct member *member, char *path, struct error *error)
{
    if (member->source_pool == NULL)
        return true;
    member->opened = true;
    return pool_open_source(member->source_pool, &member->source, &member->record, path, error);
}

bool copying_run(struct job *job, struct member *member, struct error *error)
{
    char from[PATH_MAX], to[PATH_MAX];
    bool zeros = member->source_pool == NULL, blank = pool_reads_as_zeros(member->pool, &member->record);
    int64_t begun = monotonic_now(), bytes = zeros ? member->record.bytes : member->source.bytes;
    struct copying copying = {
        .job = job, .member = member, .total = blank ? bytes : member->record.bytes, .told = begun};
    if (!open_source(member, from, error) || !pool_open_data(member->pool, &member->record, to, error))
        return false;
    struct copy copy = {.from = zeros ? NULL : from,
                        .to = to,
                        .bytes = bytes,
                        .target_bytes = copying.total,
                        .target_is_zero = blank,
                        .start = member->record.copied,
                        .go_on = go_on,
                        .checkpoint = checkpoint,
                        .data = &copying};
    member->copied = copy_bytes(&copy, error);
    if (!member->copied && error->code == RESOURCE_EXHAUSTED)
        fail_context(error,
                     "pool %s is full, so %s was not copied to its end; delete volumes or snapshots, or give the pool "
                     "more space, and try again",
                     pool_name(member->pool), member->record.id);
    if (member->copied && copying.told > begun)
        tell(&copying, copying.total);
    return member->copied;
}

/* Closing changes the source, which others may be staging or suspending meanwhile. */
static struct keylock *await_lock(const char *id)
{
    struct error ignored;
    return keylock_await(id, monotonic_now() + KEYLOCK_AWAITED, NULL, NULL, &ignored);
}

/* Several may read a snapshot: the last of them, who then has it alone, lets it go.  NULL: others read it. */
static struct keylock *lock_alone(struct member *member)
{
    struct error others;
    keylock_release(steal_pointer(member->source_lock));
    return keylock_acquire(member->source.id, &others);
}

void copying_close(struct member *member)
{
    struct error error;
    bool open = member->opened || member->cut, shared = member->source.kind == RECORD_SNAPSHOT;
    if (!open)
        return;
    member->opened = member->cut = false;
    cleanup_keylock struct keylock *lock = shared                        ? lock_alone(member)
                                           : member->source_lock == NULL ? await_lock(member->source.id)
                                                                         : NULL;
    if (shared && lock == NULL)
        return;
    if (!pool_close_source(member->source_pool, &member->source, &member->record, &error) ||
        !fault("snapshot.copying.closed", &error))
        log_event(LOG_WARNING, "what was copied is left for the next start to let go", "volume_id", member->source.id,
                  "error", error.message, NULL);
}
