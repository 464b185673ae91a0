/* What all commands share: the options of every command, the connection to a driver, and how it is called. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/options.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#include "csi.pb-c.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

struct session_options {
    const char *endpoint;
    int64_t timeout; /* nanoseconds */
    bool json;
};

/* The lines of these options for a command's table; `type` begins with a `struct session_options session`. */
#define SESSION_OPTIONS(type)                                                                                    \
    {.name = "endpoint",                                                                                         \
     .value = "SOCKET",                                                                                          \
     .help = "The driver's socket: unix:///absolute/path.",                                                      \
     .standard = "unix:///run/plinth/csi.sock",                                                                  \
     .environment = "CSI_ENDPOINT",                                                                              \
     .field = offsetof(type, session.endpoint),                                                                  \
     .read = option_text},                                                                                       \
        {.name = "output",                                                                                       \
         .letter = 'o',                                                                                          \
         .value = "FORMAT",                                                                                      \
         .help = "How to print the result: table or json.",                                                      \
         .standard = "table",                                                                                    \
         .field = offsetof(type, session.json),                                                                  \
         .read = session_read_format},                                                                           \
    {                                                                                                            \
        .name = "timeout", .value = "TIME", .help = "How long to wait in all: 30s, 10m, 1h.", .standard = "10m", \
        .field = offsetof(type, session.timeout), .read = session_read_timeout                                   \
    }

/* For commands that have only these options. */
struct plain_options {
    struct session_options session;
};
#define PLAIN_OPTIONS 3
extern const struct option plain_table[PLAIN_OPTIONS];

bool session_read_format(const char *value, void *field, struct error *error);
bool session_read_timeout(const char *value, void *field, struct error *error);

struct session {
    struct rpc_client *client;
    struct arena *arena; /* of answers; lives until session_close() */
    int64_t timeout, deadline;
    bool json;
};

/*
 * Begins a command: reads its command line into `given`, whose first member is a `struct session_options`, and opens
 * the session.  Returns -1 to go on, else the exit status.  session_close() in any case.
 */
int session_begin(struct session *session, const struct options *options, int argc, char **argv, void *given);

/* Connects (lazily).  INVALID_ARGUMENT for an endpoint that is none.  session_close() also after a failure. */
bool session_open(struct session *session, const struct session_options *options, struct error *error);
void session_close(struct session *session);
#define cleanup_session __attribute__((cleanup(session_close)))

/*
 * Calls a method and returns its answer, which lives as long as the session; NULL with the driver's error.
 *
 * CSI's calls can be repeated, and long work goes on in the driver.  So a call that is ABORTED (an operation is
 * pending) or takes too long is made again until the session's deadline, while progress is shown with what the driver
 * said.  `doing` says what is being waited for.
 */
const void *session_call(struct session *session, const ProtobufCServiceDescriptor *service, const char *method,
                         const void *request, const char *doing, struct error *error);

/* The same, and the call is made again until `ready` is true of its answer. */
const void *session_call_until(struct session *session, const ProtobufCServiceDescriptor *service, const char *method,
                               const void *request, bool (*ready)(const void *answer), const char *doing,
                               struct error *error);

/* The same as session_call(), but ABORTED is a failure as any other: in lists it means that a token has become invalid.
 */
const void *session_call_once(struct session *session, const ProtobufCServiceDescriptor *service, const char *method,
                              const void *request, const char *doing, struct error *error);

/* True if the driver has the capability; false also if it cannot be asked. */
bool session_controller_can(struct session *session, Csi__V1__ControllerServiceCapability__RPC__Type type);
bool session_node_can(struct session *session, Csi__V1__NodeServiceCapability__RPC__Type type);

/* Tells an error on standard error, as "plinth: NOT_FOUND: ..."; returns the exit status, 1. */
int session_failed(const struct error *error);

/* The exit status of a command that has printed its result: 0, or 1 if it could not be written. */
int session_succeeded(void);
