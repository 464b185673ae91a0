/* What is done with a call: the request is checked and unpacked, its handler runs, the answer is sent, counted, logged.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "rpc/call.h"
#include "rpc/message.h"

#include <grpc/slice.h>
#include <stdio.h>
#include <string.h>

#define REQUEST_MEMORY ((size_t)1024 * 1024) /* for an unpacked request; CSI's largest are a few KiB */

static bool is_abandoned(const struct rpc_call *call)
{
    return atomic_load(&call->cancelled) || monotonic_now() >= call->deadline;
}

bool call_is_wanted(const struct rpc_call *call, struct error *error)
{
    if (rpc_stopping(call))
        return fail(error, UNAVAILABLE, "the driver is shutting down; try again");
    if (monotonic_now() >= call->deadline) /* first: gRPC cancels what is late, too */
        return fail(error, DEADLINE_EXCEEDED, "the deadline has passed");
    return !atomic_load(&call->cancelled) || fail(error, CANCELLED, "the caller has gone");
}

static bool unpack(struct rpc_call *call, struct error *error)
{
    const ProtobufCMessageDescriptor *type = call->method->types->input;
    grpc_slice bytes = message_bytes(call->message);
    grpc_byte_buffer_destroy(call->message);
    call->message = NULL;

    ProtobufCMessage *request = NULL;
    bool good = wire_check(type, GRPC_SLICE_START_PTR(bytes), GRPC_SLICE_LENGTH(bytes), call->server->limits, error);
    if (good) {
        request = protobuf_c_message_unpack(type, arena_allocator(call->arena, REQUEST_MEMORY),
                                            GRPC_SLICE_LENGTH(bytes), GRPC_SLICE_START_PTR(bytes));
        good = request != NULL ||
               fail(error, RESOURCE_EXHAUSTED, "the request takes more than %zu bytes of memory", REQUEST_MEMORY);
    }
    if (good)
        wire_fold_maps(request);
    call->request = request;
    grpc_slice_unref(bytes);
    return good;
}

static bool handle(struct rpc_call *call, ProtobufCMessage **response, struct error *error)
{
    const struct method *method = call->method;
    if (!call_is_wanted(call, error) || !unpack(call, error))
        return false;
    if (method->table->stream != NULL)
        return method->table->stream(call, call->request, error);
    *response = message_create(method->types->output, call->arena);
    return method->table->handle(call, call->request, *response, error);
}

/* gRPC sends a status message only if it is UTF-8, and has no status but 0 to 16. */
static void make_sendable(struct error *error)
{
    char line[sizeof error->message];
    if (error->code <= OK || error->code >= CODES)
        error->code = INTERNAL;
    error->message[sizeof error->message - 1] = '\0';
    if (text_is_utf8(error->message, strlen(error->message)))
        return;
    text_one_line(line, sizeof line, error->message);
    memcpy(error->message, line, sizeof line);
}

static enum log_level level_of(const struct rpc_call *call, enum error_code code)
{
    if (code == INTERNAL || code == DATA_LOSS || code == UNKNOWN)
        return LOG_ERROR;
    if (code != OK)
        return LOG_WARNING;
    return call->method->table->quiet ? LOG_DEBUG : LOG_INFO;
}

static void log_call(const struct rpc_call *call, const struct error *error)
{
    enum error_code code = error != NULL ? error->code : OK;
    enum log_level level = level_of(call, code);
    if (!log_enabled(level))
        return;
    char path[128], milliseconds[32];
    grpc_slice method = call->details.method;
    snprintf(path, sizeof path, "%.*s", (int)GRPC_SLICE_LENGTH(method), (const char *)GRPC_SLICE_START_PTR(method));
    snprintf(milliseconds, sizeof milliseconds, "%.2f", (double)(monotonic_now() - call->arrival) / 1e6);
    const char *key = "volume_id";
    const char *subject = call->method != NULL ? method_subject(call->method, call->request, &key) : NULL;
    log_event(level, "call", "method", path, key, subject, "code", error_code_name(code), "milliseconds", milliseconds,
              "error", error != NULL ? error->message : NULL, "caller", is_abandoned(call) ? "gone" : NULL, NULL);
}

void call_refuse(struct rpc_call *call, const struct error *error)
{
    call_answer(call, NULL, error);
    if (call->method != NULL)
        atomic_fetch_add(&call->method->calls[error->code], 1);
    log_call(call, error);
    call_unreference(call);
}

void call_run(struct rpc_call *call)
{
    struct method *method = call->method;
    struct error error = {.code = UNKNOWN};
    ProtobufCMessage *response = NULL;
    call->arena = arena_create();
    atomic_fetch_add(&method->at_work, 1);
    int64_t start = monotonic_now();
    caller_deadline = rpc_deadline(call);
    bool good = handle(call, &response, &error);
    caller_deadline = NO_DEADLINE;
    atomic_fetch_add(&method->nanoseconds, (uint64_t)(monotonic_now() - start));
    atomic_fetch_sub(&method->at_work, 1);
    if (!good)
        make_sendable(&error);
    atomic_fetch_add(&method->calls[good ? OK : error.code], 1);
    call_answer(call, good ? response : NULL, good ? NULL : &error);
    log_call(call, good ? NULL : &error);
    call_unreference(call);
}

void *rpc_context(const struct rpc_call *call)
{
    return call->server->context;
}

struct arena *rpc_arena(struct rpc_call *call)
{
    return call->arena;
}

int64_t rpc_deadline(const struct rpc_call *call)
{
    return call->deadline;
}

bool rpc_stopping(const struct rpc_call *call)
{
    return atomic_load(&call->server->stopping);
}

bool rpc_cancelled(const struct rpc_call *call)
{
    return is_abandoned(call) || rpc_stopping(call);
}

bool rpc_wait_begin(struct rpc_call *call)
{
    return lane_wait_begin(call->server->lanes[call->method->table->lane]);
}

void rpc_wait_end(struct rpc_call *call)
{
    lane_wait_end(call->server->lanes[call->method->table->lane]);
}
