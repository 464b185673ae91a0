/* CSI's calls about volumes and snapshots, as the commands and the demo need them.  Answers live in the session. */
#pragma once

#include "cli/session.h"

typedef Csi__V1__VolumeCapability__AccessMode__Mode access_mode;

/* How a volume is to be used. */
struct access {
    const char *filesystem; /* "xfs"; NULL: not said */
    bool block;             /* a raw block volume */
    access_mode mode;       /* UNKNOWN (0): SINGLE_NODE_WRITER */
    char **mount_options;
    size_t mount_option_count;
};

/* A capability as CSI wants it, in the session's arena. */
Csi__V1__VolumeCapability *access_capability(struct session *session, const struct access *access);

struct pair {
    const char *key, *value;
};

struct new_volume {
    const char *name;
    int64_t bytes; /* 0: what the driver or the source gives */
    struct access access;
    struct pair *parameters;
    size_t parameter_count;
    const char *from_snapshot, *from_volume; /* at most one; else NULL */
};

const Csi__V1__CreateVolumeResponse *csi_create_volume(struct session *session, const struct new_volume *wish,
                                                       struct error *error);

/* Grows the volume and, where the driver wants it and `path` (or NULL) says where it is mounted, its file system. */
const Csi__V1__ControllerExpandVolumeResponse *csi_expand_volume(struct session *session, const char *id, int64_t bytes,
                                                                 const char *path, struct error *error);

/* All volumes: the entries of all pages in one answer. */
const Csi__V1__ListVolumesResponse *csi_list_volumes(struct session *session, struct error *error);

/*
 * One volume: asked for by id or, where a driver cannot, looked for in the list; UNIMPLEMENTED if it has no list
 * either, NOT_FOUND if it is not there.
 */
const Csi__V1__ControllerGetVolumeResponse *csi_get_volume(struct session *session, const char *id,
                                                           struct error *error);

/* What is wrong with it; NULL if the driver does not tell. */
const Csi__V1__VolumeHealth *csi_volume_health(struct session *session, const char *id);

/* The value of a key in a volume's context, or NULL. */
const char *volume_context(const Csi__V1__Volume *volume, const char *key);

/*
 * Completes `access` with what the driver says of the volume: the key "fsType" in its context is the name of a file
 * system or "block".  What the person said stays.  `volume` may be NULL.
 */
void volume_access(const Csi__V1__Volume *volume, struct access *access);

/* Makes a snapshot and waits until it is ready to use. */
const Csi__V1__CreateSnapshotResponse *csi_create_snapshot(struct session *session, const char *volume,
                                                           const char *name, struct error *error);

/* The same for all snapshots, or those of one volume (else NULL), or the one with this id (else NULL). */
const Csi__V1__ListSnapshotsResponse *csi_list_snapshots(struct session *session, const char *volume, const char *id,
                                                         struct error *error);

/* One snapshot from the list, or NULL with NOT_FOUND. */
const Csi__V1__Snapshot *csi_get_snapshot(struct session *session, const char *id, struct error *error);
