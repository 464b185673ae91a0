#include "cli/demo_driver.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "node/node.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define START_MOST (10 * NANOSECONDS_PER_SECOND)
#define STOP_MOST (10 * NANOSECONDS_PER_SECOND)
#define MOMENT 1000 /* microseconds */

int demo_driver_main(int argc, char **argv)
{
    struct error ignored;
    int64_t parent;
    if (argc < 3 || !text_to_number(argv[2], 1, INT32_MAX, "process", &parent, &ignored))
        return EXIT_FAILURE;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != (pid_t)parent) /* it died before that, so the signal will not come */
        return EXIT_FAILURE;
    return node_main(argc - 2, argv + 2);
}

static void *run(void *argument)
{
    struct demo_driver *driver = argument;
    char parent[16];
    const char *const argv[] = {
        driver->program, "demo",    DEMO_DRIVER,    parent,        "--endpoint",  driver->endpoint, "--node-id",
        "demo",          "--pool",  driver->pool,   "--state-dir", driver->state, "--kubelet-dir",  driver->kubelet,
        "--log-level",   "warning", "--log-format", "text",        NULL};
    struct child_options options = {.deadline = NO_DEADLINE, .inherit = -1};
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    child_run(argv, &options, NULL, &driver->error);
    driver->ended = true;
    return NULL;
}

/* The process that listens on the socket (SO_PEERCRED, unix(7)), or 0: nobody does. */
static pid_t listener(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {.pid = 0};
    socklen_t size = sizeof peer;
    cleanup_close int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *path = endpoint + strlen("unix://");
    if (connection < 0 || strlen(path) >= sizeof address.sun_path)
        return 0;
    text_copy(address.sun_path, sizeof address.sun_path, path);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return 0;
    return peer.pid;
}

static bool name_things(struct demo_driver *driver, const char *directory, struct error *error)
{
    ssize_t length = readlink("/proc/self/exe", driver->program, sizeof driver->program - 1);
    if (length < 0)
        return fail_errno(error, errno, "cannot find this program");
    snprintf(driver->endpoint, sizeof driver->endpoint, "unix://%s/csi.sock", directory);
    snprintf(driver->pool, sizeof driver->pool, "demo=file:path=%s/pool,overprovision=20", directory);
    snprintf(driver->state, sizeof driver->state, "%s/state", directory);
    snprintf(driver->kubelet, sizeof driver->kubelet, "%s/kubelet", directory);
    return true;
}

static bool await_listener(struct demo_driver *driver, bool (*give_up)(void), struct error *error)
{
    for (int64_t end = monotonic_now() + START_MOST; monotonic_now() < end; usleep(MOMENT)) {
        driver->pid = listener(driver->endpoint);
        if (driver->pid > 0)
            return true;
        if (driver->ended) {
            *error = driver->error;
            return fail_context(error, "the driver ended at once");
        }
        if (give_up())
            return fail(error, CANCELLED, "interrupted");
    }
    return fail(error, DEADLINE_EXCEEDED, "the driver does not listen on %s", driver->endpoint);
}

bool demo_driver_start(struct demo_driver *driver, const char *directory, bool (*give_up)(void), struct error *error)
{
    if (!name_things(driver, directory, error))
        return false;
    int number = pthread_create(&driver->thread, NULL, run, driver);
    if (number != 0)
        return fail_errno(error, number, "cannot start a thread");
    driver->started = true;
    return await_listener(driver, give_up, error);
}

static bool await_end(struct demo_driver *driver)
{
    for (int64_t end = monotonic_now() + STOP_MOST; !driver->ended && monotonic_now() < end;)
        usleep(MOMENT);
    return driver->ended;
}

bool demo_driver_stop(struct demo_driver *driver, struct error *error)
{
    if (!driver->started)
        return true;
    bool in_time = driver->pid > 0 && (driver->ended || kill(driver->pid, SIGTERM) == 0) && await_end(driver);
    if (!in_time)
        child_stop_all();
    pthread_join(driver->thread, NULL);
    driver->started = false;
    driver->pid = 0;
    if (driver->error.code == OK)
        return true;
    *error = driver->error;
    return fail_context(error, in_time ? "the driver did not end well" : "the driver did not end in time");
}

long demo_driver_memory(const struct demo_driver *driver)
{
    char path[64];
    cleanup_free char *line = NULL;
    size_t size = 0;
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)driver->pid);
    cleanup_file FILE *status = fopen(path, "re");
    while (status != NULL && kib < 0 && getline(&line, &size, status) > 0)
        if (sscanf(line, "VmRSS: %ld kB", &kib) != 1)
            kib = -1;
    return kib;
}
