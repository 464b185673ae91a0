/* The table of csi.v1.Node, and the methods that need no volume. */
#include "node/service.h"

#include "csi.pb-c.h"

#define CAPABILITY(name) CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__##name

static const Csi__V1__NodeServiceCapability__RPC__Type capabilities[] = {
    CAPABILITY(STAGE_UNSTAGE_VOLUME),     CAPABILITY(GET_VOLUME_STATS),  CAPABILITY(EXPAND_VOLUME),
    CAPABILITY(SINGLE_NODE_MULTI_WRITER), CAPABILITY(GET_VOLUME_HEALTH), CAPABILITY(GET_STORAGE_HEALTH),
};

static bool get_capabilities(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    Csi__V1__NodeGetCapabilitiesResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    size_t count = sizeof capabilities / sizeof *capabilities;
    (void)message, (void)error;
    response->capabilities = arena_array(arena, count, sizeof *response->capabilities);
    for (size_t i = 0; i < count; i++) {
        Csi__V1__NodeServiceCapability *capability = arena_allocate(arena, sizeof *capability);
        csi__v1__node_service_capability__init(capability);
        capability->type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
        capability->rpc = arena_allocate(arena, sizeof *capability->rpc);
        csi__v1__node_service_capability__rpc__init(capability->rpc);
        capability->rpc->type = capabilities[i];
        response->capabilities[response->n_capabilities++] = capability;
    }
    return true;
}

static Csi__V1__Topology *topology(struct arena *arena, const struct driver *driver)
{
    Csi__V1__Topology *here = arena_allocate(arena, sizeof *here);
    Csi__V1__Topology__SegmentsEntry *segment = arena_allocate(arena, sizeof *segment);
    csi__v1__topology__init(here);
    csi__v1__topology__segments_entry__init(segment);
    segment->key = arena_string(arena, driver->topology_key);
    segment->value = arena_string(arena, driver->node);
    here->segments = arena_array(arena, 1, sizeof *here->segments);
    here->segments[here->n_segments++] = segment;
    return here;
}

/* No largest number of volumes: the kernel makes loop devices as they are needed. */
static bool get_info(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    Csi__V1__NodeGetInfoResponse *response = answer;
    (void)message, (void)error;
    response->node_id = arena_string(rpc_arena(call), driver->node);
    response->accessible_topology = topology(rpc_arena(call), driver);
    return true;
}

static const struct rpc_method methods[] = {
    {.name = "NodeStageVolume", .lane = RPC_NODE, .handle = node_stage},
    {.name = "NodeUnstageVolume", .lane = RPC_NODE, .handle = node_unstage},
    {.name = "NodePublishVolume", .lane = RPC_NODE, .handle = node_publish},
    {.name = "NodeUnpublishVolume", .lane = RPC_NODE, .handle = node_unpublish},
    {.name = "NodeExpandVolume", .lane = RPC_NODE, .handle = node_expand},
    {.name = "NodeGetVolumeStats", .lane = RPC_NODE, .quiet = true, .handle = node_volume_stats},
    {.name = "NodeGetVolumeHealth", .lane = RPC_NODE, .quiet = true, .handle = node_volume_health},
    {.name = "NodeGetStorageHealth", .lane = RPC_NODE, .quiet = true, .handle = node_storage_health},
    {.name = "NodeGetCapabilities", .lane = RPC_INLINE, .quiet = true, .handle = get_capabilities},
    {.name = "NodeGetInfo", .lane = RPC_INLINE, .quiet = true, .handle = get_info},
};

const struct rpc_service node_service = {
    .descriptor = &csi__v1__node__descriptor, .methods = methods, .count = sizeof methods / sizeof *methods};
