/* base/: errors, text, arena, locks by key, child processes. */
#include "base/arena.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/keylock.h"
#include "base/text.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct child_options within(int64_t milliseconds)
{
    return (struct child_options){.deadline = monotonic_now() + milliseconds * NANOSECONDS_PER_MILLISECOND,
                                  .inherit = -1};
}

/* --- errors --- */

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    struct error error;
    char words[2048];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(words, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof words; i += 3)
            memcpy(words + i, "\xe2\x82\xac", 4);
        fail_context((fail(&error, INTERNAL, "%s", words), &error), "while testing");
        assert_true(text_is_utf8(error.message, strlen(error.message)));
        assert_true(strlen(error.message) < sizeof error.message);
        assert_string_equal(error.message + strlen(error.message) - 3, "...");
        assert_memory_equal(error.message, "while testing: ", 15);
    }
}

static void a_full_disk_is_resource_exhausted(void **state)
{
    (void)state;
    struct error error;
    fail_errno(&error, ENOSPC, "cannot write %s", "x");
    assert_int_equal(error.code, RESOURCE_EXHAUSTED);
    assert_string_equal(error.message, "cannot write x: No space left on device");
    fail_errno(&error, EIO, "cannot write %s", "x");
    assert_int_equal(error.code, INTERNAL);
}

/* --- text --- */

static void utf8_is_told_from_what_is_not(void **state)
{
    static const struct {
        const char *bytes;
        bool good;
    } cases[] = {{"plain", true},         {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbe", true},
                 {"\xc3", false},         {"\xa4", false},
                 {"\xc0\x80", false},     {"\xe0\x80\x80", false},
                 {"\xed\xa0\x80", false}, {"\xf4\x90\x80\x80", false},
                 {"\xff", false},         {"\xf0\x9f\x92", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(text_is_utf8(cases[i].bytes, strlen(cases[i].bytes)), cases[i].good);
    assert_true(text_has_control("a\x01", 2));
    assert_true(text_has_control("a\xc2\x85", 3));
    assert_false(text_has_control("a\t\r\n b", 6));
}

static void sizes_are_read_as_kubernetes_writes_them(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } cases[] = {{"10Mi", 10 << 20},
                 {"1G", 1000000000},
                 {"4096", 4096},
                 {"0", 0},
                 {"", -1},
                 {"-1", -1},
                 {"1 Gi", -1},
                 {"1gi", -1},
                 {"8Ei", -1},
                 {"7Ei", INT64_C(7) << 60},
                 {"99999999999999999999", -1},
                 {"0x10", -1},
                 {"1.5Gi", -1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error;
        int64_t bytes = -1;
        bool good = text_to_size(cases[i].text, "size", &bytes, &error);
        if (good != (cases[i].bytes >= 0) || (good && bytes != cases[i].bytes))
            fail_msg("\"%s\" was read as %jd", cases[i].text, (intmax_t)bytes);
    }
}

static void other_peoples_words_become_one_line(void **state)
{
    (void)state;
    char line[16];
    text_one_line(line, sizeof line, "  mke2fs:\n\n\tno\xff space \x1b[1m");
    assert_string_equal(line, "mke2fs: no? spa");
    text_one_line(line, 4, "ab\xe2\x82\xac");
    assert_string_equal(line, "ab");
}

/* --- arena --- */

static void a_budget_ends_unpacking_and_nothing_else(void **state)
{
    (void)state;
    struct arena *arena = arena_create();
    ProtobufCAllocator *allocator = arena_allocator(arena, 100);
    assert_non_null(allocator->alloc(allocator->allocator_data, 60));
    assert_null(allocator->alloc(allocator->allocator_data, 60));
    size_t given = 0;
    while (given < 1000 && allocator->alloc(allocator->allocator_data, 0) != NULL)
        given++;
    assert_true(given < 10);
    char *large = arena_allocate(arena, 1 << 20);
    assert_int_equal(large[0] + large[(1 << 20) - 1], 0);
    assert_string_equal(arena_format(arena, "%d-%s", 7, "x"), "7-x");
    arena_destroy(arena);
    arena_destroy(NULL);
}

static void a_list_keeps_its_elements_while_it_grows(void **state)
{
    (void)state;
    struct arena *arena = arena_create();
    int64_t *numbers = NULL;
    char *neighbour = NULL; /* the allocation behind the list */
    for (size_t count = 0; count < 3000; count++) {
        int64_t *grown = arena_grow(arena, numbers, count, sizeof *numbers);
        if (grown != numbers)
            neighbour = arena_string(arena, "neighbour");
        numbers = grown;
        assert_int_equal(numbers[count], 0);
        numbers[count] = (int64_t)count + 1;
        assert_string_equal(neighbour, "neighbour");
        for (size_t i = 0; i <= count; i++)
            assert_int_equal(numbers[i], i + 1);
    }
    arena_destroy(arena);
}

/* --- locks --- */

static void a_second_operation_is_aborted(void **state)
{
    (void)state;
    struct error error;
    struct keylock *first = keylock_acquire("volume-1", &error);
    assert_null(keylock_acquire("volume-1", &error));
    assert_int_equal(error.code, ABORTED);
    assert_non_null(strstr(error.message, "volume-1"));
    assert_null(keylock_acquire_shared("volume-1", &error));
    struct keylock *other = keylock_acquire("volume-2", &error);
    assert_non_null(other);
    keylock_release(first);
    struct keylock *reader = keylock_acquire_shared("volume-1", &error);
    struct keylock *second_reader = keylock_acquire_shared("volume-1", &error);
    assert_non_null(reader);
    assert_non_null(second_reader);
    keylock_release(reader);
    assert_null(keylock_acquire("volume-1", &error));
    keylock_release(second_reader);
    keylock_release(other);
    keylock_release(NULL);
    first = keylock_acquire("volume-1", &error);
    assert_non_null(first);
    keylock_release(first);
}

static bool is_true(const void *value)
{
    return *(const bool *)value;
}

static void *release_soon(void *lock)
{
    usleep(100000);
    keylock_release(lock);
    return NULL;
}

static void a_lock_is_awaited_until_it_is_free_or_nobody_waits_any_more(void **state)
{
    (void)state;
    struct error error;
    bool given_up = false;
    pthread_t thread;
    struct keylock *first = keylock_acquire("volume-1", &error);
    assert_null(
        keylock_await("volume-1", monotonic_now() + 50 * NANOSECONDS_PER_MILLISECOND, is_true, &given_up, &error));
    assert_int_equal(error.code, ABORTED);
    given_up = true;
    assert_null(keylock_await("volume-1", NO_DEADLINE, is_true, &given_up, &error));
    assert_int_equal(pthread_create(&thread, NULL, release_soon, first), 0);
    struct keylock *second = keylock_await("volume-1", NO_DEADLINE, NULL, NULL, &error);
    assert_non_null(second);
    pthread_join(thread, NULL);
    keylock_release(second);
}

/* --- child processes --- */

static void a_childs_output_is_returned(void **state)
{
    (void)state;
    struct error error;
    struct child_options options = within(10000);
    char *output;
    options.output_most = 100;
    assert_true(child_run((const char *const[]){"echo", "some", "words", NULL}, &options, &output, &error));
    assert_string_equal(output, "some words\n");
    free(output);
    options.output_most = 4;
    assert_false(child_run((const char *const[]){"echo", "too much", NULL}, &options, &output, &error));
    assert_null(output);
}

static void its_own_words_are_in_the_error(void **state)
{
    (void)state;
    struct error error;
    struct child_options options = within(10000);
    const char *const argv[] = {"sh", "-c", "seq 1 5000 >&2; echo 'the disk   is\tgone' >&2; exit 3", NULL};
    assert_false(child_run(argv, &options, NULL, &error));
    assert_int_equal(error.code, INTERNAL);
    assert_non_null(strstr(error.message, "sh failed with status 3"));
    assert_non_null(strstr(error.message, "the disk is gone"));
    assert_null(strchr(error.message, '\n'));
    assert_false(child_run((const char *const[]){"sh", "-c", "kill -9 $$", NULL}, &options, NULL, &error));
    assert_non_null(strstr(error.message, "signal 9"));
    assert_false(child_run((const char *const[]){"no-such-program", NULL}, &options, NULL, &error));
    assert_int_equal(error.code, FAILED_PRECONDITION);
    assert_non_null(strstr(error.message, "not installed"));
}

/* For this process, until it ends: seccomp(2). */
static void refuse_system_call(unsigned number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static bool runs_and_ends(void)
{
    struct error error;
    struct child_options options = within(60000);
    char *output = NULL;
    options.output_most = 100;
    bool good = child_run((const char *const[]){"sh", "-c", "echo first; sleep 0.1; echo last", NULL}, &options,
                          &output, &error) &&
                strcmp(output, "first\nlast\n") == 0;
    free(output);
    options = within(100);
    int64_t begun = monotonic_now();
    return good && !child_run((const char *const[]){"sleep", "4711", NULL}, &options, NULL, &error) &&
           error.code == DEADLINE_EXCEEDED && monotonic_now() - begun < 30 * NANOSECONDS_PER_SECOND;
}

static void without_a_pidfd_a_child_is_asked_after(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        refuse_system_call(SYS_pidfd_open);
        _exit(runs_and_ends() ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void at_the_deadline_it_and_its_children_are_killed(void **state)
{
    (void)state;
    struct error error;
    struct child_options options = within(200);
    char name[64];
    snprintf(name, sizeof name, "sleep 4711 & echo $! > /tmp/plinth-child-%d; wait", getpid());
    int64_t begun = monotonic_now();
    assert_false(child_run((const char *const[]){"sh", "-c", name, NULL}, &options, NULL, &error));
    assert_int_equal(error.code, DEADLINE_EXCEEDED);
    assert_true(monotonic_now() - begun < 5 * NANOSECONDS_PER_SECOND);
    snprintf(name, sizeof name, "/tmp/plinth-child-%d", getpid());
    FILE *file = fopen(name, "re");
    int grandchild = 0;
    assert_int_equal(fscanf(file, "%d", &grandchild), 1);
    fclose(file);
    unlink(name);
    for (int i = 0; i < 100 && kill(grandchild, 0) == 0; i++) {
        char path[64], status = 'Z';
        snprintf(path, sizeof path, "/proc/%d/stat", grandchild);
        file = fopen(path, "re");
        if (file != NULL && fscanf(file, "%*d %*s %c", &status) == 1 && status == 'Z')
            i = 100; /* killed; nobody has reaped it yet */
        if (file != NULL)
            fclose(file);
        usleep(10000);
        assert_true(i != 99);
    }
}

static void only_the_named_descriptor_and_default_signals_are_inherited(void **state)
{
    (void)state;
    struct error error;
    struct child_options options = within(10000);
    char path[64], script[256], *output;
    snprintf(path, sizeof path, "/tmp/plinth-lock-%d", getpid());
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    unlink(path);
    sigset_t blocked, before;
    sigfillset(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    signal(SIGPIPE, SIG_IGN);
    snprintf(script, sizeof script,
             "ls -l /proc/self/fd/%d >/dev/null && ! ls /proc/self/fd/%d 2>/dev/null && grep -E '^Sig(Blk|Ign)' "
             "/proc/self/status | sed 's/\\t[^ ]*\\(.\\{7\\}\\)$/\\1/' | tr -d '0\\n'", /* signals 1 to 28 */
             lock, other);
    options.inherit = lock;
    options.output_most = 100;
    bool good = child_run((const char *const[]){"sh", "-c", script, NULL}, &options, &output, &error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    assert_true(good);
    assert_string_equal(output, "SigBlk:SigIgn:");
    free(output);
    close(lock);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(a_full_disk_is_resource_exhausted),
        cmocka_unit_test(utf8_is_told_from_what_is_not),
        cmocka_unit_test(sizes_are_read_as_kubernetes_writes_them),
        cmocka_unit_test(other_peoples_words_become_one_line),
        cmocka_unit_test(a_budget_ends_unpacking_and_nothing_else),
        cmocka_unit_test(a_list_keeps_its_elements_while_it_grows),
        cmocka_unit_test(a_second_operation_is_aborted),
        cmocka_unit_test(a_lock_is_awaited_until_it_is_free_or_nobody_waits_any_more),
        cmocka_unit_test(a_childs_output_is_returned),
        cmocka_unit_test(its_own_words_are_in_the_error),
        cmocka_unit_test(without_a_pidfd_a_child_is_asked_after),
        cmocka_unit_test(at_the_deadline_it_and_its_children_are_killed),
        cmocka_unit_test(only_the_named_descriptor_and_default_signals_are_inherited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
