/*
 * Notes of what is frozen, in <state directory>/frozen/, for the successor of a process that is killed meanwhile.  For
 * freeze*.c only.
 */
#pragma once

#include "base/error.h"

#define FREEZE_KEY_MOST 128
#define FREEZE_KEY_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

/* Opens the directory, which is made if missing. */
bool freeze_note_open(const char *state_directory, struct error *error);
void freeze_note_close(void);

/* Calls `act` with the key of each note that a predecessor left. */
bool freeze_note_each(void (*act)(const char *key), struct error *error);

/* Thaws what a predecessor noted, if it is still frozen, and removes the note. */
void freeze_note_thaw(const char *key);

/* Opens a mount point for FIFREEZE; -1 with errno. */
int freeze_open_mount_point(const char *path);

/* Notes that the file system mounted at `mount_point`, opened as `descriptor`, is about to be frozen.  ABORTED if the
 * key is noted already. */
bool freeze_note_write(const char *key, int descriptor, const char *mount_point, struct error *error);
void freeze_note_remove(const char *key);
