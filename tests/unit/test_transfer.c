/* transfer/: sparse copies that can be stopped and resumed; jobs that outlive the call that started them. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/unit/unit.h"
#include "transfer/copy.h"
#include "transfer/job.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1 << 20)

struct fixture {
    char from[64], to[64];
    int64_t stop_at, checkpoints, saved;
};

static void write_at(const char *path, int64_t offset, char content, size_t bytes)
{
    char *block = malloc(bytes);
    memset(block, content, bytes);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(file, block, bytes, offset), bytes);
    close(file);
    free(block);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    snprintf(fixture->from, sizeof fixture->from, "/var/tmp/plinth-from-%d", getpid());
    snprintf(fixture->to, sizeof fixture->to, "/var/tmp/plinth-to-%d", getpid());
    unlink(fixture->from);
    unlink(fixture->to);
    fixture->stop_at = INT64_MAX;
    write_at(fixture->from, 0, 'a', MIB);
    write_at(fixture->from, 40 * MIB, 'b', 20 * MIB);
    write_at(fixture->from, 100 * MIB, 'c', 100);
    assert_int_equal(truncate(fixture->from, 128 * MIB), 0);
    write_at(fixture->to, 0, 0, 1);
    assert_int_equal(truncate(fixture->to, 256 * MIB), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->from);
    unlink(fixture->to);
    free(fixture);
    return 0;
}

static bool go_on(int64_t done, void *data)
{
    const struct fixture *fixture = data;
    return done < fixture->stop_at;
}

static bool checkpoint(int64_t done, void *data, struct error *error)
{
    struct fixture *fixture = data;
    (void)error;
    assert_true(done >= fixture->saved);
    fixture->checkpoints++;
    fixture->saved = done;
    return true;
}

static struct copy copy_of(struct fixture *fixture)
{
    return (struct copy){.from = fixture->from,
                         .to = fixture->to,
                         .bytes = 128 * MIB,
                         .go_on = go_on,
                         .checkpoint = checkpoint,
                         .data = fixture};
}

static void assert_same(const struct fixture *fixture)
{
    int from = open(fixture->from, O_RDONLY | O_CLOEXEC), to = open(fixture->to, O_RDONLY | O_CLOEXEC);
    static char left[MIB], right[MIB];
    for (int64_t offset = 0; offset < 256 * (int64_t)MIB; offset += MIB) {
        memset(left, 0, sizeof left);
        assert_true(pread(from, left, sizeof left, offset) >= 0);
        assert_int_equal(pread(to, right, sizeof right, offset), MIB);
        assert_memory_equal(left, right, MIB);
    }
    struct stat status;
    assert_int_equal(fstat(to, &status), 0);
    assert_true(status.st_blocks * 512 < 40 * MIB);
    close(from);
    close(to);
}

static void a_copy_is_whole_and_sparse(void **state)
{
    struct fixture *fixture = *state;
    struct copy copy = copy_of(fixture);
    struct error error;
    assert_true(copy_bytes(&copy, &error));
    assert_same(fixture);
    assert_int_equal(fixture->saved, copy.bytes);
}

static void a_stopped_copy_is_resumed(void **state)
{
    struct fixture *fixture = *state;
    struct copy copy = copy_of(fixture);
    struct error error;
    fixture->stop_at = 48 * MIB;
    assert_false(copy_bytes(&copy, &error));
    assert_int_equal(error.code, ABORTED);
    fixture->stop_at = INT64_MAX;
    copy.start = 44 * MIB; /* less than was copied: what comes twice is the same */
    assert_true(copy_bytes(&copy, &error));
    assert_same(fixture);
}

static void a_source_that_ends_too_early_is_data_loss(void **state)
{
    struct fixture *fixture = *state;
    struct copy copy = copy_of(fixture);
    struct error error;
    assert_int_equal(truncate(fixture->from, 127 * MIB), 0);
    assert_false(copy_bytes(&copy, &error));
    assert_int_equal(error.code, DATA_LOSS);
    assert_non_null(strstr(error.message, fixture->from));
}

/* --- jobs --- */

static atomic_int released, begun;
static atomic_bool may_end;

static bool slow(struct job *job, void *data, struct error *error)
{
    (void)data;
    atomic_fetch_add(&begun, 1);
    while (job_go_on(job, 40, 100) && !atomic_load(&may_end))
        usleep(1000);
    return !job_should_stop(job) || fail(error, ABORTED, "stopped");
}

static void release(void *data)
{
    (void)data;
    atomic_fetch_add(&released, 1);
}

static bool never(const void *data)
{
    (void)data;
    return false;
}

static int64_t in(int64_t milliseconds)
{
    return monotonic_now() + milliseconds * NANOSECONDS_PER_MILLISECOND;
}

static int reset(void **state)
{
    (void)state;
    atomic_store(&released, 0);
    atomic_store(&begun, 0);
    atomic_store(&may_end, false);
    return 0;
}

static const struct job_plan plan = {.pool = "p", .what = "copied", .run = slow, .release = release};

static void a_job_outlives_its_call(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(job_run("v1", &plan, in(50), never, NULL, &error), JOB_RUNNING);
    assert_int_equal(error.code, ABORTED);
    assert_non_null(strstr(error.message, "40 %"));
    assert_int_equal(job_await("v2", in(50), never, NULL, &error), JOB_NONE);
    atomic_store(&may_end, true);
    enum job_state state_now = job_await("v1", in(5000), never, NULL, &error);
    assert_true(state_now == JOB_DONE || state_now == JOB_NONE);
    assert_int_equal(job_await("v1", in(50), never, NULL, &error), JOB_NONE);
    assert_int_equal(atomic_load(&released), 1);
}

static void a_cancelled_job_ends_and_says_so(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(job_run("v1", &plan, in(20), never, NULL, &error), JOB_RUNNING);
    assert_true(job_cancel("v1", in(5000), never, NULL, &error));
    assert_int_equal(atomic_load(&released), 1);
    assert_true(job_cancel("never-there", in(5000), never, NULL, &error));
}

static void two_of_a_pool_run_at_a_time(void **state)
{
    (void)state;
    struct error error;
    static const char *const ids[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(job_run(ids[i], &plan, in(20), never, NULL, &error), JOB_RUNNING);
    assert_int_equal(atomic_load(&begun), 2);
    atomic_store(&may_end, true);
    for (size_t i = 0; i < 4; i++)
        assert_int_not_equal(job_await(ids[i], in(5000), never, NULL, &error), JOB_RUNNING);
    assert_int_equal(atomic_load(&begun), 4);
}

static void what_holds_up_others_does_not_wait_its_turn(void **state)
{
    (void)state;
    struct error error;
    static const char *const ids[] = {"a", "b", "c", "frozen"};
    struct job_plan at_once = plan;
    at_once.at_once = true;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(job_run(ids[i], &plan, in(20), never, NULL, &error), JOB_RUNNING);
    assert_int_equal(atomic_load(&begun), 2);
    assert_int_equal(job_run(ids[3], &at_once, in(20), never, NULL, &error), JOB_RUNNING);
    assert_int_equal(atomic_load(&begun), 3);
    atomic_store(&may_end, true);
    for (size_t i = 0; i < 4; i++)
        assert_int_not_equal(job_await(ids[i], in(5000), never, NULL, &error), JOB_RUNNING);
    assert_int_equal(atomic_load(&begun), 4);
}

/* Last: afterwards no job starts. */
static void shutting_down_stops_all(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(job_run("a", &plan, in(20), never, NULL, &error), JOB_RUNNING);
    assert_true(job_stop_all(in(5000)));
    assert_int_equal(atomic_load(&released), 1);
    assert_int_equal(job_run("b", &plan, in(20), never, NULL, &error), JOB_NONE);
    assert_int_equal(error.code, UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_is_whole_and_sparse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stopped_copy_is_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_source_that_ends_too_early_is_data_loss, set_up, tear_down),
        cmocka_unit_test_setup(a_job_outlives_its_call, reset),
        cmocka_unit_test_setup(a_cancelled_job_ends_and_says_so, reset),
        cmocka_unit_test_setup(two_of_a_pool_run_at_a_time, reset),
        cmocka_unit_test_setup(what_holds_up_others_does_not_wait_its_turn, reset),
        cmocka_unit_test_setup(shutting_down_stops_all, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
