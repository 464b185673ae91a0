/*
 * Freezing mounted file systems for a moment, so that a copy of their image is whole.
 *
 * A frozen file system outlives the process that froze it and hangs everybody who writes, so: the intent is written to
 * <state directory>/frozen/ first, a watchdog thread thaws what has been frozen for longer than asked, and at start
 * freeze_start() thaws what a killed process left.
 */
#pragma once

#include "base/error.h"

#include <stdint.h>

struct freeze;

/* Sets the state directory (made if missing), thaws everything that a predecessor noted there, starts the watchdog. */
bool freeze_start(const char *state_directory, struct error *error);

/* Thaws what is still frozen and ends the watchdog.  freeze_end() may still be called, freeze_begin() not. */
void freeze_stop(void);

/*
 * Freezes the file system mounted at `mount_point` (FIFREEZE, ioctl_fs(2): syncs first) for at most
 * `limit_nanoseconds`. `key` names it in the state directory (a volume id).  NULL with ABORTED when it is frozen
 * already by somebody else.
 */
struct freeze *freeze_begin(const char *key, const char *mount_point, int64_t limit_nanoseconds, struct error *error);

/*
 * Thaws and frees.  False with ABORTED if it had been thawed before this call (the watchdog, or somebody's fsfreeze
 * -u): what was copied in between is worthless.  Takes NULL (true).
 */
bool freeze_end(struct freeze *freeze, struct error *error);
