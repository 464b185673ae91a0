#include "rpc/call.h"

#include "base/clock.h"
#include "rpc/library.h"
#include "rpc/listener.h"

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <unistd.h>

#define MESSAGE_BYTES (4 * 1024 * 1024)
#define STREAMS_PER_CONNECTION 128
#define WORKERS 16
#define REQUESTS_ARMED 4
#define STOP_LIMIT (10 * NANOSECONDS_PER_SECOND)

static grpc_arg integer_argument(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

static grpc_server *create_grpc_server(grpc_completion_queue *queue)
{
    grpc_arg arguments[] = {
        integer_argument(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MESSAGE_BYTES),
        integer_argument(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION),
        /* Only "identity": gRPC would decompress a bomb whole before it looks at its size. */
        integer_argument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1),
        integer_argument(GRPC_ARG_ENABLE_CHANNELZ, 0),
        integer_argument(GRPC_ARG_HTTP2_BDP_PROBE, 0), /* measures networks */
    };
    grpc_channel_args all = {.num_args = sizeof arguments / sizeof *arguments, .args = arguments};
    grpc_server *server = grpc_server_create(&all, NULL);
    grpc_server_register_completion_queue(server, queue, NULL);
    return server;
}

static void connection_accepted(int descriptor, void *data)
{
    struct rpc_server *server = data;
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    grpc_server_add_channel_from_fd(server->grpc, descriptor, credentials);
    grpc_server_credentials_release(credentials);
}

static void shut(void *owner, bool good)
{
    struct rpc_server *server = owner;
    (void)good;
    pthread_mutex_lock(&server->mutex);
    server->is_shut = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct rpc_server *rpc_server_create(const struct rpc_server_options *options, struct error *error)
{
    struct rpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        fail(error, RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    library_acquire();
    server->limits = options->limits;
    server->context = options->context;
    server->shut = (struct tag){shut, server};
    pthread_mutex_init(&server->mutex, NULL);
    init_condition(&server->changed);
    server->queue = grpc_completion_queue_create_for_next(NULL);
    server->grpc = create_grpc_server(server->queue);
    server->listener = listener_create(connection_accepted, server);
    server->lanes[RPC_CONTROLLER] =
        lane_create(options->controller_workers > 0 ? options->controller_workers : WORKERS);
    server->lanes[RPC_NODE] = lane_create(options->node_workers > 0 ? options->node_workers : WORKERS);
    if (server->listener == NULL || server->lanes[RPC_CONTROLLER] == NULL || server->lanes[RPC_NODE] == NULL)
        fail(error, RESOURCE_EXHAUSTED, "out of memory or descriptors");
    else if (methods_create(&server->methods, options, error))
        return server;
    rpc_server_destroy(server);
    return NULL;
}

bool rpc_server_listen(struct rpc_server *server, const char *endpoint, struct error *error)
{
    return listener_add(server->listener, endpoint, error);
}

static void *poll_queue(void *argument)
{
    struct rpc_server *server = argument;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        const struct tag *tag = event.tag;
        tag->happened(tag->owner, event.success != 0);
    }
}

bool rpc_server_start(struct rpc_server *server, struct error *error)
{
    grpc_server_start(server->grpc);
    server->started = library_thread(&server->poller, "rpc-poll", poll_queue, server);
    if (!server->started)
        return fail(error, RESOURCE_EXHAUSTED, "cannot start a thread for gRPC");
    for (int i = 0; i < REQUESTS_ARMED; i++)
        call_arm(server);
    return listener_start(server->listener, error);
}

static bool idle(const struct rpc_server *server)
{
    return server->at_work == 0;
}

static bool all_ended(const struct rpc_server *server)
{
    return server->is_shut && server->calls == 0 && server->armed == 0;
}

static bool wait_until(struct rpc_server *server, bool (*condition)(const struct rpc_server *), int64_t limit)
{
    struct timespec until = {.tv_sec = limit / NANOSECONDS_PER_SECOND, .tv_nsec = limit % NANOSECONDS_PER_SECOND};
    int number = 0;
    pthread_mutex_lock(&server->mutex);
    while (!condition(server) && number == 0)
        number = pthread_cond_timedwait(&server->changed, &server->mutex, &until);
    bool held = condition(server);
    pthread_mutex_unlock(&server->mutex);
    return held;
}

/*
 * gRPC says that it is shut while handlers still hold calls, and aborts if one of them then starts a batch on a queue
 * that has been shut down.  So the queue goes last, when nobody holds a call.
 */
static bool end_calls(struct rpc_server *server, int64_t grace, int64_t limit)
{
    wait_until(server, idle, grace);
    if (!server->ending)
        grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->shut);
    server->ending = true;
    grpc_server_cancel_all_calls(server->grpc);
    return wait_until(server, all_ended, limit);
}

bool rpc_server_stop(struct rpc_server *server, int64_t grace_nanoseconds, int64_t limit_nanoseconds)
{
    int64_t now = monotonic_now();
    listener_stop(server->listener);
    atomic_store(&server->stopping, true);
    if (!server->started || server->ended)
        return true;
    if (!end_calls(server, now + grace_nanoseconds, now + limit_nanoseconds))
        return false;
    grpc_completion_queue_shutdown(server->queue);
    pthread_join(server->poller, NULL);
    server->ended = true;
    return true;
}

void rpc_server_destroy(struct rpc_server *server)
{
    if (server == NULL || !rpc_server_stop(server, 0, STOP_LIMIT))
        return; /* a stuck handler still uses it */
    listener_destroy(server->listener);
    for (size_t i = 0; i < LANES; i++)
        lane_destroy(server->lanes[i]);
    grpc_server_destroy(server->grpc);
    if (!server->started)
        grpc_completion_queue_shutdown(server->queue);
    grpc_completion_queue_destroy(server->queue);
    methods_destroy(&server->methods);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(server);
    library_release();
}

void rpc_server_counts(struct rpc_server *server, void (*see)(const struct rpc_method_counts *, void *), void *data)
{
    methods_counts(&server->methods, see, data);
}
