#include "node/node.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "controller/controller.h"
#include "filesystem/freeze.h"
#include "filesystem/mount.h"
#include "node/http.h"
#include "node/service.h"
#include "node/settings.h"
#include "node/state.h"
#include "snapshot/snapshot.h"
#include "transfer/job.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* After SIGTERM: calls may finish, then what they run is killed (but for what must be kept, base/child.h), then they
 * are waited for, then we leave whatever they do. */
#define GRACE (3 * NANOSECONDS_PER_SECOND)
#define LIMIT (4 * NANOSECONDS_PER_SECOND)
#define LEAVE (4500 * NANOSECONDS_PER_MILLISECOND)
#define THAW_MOST (200 * NANOSECONDS_PER_MILLISECOND)

#define NOT_STARTED SIGUSR1 /* by the thread that starts, when it has failed */

static const struct rpc_service *const services[] = {&identity_service, &controller_service, &group_controller_service,
                                                     &node_service,     &health_service,     &registration_service};

struct running {
    struct settings settings;
    struct node node;
    char topology_key[80];
    struct rpc_server *server;
    struct http *http;
    atomic_bool ending; /* then the start need not go on */
};

/* --- the process --- */

static void block_signals(sigset_t *ends)
{
    sigemptyset(ends);
    sigaddset(ends, SIGTERM);
    sigaddset(ends, SIGINT);
    sigaddset(ends, NOT_STARTED);
    pthread_sigmask(SIG_BLOCK, ends, NULL); /* before threads start: only main() takes them */
    signal(SIGPIPE, SIG_IGN);
}

/* Requests carry secrets: no core dump, also none by a program that kernel.core_pattern pipes to (core(5)). */
static void forbid_core_dumps(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

/* A node has this process for years: few arenas, and memory of large requests goes back to the kernel. */
static void save_memory(void)
{
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

static enum log_level log_level(const char *name)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    size_t level = 0;
    while (strcmp(names[level], name) != 0)
        level++;
    return (enum log_level)level;
}

static void prepare_process(const struct settings *settings, sigset_t *ends)
{
    block_signals(ends);
    forbid_core_dumps();
    save_memory();
    umask(027);
    log_configure(log_level(settings->log_level), strcmp(settings->log_format, "json") == 0);
}

/* --- start --- */

static void describe_driver(struct running *running)
{
    const struct settings *settings = &running->settings;
    snprintf(running->topology_key, sizeof running->topology_key, "%s/node", settings->driver);
    running->node.driver = (struct driver){
        .name = settings->driver,
        .version = PLINTH_VERSION,
        .node = settings->node,
        .topology_key = running->topology_key,
        .default_filesystem = settings->default_filesystem,
        .kubelet_directory = settings->kubelet_directory,
        .state_directory = settings->state_directory,
        .frozen_copy_most = settings->frozen_copy_most,
    };
    bool with_scheme = strncmp(settings->endpoint, "unix://", 7) == 0;
    running->node.endpoint = settings->endpoint + (with_scheme ? 7 : 0);
}

static bool open_storage(struct running *running, struct error *error)
{
    const struct settings *settings = &running->settings;
    mount_set_root(settings->kubelet_directory);
    if (!freeze_start(settings->state_directory, error) || !state_prepare(settings->state_directory, error))
        return false;
    state_recover(settings->state_directory);
    running->node.driver.pools =
        pools_open(settings->pools, settings->pool_count, settings->node, settings->state_directory, error);
    if (running->node.driver.pools == NULL)
        return false;
    snapshot_recover(&running->node.driver);
    return true;
}

static bool listen_for_kubelet(struct running *running, struct error *error)
{
    const struct settings *settings = &running->settings;
    char path[PATH_MAX];
    if (settings->registration_directory == NULL)
        return true;
    snprintf(path, sizeof path, "%.3900s/%s-reg.sock", settings->registration_directory, settings->driver);
    return rpc_server_listen(running->server, path, error) || fail_context(error, "--registration-dir");
}

static bool listen_for_http(struct running *running, struct error *error)
{
    const char *address = running->settings.http;
    if (address == NULL)
        return true;
    running->http = http_start(address, running->server, &running->node.driver, error);
    return running->http != NULL || fail_context(error, "--http");
}

static bool serve(struct running *running, struct error *error)
{
    const struct settings *settings = &running->settings;
    struct rpc_server_options options = {.services = services,
                                         .count = sizeof services / sizeof *services,
                                         .limits = &wire_limits_csi,
                                         .context = &running->node};
    running->server = rpc_server_create(&options, error);
    if (running->server == NULL)
        return false;
    if (!rpc_server_listen(running->server, settings->endpoint, error))
        return fail_context(error, "--endpoint");
    if (!listen_for_kubelet(running, error) || !listen_for_http(running, error) ||
        !rpc_server_start(running->server, error))
        return false;
    log_event(LOG_INFO, "serving", "endpoint", settings->endpoint, "driver", settings->driver, "version",
              PLINTH_VERSION, "node", settings->node, NULL);
    return true;
}

/* On a thread of its own, as what is opened may be stuck, and main() hears meanwhile that it is to end. */
static void *start(void *data)
{
    struct running *running = data;
    struct error error;
    if (open_storage(running, &error) && (running->ending || serve(running, &error)))
        return NULL;
    log_event(LOG_ERROR, "cannot start", "error", error.message, NULL);
    kill(getpid(), NOT_STARTED);
    return NULL;
}

/* --- end --- */

static void sleep_for(int64_t nanoseconds)
{
    struct timespec pause = {nanoseconds / NANOSECONDS_PER_SECOND, nanoseconds % NANOSECONDS_PER_SECOND};
    nanosleep(&pause, NULL);
}

/*
 * Runs beside the ending.  What is on the disks is right at every instant, so leaving with something stuck in the
 * kernel is no failure: the next start finishes or undoes it.
 */
static void *hurry(void *unused)
{
    (void)unused;
    sleep_for(GRACE);
    child_stop_all();
    sleep_for(LEAVE - GRACE);
    /* A file system that stays frozen would hang its pods until the next start. */
    freeze_stop(monotonic_now() + THAW_MOST);
    /* Who reads the log may hang; what writes to it then hangs, too. */
    if (log_is_writable())
        log_event(LOG_WARNING, "leaving with work under way; the next start finishes or undoes it", NULL);
    _exit(EXIT_SUCCESS);
}

static void start_hurry(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, hurry, NULL) == 0)
        pthread_detach(thread);
}

/* Nobody waits for what is not served yet, so what runs for it is ended at once. */
static void stop_starting(struct running *running, pthread_t starter)
{
    if (pthread_tryjoin_np(starter, NULL) == 0)
        return;
    running->ending = true;
    child_stop_all();
    pthread_join(starter, NULL);
}

static void stop_serving(struct running *running)
{
    bool ended = running->server == NULL || rpc_server_stop(running->server, GRACE, LIMIT);
    ended = job_stop_all(monotonic_now() + LEAVE) && ended;
    ended = freeze_stop(monotonic_now() + LEAVE) && ended;
    while (!ended)
        pause(); /* until hurry() leaves: handlers still use all that would be freed now */
    http_stop(running->http);
}

static void end(struct running *running, pthread_t starter)
{
    stop_starting(running, starter);
    stop_serving(running);
    child_stop_all(); /* a command that all calls have given up still has the pool's lock */
    rpc_server_destroy(running->server);
    pools_close(running->node.driver.pools);
}

/* Meanwhile, what a burst took (gRPC keeps the pieces of large messages) is given back to the system. */
static int wait_for_end(const sigset_t *ends)
{
    static const struct timespec pause = {.tv_sec = 10};
    int number;
    while ((number = sigtimedwait(ends, NULL, &pause)) < 0)
        malloc_trim(0);
    return number;
}

static int run(struct running *running)
{
    sigset_t ends;
    pthread_t starter;
    prepare_process(&running->settings, &ends);
    describe_driver(running);
    if (pthread_create(&starter, NULL, start, running) != 0)
        abort();
    int number = wait_for_end(&ends);
    start_hurry();             /* before anything that may hang: also the log, if nobody reads it */
    if (number != NOT_STARTED) /* they stay blocked: a second one changes nothing */
        log_event(LOG_INFO, "ending", "signal", number == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    end(running, starter);
    return number != NOT_STARTED ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The settings are never freed: a pool that is still being opened at the end has borrowed strings of theirs. */
int node_main(int argc, char **argv)
{
    static struct running running;
    struct error error;
    if (options_want_help(argc, argv)) {
        options_help(&settings_options, stdout);
        return EXIT_SUCCESS;
    }
    return settings_read(&running.settings, argc, argv, &error) ? run(&running)
                                                                : options_mistake(settings_options.command, &error);
}
