/* A gRPC client: one channel to a unix socket, blocking calls.  Used by the command line and later by the cluster. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct rpc_client;
struct rpc_stream;

/*
 * Connects lazily to "unix:///absolute/path" or "/absolute/path".  NULL with INVALID_ARGUMENT if it is neither.
 * Free with rpc_client_destroy().
 */
struct rpc_client *rpc_client_create(const char *endpoint, struct error *error);
void rpc_client_destroy(struct rpc_client *client);

/*
 * Calls a unary method and returns its answer, which lives in the arena; NULL with the server's code and message, or
 * with UNAVAILABLE ("cannot connect to ...") or DEADLINE_EXCEEDED.  `deadline` is on CLOCK_MONOTONIC in nanoseconds.
 * Any number of threads may call at the same time.
 */
const void *rpc_client_call(struct rpc_client *client, const ProtobufCServiceDescriptor *service, const char *method,
                            const void *request, int64_t deadline, struct arena *arena, struct error *error);

/* Starts a server-streaming call.  End it with rpc_stream_close(), which cancels what has not been read. */
struct rpc_stream *rpc_client_stream(struct rpc_client *client, const ProtobufCServiceDescriptor *service,
                                     const char *method, const void *request, int64_t deadline, struct error *error);

/*
 * Reads the next message of the stream into the arena.  False with error->code OK at the end of the stream, else
 * with the server's status.
 */
bool rpc_stream_next(struct rpc_stream *stream, const void **message, struct arena *arena, struct error *error);
void rpc_stream_close(struct rpc_stream *stream);
