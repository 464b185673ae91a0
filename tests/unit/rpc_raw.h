/* HTTP/2 by hand, to send a server what a well-behaved client would not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raw_request {
    const char *method; /* "/csi.v1.Controller/CreateVolume" */
    const void *message;
    size_t length;
    uint8_t compressed;   /* the flag before the message */
    const char *encoding; /* the header grpc-encoding, or NULL */
    bool no_message;      /* ends the call after its headers */
};

/* Connects to the socket at `path`; close() it. */
int raw_connect(const char *path);

/* Sends the request, all of it as far as the server's windows allow. */
void raw_send(int descriptor, const struct raw_request *request);

/* Waits for the answer's grpc-status; -1 if the server ends the call or the connection without one. */
int raw_status(int descriptor);

/* The three of them. */
int raw_call(const char *path, const struct raw_request *request);
