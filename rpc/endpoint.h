/* Addresses of unix sockets, as CSI_ENDPOINT and people write them.  Inside rpc/ only. */
#pragma once

#include "base/error.h"

#include <sys/socket.h>
#include <sys/un.h>

/* Turns "unix:///absolute/path" or "/absolute/path" into an address.  Else INVALID_ARGUMENT. */
bool endpoint_address(const char *endpoint, struct sockaddr_un *address, struct error *error);

/* Connects to the socket and closes the connection again: 0 if somebody listens, else the errno. */
int endpoint_try(const struct sockaddr_un *address);
