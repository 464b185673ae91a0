/* A server of rpc/ on a socket of its own, whose handlers a test writes, and a client of it. */
#pragma once

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/client.h"
#include "rpc/server.h"
#include "tests/unit/unit.h"

#include "csi.pb-c.h"
#include "health.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>

#define MILLISECONDS(count) ((int64_t)(count)*NANOSECONDS_PER_MILLISECOND)
#define SECONDS(count) ((int64_t)(count)*NANOSECONDS_PER_SECOND)

struct fixture {
    char directory[64]; /* removed by fixture_end() */
    char endpoint[96];
    const char *path; /* of the socket: within endpoint */
    struct rpc_server *server;
    struct rpc_client *client;
    struct arena *arena; /* of the answers */
    /* What the methods do: CreateVolume on the controller's lane, NodePublishVolume on the node's, GetPluginInfo on the
     * poller, GetMetadataAllocated as a stream.  NULL: answer at once. */
    _Atomic rpc_handler create, publish, info;
    _Atomic rpc_stream_handler stream;
    atomic_int entered, seen; /* for the handlers */
    atomic_bool release;
};

/* Starts a server that has at most so many workers in each lane (0: its default). */
void fixture_begin(struct fixture *fixture, unsigned workers);
void fixture_end(struct fixture *fixture);

/* The same in two steps: the directory and the names; the server and its client.  And a server that does not listen. */
void fixture_prepare(struct fixture *fixture);
void fixture_start(struct fixture *fixture, unsigned workers);
struct rpc_server *fixture_server(struct fixture *fixture, unsigned workers);

struct fixture *fixture_of(const struct rpc_call *call);

/* Calls with a deadline in milliseconds; the code tells how it went. */
enum error_code call_create(struct fixture *fixture, const char *name, int deadline, struct error *error);
enum error_code call_publish(struct fixture *fixture, int deadline, struct error *error);
enum error_code call_info(struct fixture *fixture, struct error *error);

/* The same on a thread of its own. */
struct background {
    struct fixture *fixture;
    const char *name;
    int deadline;
    pthread_t thread;
    struct error error;
    enum error_code code;
    int64_t nanoseconds;
};
void background_create(struct background *call, struct fixture *fixture, const char *name, int deadline);
void background_join(struct background *call);

/* Waits up to ten seconds until *value is at least that much. */
bool reaches(atomic_int *value, int least);

/* Numbers about this process. */
int count_descriptors(void);
int count_workers(void);
long resident_kib(const char *key); /* "VmRSS:", "VmHWM:" */
