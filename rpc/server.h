/*
 * The gRPC server.  rpc/ is the only place that includes <grpc/...>: everyone else sees methods, calls and messages.
 *
 * One thread polls gRPC's completion queue and never runs a handler, unless the method is RPC_INLINE.  The others run
 * on worker threads, which are started when they are needed and end when idle, in two lanes with limits of their own,
 * so that slow provisioning cannot starve mounts.
 *
 * At the door every request is checked on the wire, before any handler sees it: well-formed protobuf, strings that
 * are UTF-8 without NUL and forbidden control characters, within CSI's lengths (rpc/wire.h).  Messages are limited
 * (4 MiB on the wire, a budget in memory), compression is off.  Answers of an unknown method are UNIMPLEMENTED.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "rpc/wire.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_call;
struct rpc_server;

enum rpc_lane {
    RPC_CONTROLLER, /* worker threads for provisioning; may wait for jobs */
    RPC_NODE,       /* worker threads of their own for the kubelet's calls */
    RPC_INLINE,     /* on the poller: only for answers from memory that cannot block */
};

/*
 * A handler.  `request` is the unpacked message, `response` the method's answer, already initialised; both and all that
 * is allocated from rpc_arena(call) live until the answer has been sent.  The descriptors in the service's protobuf-c
 * descriptor tell which struct each is.  False: `error` is sent instead.
 */
typedef bool (*rpc_handler)(struct rpc_call *call, const void *request, void *response, struct error *error);

/* A handler of a server-streaming method: sends any number of messages with rpc_send(), then returns. */
typedef bool (*rpc_stream_handler)(struct rpc_call *call, const void *request, struct error *error);

struct rpc_method {
    const char *name; /* as in the .proto file: "CreateVolume" */
    enum rpc_lane lane;
    bool quiet; /* a successful call is logged at debug level only (probes, statistics) */
    rpc_handler handle;
    rpc_stream_handler stream; /* exactly one of handle and stream is set */
};

/* A service: methods of the descriptor that are not listed answer UNIMPLEMENTED. */
struct rpc_service {
    const ProtobufCServiceDescriptor *descriptor;
    const struct rpc_method *methods;
    size_t count;
};

struct rpc_server_options {
    const struct rpc_service *const *services;
    size_t count;
    const struct wire_limits *limits;
    void *context;               /* given to handlers by rpc_context() */
    unsigned controller_workers; /* at most that many threads at work; 0: 16 */
    unsigned node_workers;       /* 0: 16 */
};

/*
 * Creates a server that does not listen yet.  Fails with INTERNAL when a table names a method that its descriptor does
 * not have (a mistake of ours).  Free with rpc_server_destroy().
 */
struct rpc_server *rpc_server_create(const struct rpc_server_options *options, struct error *error);

/*
 * Listens on "unix:///absolute/path" or "/absolute/path", with a listener of our own (gRPC's unlinks sockets of live
 * servers): mode 0600, only callers with uid 0 or our own, a stale socket is replaced, a live one refused
 * (FAILED_PRECONDITION), a missing parent directory is an error (FAILED_PRECONDITION; it is not created), a path that
 * is longer than 107 bytes or relative is INVALID_ARGUMENT, something at the path that is not a socket is left alone
 * (FAILED_PRECONDITION).  May be called several times, for several sockets.
 */
bool rpc_server_listen(struct rpc_server *server, const char *endpoint, struct error *error);

/* Starts answering.  Before, connections wait in the listen queue. */
bool rpc_server_start(struct rpc_server *server, struct error *error);

/*
 * Ends: no new connections, removes our sockets (only if they are still ours), lets calls under way finish for
 * `grace_nanoseconds`, then cancels the rest and waits for their handlers, at most until `limit_nanoseconds`.  True if
 * all have ended; false: a handler is stuck, and the caller should _exit().
 */
bool rpc_server_stop(struct rpc_server *server, int64_t grace_nanoseconds, int64_t limit_nanoseconds);

/* Frees a server; one that still runs is stopped first, without grace.  Takes NULL. */
void rpc_server_destroy(struct rpc_server *server);

/* --- for handlers --- */

void *rpc_context(const struct rpc_call *call);
struct arena *rpc_arena(struct rpc_call *call);

/* When the caller gives up, on CLOCK_MONOTONIC in nanoseconds; NO_DEADLINE if it never does. */
int64_t rpc_deadline(const struct rpc_call *call);

/* True once the caller has gone, its deadline has passed or the server is ending.  Work already begun need not stop. */
bool rpc_cancelled(const struct rpc_call *call);

/* True once the server is ending: waits should stop with UNAVAILABLE. */
bool rpc_stopping(const struct rpc_call *call);

/*
 * Brackets a wait (for a job): in between the call does not count as a thread at work, so others are served.
 * False: too many wait already (more than 64 in the lane); the handler should answer ABORTED at once.
 */
bool rpc_wait_begin(struct rpc_call *call);
void rpc_wait_end(struct rpc_call *call);

/*
 * Sends one message of a stream and returns when gRPC wants the next.  False: nobody waits for more (CANCELLED,
 * DEADLINE_EXCEEDED) or the server is ending (UNAVAILABLE); the handler returns with this error.  A reader that takes
 * nothing for a minute has gone.
 */
bool rpc_send(struct rpc_call *call, const void *message, struct error *error);

/* --- for metrics --- */

struct rpc_method_counts {
    const char *service, *method; /* "csi.v1.Controller", "CreateVolume" */
    uint64_t calls[17];           /* by gRPC code */
    uint64_t nanoseconds;         /* in handlers, in all */
    uint64_t at_work;             /* now */
};

/* Calls `see` for every method that has been called at least once.  Any thread. */
void rpc_server_counts(struct rpc_server *server, void (*see)(const struct rpc_method_counts *, void *), void *data);
