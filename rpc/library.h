/*
 * What the server and the client share of gRPC's library: its start and end, and the threads that work with it.
 * Inside rpc/ only.
 */
#pragma once

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdbool.h>

/* Starts gRPC for its first user and ends it with its last one.  Its own complaints go to our log. */
void library_acquire(void);
void library_release(void);

/*
 * Starts a thread with all signals blocked (they are main()'s) and a small stack (memory that has been touched stays
 * resident for as long as the thread lives).  `name` (at most 15 bytes) is what top and gdb show.  False if the system
 * has no thread left.
 */
bool library_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);

/* Ends the process, with a word in the log, if gRPC refuses an operation: only a mistake of ours makes it do so. */
void library_must(grpc_call_error problem);
