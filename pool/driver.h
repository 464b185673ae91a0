/* What all services of a node share; the context of every call (rpc_context()). */
#pragma once

#include "pool/pool.h"

struct driver {
    const char *name; /* "csi.plinth.dev" */
    const char *version;
    const char *node;               /* the Kubernetes node name */
    const char *topology_key;       /* "csi.plinth.dev/node" */
    const char *default_filesystem; /* for capabilities that name none: "ext4" */
    const char *kubelet_directory;
    const char *state_directory; /* what must not outlive a reboot: "/run/plinth" */
    int64_t frozen_copy_most;    /* bytes that may be copied while a file system is frozen, where there is no reflink */
    struct pools *pools;
};
