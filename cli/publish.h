/*
 * Publishing a volume on this machine, as a kubelet does it: ControllerPublishVolume (for drivers that attach),
 * NodeStageVolume (for drivers that stage) and NodePublishVolume; and back.
 */
#pragma once

#include "cli/calls.h"

#include <limits.h>

struct publication {
    const char *id;
    char target[PATH_MAX];  /* as place_target() gives it */
    char staging[PATH_MAX]; /* absolute */
    struct access access;   /* completed with what the driver says of the volume */
    bool read_only;
};

/* Fills `staging` with the directory where the commands stage a volume (cli/places.h). */
bool publish_staging(struct session *session, struct publication *publication, struct error *error);

/* Stages and publishes.  After a failure, what has been staged for it is unstaged. */
bool publish_volume(struct session *session, struct publication *publication, struct error *error);

/*
 * Unpublishes the target, then unstages unless the volume is still mounted at another place, which `elsewhere` then
 * tells ("" else).
 */
bool unpublish_volume(struct session *session, const struct publication *publication, char elsewhere[static PATH_MAX],
                      struct error *error);
