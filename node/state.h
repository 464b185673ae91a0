/*
 * What has been asked of this node for a volume: where it is staged and where it is published, with which capability.
 * It is in <state directory>/volumes/<volume id>.json, on a tmpfs, and written before the first mount of each call.
 *
 * The kernel's mounts are the truth: every path in here is looked at before it is believed.  This only says what mounts
 * cannot: the access mode, the flags asked for, and whose an unmounted leftover is.  If it is lost or damaged, volumes
 * are used on without it.
 */
#pragma once

#include "controller/capability.h"

struct state;

/* Makes the directory for the files.  Once, at start. */
bool state_prepare(const char *state_directory, struct error *error);

/* Removes files that a kill left half written.  Once, at start. */
void state_recover(const char *state_directory);

/* The state of a volume, empty if there is none that can be read.  `id` must be one (record_is_id()), or nothing is
 * read or written.  Free with state_free(). */
struct state *state_load(const char *state_directory, const char *id);
void state_free(struct state *state);

/* Writes it, atomically; an empty one is removed. */
bool state_save(const struct state *state, struct error *error);

/* True if nothing has been read: there was no file, or it was damaged. */
bool state_is_new(const struct state *state);

/* Where the volume is staged, or NULL.  The string lives as long as the state is not changed. */
const char *state_staging(const struct state *state);

/* `capability` may be NULL: unknown, as the mount was found and not made. */
void state_stage(struct state *state, const char *path, const struct capability *capability);
void state_unstage(struct state *state);

/* True if the volume is staged with this capability, or with an unknown one. */
bool state_staged_as(const struct state *state, const struct capability *capability);

/* The first of the capability's mount flags that only a file system could obey and that the staging did not have; NULL:
 * none, or it is unknown. */
const char *state_strange_flag(const struct state *state, const struct capability *capability);

/* True if the staging was asked for with this mount flag, or it is not known with which. */
bool state_has_flag(const struct state *state, const char *flag);

enum state_match {
    STATE_NONE,      /* not published there, as far as is known */
    STATE_UNKNOWN,   /* published there, it is not known how */
    STATE_SAME,      /* with the same arguments */
    STATE_DIFFERENT, /* with others */
};

/* How the volume is published at a path. */
enum state_match state_published(const struct state *state, const char *path, bool read_only,
                                 const struct capability *capability);
void state_publish(struct state *state, const char *path, bool read_only, const struct capability *capability);
void state_unpublish(struct state *state, const char *path);

/* Calls `see` for each path where the volume is published, until it returns false; true if it never did.
 * `single_writer`: its access mode allows no second path. */
bool state_targets(const struct state *state, bool (*see)(const char *path, bool single_writer, void *data),
                   void *data);
