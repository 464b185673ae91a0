#include "tests/unit/rpc_fixture.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct fixture *fixture_of(const struct rpc_call *call)
{
    return rpc_context(call);
}

static bool create_volume(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    rpc_handler handler = fixture_of(call)->create;
    return handler == NULL || handler(call, request, response, error);
}

static bool publish_volume(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    rpc_handler handler = fixture_of(call)->publish;
    return handler == NULL || handler(call, request, response, error);
}

static bool plugin_info(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    rpc_handler handler = fixture_of(call)->info;
    Csi__V1__GetPluginInfoResponse *info = response;
    info->name = "test.example";
    return handler == NULL || handler(call, request, response, error);
}

static bool metadata(struct rpc_call *call, const void *request, struct error *error)
{
    rpc_stream_handler handler = fixture_of(call)->stream;
    return handler == NULL || handler(call, request, error);
}

static const struct rpc_service identity = {
    .descriptor = &csi__v1__identity__descriptor,
    .methods = (const struct rpc_method[]){{"GetPluginInfo", RPC_INLINE, true, plugin_info, NULL}},
    .count = 1,
};
static const struct rpc_service controller = {
    .descriptor = &csi__v1__controller__descriptor,
    .methods = (const struct rpc_method[]){{"CreateVolume", RPC_CONTROLLER, false, create_volume, NULL}},
    .count = 1,
};
static const struct rpc_service node = {
    .descriptor = &csi__v1__node__descriptor,
    .methods = (const struct rpc_method[]){{"NodePublishVolume", RPC_NODE, false, publish_volume, NULL}},
    .count = 1,
};
static const struct rpc_service snapshot_metadata = {
    .descriptor = &csi__v1__snapshot_metadata__descriptor,
    .methods = (const struct rpc_method[]){{"GetMetadataAllocated", RPC_CONTROLLER, false, NULL, metadata}},
    .count = 1,
};

struct rpc_server *fixture_server(struct fixture *fixture, unsigned workers)
{
    const struct rpc_service *services[] = {&identity, &controller, &node, &snapshot_metadata};
    struct rpc_server_options options = {.services = services,
                                         .count = 4,
                                         .limits = &wire_limits_csi,
                                         .context = fixture,
                                         .controller_workers = workers,
                                         .node_workers = workers};
    struct error error;
    struct rpc_server *server = rpc_server_create(&options, &error);
    assert_non_null(server);
    return server;
}

void fixture_prepare(struct fixture *fixture)
{
    log_configure(LOG_ERROR, true);
    memset(fixture, 0, sizeof *fixture);
    strcpy(fixture->directory, "/tmp/plinth-rpc-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->endpoint, sizeof fixture->endpoint, "unix://%s/csi.sock", fixture->directory);
    fixture->path = fixture->endpoint + strlen("unix://");
    fixture->arena = arena_create();
}

void fixture_begin(struct fixture *fixture, unsigned workers)
{
    fixture_prepare(fixture);
    fixture_start(fixture, workers);
}

void fixture_start(struct fixture *fixture, unsigned workers)
{
    struct error error = {.message = ""};
    fixture->server = fixture_server(fixture, workers);
    assert_true(rpc_server_listen(fixture->server, fixture->endpoint, &error));
    assert_true(rpc_server_start(fixture->server, &error));
    fixture->client = rpc_client_create(fixture->endpoint, &error);
    assert_non_null(fixture->client);
}

void fixture_end(struct fixture *fixture)
{
    fixture->release = true;
    rpc_client_destroy(fixture->client);
    if (fixture->server != NULL)
        assert_true(rpc_server_stop(fixture->server, SECONDS(1), SECONDS(20)));
    rpc_server_destroy(fixture->server);
    arena_destroy(fixture->arena);
    assert_int_equal(rmdir(fixture->directory), 0);
}

static enum error_code call(struct fixture *fixture, const ProtobufCServiceDescriptor *service, const char *method,
                            const void *request, int deadline, struct error *error)
{
    struct arena *arena = arena_create();
    error->message[0] = '\0';
    const void *answer = rpc_client_call(fixture->client, service, method, request,
                                         monotonic_now() + MILLISECONDS(deadline), arena, error);
    arena_destroy(arena);
    return answer != NULL ? OK : error->code;
}

enum error_code call_create(struct fixture *fixture, const char *name, int deadline, struct error *error)
{
    Csi__V1__CreateVolumeRequest request = CSI__V1__CREATE_VOLUME_REQUEST__INIT;
    request.name = (char *)name;
    return call(fixture, &csi__v1__controller__descriptor, "CreateVolume", &request, deadline, error);
}

enum error_code call_publish(struct fixture *fixture, int deadline, struct error *error)
{
    Csi__V1__NodePublishVolumeRequest request = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    return call(fixture, &csi__v1__node__descriptor, "NodePublishVolume", &request, deadline, error);
}

enum error_code call_info(struct fixture *fixture, struct error *error)
{
    Csi__V1__GetPluginInfoRequest request = CSI__V1__GET_PLUGIN_INFO_REQUEST__INIT;
    return call(fixture, &csi__v1__identity__descriptor, "GetPluginInfo", &request, 10000, error);
}

static void *run_background(void *argument)
{
    struct background *background = argument;
    int64_t start = monotonic_now();
    background->code = call_create(background->fixture, background->name, background->deadline, &background->error);
    background->nanoseconds = monotonic_now() - start;
    return NULL;
}

void background_create(struct background *background, struct fixture *fixture, const char *name, int deadline)
{
    *background = (struct background){.fixture = fixture, .name = name, .deadline = deadline};
    assert_int_equal(pthread_create(&background->thread, NULL, run_background, background), 0);
}

void background_join(struct background *background)
{
    pthread_join(background->thread, NULL);
}

bool reaches(atomic_int *value, int least)
{
    for (int64_t until = monotonic_now() + SECONDS(10); monotonic_now() < until; usleep(1000))
        if (*value >= least)
            return true;
    return false;
}

int count_descriptors(void)
{
    int count = 0;
    cleanup_directory DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory) != NULL)
        count++;
    return count;
}

static long status_number(const char *key)
{
    char line[256];
    cleanup_file FILE *file = fopen("/proc/self/status", "re");
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            return strtol(line + strlen(key), NULL, 10);
    return -1;
}

int count_workers(void)
{
    int count = 0;
    cleanup_directory DIR *tasks = opendir("/proc/self/task");
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        cleanup_file FILE *file = fopen(path, "re");
        if (file != NULL && fgets(name, sizeof name, file) != NULL)
            count += strcmp(name, "rpc-worker\n") == 0;
    }
    return count;
}

long resident_kib(const char *key)
{
    return status_number(key);
}
