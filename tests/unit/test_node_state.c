/* node/state.h: what a node remembers of a volume, and that nothing breaks when it is lost. */
#include "node/state.h"

#include "base/cleanup.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ID "9c3003958547-66570ff0-e8bc163c82eee1873328"
#define STAGING "/k/globalmount"

static char directory[64], file[160];

static int begin(void **unused)
{
    struct error error;
    (void)unused;
    strcpy(directory, "/tmp/plinth-state.XXXXXX");
    if (mkdtemp(directory) == NULL || !state_prepare(directory, &error))
        return -1;
    snprintf(file, sizeof file, "%s/volumes/%s.json", directory, ID);
    return 0;
}

static int end(void **unused)
{
    char volumes[128];
    (void)unused;
    unlink(file);
    snprintf(volumes, sizeof volumes, "%s/volumes", directory);
    return rmdir(volumes) == 0 && rmdir(directory) == 0 ? 0 : -1; /* so nothing else may be left there */
}

static struct capability capability(access_mode mode, bool single, char *const *flags, size_t count)
{
    return (struct capability){
        .mode = mode, .single_writer = single, .filesystem = "ext4", .mount_flags = flags, .mount_flag_count = count};
}

static void write_file(const char *text)
{
    cleanup_close int descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(descriptor, text, strlen(text)), (ssize_t)strlen(text));
}

static void cleanup_state(struct state **state)
{
    state_free(*state);
}
#define cleanup_state __attribute__((cleanup(cleanup_state)))

static struct state *save_and_load(struct state *state)
{
    struct error error;
    assert_true(state_save(state, &error));
    state_free(state);
    return state_load(directory, ID);
}

static void staging_is_kept(void **unused)
{
    (void)unused;
    struct error error;
    char *flags[] = {"noatime"};
    struct capability one = capability(7, false, NULL, 0), other = capability(6, true, NULL, 0),
                      flagged = capability(7, false, flags, 1);
    cleanup_state struct state *state = state_load(directory, ID);
    assert_true(state_is_new(state));
    assert_null(state_staging(state));
    state_stage(state, STAGING, &one);
    state = save_and_load(state);
    assert_false(state_is_new(state));
    assert_string_equal(state_staging(state), STAGING);
    assert_true(state_staged_as(state, &one));
    assert_false(state_staged_as(state, &other));
    assert_false(state_staged_as(state, &flagged));
    state_unstage(state);
    assert_true(state_save(state, &error));
    assert_int_equal(access(file, F_OK), -1); /* an empty state has no file */
}

static void targets_are_compared(void **unused)
{
    (void)unused;
    struct capability one = capability(7, false, NULL, 0), other = capability(1, true, NULL, 0);
    cleanup_state struct state *state = state_load(directory, ID);
    state_publish(state, "/k/pod \"1\"/\xc3\xa4", true, &one);
    state_publish(state, "/k/found", false, NULL);
    state = save_and_load(state);
    assert_int_equal(state_published(state, "/k/pod \"1\"/\xc3\xa4", true, &one), STATE_SAME);
    assert_int_equal(state_published(state, "/k/pod \"1\"/\xc3\xa4", false, &one), STATE_DIFFERENT);
    assert_int_equal(state_published(state, "/k/pod \"1\"/\xc3\xa4", true, &other), STATE_DIFFERENT);
    assert_int_equal(state_published(state, "/k/found", true, &one), STATE_UNKNOWN);
    assert_int_equal(state_published(state, "/k/none", true, &one), STATE_NONE);
    state_unpublish(state, "/k/found");
    assert_int_equal(state_published(state, "/k/found", true, &one), STATE_NONE);
}

struct seen {
    int count, single;
};

static bool count(const char *path, bool single_writer, void *data)
{
    struct seen *seen = data;
    assert_int_equal(path[0], '/');
    seen->count++;
    seen->single += single_writer;
    return true;
}

static void targets_are_listed(void **unused)
{
    (void)unused;
    struct capability many = capability(7, false, NULL, 0), one = capability(1, true, NULL, 0);
    cleanup_state struct state *state = state_load(directory, ID);
    struct seen seen = {0, 0};
    state_publish(state, "/a", false, &many);
    state_publish(state, "/b", false, &one);
    state_publish(state, STAGING, false, NULL);
    state_stage(state, STAGING, &many); /* a mount that was found turns out to be the staging */
    assert_true(state_targets(state, count, &seen));
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.single, 1);
}

static void flags_of_the_file_system_must_have_been_staged(void **unused)
{
    (void)unused;
    char *staged[] = {"discard", "noatime"}, *asked[] = {"ro", "noexec", "discard", "commit=5"};
    struct capability first = capability(7, false, staged, 2), second = capability(7, false, asked, 3),
                      third = capability(7, false, asked, 4);
    cleanup_state struct state *state = state_load(directory, ID);
    assert_null(state_strange_flag(state, &third)); /* it is not known how it was staged */
    assert_true(state_has_flag(state, "ro"));
    state_stage(state, STAGING, &first);
    state = save_and_load(state);
    assert_null(state_strange_flag(state, &second));
    assert_string_equal(state_strange_flag(state, &third), "commit=5");
    assert_true(state_has_flag(state, "noatime"));
    assert_false(state_has_flag(state, "ro"));
}

static void damaged_files_are_as_if_lost(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "null",
                                        "{\"staging\":7}",
                                        "{\"targets\":[1]}",
                                        "{\"staging\":\"/k\",\"capability\":7,\"targets\":{\"/a\":null}}"};
    struct capability one = capability(7, false, NULL, 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file(texts[i]);
        cleanup_state struct state *state = state_load(directory, ID);
        struct seen seen = {0, 0};
        state_staging(state);
        assert_true(state_staged_as(state, &one));
        assert_true(state_targets(state, count, &seen));
        state_published(state, "/a", false, &one);
        state_stage(state, STAGING, &one);
        state_publish(state, "/b", false, &one);
        state = save_and_load(state);
        assert_string_equal(state_staging(state), STAGING);
        assert_int_equal(state_published(state, "/b", false, &one), STATE_SAME);
    }
}

static void what_is_no_id_has_no_file(void **unused)
{
    (void)unused;
    struct error error;
    static const char *const ids[] = {"", "..", "../../etc/passwd", "a/b", "fake-vol-id"};
    struct capability one = capability(7, false, NULL, 0);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        cleanup_state struct state *state = state_load(directory, ids[i]);
        state_stage(state, STAGING, &one);
        assert_true(state_save(state, &error)); /* end() sees that nothing was written */
        assert_true(state_is_new(state));
    }
}

static void the_directory_may_be_cleaned_away(void **unused)
{
    (void)unused;
    char volumes[128];
    struct capability one = capability(7, false, NULL, 0);
    cleanup_state struct state *state = state_load(directory, ID);
    snprintf(volumes, sizeof volumes, "%s/volumes", directory);
    assert_int_equal(rmdir(volumes), 0);
    state_stage(state, STAGING, &one);
    state = save_and_load(state);
    assert_string_equal(state_staging(state), STAGING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(staging_is_kept),
        TEST(targets_are_compared),
        TEST(targets_are_listed),
        TEST(flags_of_the_file_system_must_have_been_staged),
        TEST(damaged_files_are_as_if_lost),
        TEST(what_is_no_id_has_no_file),
        TEST(the_directory_may_be_cleaned_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
