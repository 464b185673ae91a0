/* The demo's driver: `plinth node`, this very program, as a child process that does not outlive the demo. */
#pragma once

#include "base/error.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct demo_driver {
    char program[PATH_MAX], endpoint[PATH_MAX + 16], pool[PATH_MAX + 64];
    char state[PATH_MAX + 16], kubelet[PATH_MAX + 16];
    bool started; /* there is a thread that waits for its end */
    pthread_t thread;
    atomic_bool ended; /* how, says `error` (OK: with status 0) */
    struct error error;
    pid_t pid; /* once it listens; else 0 */
};

/*
 * What the child does: `plinth demo driver PARENT OPTION...` is `plinth node OPTION...` that ends with its parent,
 * however that ends (PR_SET_PDEATHSIG, prctl(2)).
 */
#define DEMO_DRIVER "driver"
int demo_driver_main(int argc, char **argv);

/*
 * Starts it with its socket and directories in `directory` and its pool in `directory`/pool, and waits until it
 * listens.  `give_up` is asked now and then.  demo_driver_stop() in any case.
 */
bool demo_driver_start(struct demo_driver *driver, const char *directory, bool (*give_up)(void), struct error *error);

/* Ends it with SIGTERM.  An error unless it then exits with status 0 within ten seconds; it is killed else. */
bool demo_driver_stop(struct demo_driver *driver, struct error *error);

/* Its resident memory in KiB (proc(5), VmRSS), or -1. */
long demo_driver_memory(const struct demo_driver *driver);
