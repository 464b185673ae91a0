/* grpc.health.v1: for grpc_health_probe and the gRPC probes of Kubernetes.  A server that answers is serving. */
#include "node/service.h"

#include "health.pb-c.h"

#include <string.h>
#include <time.h>

#define LOOK_AGAIN 200000000 /* nanoseconds, whether a watcher has gone */
#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

/* "" is the server as a whole. */
static const char *const services[] = {"", "csi.v1.Identity", "csi.v1.Controller", "csi.v1.GroupController",
                                       "csi.v1.Node"};
#define COUNT (sizeof services / sizeof *services)

static bool is_served(const char *name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(services[i], name) == 0)
            return true;
    return false;
}

static bool check(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Grpc__Health__V1__HealthCheckRequest *request = message;
    Grpc__Health__V1__HealthCheckResponse *response = answer;
    (void)call;
    response->status = SERVING;
    return is_served(request->service) || fail(error, NOT_FOUND, "there is no service \"%s\"", request->service);
}

static bool list(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    Grpc__Health__V1__HealthListResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    (void)message, (void)error;
    response->statuses = arena_array(arena, COUNT, sizeof *response->statuses);
    for (size_t i = 0; i < COUNT; i++) {
        Grpc__Health__V1__HealthListResponse__StatusesEntry *entry = arena_allocate(arena, sizeof *entry);
        grpc__health__v1__health_list_response__statuses_entry__init(entry);
        entry->key = arena_string(arena, services[i]);
        entry->value = arena_allocate(arena, sizeof *entry->value);
        grpc__health__v1__health_check_response__init(entry->value);
        entry->value->status = SERVING;
        response->statuses[response->n_statuses++] = entry;
    }
    return true;
}

/* Nothing changes until the server ends, so the stream is one message, a long wait, and then one more. */
static bool watch(struct rpc_call *call, const void *message, struct error *error)
{
    const Grpc__Health__V1__HealthCheckRequest *request = message;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    struct timespec pause = {.tv_nsec = LOOK_AGAIN};
    response.status = is_served(request->service) ? SERVING : SERVICE_UNKNOWN;
    if (!rpc_send(call, &response, error))
        return false;
    if (!rpc_wait_begin(call))
        return fail(error, RESOURCE_EXHAUSTED, "too many calls are waiting already");
    while (!rpc_cancelled(call))
        nanosleep(&pause, NULL);
    rpc_wait_end(call);
    if (!rpc_stopping(call))
        return true; /* the watcher has gone */
    response.status = NOT_SERVING;
    return rpc_send(call, &response, error) && fail(error, UNAVAILABLE, "the driver is shutting down");
}

static const struct rpc_method methods[] = {
    {.name = "Check", .lane = RPC_INLINE, .quiet = true, .handle = check},
    {.name = "List", .lane = RPC_INLINE, .quiet = true, .handle = list},
    {.name = "Watch", .lane = RPC_NODE, .quiet = true, .stream = watch},
};

const struct rpc_service health_service = {
    .descriptor = &grpc__health__v1__health__descriptor, .methods = methods, .count = sizeof methods / sizeof *methods};
