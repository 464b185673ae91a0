/* The kubelet's plugin registration, which makes the sidecar node-driver-registrar superfluous. */
#include "node/service.h"

#include "base/log.h"

#include "registration.pb-c.h"

/* The kubelet wants the version of its plugin interface here, which is CSI 1. */
static bool get_info(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct node *node = rpc_context(call);
    Pluginregistration__PluginInfo *response = answer;
    struct arena *arena = rpc_arena(call);
    (void)message, (void)error;
    response->type = arena_string(arena, "CSIPlugin");
    response->name = arena_string(arena, node->driver.name);
    response->endpoint = arena_string(arena, node->endpoint);
    response->supported_versions = arena_array(arena, 1, sizeof *response->supported_versions);
    response->supported_versions[response->n_supported_versions++] = arena_string(arena, "1.0.0");
    return true;
}

static bool notify(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct node *node = rpc_context(call);
    const Pluginregistration__RegistrationStatus *status = message;
    (void)answer, (void)error;
    if (status->plugin_registered)
        log_event(LOG_INFO, "registered with the kubelet", "driver", node->driver.name, NULL);
    else
        log_event(LOG_ERROR, "the kubelet refused the registration: no pod on this node can use its volumes", "driver",
                  node->driver.name, "error", status->error, NULL);
    return true;
}

static const struct rpc_method methods[] = {
    {.name = "GetInfo", .lane = RPC_INLINE, .quiet = true, .handle = get_info},
    {.name = "NotifyRegistrationStatus", .lane = RPC_INLINE, .quiet = true, .handle = notify},
};

const struct rpc_service registration_service = {.descriptor = &pluginregistration__registration__descriptor,
                                                 .methods = methods,
                                                 .count = sizeof methods / sizeof *methods};
