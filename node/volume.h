/* A volume while a call works on it: its lock, its record, and what the node knows of it. */
#pragma once

#include "base/keylock.h"
#include "filesystem/mount.h"
#include "node/service.h"
#include "node/state.h"

struct volume {
    struct node *node;
    const char *id; /* the request's */
    struct keylock *lock;
    struct pool *pool; /* may be set for a volume that does not exist: the pool it would, or may, be in */
    bool exists;
    struct record record; /* if it exists; else only its id */
    struct state *state;
};

/* INVALID_ARGUMENT, naming the field, unless the value is there. */
bool require(const char *value, const char *field, struct error *error);

/*
 * Takes the volume's lock (ABORTED if somebody has it), finds it and loads its state.  Fails with pools_find()'s
 * errors; NOT_FOUND for a volume that is not ready.  Release with volume_close(), also after a failure.
 */
bool volume_open(struct rpc_call *call, const char *id, struct volume *volume, struct error *error);

/* The same for undoing: a volume that does not exist, is damaged or in a pool that is not there is opened too. */
bool volume_open_any(struct rpc_call *call, const char *id, struct volume *volume, struct error *error);
void volume_close(struct volume *volume);
#define cleanup_volume __attribute__((cleanup(volume_close)))

/* True if the volume can be used with the capability that has been read from the message, else FAILED_PRECONDITION.  A
 * message that names no file system means the volume's. */
bool volume_fits(const struct volume *volume, const Csi__V1__VolumeCapability *message, struct capability *capability,
                 struct error *error);

/* True if this is a block device of the volume with that id. */
bool node_owns(const struct node *node, const char *id, dev_t device);

/* True if the volume is mounted, or its device bound, at a path.  A path that cannot be looked at is one where it is
 * not. */
bool volume_is_at(const struct volume *volume, const char *path, struct mount_state *at);

/* Writes the state after something was undone.  A stale note does no harm, so a failure is only logged. */
void volume_keep_state(const struct volume *volume);

/* The same, without the staging. */
void volume_forget_staging(struct volume *volume);

/* Removes the block devices of a raw block volume (unstage.c).  FAILED_PRECONDITION while somebody has one open. */
bool volume_detach_block(struct volume *volume, struct error *error);

/* Removes the block device of a volume that was mounted, and so has no other user (unstage.c).  Should somebody look at
 * it for longer, it may stay: the next stage finds it. */
bool volume_let_device_go(const struct volume *volume, struct error *error);

/* If the state was lost: finds again where the volume's block device is mounted or bound. */
void volume_recover_state(struct volume *volume);

/*
 * Finds a path, other than `except`, where the volume is published: in `found` (PATH_MAX bytes).  Notes about paths
 * where it is not are dropped from the state.  `single`, unless NULL, tells whether its access mode allows no second
 * one.
 */
bool volume_find_target(struct volume *volume, const char *except, char *found, bool *single);
