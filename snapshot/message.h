/* Snapshots as CSI messages, and what the snapshot methods share. */
#pragma once

#include "base/arena.h"
#include "pool/driver.h"
#include "snapshot/making.h"

#include "csi.pb-c.h"

/* The message for a snapshot's record, in the arena. */
Csi__V1__Snapshot *snapshot_message(const struct record *record, struct arena *arena);

Google__Protobuf__Timestamp *snapshot_timestamp(int64_t nanoseconds, struct arena *arena);

/* The topology of everything on this node. */
Csi__V1__Topology **snapshot_topology(const struct driver *driver, struct arena *arena);

/* The record of a new snapshot of a volume. */
struct record snapshot_record(const struct pool *pool, const struct record *source, const char *name);

/* INVALID_ARGUMENT if a parameters map has a key that is not Kubernetes' own (csi.storage.k8s.io/...): there are none
 * of ours. */
#define SNAPSHOT_REFUSE_PARAMETERS(request, error)                                 \
    ({                                                                             \
        bool good = true;                                                          \
        for (size_t i = 0; good && i < (request)->n_parameters; i++)               \
            good = snapshot_check_parameter((request)->parameters[i]->key, error); \
        good;                                                                      \
    })
bool snapshot_check_parameter(const char *key, struct error *error);

/* OK, or RESOURCE_EXHAUSTED if the topology asked for does not include this node. */
bool snapshot_check_topology(const struct driver *driver, const Csi__V1__TopologyRequirement *requirement,
                             struct error *error);
