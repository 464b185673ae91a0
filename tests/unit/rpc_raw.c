#include "tests/unit/rpc_raw.h"

#include "base/cleanup.h"
#include "rpc/endpoint.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <string.h>

/* RFC 9113, sections 4.1 and 6. */
enum { DATA = 0, HEADERS = 1, RESET = 3, SETTINGS = 4, PING = 6, GO_AWAY = 7, WINDOW_UPDATE = 8 };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };
enum { INITIAL_WINDOW_SIZE = 4 };
#define FRAME_MOST 16384
#define HEAD_BYTES 9
#define STREAM 1
#define WAIT_MILLISECONDS 20000

/* What has arrived and what may still be sent. */
struct peer {
    int descriptor;
    uint8_t buffer[2 * FRAME_MOST];
    size_t used;
    int64_t window, stream_window;
    bool ended;
    int status;
};

int raw_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof address), 0);
    return descriptor;
}

static void send_all(int descriptor, const void *bytes, size_t count)
{
    for (const char *at = bytes; count > 0;) {
        ssize_t sent = send(descriptor, at, count, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* the server has had enough: its answer says why */
        at += sent;
        count -= (size_t)sent;
    }
}

static void send_frame(int descriptor, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t count)
{
    uint8_t head[HEAD_BYTES] = {(uint8_t)(count >> 16), (uint8_t)(count >> 8), (uint8_t)count, type, flags};
    stream = htonl(stream);
    memcpy(head + 5, &stream, 4);
    send_all(descriptor, head, sizeof head);
    send_all(descriptor, payload, count);
}

/* A header field that is never indexed, without Huffman coding (RFC 7541, section 6.2.3); below 127 bytes each. */
static size_t put_header(uint8_t *block, const char *name, const char *value)
{
    size_t used = 0;
    block[used++] = 0x10;
    block[used++] = (uint8_t)strlen(name);
    memcpy(block + used, name, strlen(name));
    used += strlen(name);
    block[used++] = (uint8_t)strlen(value);
    memcpy(block + used, value, strlen(value));
    return used + strlen(value);
}

static void send_headers(int descriptor, const struct raw_request *request)
{
    const char *const headers[][2] = {{":method", "POST"},        {":scheme", "http"},
                                      {":path", request->method}, {":authority", "localhost"},
                                      {"te", "trailers"},         {"content-type", "application/grpc"}};
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    uint8_t block[512];
    size_t used = 0;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        used += put_header(block + used, headers[i][0], headers[i][1]);
    if (request->encoding != NULL)
        used += put_header(block + used, "grpc-encoding", request->encoding);
    send_all(descriptor, preface, strlen(preface));
    send_frame(descriptor, SETTINGS, 0, 0, "", 0);
    send_frame(descriptor, HEADERS, END_HEADERS, STREAM, block, used);
}

static uint32_t number_at(const uint8_t *bytes)
{
    uint32_t number;
    memcpy(&number, bytes, sizeof number);
    return ntohl(number);
}

static void settings(struct peer *peer, const uint8_t *payload, size_t count)
{
    for (size_t at = 0; at + 6 <= count; at += 6)
        if (payload[at + 1] == INITIAL_WINDOW_SIZE)
            peer->stream_window += (int64_t)number_at(payload + at + 2) - 65535;
    send_frame(peer->descriptor, SETTINGS, ACK, 0, "", 0);
}

/* gRPC sends "grpc-status" in plain letters the first time on a connection, then the length and digits of its value. */
static void headers(struct peer *peer, const uint8_t *block, size_t count)
{
    static const char name[] = "grpc-status";
    const uint8_t *found = memmem(block, count, name, strlen(name));
    if (found == NULL)
        return;
    const uint8_t *value = found + strlen(name);
    peer->status = value[1] - '0';
    if (value[0] == 2)
        peer->status = peer->status * 10 + value[2] - '0';
}

static void frame(struct peer *peer, const uint8_t *head, const uint8_t *payload, size_t count)
{
    uint8_t type = head[3], flags = head[4];
    uint32_t stream = number_at(head + 5);
    if (type == SETTINGS && !(flags & ACK))
        settings(peer, payload, count);
    else if (type == PING && !(flags & ACK))
        send_frame(peer->descriptor, PING, ACK, 0, payload, count);
    else if (type == WINDOW_UPDATE && stream == 0)
        peer->window += number_at(payload);
    else if (type == WINDOW_UPDATE)
        peer->stream_window += number_at(payload);
    else if (type == HEADERS)
        headers(peer, payload, count);
    if (type == RESET || (stream == STREAM && type <= HEADERS && (flags & END_STREAM) != 0))
        peer->ended = true;
}

static void read_frames(struct peer *peer, int wait_milliseconds)
{
    struct pollfd polled = {.fd = peer->descriptor, .events = POLLIN};
    if (poll(&polled, 1, wait_milliseconds) != 1) {
        peer->ended = wait_milliseconds > 0;
        return;
    }
    ssize_t count = recv(peer->descriptor, peer->buffer + peer->used, sizeof peer->buffer - peer->used, 0);
    if (count <= 0) {
        peer->ended = true;
        return;
    }
    peer->used += (size_t)count;
    for (;;) {
        size_t length = peer->used >= HEAD_BYTES ? number_at(peer->buffer) >> 8 : 0;
        if (peer->used < HEAD_BYTES + length || peer->used < HEAD_BYTES)
            return;
        frame(peer, peer->buffer, peer->buffer + HEAD_BYTES, length);
        peer->used -= HEAD_BYTES + length;
        memmove(peer->buffer, peer->buffer + HEAD_BYTES + length, peer->used);
    }
}

static int64_t least(int64_t left, int64_t right)
{
    return left < right ? left : right;
}

static void send_message(struct peer *peer, const uint8_t *body, size_t length)
{
    for (size_t at = 0; at < length && !peer->ended;) {
        int64_t room = least(least(peer->window, peer->stream_window), FRAME_MOST);
        if (room <= 0) {
            read_frames(peer, WAIT_MILLISECONDS);
            continue;
        }
        size_t count = (size_t)least(room, (int64_t)(length - at));
        send_frame(peer->descriptor, DATA, at + count == length ? END_STREAM : 0, STREAM, body + at, count);
        at += count;
        peer->window -= (int64_t)count;
        peer->stream_window -= (int64_t)count;
        if (at < length) /* after the last frame it may be the answer, which raw_status() waits for */
            read_frames(peer, 0);
    }
}

static void send_request(struct peer *peer, const struct raw_request *request)
{
    cleanup_free uint8_t *body = malloc(5 + request->length);
    uint32_t length = htonl((uint32_t)request->length);
    body[0] = request->compressed;
    memcpy(body + 1, &length, 4);
    if (request->length > 0)
        memcpy(body + 5, request->message, request->length);
    send_headers(peer->descriptor, request);
    if (request->no_message)
        send_frame(peer->descriptor, DATA, END_STREAM, STREAM, "", 0);
    else
        send_message(peer, body, 5 + request->length);
}

static struct peer peer_of(int descriptor)
{
    return (struct peer){.descriptor = descriptor, .window = 65535, .stream_window = 65535, .status = -1};
}

void raw_send(int descriptor, const struct raw_request *request)
{
    struct peer peer = peer_of(descriptor);
    send_request(&peer, request);
}

int raw_status(int descriptor)
{
    struct peer peer = peer_of(descriptor);
    while (!peer.ended)
        read_frames(&peer, WAIT_MILLISECONDS);
    return peer.status;
}

int raw_call(const char *path, const struct raw_request *request)
{
    cleanup_close int descriptor = raw_connect(path);
    struct peer peer = peer_of(descriptor);
    send_request(&peer, request);
    while (!peer.ended)
        read_frames(&peer, WAIT_MILLISECONDS);
    return peer.status;
}
