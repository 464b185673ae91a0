/* node/settings.h: defaults, file, environment and command line, in this order; and what is refused. */
#include "node/settings.h"

#include "base/cleanup.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS(...) ((char *[]){"node", __VA_ARGS__, NULL})
static char file[64];

static int begin(void **state)
{
    (void)state;
    strcpy(file, "/tmp/plinth-settings.XXXXXX");
    cleanup_close int descriptor = mkstemp(file);
    unsetenv("CSI_ENDPOINT");
    unsetenv("NODE_NAME");
    return descriptor >= 0 ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    return unlink(file);
}

static void write_file(const char *text)
{
    cleanup_close int descriptor = open(file, O_WRONLY | O_TRUNC);
    assert_int_equal(write(descriptor, text, strlen(text)), (ssize_t)strlen(text));
}

static bool read_settings(struct settings *settings, char **argv, struct error *error)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    return settings_read(settings, argc, argv, error);
}

static const char *pool_value(const struct pool_config *pool, const char *key)
{
    for (size_t i = 0; i < pool->option_count; i++)
        if (strcmp(pool->options[i].key, key) == 0)
            return pool->options[i].value;
    return "";
}

static void nothing_need_be_said(void **state)
{
    (void)state;
    struct settings settings;
    struct error error;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    assert_true(read_settings(&settings, ((char *[]){"node", NULL}), &error));
    assert_string_equal(settings.node, host);
    assert_string_equal(settings.endpoint, "unix:///run/plinth/csi.sock");
    assert_string_equal(settings.driver, "csi.plinth.dev");
    assert_string_equal(settings.default_filesystem, "ext4");
    assert_int_equal(settings.frozen_copy_most, 1 << 30);
    assert_null(settings.http);
    assert_null(settings.registration_directory);
    assert_int_equal(settings.pool_count, 1);
    assert_string_equal(settings.pools[0].name, "default");
    assert_string_equal(settings.pools[0].kind, "file");
    assert_string_equal(pool_value(&settings.pools[0], "path"), "/var/lib/plinth");
    settings_free(&settings);
}

#define WHOLE_FILE                                                                                            \
    "endpoint: unix:///f/csi.sock\nnodeId: from-file\n"                                                       \
    "driverName: file.example.com\ndefaultFstype: xfs\nstateDir: /f/s\n"                                      \
    "kubeletDir: /f/k\nregistrationDir: /f/r\nhttp: 127.0.0.1:1\n"                                            \
    "logLevel: debug\nlogFormat: text\nfrozenCopyMost: 5Mi\n"                                                 \
    "pools:\n"                                                                                                \
    "  - {name: a, kind: file, path: /mnt/a, reserve: 10%}\n"                                                 \
    "  - name: b\n    kind: file\n    path: /mnt/b\n    overprovision: 2.5\n    provisioning: thick\n"        \
    "  - {name: c, kind: lvm, vg: g, thinpool: t, thinpool-size: 1Gi, when-full: error, devices: /dev/sdx}\n" \
    "  - {name: d, kind: disk, devices: /dev/sdy, min-size: 1Gi, max-size: 2Gi, model: M*, rotational: 0}\n"

static void every_key_of_the_file(void **state)
{
    (void)state;
    struct settings settings;
    struct error error;
    write_file(WHOLE_FILE);
    if (!read_settings(&settings, ARGUMENTS("--config", file), &error))
        fail_msg("%s", error.message);
    assert_string_equal(settings.endpoint, "unix:///f/csi.sock");
    assert_string_equal(settings.node, "from-file");
    assert_string_equal(settings.driver, "file.example.com");
    assert_string_equal(settings.default_filesystem, "xfs");
    assert_string_equal(settings.state_directory, "/f/s");
    assert_string_equal(settings.kubelet_directory, "/f/k");
    assert_string_equal(settings.registration_directory, "/f/r");
    assert_string_equal(settings.http, "127.0.0.1:1");
    assert_string_equal(settings.log_level, "debug");
    assert_string_equal(settings.log_format, "text");
    assert_int_equal(settings.frozen_copy_most, 5 << 20);
    assert_int_equal(settings.pool_count, 4);
    assert_string_equal(settings.pools[0].name, "a");
    assert_string_equal(pool_value(&settings.pools[2], "thinpool-size"), "1Gi");
    assert_string_equal(pool_value(&settings.pools[2], "when-full"), "error");
    assert_string_equal(pool_value(&settings.pools[3], "devices"), "/dev/sdy");
    assert_string_equal(pool_value(&settings.pools[3], "rotational"), "0");
    assert_string_equal(pool_value(&settings.pools[0], "reserve"), "10%");
    assert_string_equal(pool_value(&settings.pools[1], "path"), "/mnt/b");
    assert_string_equal(pool_value(&settings.pools[1], "overprovision"), "2.5");
    assert_string_equal(pool_value(&settings.pools[1], "provisioning"), "thick");
    settings_free(&settings);
}

static void precedence(void **state)
{
    (void)state;
    struct settings settings;
    struct error error;
    write_file(WHOLE_FILE);
    setenv("CSI_ENDPOINT", "/e/csi.sock", 1);
    setenv("NODE_NAME", "from-environment", 1);
    assert_true(read_settings(&settings, ARGUMENTS("--config", file), &error));
    assert_string_equal(settings.endpoint, "/e/csi.sock");
    assert_string_equal(settings.node, "from-environment");
    settings_free(&settings);
    assert_true(read_settings(
        &settings, ARGUMENTS("--node-id=n", "--config", file, "--pool", "c=file:path=/c", "--pool=d=file:path=/d"),
        &error));
    assert_string_equal(settings.node, "n");
    assert_string_equal(settings.driver, "file.example.com");
    assert_int_equal(settings.pool_count, 2); /* the command line's, instead of the file's */
    assert_string_equal(settings.pools[0].name, "c");
    settings_free(&settings);
}

static void bad_files_say_what_and_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } files[] = {
        {"", ""},
        {"nodeID: x\n", "nodeID"},
        {"- a\n", ""},
        {"a: [\n", ""},
        {"pools: 7\n", ""},
        {"pools:\n - {kind: file, path: /x}\n", "name"},
        {"pools:\n - {name: x, kind: file, path: '/x,reserve=1'}\n", "comma"},
        {"pools:\n - {name: 'x y', kind: file, path: /x}\n", "x y"},
        {"defaultFstype: ntfs\n", "ntfs"},
        {"logLevel: loud\n", "loud"},
        {"frozenCopyMost: much\n", "much"},
        {"driverName: 1.example.com\n", "letter"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct settings settings;
        struct error error = {.code = OK};
        write_file(files[i].text);
        if (read_settings(&settings, ARGUMENTS("--config", file), &error))
            fail_msg("taken: %s", files[i].text);
        assert_int_equal(error.code, INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, file));
        if (strstr(error.message, files[i].said) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.message, files[i].said);
        settings_free(&settings);
    }
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    static char *const bad[] = {
        "--driver-name=csi.plinth.dev1",
        "--driver-name=-a",
        "--driver-name=a_b",
        "--node-id=a/b",
        "--node-id=.a",
        "--pool=x",
        "--pool=x=file",
        "--pool=x/y=file:path=/a",
        "--default-fstype=btrfs",
        "--state-dir=relative",
        "--kubelet-dir=.",
        "--log-format=xml",
        "--frozen-copy-most=-1",
        "--config=/no/such/one",
        "--endpoint=",
        "word",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct settings settings;
        struct error error = {.code = OK};
        if (read_settings(&settings, ARGUMENTS(bad[i]), &error))
            fail_msg("taken: %s", bad[i]);
        assert_true(error.code == INVALID_ARGUMENT || error.number != 0);
        settings_free(&settings);
    }
}

static void a_long_node_name_becomes_a_label(void **state)
{
    (void)state;
    struct settings settings;
    struct error error;
    char name[300] = "--node-id=";
    memset(name + 10, 'a', 64);
    assert_true(read_settings(&settings, ARGUMENTS(name), &error));
    assert_int_equal(strlen(settings.node), 63);
    assert_string_not_equal(settings.node, name + 11);
    settings_free(&settings);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(nothing_need_be_said),         TEST(every_key_of_the_file),     TEST(precedence),
        TEST(bad_files_say_what_and_where), TEST(bad_arguments_are_refused), TEST(a_long_node_name_becomes_a_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
