#include "rpc/endpoint.h"

#include "base/cleanup.h"

#include <string.h>

#define SCHEME "unix://"

bool endpoint_address(const char *endpoint, struct sockaddr_un *address, struct error *error)
{
    const char *path = endpoint;
    if (strncmp(path, SCHEME, strlen(SCHEME)) == 0)
        path += strlen(SCHEME);
    if (path[0] != '/' || path[strlen(path) - 1] == '/')
        return fail(error, INVALID_ARGUMENT,
                    "the endpoint must be unix:// and an absolute path, such as unix:///run/plinth/csi.sock, not "
                    "\"%.128s\"",
                    endpoint);
    if (strlen(path) >= sizeof address->sun_path)
        return fail(error, INVALID_ARGUMENT, "the path of a socket may have %zu bytes at most: %.128s...",
                    sizeof address->sun_path - 1, path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, strlen(path) + 1);
    return true;
}

int endpoint_try(const struct sockaddr_un *address)
{
    cleanup_close int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return errno;
    if (connect(descriptor, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    return errno == EAGAIN ? 0 : errno; /* its queue is full: somebody listens (connect(2)) */
}
