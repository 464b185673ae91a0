#include "rpc/library.h"

#include "base/log.h"

#include <grpc/support/log.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>

#define STACK_BYTES ((size_t)256 * 1024)
#define MALLOC_ARENAS 2 /* else each thread that once allocated keeps a heap of its own resident */

static void log_of_grpc(gpr_log_func_args *arguments)
{
    log_event(LOG_WARNING, "gRPC complains", "error", arguments->message, NULL);
}

static void configure(void)
{
    gpr_set_log_function(log_of_grpc);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
}

void library_acquire(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, before;
    pthread_once(&once, configure);
    /* The threads that gRPC starts inherit the mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    grpc_init();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void library_release(void)
{
    grpc_shutdown_blocking();
}

bool library_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setsigmask_np(&attributes, &all);
    int number = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    if (number == 0)
        pthread_setname_np(*thread, name);
    return number == 0;
}

void library_must(grpc_call_error problem)
{
    if (problem == GRPC_CALL_OK)
        return;
    log_event(LOG_ERROR, "gRPC refused an operation", "error", grpc_call_error_to_string(problem), NULL);
    abort();
}
