#include "rpc/client.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/endpoint.h"
#include "rpc/library.h"
#include "rpc/message.h"
#include "rpc/wire.h"

#include <grpc/grpc_security.h>
#include <string.h>

#define ANSWER_BYTES (64 * 1024 * 1024) /* a list of 100,000 volumes */
#define RECONNECT_MILLISECONDS 100

struct rpc_client {
    grpc_channel *channel;
    struct sockaddr_un address;
};

/* One call with a completion queue of its own: more than six threads may not wait on the same. */
struct exchange {
    struct rpc_client *client;
    const ProtobufCMethodDescriptor *method;
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *answer;
    grpc_status_code status;
    grpc_slice details;
};

struct rpc_stream {
    struct exchange exchange;
    bool ended; /* its status is known */
};

enum tag { SENT = 1, RECEIVED, STATUS };

static grpc_channel *create_channel(const char *path)
{
    grpc_arg arguments[] = {
        {GRPC_ARG_INTEGER, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, {.integer = ANSWER_BYTES}},
        {GRPC_ARG_INTEGER, GRPC_ARG_ENABLE_RETRIES, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_ENABLE_HTTP_PROXY, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, {.integer = 1}},
        {GRPC_ARG_INTEGER, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, {.integer = RECONNECT_MILLISECONDS}},
        {GRPC_ARG_INTEGER, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, {.integer = 10 * RECONNECT_MILLISECONDS}},
        {GRPC_ARG_INTEGER, GRPC_ARG_ENABLE_CHANNELZ, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_HTTP2_BDP_PROBE, {.integer = 0}},
    };
    grpc_channel_args all = {.num_args = sizeof arguments / sizeof *arguments, .args = arguments};
    char target[sizeof "unix:" + sizeof((struct sockaddr_un *)NULL)->sun_path];
    snprintf(target, sizeof target, "unix:%s", path);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    return channel;
}

struct rpc_client *rpc_client_create(const char *endpoint, struct error *error)
{
    struct sockaddr_un address;
    if (!endpoint_address(endpoint, &address, error))
        return NULL;
    struct rpc_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        fail(error, RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    library_acquire();
    client->address = address;
    client->channel = create_channel(address.sun_path);
    return client;
}

void rpc_client_destroy(struct rpc_client *client)
{
    if (client == NULL)
        return;
    grpc_channel_destroy(client->channel);
    free(client);
    library_release();
}

static gpr_timespec to_timespec(int64_t deadline)
{
    if (deadline == NO_DEADLINE)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return (gpr_timespec){.tv_sec = deadline / NANOSECONDS_PER_SECOND,
                          .tv_nsec = (int32_t)(deadline % NANOSECONDS_PER_SECOND),
                          .clock_type = GPR_CLOCK_MONOTONIC};
}

static bool open_exchange(struct exchange *exchange, struct rpc_client *client,
                          const ProtobufCServiceDescriptor *service, const char *name, int64_t deadline,
                          struct error *error)
{
    *exchange = (struct exchange){.client = client, .details = grpc_empty_slice()};
    exchange->method = protobuf_c_service_descriptor_get_method_by_name(service, name);
    if (exchange->method == NULL)
        return fail(error, UNIMPLEMENTED, "the service %s has no method %s", service->name, name);
    cleanup_free char *path = NULL;
    if (asprintf(&path, "/%s/%s", service->name, name) < 0) {
        path = NULL;
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    }
    grpc_slice slice = grpc_slice_from_copied_string(path);
    exchange->queue = grpc_completion_queue_create_for_pluck(NULL);
    exchange->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, exchange->queue, slice,
                                              NULL, to_timespec(deadline), NULL);
    grpc_slice_unref(slice);
    grpc_metadata_array_init(&exchange->initial);
    grpc_metadata_array_init(&exchange->trailing);
    return true;
}

static void close_exchange(struct exchange *exchange)
{
    grpc_call_unref(exchange->call);
    grpc_byte_buffer_destroy(exchange->answer);
    grpc_metadata_array_destroy(&exchange->initial);
    grpc_metadata_array_destroy(&exchange->trailing);
    grpc_slice_unref(exchange->details);
    grpc_completion_queue_shutdown(exchange->queue);
    grpc_completion_queue_destroy(exchange->queue);
}

static void start(struct exchange *exchange, const grpc_op *operations, size_t count, enum tag tag)
{
    library_must(grpc_call_start_batch(exchange->call, operations, count, (void *)(uintptr_t)tag, NULL));
}

static void await(struct exchange *exchange, enum tag tag)
{
    grpc_completion_queue_pluck(exchange->queue, (void *)(uintptr_t)tag, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

/* Sends the request.  Asks for the initial metadata too, without which gRPC never delivers a status. */
static void send_request(struct exchange *exchange, const ProtobufCMessage *request)
{
    grpc_byte_buffer *buffer = message_pack(request);
    grpc_op operations[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata.recv_initial_metadata = &exchange->initial},
    };
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &exchange->trailing,
                                                     .status = &exchange->status,
                                                     .status_details = &exchange->details}};
    start(exchange, operations, sizeof operations / sizeof *operations, SENT);
    start(exchange, &status, 1, STATUS);
    grpc_byte_buffer_destroy(buffer); /* gRPC has taken a reference */
}

static void await_status(struct exchange *exchange)
{
    await(exchange, SENT);
    await(exchange, STATUS);
}

/* Waits for the next message; exchange->answer is NULL if there is none. */
static void receive(struct exchange *exchange)
{
    grpc_byte_buffer_destroy(exchange->answer);
    exchange->answer = NULL;
    grpc_op operation = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &exchange->answer};
    start(exchange, &operation, 1, RECEIVED);
    await(exchange, RECEIVED);
}

/* Turns the status into an error.  False: it is not OK. */
static bool judge(const struct exchange *exchange, struct error *error)
{
    const char *path = exchange->client->address.sun_path;
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(exchange->client->channel, 0);
    if (exchange->status == GRPC_STATUS_OK)
        return true;
    if (exchange->status == GRPC_STATUS_UNAVAILABLE && state != GRPC_CHANNEL_READY) {
        int number = endpoint_try(&exchange->client->address);
        if (number != 0)
            return fail(error, UNAVAILABLE, "cannot connect to %s: %s", path, strerrordesc_np(number));
    }
    bool known = exchange->status > GRPC_STATUS_OK && exchange->status <= GRPC_STATUS_UNAUTHENTICATED;
    return fail(error, known ? (enum error_code)exchange->status : UNKNOWN, "%.*s",
                (int)GRPC_SLICE_LENGTH(exchange->details), (const char *)GRPC_SLICE_START_PTR(exchange->details));
}

static const void *unpack(struct exchange *exchange, struct arena *arena, struct error *error)
{
    grpc_slice bytes = message_bytes(exchange->answer);
    ProtobufCMessage *message =
        protobuf_c_message_unpack(exchange->method->output, arena_allocator(arena, 2 * (size_t)ANSWER_BYTES),
                                  GRPC_SLICE_LENGTH(bytes), GRPC_SLICE_START_PTR(bytes));
    grpc_slice_unref(bytes);
    if (message != NULL)
        wire_fold_maps(message);
    else
        fail(error, INTERNAL, "the answer to %s is malformed or too large", exchange->method->name);
    return message;
}

const void *rpc_client_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                            const void *request, int64_t deadline, struct arena *arena, struct error *error)
{
    struct exchange exchange;
    const void *answer = NULL;
    if (!open_exchange(&exchange, client, service, method, deadline, error))
        return NULL;
    send_request(&exchange, request);
    receive(&exchange);
    await_status(&exchange);
    bool good = judge(&exchange, error);
    if (good && exchange.answer != NULL)
        answer = unpack(&exchange, arena, error);
    else if (good)
        fail(error, INTERNAL, "the server did not answer %s with a message", method);
    close_exchange(&exchange);
    return answer;
}

struct rpc_stream *rpc_client_stream(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                                     const char *method, const void *request, int64_t deadline, struct error *error)
{
    struct rpc_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        fail(error, RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    if (!open_exchange(&stream->exchange, client, service, method, deadline, error)) {
        free(stream);
        return NULL;
    }
    send_request(&stream->exchange, request);
    return stream;
}

bool rpc_stream_next(struct rpc_stream *stream, const void **message, struct arena *arena, struct error *error)
{
    error->code = OK;
    if (!stream->ended)
        receive(&stream->exchange);
    if (!stream->ended && stream->exchange.answer != NULL) {
        *message = unpack(&stream->exchange, arena, error);
        return *message != NULL;
    }
    if (!stream->ended)
        await_status(&stream->exchange);
    stream->ended = true;
    judge(&stream->exchange, error);
    return false;
}

void rpc_stream_close(struct rpc_stream *stream)
{
    if (stream == NULL)
        return;
    if (!stream->ended) {
        grpc_call_cancel(stream->exchange.call, NULL);
        await_status(&stream->exchange);
    }
    close_exchange(&stream->exchange);
    free(stream);
}
