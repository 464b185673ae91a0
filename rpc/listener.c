#include "rpc/listener.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/endpoint.h"
#include "rpc/library.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>

#define BACKLOG 128
#define LOCK_WAIT (2 * NANOSECONDS_PER_SECOND)
#define PAUSE_MILLISECONDS 100 /* when descriptors are out, before the next try to accept */

struct door {
    struct door *next;
    struct sockaddr_un address;
    int descriptor;
    dev_t device; /* of the socket's inode: tells whether the path still is ours */
    ino_t inode;
};

struct listener {
    listener_accepted accepted;
    void *data;
    int epoll, wake; /* `wake` is readable when the thread shall end */
    struct door *doors;
    pthread_t thread;
    bool running;
    bool complained; /* on the thread: that accepting fails */
};

struct listener *listener_create(listener_accepted accepted, void *data)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return NULL;
    listener->accepted = accepted;
    listener->data = data;
    listener->epoll = epoll_create1(EPOLL_CLOEXEC);
    listener->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (listener->epoll < 0 || listener->wake < 0 ||
        epoll_ctl(listener->epoll, EPOLL_CTL_ADD, listener->wake, &event) != 0) {
        listener_destroy(listener);
        return NULL;
    }
    return listener;
}

/*
 * Locks the directory against other servers that look at their socket, replace or remove it right now: between bind()
 * and listen() ours looks stale.  Returns its descriptor; closing it unlocks.  Adds no file of its own.
 */
static int lock_directory(const char *path, struct error *error)
{
    char directory[sizeof((struct sockaddr_un *)NULL)->sun_path];
    size_t length = (size_t)(strrchr(path, '/') - path);
    memcpy(directory, path, length);
    memcpy(directory + length, length > 0 ? "" : "/", length > 0 ? 1 : 2);
    cleanup_close int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        int number = errno;
        fail_errno(error, number, "cannot listen on %s: its directory", path);
        error->code = number == ENOENT || number == ENOTDIR ? FAILED_PRECONDITION : error->code;
        return -1;
    }
    int64_t until = monotonic_now() + LOCK_WAIT;
    while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EINTR && (errno != EWOULDBLOCK || monotonic_now() > until)) {
            fail_errno(error, errno, "cannot listen on %s: cannot lock its directory", path);
            return -1;
        }
        poll(NULL, 0, 10);
    }
    return steal_descriptor(&descriptor);
}

/* Makes room at the path: removes a socket nobody listens on, and nothing else. */
static bool clear_path(const struct sockaddr_un *address, struct error *error)
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT || fail_errno(error, errno, "cannot listen on %s", path);
    if (!S_ISSOCK(status.st_mode))
        return fail(error, FAILED_PRECONDITION, "cannot listen on %s: there is something that is not a socket", path);
    int number = endpoint_try(address);
    if (number == 0)
        return fail(error, FAILED_PRECONDITION, "cannot listen on %s: another process does; is it running twice?",
                    path);
    if (number != ECONNREFUSED)
        return fail_errno(error, number, "cannot listen on %s: there is a socket that cannot be tried", path);
    return unlink(path) == 0 || errno == ENOENT || fail_errno(error, errno, "cannot remove the stale socket %s", path);
}

static bool bind_door(struct door *door, struct error *error)
{
    const char *path = door->address.sun_path;
    struct stat status;
    /* On Linux the mode of the descriptor becomes that of the inode: at no time can others connect. */
    if (door->descriptor < 0 || fchmod(door->descriptor, 0600) != 0 ||
        bind(door->descriptor, (struct sockaddr *)&door->address, sizeof door->address) != 0 ||
        lstat(path, &status) != 0)
        return fail_errno(error, errno, "cannot listen on %s", path);
    door->device = status.st_dev;
    door->inode = status.st_ino;
    return listen(door->descriptor, BACKLOG) == 0 || fail_errno(error, errno, "cannot listen on %s", path);
}

static void close_door(struct door *door)
{
    struct error ignored;
    struct stat status;
    if (door->descriptor >= 0)
        close(door->descriptor);
    cleanup_close int directory = lock_directory(door->address.sun_path, &ignored);
    if (directory >= 0 && door->inode != 0 && lstat(door->address.sun_path, &status) == 0 &&
        status.st_dev == door->device && status.st_ino == door->inode)
        unlink(door->address.sun_path);
    free(door);
}

static bool open_door(struct door *door, int epoll, struct error *error)
{
    cleanup_close int directory = lock_directory(door->address.sun_path, error);
    if (directory < 0 || !clear_path(&door->address, error))
        return false;
    door->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (!bind_door(door, error))
        return false;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = door};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, door->descriptor, &event) == 0 ||
           fail_errno(error, errno, "cannot listen on %s", door->address.sun_path);
}

bool listener_add(struct listener *listener, const char *endpoint, struct error *error)
{
    struct sockaddr_un address;
    if (!endpoint_address(endpoint, &address, error))
        return false;
    struct door *door = calloc(1, sizeof *door);
    if (door == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "cannot listen on %s: out of memory", address.sun_path);
    door->address = address;
    door->descriptor = -1;
    if (!open_door(door, listener->epoll, error)) {
        close_door(door);
        return false;
    }
    door->next = listener->doors;
    listener->doors = door;
    return true;
}

/* A caller must be root or have our own uid: the socket's mode alone can be undone by whoever owns the directory. */
static bool admitted(int descriptor)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    char uid[16];
    snprintf(uid, sizeof uid, "%u", peer.uid);
    log_event(LOG_WARNING, "a connection was refused: its user is neither root nor ours", "uid", uid, NULL);
    return false;
}

/* Says once that accepting fails, until it works again: the level-triggered epoll would have us say it for ever. */
static void pause_accepting(struct listener *listener, const struct door *door, int number)
{
    if (!listener->complained)
        log_event(LOG_ERROR, "cannot accept a connection", "socket", door->address.sun_path, "error",
                  strerrordesc_np(number), NULL);
    listener->complained = true;
    struct pollfd wake = {.fd = listener->wake, .events = POLLIN};
    poll(&wake, 1, PAUSE_MILLISECONDS);
}

static void accept_one(struct listener *listener, const struct door *door)
{
    cleanup_close int descriptor = accept4(door->descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor >= 0) {
        listener->complained = false;
        if (admitted(descriptor))
            listener->accepted(steal_descriptor(&descriptor), listener->data);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        pause_accepting(listener, door, errno);
    }
}

static void *accept_all(void *argument)
{
    struct listener *listener = argument;
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(listener->epoll, &event, 1, -1) != 1)
            continue;
        if (event.data.ptr == NULL)
            return NULL;
        accept_one(listener, event.data.ptr);
    }
}

bool listener_start(struct listener *listener, struct error *error)
{
    listener->running = library_thread(&listener->thread, "rpc-accept", accept_all, listener);
    return listener->running || fail(error, RESOURCE_EXHAUSTED, "cannot start a thread to accept connections");
}

void listener_stop(struct listener *listener)
{
    if (listener == NULL)
        return;
    if (listener->running) {
        eventfd_write(listener->wake, 1);
        pthread_join(listener->thread, NULL);
        listener->running = false;
    }
    for (struct door *door = listener->doors, *next; door != NULL; door = next) {
        next = door->next;
        close_door(door);
    }
    listener->doors = NULL;
}

void listener_destroy(struct listener *listener)
{
    if (listener == NULL)
        return;
    listener_stop(listener);
    if (listener->epoll >= 0)
        close(listener->epoll);
    if (listener->wake >= 0)
        close(listener->wake);
    free(listener);
}
