/*
 * Unix sockets that are listened on, and the thread that accepts on them.  Inside rpc/ only.
 *
 * gRPC's own listener unlinks whatever is at the path, be it the socket of a live server, when it starts and again when
 * it ends (grpc#17122), and knows no peer credentials.
 */
#pragma once

#include "base/error.h"

struct listener;

/* Receives each connection of an admitted caller (our own uid or root) and owns its descriptor.  On the thread. */
typedef void (*listener_accepted)(int descriptor, void *data);

/* NULL if descriptors or memory are out. */
struct listener *listener_create(listener_accepted accepted, void *data);

/* Binds and listens; see rpc_server_listen(). */
bool listener_add(struct listener *listener, const char *endpoint, struct error *error);

/* Starts accepting. */
bool listener_start(struct listener *listener, struct error *error);

/* Ends the thread, closes the sockets and removes those that are still ours.  Can be repeated, and takes NULL. */
void listener_stop(struct listener *listener);

/* Stops and frees it.  Takes NULL. */
void listener_destroy(struct listener *listener);
