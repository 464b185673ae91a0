#include "controller/methods.h"
#include "snapshot/snapshot.h"

#include "csi.pb-c.h"

typedef Csi__V1__ControllerServiceCapability__RPC__Type capability_type;
#define CAPABILITY(name) CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__##name

static const capability_type capabilities[] = {
    CAPABILITY(CREATE_DELETE_VOLUME),   CAPABILITY(LIST_VOLUMES),      CAPABILITY(GET_CAPACITY),
    CAPABILITY(CREATE_DELETE_SNAPSHOT), CAPABILITY(LIST_SNAPSHOTS),    CAPABILITY(CLONE_VOLUME),
    CAPABILITY(EXPAND_VOLUME),          CAPABILITY(GET_VOLUME),        CAPABILITY(SINGLE_NODE_MULTI_WRITER),
    CAPABILITY(GET_SNAPSHOT),           CAPABILITY(GET_VOLUME_HEALTH), CAPABILITY(LIST_VOLUME_HEALTH),
};

#define CAPABILITY_COUNT (sizeof capabilities / sizeof *capabilities)

static bool get_capabilities(struct rpc_call *call, const void *request, void *answer, struct error *error)
{
    Csi__V1__ControllerGetCapabilitiesResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    (void)request, (void)error;
    response->n_capabilities = CAPABILITY_COUNT;
    response->capabilities = arena_array(arena, CAPABILITY_COUNT, sizeof *response->capabilities);
    for (size_t i = 0; i < CAPABILITY_COUNT; i++) {
        Csi__V1__ControllerServiceCapability *capability = arena_allocate(arena, sizeof *capability);
        Csi__V1__ControllerServiceCapability__RPC *rpc = arena_allocate(arena, sizeof *rpc);
        csi__v1__controller_service_capability__init(capability);
        csi__v1__controller_service_capability__rpc__init(rpc);
        rpc->type = capabilities[i];
        capability->type_case = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
        capability->rpc = rpc;
        response->capabilities[i] = capability;
    }
    return true;
}

/* Methods that are not here answer UNIMPLEMENTED: attaching to nodes (the storage is on one), modifying. */
static const struct rpc_method methods[] = {
    {"ControllerGetCapabilities", RPC_INLINE, true, get_capabilities, NULL},
    {"CreateVolume", RPC_CONTROLLER, false, controller_create_volume, NULL},
    {"DeleteVolume", RPC_CONTROLLER, false, controller_delete_volume, NULL},
    {"ValidateVolumeCapabilities", RPC_CONTROLLER, true, controller_validate_capabilities, NULL},
    {"ListVolumes", RPC_CONTROLLER, true, controller_list_volumes, NULL},
    {"ControllerGetVolume", RPC_CONTROLLER, true, controller_get_volume, NULL},
    {"GetCapacity", RPC_CONTROLLER, true, controller_get_capacity, NULL},
    {"ControllerExpandVolume", RPC_CONTROLLER, false, controller_expand_volume, NULL},
    {"ControllerListVolumeHealth", RPC_CONTROLLER, true, controller_list_health, NULL},
    {"ControllerGetVolumeHealth", RPC_CONTROLLER, true, controller_get_health, NULL},
    {"CreateSnapshot", RPC_CONTROLLER, false, snapshot_create, NULL},
    {"DeleteSnapshot", RPC_CONTROLLER, false, snapshot_delete, NULL},
    {"ListSnapshots", RPC_CONTROLLER, true, snapshot_list, NULL},
    {"GetSnapshot", RPC_CONTROLLER, true, snapshot_get, NULL},
};

const struct rpc_service controller_service = {&csi__v1__controller__descriptor, methods,
                                               sizeof methods / sizeof *methods};
