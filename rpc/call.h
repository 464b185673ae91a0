/*
 * One call, and what the server's files share of the server.  Inside rpc/ only.
 *
 * The life of a call: it arrives on the poller, which looks its method up and asks gRPC for the request's message; once
 * that is there, a worker (or, for RPC_INLINE, the poller) runs it; from then on only that thread starts batches on the
 * call.  The poller hears when the caller goes (`closed`) and when the answer is out (`done`).
 */
#pragma once

#include "rpc/methods.h"
#include "rpc/server.h"
#include "rpc/workers.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* What a completion queue gives back: whom to tell that an operation has ended, and whether it went well. */
struct tag {
    void (*happened)(void *owner, bool good);
    void *owner;
};

enum { LANES = RPC_INLINE }; /* the lanes that have workers */

struct rpc_server {
    grpc_server *grpc;
    grpc_completion_queue *queue;
    struct listener *listener;
    struct lane *lanes[LANES];
    struct methods methods;
    const struct wire_limits *limits;
    void *context;
    pthread_t poller;
    bool started, ending, ended;
    struct tag shut;
    atomic_bool stopping;
    pthread_mutex_t mutex; /* for the rest */
    pthread_cond_t changed;
    unsigned armed;   /* requests for a call that gRPC still holds */
    unsigned calls;   /* that have arrived and are not freed */
    unsigned at_work; /* of these, accepted for a handler and not answered */
    bool is_shut;     /* gRPC has closed all connections */
};

struct rpc_call {
    struct task task;
    struct rpc_server *server;
    struct method *method; /* NULL: unknown */
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *message; /* the request */
    struct arena *arena;
    const void *request; /* NULL until it has been unpacked */
    int64_t arrival, deadline;
    int was_cancelled; /* written by gRPC when `closed` happens */
    atomic_bool cancelled;
    atomic_uint references; /* one for whoever runs it, one for each batch whose end is told to nobody else */
    bool accepted;          /* counts as at work */
    bool opened;            /* initial metadata has been sent */
    sem_t sent;             /* a message of a stream is out */
    atomic_bool sent_well;
    struct tag arrival_tag, closed_tag, message_tag, sent_tag, done_tag;
};

/* Asks gRPC for the next call.  Only on the poller, or before it runs. */
void call_arm(struct rpc_server *server);

/*
 * Sends the answer, a message if there is one and the status (`error` NULL: OK).  The caller of this keeps its
 * reference.
 */
void call_answer(struct rpc_call *call, const ProtobufCMessage *message, const struct error *error);

/* False with a reason if nobody waits for the answer, or the server is ending. */
bool call_is_wanted(const struct rpc_call *call, struct error *error);

/* Runs a call whose message has arrived, answers it, counts and logs it, and gives its reference back. */
void call_run(struct rpc_call *call);

/* Answers without running it: the method is unknown, or the server has no room.  Gives the reference back. */
void call_refuse(struct rpc_call *call, const struct error *error);

void call_unreference(struct rpc_call *call);
