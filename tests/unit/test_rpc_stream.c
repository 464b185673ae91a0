/* Server-streaming calls: rpc_send(), rpc_client_stream(). */
#include "tests/unit/rpc_fixture.h"

#include <string.h>

#define BLOCKS 1000 /* of a message: some 10 KB on the wire */
#define METHOD &csi__v1__snapshot_metadata__descriptor, "GetMetadataAllocated"

static Csi__V1__BlockMetadata blocks[BLOCKS];
static Csi__V1__BlockMetadata *block_pointers[BLOCKS];

/* Sends `max_results` messages, numbered from 1. */
static bool send_numbers(struct rpc_call *call, const void *request, struct error *error)
{
    const Csi__V1__GetMetadataAllocatedRequest *wanted = request;
    struct fixture *fixture = fixture_of(call);
    Csi__V1__GetMetadataAllocatedResponse message = CSI__V1__GET_METADATA_ALLOCATED_RESPONSE__INIT;
    message.n_block_metadata = strcmp(wanted->snapshot_id, "large") == 0 ? BLOCKS : 0;
    message.block_metadata = block_pointers;
    for (int i = 1; i <= wanted->max_results; i++) {
        message.volume_capacity_bytes = i;
        if (!rpc_send(call, &message, error)) {
            fixture->seen++;
            return false;
        }
        fixture->entered++;
    }
    return true;
}

static bool send_one_and_fail(struct rpc_call *call, const void *request, struct error *error)
{
    (void)request;
    Csi__V1__GetMetadataAllocatedResponse message = CSI__V1__GET_METADATA_ALLOCATED_RESPONSE__INIT;
    return rpc_send(call, &message, error) && fail(error, DATA_LOSS, "the snapshot is damaged");
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    *state = fixture;
    fixture_begin(fixture, 2);
    fixture->stream = send_numbers;
    for (size_t i = 0; i < BLOCKS; i++) {
        csi__v1__block_metadata__init(&blocks[i]);
        blocks[i].byte_offset = (int64_t)i << 32;
        blocks[i].size_bytes = 4096;
        block_pointers[i] = &blocks[i];
    }
    return 0;
}

static int tear_down(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

static struct rpc_stream *open_stream(struct fixture *fixture, const char *kind, int messages, int64_t deadline)
{
    struct error error;
    Csi__V1__GetMetadataAllocatedRequest request = CSI__V1__GET_METADATA_ALLOCATED_REQUEST__INIT;
    request.snapshot_id = (char *)kind;
    request.max_results = messages;
    struct rpc_stream *stream = rpc_client_stream(fixture->client, METHOD, &request, deadline, &error);
    assert_non_null(stream);
    return stream;
}

/* Reads to the end; returns how many messages came, and how it ended. */
static int read_all(struct rpc_stream *stream, struct error *error)
{
    int count = 0;
    for (;;) {
        const void *message;
        struct arena *arena = arena_create();
        bool more = rpc_stream_next(stream, &message, arena, error);
        const Csi__V1__GetMetadataAllocatedResponse *response = message;
        if (more)
            assert_int_equal(response->volume_capacity_bytes, ++count);
        arena_destroy(arena);
        if (!more)
            return count;
    }
}

static void messages_arrive_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct rpc_stream *stream = open_stream(fixture, "small", 5000, NO_DEADLINE);
    assert_int_equal(read_all(stream, &error), 5000);
    assert_int_equal(error.code, OK);
    const void *message;
    assert_false(rpc_stream_next(stream, &message, fixture->arena, &error)); /* still at its end */
    assert_int_equal(error.code, OK);
    rpc_stream_close(stream);
}

static void a_stream_may_be_empty(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct rpc_stream *stream = open_stream(fixture, "small", 0, NO_DEADLINE);
    assert_int_equal(read_all(stream, &error), 0);
    assert_int_equal(error.code, OK);
    rpc_stream_close(stream);
}

static void an_error_ends_the_stream(void **state)
{
    struct fixture *fixture = *state;
    const void *message;
    struct error error;
    fixture->stream = send_one_and_fail;
    struct rpc_stream *stream = open_stream(fixture, "small", 0, NO_DEADLINE);
    assert_true(rpc_stream_next(stream, &message, fixture->arena, &error));
    assert_false(rpc_stream_next(stream, &message, fixture->arena, &error));
    assert_int_equal(error.code, DATA_LOSS);
    assert_string_equal(error.message, "the snapshot is damaged");
    rpc_stream_close(stream);
}

static void a_slow_reader_slows_the_sender(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct rpc_stream *stream = open_stream(fixture, "large", 5000, NO_DEADLINE); /* 50 MB in all */
    assert_true(reaches(&fixture->entered, 1));
    int sent;
    do { /* until the windows are full */
        sent = fixture->entered;
        usleep(300000);
    } while (sent != fixture->entered);
    assert_true(sent < 500);
    assert_int_equal(read_all(stream, &error), 5000);
    assert_int_equal(error.code, OK);
    rpc_stream_close(stream);
}

static void a_sender_hears_that_its_reader_has_gone(void **state)
{
    struct fixture *fixture = *state;
    const void *message;
    struct error error;
    struct rpc_stream *stream = open_stream(fixture, "large", 1000000, NO_DEADLINE);
    assert_true(rpc_stream_next(stream, &message, fixture->arena, &error));
    rpc_stream_close(stream);
    assert_true(reaches(&fixture->seen, 1));
    assert_true(fixture->entered < 1000000);
}

static void a_sender_hears_that_its_deadline_has_passed(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct rpc_stream *stream = open_stream(fixture, "small", 100000000, monotonic_now() + MILLISECONDS(300));
    read_all(stream, &error);
    assert_int_equal(error.code, DEADLINE_EXCEEDED);
    assert_true(reaches(&fixture->seen, 1));
    rpc_stream_close(stream);
}

static void a_stream_nobody_reads_does_not_stall_other_calls(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct rpc_stream *stream = open_stream(fixture, "large", 5000, NO_DEADLINE);
    assert_true(reaches(&fixture->entered, 1));
    for (int i = 0; i < 100; i++)
        assert_int_equal(call_create(fixture, "x", 5000, &error), OK);
    rpc_stream_close(stream);
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(messages_arrive_in_order),
        with_server(a_stream_may_be_empty),
        with_server(an_error_ends_the_stream),
        with_server(a_slow_reader_slows_the_sender),
        with_server(a_sender_hears_that_its_reader_has_gone),
        with_server(a_sender_hears_that_its_deadline_has_passed),
        with_server(a_stream_nobody_reads_does_not_stall_other_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
