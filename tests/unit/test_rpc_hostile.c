/* What a hostile client can send to the server, and that it costs it nothing. */
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/rpc_raw.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <zlib.h>

#define MIB ((size_t)1024 * 1024)
#define CREATE_VOLUME "/csi.v1.Controller/CreateVolume"

/* Counts the requests that get past the door. */
static bool enter(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    (void)request, (void)response, (void)error;
    fixture_of(call)->entered++;
    return true;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    *state = fixture;
    fixture_begin(fixture, 2);
    fixture->create = enter;
    return 0;
}

static int tear_down(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

static int send_create(const struct fixture *fixture, const void *message, size_t length)
{
    return raw_call(fixture->path,
                    &(struct raw_request){.method = CREATE_VOLUME, .message = message, .length = length});
}

/* Starts anew the high-water mark of resident memory (proc(5), clear_refs). */
static long reset_peak(void)
{
    cleanup_close int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(file, "5", 1), 1);
    return resident_kib("VmHWM:");
}

static void texts_that_are_none_are_refused_at_the_door(void **state)
{
    struct fixture *fixture = *state;
    char longer[3 + 200] = "\x0a\xc8\x01";
    memset(longer + 3, 'x', 200);
    assert_int_equal(send_create(fixture, "\x0a\x03pvc", 5), OK);
    assert_int_equal(fixture->entered, 1);
    assert_int_equal(send_create(fixture, "\x0a\x05pvc\0X", 7), INVALID_ARGUMENT);
    assert_int_equal(send_create(fixture, "\x0a\x02\xff\xfe", 4), INVALID_ARGUMENT);
    assert_int_equal(send_create(fixture, "\x0a\x02\x1b[", 4), INVALID_ARGUMENT);
    assert_int_equal(send_create(fixture, "\x0a\x7fpvc", 5), INVALID_ARGUMENT); /* truncated */
    assert_int_equal(send_create(fixture, "\x0b\x0c", 2), INVALID_ARGUMENT);    /* a group */
    assert_int_equal(send_create(fixture, longer, sizeof longer), INVALID_ARGUMENT);
    assert_int_equal(fixture->entered, 1);
}

static bool see_parameters(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    const Csi__V1__CreateVolumeRequest *create = request;
    (void)response, (void)error;
    fixture_of(call)->seen = create->n_parameters == 1 && strcmp(create->parameters[0]->value, "2") == 0;
    return true;
}

static void duplicated_map_keys_are_folded(void **state)
{
    struct fixture *fixture = *state;
    fixture->create = see_parameters;
    assert_int_equal(send_create(fixture,
                                 "\x22\x06\x0a\x01k\x12\x01"
                                 "1\x22\x06\x0a\x01k\x12\x01"
                                 "2",
                                 16),
                     OK);
    assert_int_equal(fixture->seen, 1);
}

/* Repeats two bytes, a field without content, up to that many bytes. */
static uint8_t *repeat_empty(uint8_t tag, size_t length)
{
    uint8_t *bytes = calloc(1, length);
    for (size_t i = 0; i < length; i += 2)
        bytes[i] = tag;
    return bytes;
}

static void huge_messages_cost_little(void **state)
{
    struct fixture *fixture = *state;
    size_t most = 4 * MIB;
    cleanup_free uint8_t *entries = repeat_empty(0x22, most);      /* of the map "parameters" */
    cleanup_free uint8_t *capabilities = repeat_empty(0x1a, most); /* messages, which have no limit of their own */
    cleanup_free uint8_t *larger = repeat_empty(0x22, most + 2);
    int64_t start = monotonic_now();
    long before = reset_peak();
    assert_int_equal(send_create(fixture, entries, most), INVALID_ARGUMENT);
    assert_int_equal(send_create(fixture, capabilities, most), RESOURCE_EXHAUSTED);
    assert_int_equal(send_create(fixture, larger, most + 2), RESOURCE_EXHAUSTED);
    assert_true(monotonic_now() - start < SECONDS(5));
    if (!UNIT_SANITIZED)
        assert_true(resident_kib("VmHWM:") - before < 30 * 1024); /* the message itself, a few times over */
    assert_int_equal(fixture->entered, 0);
}

static uint8_t *make_bomb(size_t size, size_t *length)
{
    z_stream stream = {.zalloc = NULL};
    uint8_t *zeros = calloc(1, MIB), *bomb = malloc(MIB);
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_out = bomb;
    stream.avail_out = MIB;
    for (size_t done = 0; done < size; done += MIB) {
        stream.next_in = zeros;
        stream.avail_in = MIB;
        deflate(&stream, done + MIB < size ? Z_NO_FLUSH : Z_FINISH);
    }
    *length = stream.total_out;
    deflateEnd(&stream);
    free(zeros);
    return bomb;
}

static void a_gzip_bomb_does_not_go_off(void **state)
{
    struct fixture *fixture = *state;
    size_t length;
    cleanup_free uint8_t *bomb = make_bomb(400 * MIB, &length);
    struct raw_request request = {.method = CREATE_VOLUME, .message = bomb, .length = length, .compressed = 1};
    long before = reset_peak();
    assert_true(length < MIB / 2);
    request.encoding = "gzip";
    assert_int_equal(raw_call(fixture->path, &request), UNIMPLEMENTED);
    request.encoding = "deflate";
    assert_int_equal(raw_call(fixture->path, &request), UNIMPLEMENTED);
    request.encoding = NULL; /* flagged as compressed, with an encoding that is not */
    assert_int_not_equal(raw_call(fixture->path, &request), OK);
    assert_true(resident_kib("VmHWM:") - before < 16 * 1024);
    assert_int_equal(fixture->entered, 0);
}

static void a_call_without_a_message_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    int connection = raw_connect(fixture->path);
    raw_send(connection, &(struct raw_request){.method = CREATE_VOLUME, .no_message = true});
    assert_int_equal(raw_status(connection), INVALID_ARGUMENT);
    close(connection);
    assert_int_equal(call_create(fixture, "x", 5000, &error), OK);
}

static void noise_ends_only_its_connection(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    static const char *const noise[] = {"", "GET / HTTP/1.1\r\n\r\n",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff"};
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++) {
        int connection = raw_connect(fixture->path);
        assert_int_equal(send(connection, noise[i], strlen(noise[i]), MSG_NOSIGNAL), strlen(noise[i]));
        shutdown(connection, SHUT_WR);
        char byte;
        while (recv(connection, &byte, 1, 0) == 1)
            ;
        close(connection);
    }
    assert_int_equal(call_create(fixture, "x", 5000, &error), OK);
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(texts_that_are_none_are_refused_at_the_door),
        with_server(duplicated_map_keys_are_folded),
        with_server(huge_messages_cost_little),
        with_server(a_gzip_bomb_does_not_go_off),
        with_server(a_call_without_a_message_is_refused),
        with_server(noise_ends_only_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
