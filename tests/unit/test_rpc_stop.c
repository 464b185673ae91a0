/* rpc_server_stop(): what becomes of calls under way. */
#include "tests/unit/rpc_fixture.h"

#include <string.h>

static bool hold(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    struct fixture *fixture = fixture_of(call);
    (void)request, (void)response, (void)error;
    fixture->entered++;
    while (!fixture->release)
        usleep(1000);
    return true;
}

static bool hold_until_stopping(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    struct fixture *fixture = fixture_of(call);
    (void)request, (void)response;
    fixture->entered++;
    while (!rpc_stopping(call))
        usleep(1000);
    fixture->seen += rpc_cancelled(call);
    return fail(error, UNAVAILABLE, "the wait was cut short");
}

static bool sleep_a_little(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    (void)request, (void)response, (void)error;
    fixture_of(call)->entered++;
    usleep(2000);
    return true;
}

static bool send_until_told(struct rpc_call *call, const void *request, struct error *error)
{
    struct fixture *fixture = fixture_of(call);
    Csi__V1__GetMetadataAllocatedResponse message = CSI__V1__GET_METADATA_ALLOCATED_RESPONSE__INIT;
    (void)request;
    fixture->entered++;
    message.volume_capacity_bytes = 1;
    while (rpc_send(call, &message, error))
        usleep(1000);
    return false;
}

struct stopping {
    struct fixture *fixture;
    int64_t grace, limit, nanoseconds;
    pthread_t thread;
    bool ended;
};

static void *run_stop(void *argument)
{
    struct stopping *stopping = argument;
    int64_t start = monotonic_now();
    stopping->ended = rpc_server_stop(stopping->fixture->server, stopping->grace, stopping->limit);
    stopping->nanoseconds = monotonic_now() - start;
    return NULL;
}

static void stop_begin(struct stopping *stopping, struct fixture *fixture, int64_t grace, int64_t limit)
{
    *stopping = (struct stopping){.fixture = fixture, .grace = grace, .limit = limit};
    assert_int_equal(pthread_create(&stopping->thread, NULL, run_stop, stopping), 0);
}

static void stop_join(struct stopping *stopping)
{
    pthread_join(stopping->thread, NULL);
}

static void an_idle_server_stops_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    fixture_begin(&fixture, 2);
    assert_int_equal(call_create(&fixture, "x", 5000, &error), OK);
    int64_t start = monotonic_now();
    assert_true(rpc_server_stop(fixture.server, SECONDS(5), SECONDS(10)));
    assert_true(monotonic_now() - start < SECONDS(1));
    assert_true(rpc_server_stop(fixture.server, 0, 0)); /* again: nothing to do */
    assert_int_equal(call_create(&fixture, "x", 5000, &error), UNAVAILABLE);
    assert_non_null(strstr(error.message, "cannot connect to /tmp/"));
    assert_non_null(strstr(error.message, "No such file or directory"));
    fixture_end(&fixture);
}

static void a_server_that_never_started_can_be_destroyed(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    fixture_prepare(&fixture);
    fixture.server = fixture_server(&fixture, 1);
    assert_true(rpc_server_listen(fixture.server, fixture.endpoint, &error));
    fixture_end(&fixture);
}

static void a_running_server_can_be_destroyed(void **state)
{
    (void)state;
    struct fixture fixture;
    struct background call;
    fixture_begin(&fixture, 1);
    fixture.create = hold_until_stopping;
    background_create(&call, &fixture, "x", 20000);
    assert_true(reaches(&fixture.entered, 1));
    rpc_server_destroy(fixture.server);
    fixture.server = NULL;
    background_join(&call);
    assert_int_not_equal(call.code, OK);
    fixture_end(&fixture);
}

static void a_call_under_way_may_finish(void **state)
{
    (void)state;
    struct fixture fixture;
    struct background call;
    struct stopping stopping;
    struct error error;
    fixture_begin(&fixture, 2);
    assert_int_equal(call_info(&fixture, &error), OK);
    fixture.create = hold;
    background_create(&call, &fixture, "x", 20000);
    assert_true(reaches(&fixture.entered, 1));
    stop_begin(&stopping, &fixture, SECONDS(10), SECONDS(20));
    usleep(200000);

    /* Meanwhile a new call, on the connection that is there, is refused. */
    assert_int_equal(call_info(&fixture, &error), UNAVAILABLE);
    assert_string_equal(error.message, "the driver is shutting down; try again");

    fixture.release = true;
    background_join(&call);
    assert_int_equal(call.code, OK);
    stop_join(&stopping);
    assert_true(stopping.ended);
    assert_true(stopping.nanoseconds < SECONDS(2));
    fixture_end(&fixture);
}

static void a_call_that_looks_is_told_to_end(void **state)
{
    (void)state;
    struct fixture fixture;
    struct background call;
    struct stopping stopping;
    fixture_begin(&fixture, 2);
    fixture.create = hold_until_stopping;
    background_create(&call, &fixture, "x", 20000);
    assert_true(reaches(&fixture.entered, 1));
    stop_begin(&stopping, &fixture, SECONDS(10), SECONDS(20));
    background_join(&call);
    stop_join(&stopping);
    assert_int_equal(call.code, UNAVAILABLE);
    assert_string_equal(call.error.message, "the wait was cut short");
    assert_int_equal(fixture.seen, 1);
    assert_true(stopping.ended && stopping.nanoseconds < SECONDS(2));
    fixture_end(&fixture);
}

static void a_stuck_call_does_not_hold_the_stop(void **state)
{
    (void)state;
    struct fixture fixture;
    struct background call;
    struct stopping stopping;
    fixture_begin(&fixture, 2);
    fixture.create = hold;
    background_create(&call, &fixture, "x", 20000);
    assert_true(reaches(&fixture.entered, 1));
    stop_begin(&stopping, &fixture, MILLISECONDS(200), MILLISECONDS(600));
    stop_join(&stopping);
    assert_false(stopping.ended);
    assert_true(stopping.nanoseconds >= MILLISECONDS(500) && stopping.nanoseconds < SECONDS(2));
    background_join(&call); /* its caller was told when the grace was over */
    assert_true(call.nanoseconds < SECONDS(2));
    assert_int_not_equal(call.code, OK);
    /* Once it does end, so can the server: the worker's late answer meets a queue that is still open. */
    fixture.release = true;
    assert_true(rpc_server_stop(fixture.server, 0, SECONDS(10)));
    fixture_end(&fixture);
}

static void a_queued_call_is_not_begun(void **state)
{
    (void)state;
    struct fixture fixture;
    struct background held, queued;
    struct stopping stopping;
    fixture_begin(&fixture, 1);
    fixture.create = hold;
    background_create(&held, &fixture, "x", 20000);
    assert_true(reaches(&fixture.entered, 1));
    background_create(&queued, &fixture, "x", 20000);
    usleep(200000);
    stop_begin(&stopping, &fixture, SECONDS(10), SECONDS(20));
    usleep(100000);
    fixture.release = true;
    background_join(&held);
    background_join(&queued);
    stop_join(&stopping);
    assert_int_equal(held.code, OK);
    assert_int_equal(queued.code, UNAVAILABLE);
    assert_int_equal(fixture.entered, 1);
    assert_true(stopping.ended);
    fixture_end(&fixture);
}

static void a_stream_is_ended(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    const void *message;
    Csi__V1__GetMetadataAllocatedRequest request = CSI__V1__GET_METADATA_ALLOCATED_REQUEST__INIT;
    fixture_begin(&fixture, 1);
    fixture.stream = send_until_told;
    struct rpc_stream *stream = rpc_client_stream(fixture.client, &csi__v1__snapshot_metadata__descriptor,
                                                  "GetMetadataAllocated", &request, NO_DEADLINE, &error);
    assert_true(rpc_stream_next(stream, &message, fixture.arena, &error));
    assert_true(rpc_server_stop(fixture.server, SECONDS(5), SECONDS(10)));
    while (rpc_stream_next(stream, &message, fixture.arena, &error))
        ;
    assert_int_equal(error.code, UNAVAILABLE);
    rpc_stream_close(stream);
    fixture_end(&fixture);
}

static atomic_bool hammering;

static void *hammer(void *argument)
{
    struct fixture *shared = argument;
    struct error error;
    struct fixture fixture = {.client = rpc_client_create(shared->endpoint, &error)};
    uintptr_t odd = 0;
    while (hammering) {
        enum error_code code = call_create(&fixture, "x", 5000, &error);
        odd += code != OK && code != UNAVAILABLE && code != CANCELLED;
        code = call_info(&fixture, &error);
        odd += code != OK && code != UNAVAILABLE && code != CANCELLED;
    }
    rpc_client_destroy(fixture.client);
    return (void *)odd;
}

static void a_stop_under_load_is_in_time(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct fixture fixture;
        pthread_t threads[16];
        fixture_begin(&fixture, 4);
        fixture.create = sleep_a_little;
        hammering = true;
        for (size_t i = 0; i < 16; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, hammer, &fixture), 0);
        assert_true(reaches(&fixture.entered, 200));
        int64_t start = monotonic_now();
        assert_true(rpc_server_stop(fixture.server, SECONDS(2), SECONDS(4)));
        assert_true(monotonic_now() - start < SECONDS(2));
        hammering = false;
        for (size_t i = 0; i < 16; i++) {
            void *odd;
            pthread_join(threads[i], &odd);
            assert_null(odd);
        }
        fixture_end(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_server_stops_at_once),
        cmocka_unit_test(a_server_that_never_started_can_be_destroyed),
        cmocka_unit_test(a_running_server_can_be_destroyed),
        cmocka_unit_test(a_call_under_way_may_finish),
        cmocka_unit_test(a_call_that_looks_is_told_to_end),
        cmocka_unit_test(a_stuck_call_does_not_hold_the_stop),
        cmocka_unit_test(a_queued_call_is_not_begun),
        cmocka_unit_test(a_stream_is_ended),
        cmocka_unit_test(a_stop_under_load_is_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
