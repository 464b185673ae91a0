/* csi.v1.Identity: who the driver is.  All from memory. */
#include "node/service.h"

#include "csi.pb-c.h"

#define SERVICE(name) CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__##name

/* For people: "pools" is "scratch,fast", the first being the default. */
static Csi__V1__GetPluginInfoResponse__ManifestEntry **pool_names(const struct driver *driver, struct arena *arena)
{
    Csi__V1__GetPluginInfoResponse__ManifestEntry **list = arena_array(arena, 1, sizeof *list);
    Csi__V1__GetPluginInfoResponse__ManifestEntry *entry = list[0] = arena_allocate(arena, sizeof *entry);
    csi__v1__get_plugin_info_response__manifest_entry__init(entry);
    entry->key = arena_string(arena, "pools");
    entry->value = arena_string(arena, pool_name(pools_at(driver->pools, 0)));
    for (size_t i = 1; i < pools_count(driver->pools); i++)
        entry->value = arena_format(arena, "%s,%s", entry->value, pool_name(pools_at(driver->pools, i)));
    return list;
}

static bool get_plugin_info(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    Csi__V1__GetPluginInfoResponse *response = answer;
    (void)message, (void)error;
    response->name = arena_string(rpc_arena(call), driver->name);
    response->vendor_version = arena_string(rpc_arena(call), driver->version);
    response->manifest = pool_names(driver, rpc_arena(call));
    response->n_manifest = 1;
    return true;
}

static Csi__V1__PluginCapability *add(struct arena *arena, Csi__V1__GetPluginCapabilitiesResponse *response)
{
    Csi__V1__PluginCapability *capability = arena_allocate(arena, sizeof *capability);
    csi__v1__plugin_capability__init(capability);
    response->capabilities[response->n_capabilities++] = capability;
    return capability;
}

static bool get_plugin_capabilities(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    static const Csi__V1__PluginCapability__Service__Type services[] = {
        SERVICE(CONTROLLER_SERVICE), SERVICE(VOLUME_ACCESSIBILITY_CONSTRAINTS), SERVICE(GROUP_CONTROLLER_SERVICE),
        SERVICE(SNAPSHOT_ACCESSIBILITY_CONSTRAINTS)};
    const size_t count = sizeof services / sizeof *services;
    Csi__V1__GetPluginCapabilitiesResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    (void)message, (void)error;
    response->capabilities = arena_array(arena, count + 1, sizeof *response->capabilities);
    for (size_t i = 0; i < count; i++) {
        Csi__V1__PluginCapability *capability = add(arena, response);
        capability->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
        capability->service = arena_allocate(arena, sizeof *capability->service);
        csi__v1__plugin_capability__service__init(capability->service);
        capability->service->type = services[i];
    }
    Csi__V1__PluginCapability *growth = add(arena, response);
    growth->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_VOLUME_EXPANSION;
    growth->volume_expansion = arena_allocate(arena, sizeof *growth->volume_expansion);
    csi__v1__plugin_capability__volume_expansion__init(growth->volume_expansion);
    growth->volume_expansion->type = CSI__V1__PLUGIN_CAPABILITY__VOLUME_EXPANSION__TYPE__ONLINE;
    return true;
}

/* Ready as soon as it answers.  A pool that cannot be opened is no reason to start the driver anew: opening is tried
 * again, the other pools are served, and what uses that pool says why it fails. */
static bool probe(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    Csi__V1__ProbeResponse *response = answer;
    (void)message, (void)error;
    response->ready = arena_allocate(rpc_arena(call), sizeof *response->ready);
    google__protobuf__bool_value__init(response->ready);
    response->ready->value = true;
    return true;
}

static const struct rpc_method methods[] = {
    {.name = "GetPluginInfo", .lane = RPC_INLINE, .quiet = true, .handle = get_plugin_info},
    {.name = "GetPluginCapabilities", .lane = RPC_INLINE, .quiet = true, .handle = get_plugin_capabilities},
    {.name = "Probe", .lane = RPC_INLINE, .quiet = true, .handle = probe},
};

const struct rpc_service identity_service = {
    .descriptor = &csi__v1__identity__descriptor, .methods = methods, .count = sizeof methods / sizeof *methods};
