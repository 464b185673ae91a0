/* rpc_server_listen(): the socket, who may come in, and what is left at its path. */
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/rpc_raw.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* Tries to listen with a server of its own, which then is destroyed; the message goes to `error`. */
static bool listens(const char *endpoint, struct error *error)
{
    struct fixture fixture;
    fixture_prepare(&fixture);
    fixture.server = fixture_server(&fixture, 1);
    *error = (struct error){.code = OK};
    bool good = rpc_server_listen(fixture.server, endpoint, error);
    fixture_end(&fixture);
    return good;
}

static void assert_refused(const char *endpoint, enum error_code code, const char *words)
{
    struct error error;
    assert_false(listens(endpoint, &error));
    assert_int_equal(error.code, code);
    if (strstr(error.message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
}

static void endpoints_that_are_none_are_refused(void **state)
{
    (void)state;
    char longest[256] = "unix:///tmp/";
    memset(longest + strlen(longest), 'x', 120);
    longest[strlen("unix://") + 107] = '\0'; /* would fit, but for its NUL */
    struct error error;
    assert_true(listens(longest, &error));
    strcat(longest, "x");
    assert_refused(longest, INVALID_ARGUMENT, "107 bytes");
    static const char *const wrong[] = {"",        "csi.sock",        "unix:csi.sock", "unix://csi.sock",
                                        "unix://", "tcp://0.0.0.0:1", "unix:///tmp/",  "http:///tmp/x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i], INVALID_ARGUMENT, "absolute path");
}

static void a_missing_directory_is_not_made(void **state)
{
    (void)state;
    struct stat status;
    assert_refused("/tmp/plinth-no-such-directory/csi.sock", FAILED_PRECONDITION, "No such file or directory");
    assert_int_not_equal(stat("/tmp/plinth-no-such-directory", &status), 0);
    assert_refused("/etc/passwd/csi.sock", FAILED_PRECONDITION, "Not a directory");
}

static void the_socket_is_ours_alone_and_goes_with_us(void **state)
{
    (void)state;
    struct fixture fixture;
    struct stat status;
    mode_t before = umask(0);
    fixture_begin(&fixture, 1);
    umask(before);
    assert_int_equal(lstat(fixture.path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | 0600);
    assert_true(rpc_server_stop(fixture.server, 0, SECONDS(5)));
    assert_int_equal(lstat(fixture.path, &status), -1);
    fixture_end(&fixture);
}

static void a_live_socket_is_refused_and_left_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    fixture_begin(&fixture, 1);
    assert_refused(fixture.endpoint, FAILED_PRECONDITION, "another process does");
    assert_int_equal(call_info(&fixture, &error), OK);
    fixture_end(&fixture);
}

static void leave_stale_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    cleanup_close int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(descriptor, (struct sockaddr *)&address, sizeof address), 0);
}

static void a_stale_socket_is_replaced(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    fixture_prepare(&fixture);
    leave_stale_socket(fixture.path);
    fixture.server = fixture_server(&fixture, 1);
    assert_true(rpc_server_listen(fixture.server, fixture.endpoint, &error));
    assert_true(rpc_server_start(fixture.server, &error));
    fixture.client = rpc_client_create(fixture.endpoint, &error);
    assert_int_equal(call_info(&fixture, &error), OK);
    fixture_end(&fixture);
}

static void what_is_no_socket_is_left_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    char target[96];
    struct stat status;
    fixture_prepare(&fixture);

    cleanup_file FILE *file = fopen(fixture.path, "we");
    fputs("precious", file);
    fflush(file);
    assert_refused(fixture.endpoint, FAILED_PRECONDITION, "not a socket");
    assert_int_equal(lstat(fixture.path, &status), 0);
    assert_int_equal(status.st_size, 8);
    unlink(fixture.path);

    /* Nor is a link followed, to a stale socket of somebody else. */
    snprintf(target, sizeof target, "%s/other.sock", fixture.directory);
    leave_stale_socket(target);
    assert_int_equal(symlink(target, fixture.path), 0);
    assert_refused(fixture.endpoint, FAILED_PRECONDITION, "not a socket");
    assert_int_equal(lstat(target, &status), 0);
    unlink(fixture.path);
    unlink(target);
    fixture_end(&fixture);
}

static void the_socket_of_a_successor_is_left_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error;
    fixture_begin(&fixture, 1);
    unlink(fixture.path); /* as a careless administrator, or gRPC's own listener, would */
    struct rpc_server *successor = fixture_server(&fixture, 1);
    assert_true(rpc_server_listen(successor, fixture.endpoint, &error));
    assert_true(rpc_server_start(successor, &error));

    assert_true(rpc_server_stop(fixture.server, 0, SECONDS(5)));
    rpc_server_destroy(fixture.server);
    fixture.server = successor;
    assert_int_equal(call_info(&fixture, &error), OK);
    fixture_end(&fixture);
}

static void connections_wait_until_the_start(void **state)
{
    (void)state;
    static const struct raw_request request = {.method = "/csi.v1.Identity/GetPluginInfo", .message = ""};
    struct fixture fixture;
    struct error error;
    fixture_prepare(&fixture);
    fixture.server = fixture_server(&fixture, 1);
    assert_true(rpc_server_listen(fixture.server, fixture.endpoint, &error));
    cleanup_close int connection = raw_connect(fixture.path);
    struct pollfd polled = {.fd = connection, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 100), 0);
    assert_true(rpc_server_start(fixture.server, &error));
    raw_send(connection, &request);
    assert_int_equal(raw_status(connection), OK);
    fixture_end(&fixture);
}

static void a_second_socket_can_be_added_later(void **state)
{
    (void)state;
    struct fixture fixture, second;
    struct error error;
    fixture_begin(&fixture, 1);
    fixture_prepare(&second);
    assert_true(rpc_server_listen(fixture.server, second.endpoint, &error));
    second.client = rpc_client_create(second.endpoint, &error);
    assert_int_equal(call_info(&second, &error), OK);
    assert_int_equal(call_info(&fixture, &error), OK);
    assert_true(rpc_server_stop(fixture.server, 0, SECONDS(5)));
    fixture_end(&second);
    fixture_end(&fixture);
}

static void a_server_out_of_descriptors_recovers(void **state)
{
    (void)state;
    static const struct raw_request request = {.method = "/csi.v1.Identity/GetPluginInfo", .message = ""};
    struct fixture fixture;
    struct rlimit before, none;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fixture_begin(&fixture, 1);
    strcpy(address.sun_path, fixture.path);
    cleanup_close int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int connected = connect(connection, (struct sockaddr *)&address, sizeof address);
    clock_t spent = clock();
    struct pollfd polled = {.fd = connection, .events = POLLIN};
    int answered = poll(&polled, 1, 500);
    spent = clock() - spent;
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(connected, 0);
    assert_int_equal(answered, 0);
    assert_true(spent < CLOCKS_PER_SEC / 5); /* it does not spin meanwhile */
    raw_send(connection, &request);
    assert_int_equal(raw_status(connection), OK);
    fixture_end(&fixture);
}

/* In a child process: true if the server talks to this user, false if it closes the connection. */
static bool is_served_as(uid_t uid, const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        char byte;
        if (setresuid(uid, uid, uid) != 0)
            _exit(2);
        int connection = raw_connect(path);
        _exit(recv(connection, &byte, 1, 0) == 1 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

static void other_users_are_turned_away(void **state)
{
    (void)state;
    struct fixture fixture;
    if (geteuid() != 0) {
        print_message("# skip: only root can be two users\n");
        skip();
    }
    fixture_begin(&fixture, 1);
    /* Even if somebody has opened up the socket's mode. */
    assert_int_equal(chmod(fixture.directory, 0755), 0);
    assert_int_equal(chmod(fixture.path, 0666), 0);
    assert_true(is_served_as(0, fixture.path));
    assert_false(is_served_as(65534, fixture.path));
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_that_are_none_are_refused),
        cmocka_unit_test(a_missing_directory_is_not_made),
        cmocka_unit_test(the_socket_is_ours_alone_and_goes_with_us),
        cmocka_unit_test(a_live_socket_is_refused_and_left_alone),
        cmocka_unit_test(a_stale_socket_is_replaced),
        cmocka_unit_test(what_is_no_socket_is_left_alone),
        cmocka_unit_test(the_socket_of_a_successor_is_left_alone),
        cmocka_unit_test(connections_wait_until_the_start),
        cmocka_unit_test(a_second_socket_can_be_added_later),
        cmocka_unit_test(a_server_out_of_descriptors_recovers),
        cmocka_unit_test(other_users_are_turned_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
