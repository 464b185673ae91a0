#include "cli/session.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/progress.h"
#include "rpc/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * How long one call may take before it is made again.  Short, as a driver tells its progress at the end of a call; but
 * some drivers begin anew with each call, so it grows after each call that was too short.
 */
#define ATTEMPT (4 * NANOSECONDS_PER_SECOND)
#define LONGEST_ATTEMPT (120 * NANOSECONDS_PER_SECOND)
#define PAUSE (500 * NANOSECONDS_PER_MILLISECOND)

const struct option plain_table[PLAIN_OPTIONS] = {SESSION_OPTIONS(struct plain_options)};

bool session_read_format(const char *value, void *field, struct error *error)
{
    *(bool *)field = strcmp(value, "json") == 0;
    return *(bool *)field || strcmp(value, "table") == 0 ||
           fail(error, INVALID_ARGUMENT, "the format is table or json, not \"%.64s\"", value);
}

bool session_read_timeout(const char *value, void *field, struct error *error)
{
    static const struct {
        const char *suffix;
        int64_t seconds;
    } units[] = {{"s", 1}, {"m", 60}, {"h", 3600}};
    char *end;
    errno = 0;
    long long number = value[0] >= '0' && value[0] <= '9' ? strtoll(value, &end, 10) : 0;
    for (size_t i = 0; number > 0 && number <= 1000000 && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].suffix) == 0) {
            *(int64_t *)field = number * units[i].seconds * NANOSECONDS_PER_SECOND;
            return true;
        }
    return fail(error, INVALID_ARGUMENT, "a time is a number above zero and s, m or h, such as 90s, not \"%.64s\"",
                value);
}

bool session_open(struct session *session, const struct session_options *options, struct error *error)
{
    *session = (struct session){.arena = arena_create(),
                                .timeout = options->timeout,
                                .deadline = monotonic_now() + options->timeout,
                                .json = options->json};
    session->client = rpc_client_create(options->endpoint, error);
    return session->client != NULL;
}

int session_begin(struct session *session, const struct options *options, int argc, char **argv, void *given)
{
    struct error error;
    int status = options_read(options, argc, argv, given);
    if (status < 0 && !session_open(session, given, &error))
        status = options_mistake(options->command, &error);
    return status;
}

void session_close(struct session *session)
{
    rpc_client_destroy(session->client);
    if (session->arena != NULL)
        arena_destroy(session->arena);
    *session = (struct session){.client = NULL};
}

struct repetition {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const void *request;
    bool (*ready)(const void *answer);
    struct progress *progress;
    int64_t attempt;
};

/* One call.  *again: it should be made once more; the error says why. */
static const void *attempt(struct session *session, struct repetition *call, bool *again, struct error *error)
{
    int64_t end = monotonic_now() + call->attempt;
    const void *answer = rpc_client_call(session->client, call->service, call->method, call->request,
                                         end < session->deadline ? end : session->deadline, session->arena, error);
    if (answer != NULL && call->ready(answer))
        return answer;
    if (answer != NULL)
        fail(error, ABORTED, "the driver is still at it");
    if (error->code == DEADLINE_EXCEEDED)
        call->attempt = 2 * call->attempt < LONGEST_ATTEMPT ? 2 * call->attempt : LONGEST_ATTEMPT;
    else if (error->code == ABORTED)
        progress_say(call->progress, error->message);
    *again = error->code == DEADLINE_EXCEEDED || error->code == ABORTED;
    return NULL;
}

static const void *repeat(struct session *session, struct repetition *call, struct error *error)
{
    for (;;) {
        bool again = false;
        const void *answer = attempt(session, call, &again, error);
        if (!again)
            return answer;
        if (monotonic_now() + PAUSE >= session->deadline) {
            fail_context(error, "not done after %" PRId64 " s (--timeout)", session->timeout / NANOSECONDS_PER_SECOND);
            return NULL;
        }
        usleep(PAUSE / 1000);
    }
}

const void *session_call_until(struct session *session, const ProtobufCServiceDescriptor *service, const char *method,
                               const void *request, bool (*ready)(const void *answer), const char *doing,
                               struct error *error)
{
    struct repetition call = {.service = service,
                              .method = method,
                              .request = request,
                              .ready = ready,
                              .progress = progress_begin(doing),
                              .attempt = ATTEMPT};
    const void *answer = repeat(session, &call, error);
    progress_end(call.progress);
    return answer;
}

static bool any(const void *answer)
{
    return answer != NULL;
}

const void *session_call(struct session *session, const ProtobufCServiceDescriptor *service, const char *method,
                         const void *request, const char *doing, struct error *error)
{
    return session_call_until(session, service, method, request, any, doing, error);
}

const void *session_call_once(struct session *session, const ProtobufCServiceDescriptor *service, const char *method,
                              const void *request, const char *doing, struct error *error)
{
    struct progress *progress = progress_begin(doing);
    const void *answer =
        rpc_client_call(session->client, service, method, request, session->deadline, session->arena, error);
    progress_end(progress);
    return answer;
}

bool session_controller_can(struct session *session, Csi__V1__ControllerServiceCapability__RPC__Type type)
{
    Csi__V1__ControllerGetCapabilitiesRequest request = CSI__V1__CONTROLLER_GET_CAPABILITIES_REQUEST__INIT;
    struct error ignored;
    const Csi__V1__ControllerGetCapabilitiesResponse *answer =
        session_call(session, &csi__v1__controller__descriptor, "ControllerGetCapabilities", &request,
                     "asking what the driver can do", &ignored);
    for (size_t i = 0; answer != NULL && i < answer->n_capabilities; i++)
        if (answer->capabilities[i]->rpc != NULL && answer->capabilities[i]->rpc->type == type)
            return true;
    return false;
}

bool session_node_can(struct session *session, Csi__V1__NodeServiceCapability__RPC__Type type)
{
    Csi__V1__NodeGetCapabilitiesRequest request = CSI__V1__NODE_GET_CAPABILITIES_REQUEST__INIT;
    struct error ignored;
    const Csi__V1__NodeGetCapabilitiesResponse *answer =
        session_call(session, &csi__v1__node__descriptor, "NodeGetCapabilities", &request,
                     "asking what the driver can do", &ignored);
    for (size_t i = 0; answer != NULL && i < answer->n_capabilities; i++)
        if (answer->capabilities[i]->rpc != NULL && answer->capabilities[i]->rpc->type == type)
            return true;
    return false;
}

int session_failed(const struct error *error)
{
    char line[sizeof error->message];
    text_one_line(line, sizeof line, error->message);
    bool nobody = error->code == UNAVAILABLE && strncmp(line, "cannot connect to ", 18) == 0;
    fprintf(stderr, "plinth: %s: %s%s\n", error_code_name(error->code), line,
            nobody ? "; is the driver running? --endpoint or CSI_ENDPOINT names another socket" : "");
    return 1;
}

int session_succeeded(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    fprintf(stderr, "plinth: cannot write the result: %s\n", strerror(errno));
    return 1;
}
