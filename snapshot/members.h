/*
 * The members of a group snapshot, as they are on the storage.  For snapshot/ only.
 *
 * A group has no record of its own: every member names the group and how many members it has.  A group is whole when
 * that many are `ready`, and fixed, which means promised, when that many are ready or being copied from their cuts.
 * As long as one is `creating` in another way it has been promised to nobody.
 */
#pragma once

#include "snapshot/making.h"

#define GROUP_MEMBERS_MOST 256

struct group {
    char id[ID_BYTES];
    size_t count;
    struct found members[GROUP_MEMBERS_MOST];
};

/* What there is of a group, in the order of ids; never NULL.  Free with group_free(). */
struct group *group_load(const struct driver *driver, const char *id);
void group_free(struct group **group);
#define cleanup_group __attribute__((cleanup(group_free)))

/*
 * False, with the reason, if there may be more of a group that is not whole: a pool cannot be used that has one of
 * these snapshots (or volumes, of which it is made); without ids, any pool.
 */
bool group_is_known(const struct driver *driver, const struct group *group, enum record_kind kind, char *const *ids,
                    size_t count, struct error *error);

bool group_is_whole(const struct group *group);
bool group_is_fixed(const struct group *group);

/* Waits for wipes of members that an earlier call has begun; ABORTED with the progress.  Before group_load(). */
bool group_join(struct rpc_call *call, const struct driver *driver, const char *id, struct error *error);

/*
 * Removes what there is of a group.  Members in `creating` go last: as long as one is there, the next start knows that
 * the group was never whole.  Wipes go on as jobs: then ABORTED with the progress of one of them.  `call` may be NULL,
 * to wait for nothing.
 */
bool group_remove(struct rpc_call *call, const struct driver *driver, struct group *group, struct error *error);
