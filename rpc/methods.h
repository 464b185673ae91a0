/* The methods of a server by their path, with what is counted of each.  Inside rpc/ only. */
#pragma once

#include "rpc/server.h"

#include <grpc/slice.h>
#include <stdatomic.h>

#define CODES 17

struct method {
    char *path; /* as on the wire: "/csi.v1.Controller/CreateVolume" */
    const char *service;
    const struct rpc_method *table;
    const ProtobufCMethodDescriptor *types;
    const ProtobufCFieldDescriptor *subject; /* the request's field that says what a call is about, or NULL */
    _Atomic uint64_t calls[CODES], nanoseconds, at_work;
};

struct methods {
    struct method *sorted; /* by path */
    size_t count;
};

bool methods_create(struct methods *methods, const struct rpc_server_options *options, struct error *error);
void methods_destroy(struct methods *methods);

struct method *methods_find(const struct methods *methods, grpc_slice path);

/* The volume, snapshot or name a request is about, or NULL.  `key` becomes the field's name. */
const char *method_subject(const struct method *method, const void *request, const char **key);

void methods_counts(const struct methods *methods, void (*see)(const struct rpc_method_counts *, void *), void *data);
