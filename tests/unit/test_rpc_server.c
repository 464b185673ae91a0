/* rpc/server.h: methods, lanes, deadlines, cancellation, what is counted and logged. */
#include "base/child.h"
#include "base/log.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/rpc_raw.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    *state = fixture;
    fixture_begin(fixture, 2);
    return 0;
}

static int tear_down(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

/* --- handlers */

static bool hold(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    struct fixture *fixture = fixture_of(call);
    (void)request, (void)response, (void)error;
    fixture->entered++;
    while (!fixture->release)
        usleep(1000);
    return true;
}

static bool hold_until_cancelled(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    struct fixture *fixture = fixture_of(call);
    (void)request, (void)response;
    fixture->entered++;
    while (!rpc_cancelled(call) && !fixture->release)
        usleep(1000);
    fixture->seen += rpc_cancelled(call);
    return fail(error, DEADLINE_EXCEEDED, "it was late");
}

static bool hold_waiting(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    if (!rpc_wait_begin(call)) {
        fixture_of(call)->seen++;
        return fail(error, ABORTED, "too many calls wait");
    }
    hold(call, request, response, error);
    rpc_wait_end(call);
    return true;
}

static bool name_is_answered(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    const Csi__V1__CreateVolumeRequest *create = request;
    Csi__V1__CreateVolumeResponse *created = response;
    (void)error;
    created->volume = arena_allocate(rpc_arena(call), sizeof *created->volume);
    csi__v1__volume__init(created->volume);
    created->volume->volume_id = arena_format(rpc_arena(call), "id-of-%s", create->name);
    return true;
}

/* --- methods */

static void a_request_is_answered(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {.message = ""};
    Csi__V1__CreateVolumeRequest request = CSI__V1__CREATE_VOLUME_REQUEST__INIT;
    fixture->create = name_is_answered;
    request.name = "data";
    const Csi__V1__CreateVolumeResponse *response =
        rpc_client_call(fixture->client, &csi__v1__controller__descriptor, "CreateVolume", &request, NO_DEADLINE,
                        fixture->arena, &error);
    assert_string_equal(error.message, "");
    assert_string_equal(response->volume->volume_id, "id-of-data");
    assert_int_equal(call_info(fixture, &error), OK);
}

static void unknown_methods_are_unimplemented_at_once(void **state)
{
    struct fixture *fixture = *state;
    static const char *const methods[] = {
        "/csi.v1.Controller/DeleteVolume", /* in the descriptor, not in our table */
        "/csi.v1.Controller/CreateVolumes",
        "/csi.v1.Controller/CreateVolum",
        "/no.such.Service/Method",
        "CreateVolume",
        "/",
        "/%00",
    };
    int64_t start = monotonic_now();
    for (int round = 0; round < 10; round++)
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
            assert_int_equal(raw_call(fixture->path, &(struct raw_request){.method = methods[i], .message = ""}),
                             UNIMPLEMENTED);
    assert_true(monotonic_now() - start < SECONDS(5));
}

static void a_table_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct rpc_method methods[] = {{"NoSuchMethod", RPC_NODE, false, hold, NULL},
                                                {"CreateVolume", RPC_NODE, false, NULL, NULL}};
    static const char *const words[] = {"has no method NoSuchMethod", "needs one handler"};
    for (size_t i = 0; i < 2; i++) {
        struct rpc_service service = {&csi__v1__controller__descriptor, &methods[i], 1};
        const struct rpc_service *services[] = {&service};
        struct rpc_server_options options = {.services = services, .count = 1, .limits = &wire_limits_csi};
        struct error error;
        assert_null(rpc_server_create(&options, &error));
        assert_int_equal(error.code, INTERNAL);
        assert_non_null(strstr(error.message, words[i]));
    }
}

/* --- errors */

static bool answers_bad_words(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    (void)call, (void)request, (void)response;
    return fail(error, NOT_FOUND, "no \xff\xfe here");
}

static bool answers_at_length(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    (void)call, (void)request, (void)response;
    char words[2000];
    memset(words, 'x', sizeof words);
    return fail(error, NOT_FOUND, "%.1999s", words);
}

static bool fails_without_error(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    (void)call, (void)request, (void)response;
    error->code = OK;
    return false;
}

static void errors_arrive_whole(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    fixture->create = answers_bad_words;
    assert_int_equal(call_create(fixture, "x", 5000, &error), NOT_FOUND);
    assert_string_equal(error.message, "no ?? here");
    fixture->create = answers_at_length;
    assert_int_equal(call_create(fixture, "x", 5000, &error), NOT_FOUND);
    assert_int_equal(strlen(error.message), 1023);
    fixture->create = fails_without_error;
    assert_int_equal(call_create(fixture, "x", 5000, &error), INTERNAL);
}

/* --- lanes */

static void a_held_lane_does_not_stall_the_others(void **state)
{
    struct fixture *fixture = *state;
    struct background calls[5];
    struct error error;
    fixture->create = hold;
    for (size_t i = 0; i < 5; i++) /* more than there are workers */
        background_create(&calls[i], fixture, "x", 20000);
    assert_true(reaches(&fixture->entered, 2));
    int64_t start = monotonic_now();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(call_publish(fixture, 5000, &error), OK);
        assert_int_equal(call_info(fixture, &error), OK);
    }
    assert_true(monotonic_now() - start < SECONDS(2));
    assert_int_equal(fixture->entered, 2); /* the limit of the lane */
    fixture->release = true;
    for (size_t i = 0; i < 5; i++) {
        background_join(&calls[i]);
        assert_int_equal(calls[i].code, OK);
    }
}

static void a_call_that_waits_frees_its_worker(void **state)
{
    struct fixture *fixture = *state;
    struct background calls[10];
    struct error error;
    fixture->create = hold_waiting;
    for (size_t i = 0; i < 10; i++)
        background_create(&calls[i], fixture, "x", 20000);
    assert_true(reaches(&fixture->entered, 10));
    fixture->create = name_is_answered;
    assert_int_equal(call_create(fixture, "other", 5000, &error), OK);
    fixture->release = true;
    for (size_t i = 0; i < 10; i++) {
        background_join(&calls[i]);
        assert_int_equal(calls[i].code, OK);
    }
}

static void too_many_waiting_calls_are_told_so(void **state)
{
    struct fixture *fixture = *state;
    static struct background calls[70];
    int refused = 0;
    fixture->create = hold_waiting;
    for (size_t i = 0; i < 70; i++)
        background_create(&calls[i], fixture, "x", 20000);
    assert_true(reaches(&fixture->entered, 64));
    assert_true(reaches(&fixture->seen, 6));
    fixture->release = true;
    for (size_t i = 0; i < 70; i++) {
        background_join(&calls[i]);
        refused += calls[i].code == ABORTED;
        assert_true(calls[i].code == ABORTED || calls[i].code == OK);
    }
    assert_int_equal(refused, 6);
}

static void sixty_four_clients_at_once_are_served(void **state)
{
    struct fixture *fixture = *state;
    static struct background calls[64];
    fixture->create = name_is_answered;
    for (size_t i = 0; i < 64; i++)
        background_create(&calls[i], fixture, "x", 20000);
    for (size_t i = 0; i < 64; i++) {
        background_join(&calls[i]);
        assert_int_equal(calls[i].code, OK);
    }
}

static void idle_workers_end(void **state)
{
    struct fixture *fixture = *state;
    struct background calls[2];
    fixture->create = hold;
    for (size_t i = 0; i < 2; i++)
        background_create(&calls[i], fixture, "x", 20000);
    assert_true(reaches(&fixture->entered, 2));
    assert_int_equal(count_workers(), 2);
    fixture->release = true;
    for (size_t i = 0; i < 2; i++)
        background_join(&calls[i]);
    for (int64_t until = monotonic_now() + SECONDS(10); count_workers() > 0 && monotonic_now() < until;)
        usleep(100000);
    assert_int_equal(count_workers(), 0);
    struct error error;
    assert_int_equal(call_create(fixture, "x", 5000, &error), OK); /* and new ones start */
}

/* --- deadlines and cancellation */

static atomic_llong seen_deadline;

static bool notes_deadline(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    (void)request, (void)response, (void)error;
    seen_deadline = rpc_deadline(call);
    return true;
}

static void a_handler_knows_its_deadline(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    fixture->create = notes_deadline;
    int64_t expected = monotonic_now() + SECONDS(7);
    assert_int_equal(call_create(fixture, "x", 7000, &error), OK);
    assert_true(seen_deadline > expected - SECONDS(1) && seen_deadline < expected + SECONDS(1));
    static const struct raw_request request = {.method = "/csi.v1.Controller/CreateVolume", .message = ""};
    assert_int_equal(raw_call(fixture->path, &request), OK);
    assert_true(seen_deadline == NO_DEADLINE);
}

static void a_handler_sees_its_deadline_pass(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    fixture->create = hold_until_cancelled;
    int64_t start = monotonic_now();
    assert_int_equal(call_create(fixture, "x", 200, &error), DEADLINE_EXCEEDED);
    assert_true(monotonic_now() - start < SECONDS(3));
    assert_true(reaches(&fixture->seen, 1));
}

static void a_handler_sees_its_caller_go(void **state)
{
    struct fixture *fixture = *state;
    static const struct raw_request request = {.method = "/csi.v1.Controller/CreateVolume", .message = ""};
    fixture->create = hold_until_cancelled;
    int connection = raw_connect(fixture->path);
    raw_send(connection, &request);
    assert_true(reaches(&fixture->entered, 1));
    assert_int_equal(fixture->seen, 0);
    close(connection);
    assert_true(reaches(&fixture->seen, 1));
}

static void a_queued_call_whose_caller_has_gone_is_not_begun(void **state)
{
    struct fixture *fixture = *state;
    struct background held[2];
    struct error error;
    fixture->create = hold;
    for (size_t i = 0; i < 2; i++)
        background_create(&held[i], fixture, "x", 20000);
    assert_true(reaches(&fixture->entered, 2));
    assert_int_equal(call_create(fixture, "late", 200, &error), DEADLINE_EXCEEDED);
    fixture->release = true;
    for (size_t i = 0; i < 2; i++)
        background_join(&held[i]);
    assert_int_equal(call_create(fixture, "x", 5000, &error), OK); /* after it in the queue */
    assert_int_equal(fixture->entered, 3);
}

/* --- child processes */

static char child_signals[256];

static bool reads_signals_of_child(struct rpc_call *call, const void *request, void *response, struct error *error)
{
    const char *const argv[] = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL};
    struct child_options options = {.deadline = rpc_deadline(call), .inherit = -1, .output_most = 255};
    cleanup_free char *output = NULL;
    (void)request, (void)response;
    bool good = child_run(argv, &options, &output, error);
    if (good)
        strcpy(child_signals, output);
    return good;
}

static void children_of_handlers_get_default_signals(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    signal(SIGPIPE, SIG_IGN);
    fixture->create = reads_signals_of_child;
    assert_int_equal(call_create(fixture, "x", 5000, &error), OK);
    signal(SIGPIPE, SIG_DFL);
    uint64_t blocked, ignored;
    assert_int_equal(sscanf(child_signals, "SigBlk: %" SCNx64 " SigIgn: %" SCNx64, &blocked, &ignored), 2);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & ~UINT64_C(0x180000000), 0); /* but for the two that the C library keeps to itself */
}

/* --- counts and log */

static void keep_counts(const struct rpc_method_counts *counts, void *data)
{
    if (strcmp(counts->method, "CreateVolume") == 0) {
        assert_string_equal(counts->service, "csi.v1.Controller");
        *(struct rpc_method_counts *)data = *counts;
    }
}

static void calls_are_counted(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct rpc_method_counts counts = {.method = NULL};
    rpc_server_counts(fixture->server, keep_counts, &counts);
    assert_null(counts.method);
    for (int i = 0; i < 3; i++)
        call_create(fixture, "x", 5000, &error);
    fixture->create = answers_bad_words;
    call_create(fixture, "x", 5000, &error);
    fixture->create = hold;
    struct background held;
    background_create(&held, fixture, "x", 20000);
    assert_true(reaches(&fixture->entered, 1));
    usleep(10000);
    rpc_server_counts(fixture->server, keep_counts, &counts);
    assert_int_equal(counts.at_work, 1);
    fixture->release = true;
    background_join(&held);
    rpc_server_counts(fixture->server, keep_counts, &counts);
    assert_int_equal(counts.calls[OK], 4);
    assert_int_equal(counts.calls[NOT_FOUND], 1);
    assert_int_equal(counts.at_work, 0);
    assert_true(counts.nanoseconds >= 10 * (uint64_t)NANOSECONDS_PER_MILLISECOND);
}

/* Sends standard error to a file; returns what it was before. */
static int capture_begin(const char *path)
{
    cleanup_close int file = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    int before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    dup2(file, STDERR_FILENO);
    return before;
}

/* Reads up to `most` lines of the file and removes it; returns how many there were. */
static size_t capture_end(const char *path, int before, char lines[][1024], size_t most)
{
    size_t count = 0;
    dup2(before, STDERR_FILENO);
    close(before);
    cleanup_file FILE *file = fopen(path, "re");
    while (count < most && fgets(lines[count], 1024, file) != NULL)
        count++;
    unlink(path);
    return count;
}

/* The line of one call has these words.  Lines of several threads may come in any order. */
static void assert_line(char lines[][1024], const char *call, const char *words)
{
    for (size_t i = 0; i < 4; i++)
        if (strstr(lines[i], call) != NULL && strstr(lines[i], words) != NULL)
            return;
    fail_msg("no line of %s has %s", call, words);
}

static void every_call_is_one_line_of_the_log(void **state)
{
    (void)state;
    static char lines[8][1024];
    char path[96];
    struct fixture fixture;
    struct error error;
    fixture_prepare(&fixture);
    snprintf(path, sizeof path, "%s/log", fixture.directory);
    log_configure(LOG_INFO, true);
    fixture_start(&fixture, 1);
    int before = capture_begin(path);
    call_create(&fixture, "pvc-1", 5000, &error);
    call_info(&fixture, &error); /* quiet */
    fixture.create = answers_bad_words;
    call_create(&fixture, "pvc-2", 5000, &error);
    fixture.create = fails_without_error;
    call_create(&fixture, "pvc-3", 5000, &error);
    raw_call(fixture.path, &(struct raw_request){.method = "/no.such/Method", .message = ""});
    assert_true(rpc_server_stop(fixture.server, SECONDS(1), SECONDS(5)));
    assert_int_equal(capture_end(path, before, lines, 8), 4);
    fixture_end(&fixture);
    assert_line(lines, "\"name\":\"pvc-1\"",
                "\"level\":\"info\",\"message\":\"call\",\"method\":\"/csi.v1.Controller/CreateVolume\",\"name\":"
                "\"pvc-1\",\"code\":\"OK\",\"milliseconds\":\"");
    assert_line(lines, "\"name\":\"pvc-2\"", "\"level\":\"warning\"");
    assert_line(lines, "\"name\":\"pvc-2\"", "\"code\":\"NOT_FOUND\"");
    assert_line(lines, "\"name\":\"pvc-2\"", "\"error\":\"no ?? here\"");
    assert_line(lines, "\"name\":\"pvc-3\"", "\"level\":\"error\"");
    assert_line(lines, "\"name\":\"pvc-3\"", "\"code\":\"INTERNAL\"");
    assert_line(lines, "/no.such/Method", "\"level\":\"warning\"");
    assert_line(lines, "/no.such/Method", "\"code\":\"UNIMPLEMENTED\"");
}

/* --- leaks */

static void connections_and_calls_leave_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    static const struct raw_request request = {.method = "/csi.v1.Node/NodePublishVolume", .message = ""};
    assert_int_equal(call_info(fixture, &error), OK);
    int before = count_descriptors();
    long resident = 0;
    for (int i = 0; i < 3000; i++) {
        if (i == 500)
            resident = resident_kib("VmRSS:");
        assert_int_equal(raw_call(fixture->path, &request), OK);
        assert_int_equal(call_info(fixture, &error), OK);
    }
    for (int64_t until = monotonic_now() + SECONDS(5); count_descriptors() > before && monotonic_now() < until;)
        usleep(1000);
    assert_int_equal(count_descriptors(), before);
    if (!UNIT_SANITIZED)
        assert_true(resident_kib("VmRSS:") < resident + 1024);
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(a_request_is_answered),
        with_server(unknown_methods_are_unimplemented_at_once),
        cmocka_unit_test(a_table_that_does_not_fit_is_refused),
        with_server(errors_arrive_whole),
        with_server(a_held_lane_does_not_stall_the_others),
        with_server(a_call_that_waits_frees_its_worker),
        with_server(too_many_waiting_calls_are_told_so),
        with_server(sixty_four_clients_at_once_are_served),
        with_server(idle_workers_end),
        with_server(a_handler_knows_its_deadline),
        with_server(a_handler_sees_its_deadline_pass),
        with_server(a_handler_sees_its_caller_go),
        with_server(a_queued_call_whose_caller_has_gone_is_not_begun),
        with_server(children_of_handlers_get_default_signals),
        with_server(calls_are_counted),
        cmocka_unit_test(every_call_is_one_line_of_the_log),
        with_server(connections_and_calls_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
