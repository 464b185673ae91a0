/* The life of a call, from its arrival to its end; what happens in between is in dispatch.c. */
#include "rpc/call.h"

#include "base/clock.h"
#include "rpc/library.h"
#include "rpc/message.h"

#include <errno.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#define CALLS_MOST 1024   /* at one time; a message may take 4 MiB before it is checked */
#define TAKING_SECONDS 60 /* that a reader may take for a message of a stream */

static int64_t to_nanoseconds(gpr_timespec time)
{
    if (gpr_time_cmp(time, gpr_inf_future(time.clock_type)) == 0)
        return NO_DEADLINE;
    int64_t nanoseconds;
    time = gpr_convert_clock_type(time, GPR_CLOCK_MONOTONIC);
    if (__builtin_mul_overflow(time.tv_sec, NANOSECONDS_PER_SECOND, &nanoseconds) ||
        __builtin_add_overflow(nanoseconds, time.tv_nsec, &nanoseconds))
        return time.tv_sec > 0 ? NO_DEADLINE : 0;
    return nanoseconds;
}

static void free_call(struct rpc_call *call)
{
    grpc_byte_buffer_destroy(call->message);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->grpc != NULL)
        grpc_call_unref(call->grpc);
    arena_destroy(call->arena);
    sem_destroy(&call->sent);
    free(call);
}

void call_unreference(struct rpc_call *call)
{
    if (atomic_fetch_sub(&call->references, 1) != 1)
        return;
    struct rpc_server *server = call->server;
    free_call(call);
    pthread_mutex_lock(&server->mutex);
    if (--server->calls == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

/* Starts operations whose end `tag` will tell, on the poller. */
static void start(struct rpc_call *call, const grpc_op *operations, size_t count, struct tag *tag)
{
    library_must(grpc_call_start_batch(call->grpc, operations, count, tag, NULL));
}

static void end_work(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    if (!call->accepted)
        return;
    pthread_mutex_lock(&server->mutex);
    if (--server->at_work == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

static void done(void *owner, bool good)
{
    (void)good;
    end_work(owner);
    call_unreference(owner);
}

void call_answer(struct rpc_call *call, const ProtobufCMessage *message, const struct error *error)
{
    grpc_op operations[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = call->opened ? 0 : 1;
    grpc_byte_buffer *buffer = message != NULL ? message_pack(message) : NULL;
    if (buffer != NULL)
        operations[count++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
    grpc_slice words = grpc_slice_from_copied_string(error != NULL ? error->message : "");
    operations[count++] = (grpc_op){
        .op = GRPC_OP_SEND_STATUS_FROM_SERVER,
        .data.send_status_from_server = {.status = error != NULL ? (grpc_status_code)error->code : GRPC_STATUS_OK,
                                         .status_details = &words}};
    atomic_fetch_add(&call->references, 1);
    start(call, operations, count, &call->done_tag);
    /* gRPC has taken references of its own. */
    grpc_slice_unref(words);
    grpc_byte_buffer_destroy(buffer);
}

static void closed(void *owner, bool good)
{
    struct rpc_call *call = owner;
    if (!good || call->was_cancelled)
        atomic_store(&call->cancelled, true);
    call_unreference(call);
}

static void run_task(struct task *task)
{
    call_run((struct rpc_call *)task);
}

static void message_arrived(void *owner, bool good)
{
    struct rpc_call *call = owner;
    struct error error;
    enum rpc_lane lane = call->method->table->lane;
    if (!good || call->message == NULL) {
        fail(&error, INVALID_ARGUMENT, "the request has no message, or one of more than 4 MiB");
        call_refuse(call, &error);
    } else if (lane == RPC_INLINE) {
        call_run(call);
    } else if (!lane_submit(call->server->lanes[lane], &call->task)) {
        fail(&error, UNAVAILABLE, "the driver cannot start a thread; try again");
        call_refuse(call, &error);
    }
}

static void ask_for_message(struct rpc_call *call)
{
    grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->message};
    start(call, &receive, 1, &call->message_tag);
}

/* Without this operation nobody would ever hear that the caller has gone or that its deadline has passed. */
static void watch_caller(struct rpc_call *call)
{
    grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &call->was_cancelled};
    atomic_fetch_add(&call->references, 1);
    start(call, &close, 1, &call->closed_tag);
}

/* Decides whether the call gets a handler. */
static bool admit(struct rpc_call *call, struct error *error)
{
    struct rpc_server *server = call->server;
    call->method = methods_find(&server->methods, call->details.method);
    if (atomic_load(&server->stopping))
        return fail(error, UNAVAILABLE, "the driver is shutting down; try again");
    if (call->method == NULL)
        return fail(error, UNIMPLEMENTED, "this driver does not implement the method");
    pthread_mutex_lock(&server->mutex);
    call->accepted = server->at_work < CALLS_MOST;
    server->at_work += call->accepted;
    pthread_mutex_unlock(&server->mutex);
    return call->accepted || fail(error, RESOURCE_EXHAUSTED, "%d calls are under way; try again", CALLS_MOST);
}

static void arrived(void *owner, bool good)
{
    struct rpc_call *call = owner;
    struct rpc_server *server = call->server;
    struct error error;
    pthread_mutex_lock(&server->mutex);
    server->armed--;
    server->calls += good;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    if (!good) { /* the server is ending */
        free_call(call);
        return;
    }
    call_arm(server); /* at once: while gRPC has no request, calls of any kind hang */
    call->arrival = monotonic_now();
    call->deadline = to_nanoseconds(call->details.deadline);
    watch_caller(call);
    if (admit(call, &error))
        ask_for_message(call);
    else
        call_refuse(call, &error);
}

static void message_sent(void *owner, bool good)
{
    struct rpc_call *call = owner;
    atomic_store(&call->sent_well, good);
    sem_post(&call->sent);
}

void call_arm(struct rpc_server *server)
{
    struct rpc_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        abort(); /* as base/arena.c: out of memory for a few bytes */
    *call = (struct rpc_call){.server = server,
                              .task.run = run_task,
                              .references = 1,
                              .arrival_tag = {arrived, call},
                              .closed_tag = {closed, call},
                              .message_tag = {message_arrived, call},
                              .sent_tag = {message_sent, call},
                              .done_tag = {done, call}};
    sem_init(&call->sent, 0, 0);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    pthread_mutex_lock(&server->mutex);
    server->armed++;
    pthread_mutex_unlock(&server->mutex);
    library_must(grpc_server_request_call(server->grpc, &call->grpc, &call->details, &call->metadata, server->queue,
                                          server->queue, &call->arrival_tag));
}

/* Waits until gRPC has taken the message; a reader that has stopped reading must not keep a worker for ever. */
static void await_sent(struct rpc_call *call)
{
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += TAKING_SECONDS;
    int result;
    while ((result = sem_clockwait(&call->sent, CLOCK_MONOTONIC, &limit)) != 0 && errno == EINTR)
        ;
    if (result == 0)
        return;
    grpc_call_cancel_with_status(call->grpc, GRPC_STATUS_DEADLINE_EXCEEDED, "the messages are not read", NULL);
    while (sem_wait(&call->sent) != 0)
        ;
}

bool rpc_send(struct rpc_call *call, const void *message, struct error *error)
{
    if (!call_is_wanted(call, error))
        return false;
    grpc_op operations[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t count = call->opened ? 0 : 1;
    grpc_byte_buffer *buffer = message_pack(message);
    operations[count++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
    call->opened = true;
    atomic_store(&call->sent_well, false);
    start(call, operations, count, &call->sent_tag);
    await_sent(call);
    grpc_byte_buffer_destroy(buffer);
    if (atomic_load(&call->sent_well))
        return true;
    return call_is_wanted(call, error) && fail(error, CANCELLED, "the caller has gone");
}
