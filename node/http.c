/*
 * libmicrohttpd is loaded when --http asks for it: linked, it brings GnuTLS along, which costs every node 3 MB and some
 * milliseconds at start.
 */
#include "node/http.h"

#include "base/cleanup.h"

#include <dlfcn.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LIBRARY "libmicrohttpd.so.12"
#define CONNECTIONS_MOST 16 /* each has a thread, so that a pool that hangs cannot hang /healthz */
#define CONNECTION_BYTES 16384
#define CONNECTION_SECONDS 10
#define STACK_BYTES 262144

struct http {
    struct MHD_Daemon *daemon;
    struct rpc_server *server;
    const struct driver *driver;
};

static struct {
    __typeof__(&MHD_start_daemon) start;
    __typeof__(&MHD_stop_daemon) stop;
    __typeof__(&MHD_create_response_from_buffer) create_response;
    __typeof__(&MHD_add_response_header) add_header;
    __typeof__(&MHD_queue_response) queue;
    __typeof__(&MHD_destroy_response) destroy_response;
} mhd;

static bool load_library(struct error *error)
{
    const struct {
        const char *name;
        void *function;
    } functions[] = {
        {"MHD_start_daemon", &mhd.start},
        {"MHD_stop_daemon", &mhd.stop},
        {"MHD_create_response_from_buffer", &mhd.create_response},
        {"MHD_add_response_header", &mhd.add_header},
        {"MHD_queue_response", &mhd.queue},
        {"MHD_destroy_response", &mhd.destroy_response},
    };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return fail(error, FAILED_PRECONDITION, "--http needs libmicrohttpd, which cannot be loaded: %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(library, functions[i].name);
        if (found == NULL)
            return fail(error, FAILED_PRECONDITION, "%s has no %s", LIBRARY, functions[i].name);
        memcpy(functions[i].function, &found, sizeof found);
    }
    return true;
}

/* --- answers --- */

struct page {
    const char *path, *type;
    char *(*text)(struct http *http, size_t *length);
};

static char *healthz(struct http *http, size_t *length)
{
    (void)http;
    *length = 3;
    return strdup("ok\n");
}

static char *metrics(struct http *http, size_t *length)
{
    return metrics_text(http->server, http->driver, length);
}

static const struct page pages[] = {
    {"/healthz", "text/plain; charset=utf-8", healthz},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics},
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, char *text,
                              size_t length)
{
    struct MHD_Response *response = mhd.create_response(length, text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    mhd.add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        mhd.add_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = mhd.queue(connection, status, response);
    mhd.destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *words)
{
    char *text = strdup(words);
    return text != NULL ? answer(connection, status, "text/plain; charset=utf-8", text, strlen(words)) : MHD_NO;
}

static enum MHD_Result handle(void *data, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *body, size_t *body_bytes, void **progress)
{
    (void)version, (void)body, (void)progress;
    struct http *http = data;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return *body_bytes > 0 ? MHD_NO : refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (strcmp(pages[i].path, url) != 0)
            continue;
        size_t length = 0;
        char *text = pages[i].text(http, &length);
        return text != NULL ? answer(connection, MHD_HTTP_OK, pages[i].type, text, length) : MHD_NO;
    }
    return refuse(connection, MHD_HTTP_NOT_FOUND, "there is /healthz and /metrics\n");
}

/* --- the socket --- */

static bool split(const char *address, char host[static 64], const char **port, struct error *error)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon != NULL ? (size_t)(colon - address) : 0;
    bool brackets = length >= 2 && address[0] == '[' && address[length - 1] == ']';
    if (brackets)
        address++, length -= 2;
    if (colon == NULL || colon[1] == '\0' || length >= 64 || (!brackets && memchr(address, ':', length) != NULL))
        return fail(error, INVALID_ARGUMENT, "\"%.100s\" is not ADDRESS:PORT", address);
    memcpy(host, address, length);
    host[length] = '\0';
    *port = colon + 1;
    return true;
}

static bool listen_at(const char *address, int *listener, struct error *error)
{
    char host[64];
    const char *port = NULL;
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (!split(address, host, &port, error))
        return false;
    int status = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (status != 0)
        return fail(error, INVALID_ARGUMENT, "\"%.100s\" is not a numeric address and port: %s", address,
                    gai_strerror(status));
    int yes = 1;
    *listener = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool good = *listener >= 0 && setsockopt(*listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                bind(*listener, found->ai_addr, found->ai_addrlen) == 0 && listen(*listener, CONNECTIONS_MOST) == 0;
    if (!good)
        fail_errno(error, errno, "cannot listen on %s", address);
    freeaddrinfo(found);
    return good;
}

struct http *http_start(const char *address, struct rpc_server *server, const struct driver *driver,
                        struct error *error)
{
    cleanup_close int listener = -1;
    struct http *http = NULL;
    if (!load_library(error) || !listen_at(address, &listener, error))
        return NULL;
    http = calloc(1, sizeof *http);
    if (http != NULL) {
        *http = (struct http){.server = server, .driver = driver};
        http->daemon =
            mhd.start(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL,
                      handle, http, MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MOST,
                      MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                      (size_t)CONNECTION_BYTES, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_END);
    }
    if (http == NULL || http->daemon == NULL) {
        fail(error, INTERNAL, "cannot start the HTTP server on %s", address);
        free(http);
        return NULL;
    }
    steal_descriptor(&listener); /* closed by MHD_stop_daemon() */
    return http;
}

void http_stop(struct http *http)
{
    if (http == NULL)
        return;
    mhd.stop(http->daemon);
    free(http);
}
