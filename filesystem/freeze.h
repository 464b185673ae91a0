/*
 * Freezing volumes in use for a moment, so that a copy of their bytes is whole: mounted file systems, or whatever
 * another way to hold writes (struct freezer) holds.
 *
 * What is frozen outlives the process that froze it and hangs everybody who writes, so a watchdog thread thaws what has
 * been frozen for longer than asked.  For a file system the intent is also written to <state directory>/frozen/ first,
 * and at start freeze_start() thaws what a killed process left (a dead disk does not hold it up); another freezer must
 * see to that itself.
 */
#pragma once

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct freeze;

/* Sets the state directory (made if missing), thaws everything that a predecessor noted there, starts the watchdog. */
bool freeze_start(const char *state_directory, struct error *error);

/* Thaws what is still frozen and ends the watchdog.  freeze_end() may still be called, freeze_begin() not. */
void freeze_stop(void);

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
    bool (*thaw)(void *target, struct error *error); /* by the watchdog's thread, or by freeze_end() */
    void *target;                                    /* borrowed until freeze_end() */
};

/* The same with another freezer.  NULL with the error of freezer->freeze(). */
struct freeze *freeze_begin_by(const char *key, const struct freezer *freezer, int64_t limit_nanoseconds,
                               struct error *error);

/*
 * Thaws and frees.  False with ABORTED if it had been thawed before this call (the watchdog, or somebody's fsfreeze
 * -u): what was copied in between is worthless.  Takes NULL (true).
 */
bool freeze_end(struct freeze *freeze, struct error *error);
