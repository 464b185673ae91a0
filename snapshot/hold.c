#include "snapshot/hold.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "filesystem/mount.h"

#include <stdlib.h>
#include <unistd.h>

#define FROZEN_FOR_REFLINK (10 * NANOSECONDS_PER_SECOND)
#define FROZEN_FOR_COPY (60 * NANOSECONDS_PER_SECOND)

bool hold_is_for_a_moment(const struct member *member)
{
    return member->source_pool != NULL && member->source_pool == member->pool &&
           pool_copies_at_once(member->pool, &member->source, &member->record);
}

/* --- what the pool cannot freeze by itself --- */

/* What has been written to a raw block device may still be in its page cache; the copy takes what the pool has. */
static bool flush_block(const struct member *member, struct error *error)
{
    struct attachment attachment;
    if (!hold_is_for_a_moment(member))
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
    if (hold_is_for_a_moment(member))
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

static bool freeze(const struct making *making, struct member *member, dev_t device, struct error *error)
{
    char mount_point[PATH_MAX];
    if (member->source.filesystem[0] == '\0')
        return flush_block(member, error);
    if (!mount_find_device(device, mount_point))
        return fail(error, FAILED_PRECONDITION,
                    "volume %s is mounted where this process cannot see it, so it cannot be frozen; stop what uses it",
                    member->source.id);
    if (!check_frozen_size(making, member, error))
        return false;
    member->freeze = freeze_begin(member->source.id, device, mount_point,
                                  hold_is_for_a_moment(member) ? FROZEN_FOR_REFLINK : FROZEN_FOR_COPY, error);
    return member->freeze != NULL;
}

/* --- several volumes of a pool that does --- */

/* Outlives its member, if the device cannot be resumed in time. */
struct device {
    struct pool *pool;
    struct record record;
};

static bool suspend(void *target, struct error *error)
{
    const struct device *device = target;
    struct error second;
    if (!pool_suspend(device->pool, &device->record, error))
        return false;
    if (fault("snapshot.hold.suspended", error))
        return true;
    pool_resume(device->pool, &device->record, &second);
    return false;
}

static bool resume(void *target, struct error *error)
{
    const struct device *device = target;
    return pool_resume(device->pool, &device->record, error);
}

/* So that all have the same moment: the pool itself would freeze them one after the other. */
static bool suspend_member(struct member *member, struct error *error)
{
    struct device *device = malloc(sizeof *device);
    if (device == NULL)
        abort();
    *device = (struct device){.pool = member->source_pool, .record = member->source};
    struct freezer freezer = {suspend, resume, free, device};
    member->freeze = freeze_begin_by(member->source.id, &freezer, FROZEN_FOR_REFLINK, error);
    member->suspended = member->freeze != NULL;
    return member->suspended;
}

static bool is_in_use(const struct member *member, dev_t *device)
{
    return !member->made && member->source_pool != NULL && member->source.kind == RECORD_VOLUME &&
           pool_attached(member->source_pool, &member->source, ATTACH_MOUNT, device);
}

static bool hold(const struct making *making, struct member *member, struct error *error)
{
    dev_t device;
    if (!is_in_use(member, &device))
        return true;
    if (!pool_freezes_itself(member->source_pool))
        return freeze(making, member, device, error);
    return making->count == 1 || suspend_member(member, error);
}

bool hold_begin(struct making *making, struct error *error)
{
    for (size_t i = 0; i < making->count; i++)
        if (!hold(making, &making->members[i], error))
            return false;
    return true;
}

bool hold_check(const struct member *member, struct error *error)
{
    return !member->suspended || pool_is_suspended(member->source_pool, &member->source) ||
           fail(error, ABORTED, "volume %s was resumed by somebody else before its snapshot was made; try again",
                member->source.id);
}

bool hold_until_copied(const struct making *making, struct member *member, struct error *error)
{
    dev_t device;
    if (member->suspended)
        return fail(error, FAILED_PRECONDITION,
                    "volume %s is in use, and pool %s cannot snapshot it together with others; stop what uses it",
                    member->source.id, pool_name(member->source_pool));
    bool held = member->freeze != NULL || !pool_freezes_itself(member->source_pool); /* by hold_begin() */
    return held || !is_in_use(member, &device) || freeze(making, member, device, error);
}

bool hold_end(struct making *making, struct error *error)
{
    struct error later;
    bool good = true;
    for (size_t i = 0; i < making->count; i++)
        good = freeze_end(steal_pointer(making->members[i].freeze), good ? error : &later) && good;
    return good;
}
