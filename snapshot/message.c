#include "snapshot/message.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"

#include <string.h>
#include <strings.h>

#define KUBERNETES_PREFIX "csi.storage.k8s.io/"

Google__Protobuf__Timestamp *snapshot_timestamp(int64_t nanoseconds, struct arena *arena)
{
    Google__Protobuf__Timestamp *timestamp = arena_allocate(arena, sizeof *timestamp);
    google__protobuf__timestamp__init(timestamp);
    timestamp->seconds = nanoseconds / NANOSECONDS_PER_SECOND;
    timestamp->nanos = (int32_t)(nanoseconds % NANOSECONDS_PER_SECOND);
    return timestamp;
}

Csi__V1__Topology **snapshot_topology(const struct driver *driver, struct arena *arena)
{
    Csi__V1__Topology__SegmentsEntry *entry = arena_allocate(arena, sizeof *entry);
    Csi__V1__Topology *topology = arena_allocate(arena, sizeof *topology);
    Csi__V1__Topology **list = arena_array(arena, 1, sizeof *list);
    csi__v1__topology__segments_entry__init(entry);
    csi__v1__topology__init(topology);
    entry->key = arena_string(arena, driver->topology_key);
    entry->value = arena_string(arena, driver->node);
    topology->n_segments = 1;
    topology->segments = arena_array(arena, 1, sizeof *topology->segments);
    topology->segments[0] = entry;
    list[0] = topology;
    return list;
}

Csi__V1__Snapshot *snapshot_message(const struct record *record, struct arena *arena)
{
    Csi__V1__Snapshot *message = arena_allocate(arena, sizeof *message);
    csi__v1__snapshot__init(message);
    message->size_bytes = record->bytes;
    message->snapshot_id = arena_string(arena, record->id);
    message->source_volume_id = arena_string(arena, record->source_id);
    message->group_snapshot_id = arena_string(arena, record->group_id);
    message->creation_time = snapshot_timestamp(record->created, arena);
    message->ready_to_use = record->phase == PHASE_READY;
    /*
     * accessible_topology stays empty, which CSI allows: csi-sanity 5.6.0 compares it by Go's reflect.DeepEqual, where
     * no two decoded messages are equal, so a driver that fills it cannot pass; and no released sidecar reads it yet.
     */
    return message;
}

struct record snapshot_record(const struct pool *pool, const struct record *source, const char *name)
{
    struct record record = {.kind = RECORD_SNAPSHOT,
                            .phase = PHASE_CREATING,
                            .bytes = source->bytes,
                            .own_identity = source->own_identity,
                            .sector_bytes = source->sector_bytes,
                            .thick = source->thick,
                            .layout = source->layout,
                            .stripes = source->stripes,
                            .mirrors = source->mirrors,
                            .wipe = source->wipe,
                            .created = wall_clock_now()};
    pool_make_id(pool, ID_MARK_SNAPSHOT, name, record.id);
    text_copy(record.name, sizeof record.name, name);
    memcpy(record.source_id, source->id, sizeof record.source_id);
    memcpy(record.filesystem, source->filesystem, sizeof record.filesystem);
    memcpy(record.claim_namespace, source->claim_namespace, sizeof record.claim_namespace);
    memcpy(record.claim_name, source->claim_name, sizeof record.claim_name);
    return record;
}

bool snapshot_check_parameter(const char *key, struct error *error)
{
    return strncmp(key, KUBERNETES_PREFIX, strlen(KUBERNETES_PREFIX)) == 0 ||
           fail(error, INVALID_ARGUMENT, "unknown parameter \"%s\": a VolumeSnapshotClass of this driver has none",
                key);
}

static bool is_here(const struct driver *driver, const Csi__V1__Topology *topology)
{
    /* CSI compares keys without case (spec.md, "Topology"). */
    for (size_t i = 0; i < topology->n_segments; i++)
        if (strcasecmp(topology->segments[i]->key, driver->topology_key) != 0 ||
            strcmp(topology->segments[i]->value, driver->node) != 0)
            return false;
    return true;
}

bool snapshot_check_topology(const struct driver *driver, const Csi__V1__TopologyRequirement *requirement,
                             struct error *error)
{
    if (requirement == NULL || requirement->n_requisite + requirement->n_preferred == 0)
        return true;
    bool strict = requirement->n_requisite > 0;
    size_t count = strict ? requirement->n_requisite : requirement->n_preferred;
    Csi__V1__Topology **list = strict ? requirement->requisite : requirement->preferred;
    for (size_t i = 0; i < count; i++)
        if (is_here(driver, list[i]))
            return true;
    return fail(error, RESOURCE_EXHAUSTED, "node %s is not in the topology that is asked for (%s)", driver->node,
                driver->topology_key);
}
