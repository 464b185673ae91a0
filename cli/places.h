/* Where on this machine volumes are staged and published. */
#pragma once

#include "base/error.h"

#include <limits.h>
#include <sys/types.h>

/*
 * Turns a person's word into the path that is sent to the driver: absolute, its directory without links.
 * INVALID_ARGUMENT for "/", "." and what is too long; NOT_FOUND if the directory it is to be in does not exist.
 */
bool place_target(const char *word, char path[static PATH_MAX], struct error *error);

/* Where the commands stage a volume: /run/plinth/staging/<driver>/<volume>.  Nothing is made. */
bool place_staging(const char *driver, const char *id, char path[static PATH_MAX], struct error *error);

/* Makes the staging directory and what leads to it.  *made: it was not there before. */
bool place_make_staging(char *path, bool *made, struct error *error);

/* What is mounted at a place. */
struct mounted {
    dev_t device;
    char root[PATH_MAX]; /* in it, for binds and device nodes */
};

/* Finds what is mounted at a path, on top.  False: nothing. */
bool place_mounted(const char *path, struct mounted *mounted);

/* Finds another place outside of the staging directory where the same is mounted.  False: there is none. */
bool place_elsewhere(const struct mounted *mounted, const char *staging, char elsewhere[static PATH_MAX]);
