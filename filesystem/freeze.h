/*
 * Freezing volumes in use for a moment, so that a copy of their bytes is whole: mounted file systems, or whatever
 * another way to hold writes (struct freezer) holds.
 *
 * What is frozen outlives the process that froze it and hangs everybody who writes, so each freeze has a thread that
 * thaws it when it has lasted for longer than asked.  On a dead disk a thaw may hang: only its own thread hangs with
 * it. For a file system the intent is also written to <state directory>/frozen/ first, and at start freeze_start()
 * thaws what a killed process left (a dead disk does not hold it up); another freezer must see to that itself.
 */
#pragma once

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct freeze;

/* Sets the state directory (made if missing) and thaws everything that a predecessor noted there; what takes longer
 * than a moment goes on beside the rest, and its note stays until then. */
bool freeze_start(const char *state_directory, struct error *error);

/*
 * Thaws what is still frozen.  False: the deadline (CLOCK_MONOTONIC, nanoseconds) has come before all of it was thawed.
 * Can be repeated.  freeze_end() may still be called, freeze_begin() not.
 */
bool freeze_stop(int64_t deadline);

/*
 * Freezes the file system of `device` that is mounted at `mount_point` (FIFREEZE, ioctl_fs(2): syncs first) for at most
 * `limit_nanoseconds`. `key` names it in the state directory (a volume id).  NULL with ABORTED when it is frozen
 * already by somebody else, or not mounted there any more.
 */
struct freeze *freeze_begin(const char *key, dev_t device, const char *mount_point, int64_t limit_nanoseconds,
                            struct error *error);

/* Another way to hold writes: a device that is suspended. */
struct freezer {
    bool (*freeze)(void *target, struct error *error);
    bool (*thaw)(void *target, struct error *error); /* on a thread of the freeze's own */
    void (*release)(void *target);                   /* when nothing uses it any more: a thaw may outlive its freeze */
    void *target;
};

/* The same with another freezer, whose target is released whatever comes.  NULL with the error of freezer->freeze(). */
struct freeze *freeze_begin_by(const char *key, const struct freezer *freezer, int64_t limit_nanoseconds,
                               struct error *error);

/*
 * Thaws and frees.  False with ABORTED if it had been thawed before this call (it had lasted too long, or somebody's
 * fsfreeze -u): what was copied in between is worthless; or if the thaw hangs: then it goes on, and until it has come
 * to its end nothing can be frozen under its key.  Takes NULL (true).
 */
bool freeze_end(struct freeze *freeze, struct error *error);
