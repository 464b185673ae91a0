/*
 * What the demo plays in: a scratch directory with a pool, in a mount namespace of its own, so that no mount and no
 * loop device outlives it, even if it is killed.
 */
#pragma once

#include "base/error.h"

#include <limits.h>

struct scene {
    char directory[PATH_MAX]; /* the scratch directory; "" while there is none */
    bool image;               /* the pool is a mounted image: the directory's file system cannot share blocks */
};

/*
 * Makes the scratch directory below `parent` and the pool in it: xfs in a sparse image, unless the file system there
 * can share blocks (reflink).  FAILED_PRECONDITION when not root or mkfs.xfs is missing.  scene_end() in any case.
 */
bool scene_begin(struct scene *scene, const char *parent, struct error *error);

/* Checks that no mount, loop device or file of a volume or snapshot is left: INTERNAL names what is. */
bool scene_is_clean(const struct scene *scene, struct error *error);

/* Unmounts and removes everything; INTERNAL if that is not possible. */
bool scene_end(struct scene *scene, struct error *error);

/* Turns SIGINT, SIGTERM and SIGHUP into something to ask for. */
void scene_catch_signals(void);
bool scene_interrupted(void);
