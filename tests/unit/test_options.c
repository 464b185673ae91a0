/* base/options.h: what a command line is read as, what is refused, and what --help shows. */
#include "base/options.h"

#include "base/cleanup.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct target {
    const char *name;
    bool all;
    int64_t size, count;
    int pools;
};

static bool count_pools(const char *value, void *field, struct error *error)
{
    (void)value, (void)error;
    ++*(int *)field;
    return true;
}

#define AT(member) offsetof(struct target, member)
static const struct option table[] = {
    {"name", 'n', "NAME", "A name.", "nobody", "TEST_NAME", AT(name), option_text},
    {"all", 'a', NULL, "All of them.", NULL, NULL, AT(all), option_flag},
    {"size", 0, "SIZE", "How large.", "1Gi", NULL, AT(size), option_size},
    {"count", 0, "COUNT", "How many.", NULL, NULL, AT(count), option_number},
    {"pool", 0, "POOL", "Can be repeated.", NULL, NULL, AT(pools), count_pools},
};
static const struct options options = {.command = "test it",
                                       .words = "FROM [TO]",
                                       .least = 1,
                                       .most = 2,
                                       .purpose = "Tests.",
                                       .table = table,
                                       .count = sizeof table / sizeof *table};

#define ARGUMENTS(...) ((char *[]){"it", __VA_ARGS__, NULL})

static bool read_line(struct target *target, char **argv, struct error *error)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    *target = (struct target){.name = NULL};
    return options_defaults(&options, target, error) && options_environment(&options, target, error) &&
           options_arguments(&options, argc, argv, target, error);
}

static void defaults_then_environment_then_arguments(void **state)
{
    (void)state;
    struct target target;
    struct error error;
    assert_true(read_line(&target, ARGUMENTS("from"), &error));
    assert_string_equal(target.name, "nobody");
    assert_int_equal(target.size, 1 << 30);
    setenv("TEST_NAME", "somebody", 1);
    assert_true(read_line(&target, ARGUMENTS("from"), &error));
    assert_string_equal(target.name, "somebody");
    assert_true(read_line(&target, ARGUMENTS("from", "--name", "me"), &error));
    assert_string_equal(target.name, "me");
    unsetenv("TEST_NAME");
}

static void all_forms_of_an_option(void **state)
{
    (void)state;
    struct target target;
    struct error error;
    assert_true(read_line(
        &target, ARGUMENTS("--size=10Mi", "--count", "7", "-nme", "-a", "from", "--pool=a", "--pool", "b"), &error));
    assert_int_equal(target.size, 10 << 20);
    assert_int_equal(target.count, 7);
    assert_string_equal(target.name, "me");
    assert_true(target.all);
    assert_int_equal(target.pools, 2);
    assert_true(read_line(&target, ARGUMENTS("-n", "--all", "from"), &error)); /* the next argument is the value */
    assert_string_equal(target.name, "--all");
    assert_false(target.all);
}

static void words_come_first_in_argv(void **state)
{
    (void)state;
    struct target target;
    struct error error;
    char **argv = ARGUMENTS("from", "--all", "--", "--to");
    assert_true(read_line(&target, argv, &error));
    assert_string_equal(argv[1], "from");
    assert_string_equal(argv[2], "--to");
    assert_null(argv[3]);
    argv = ARGUMENTS("-", "-a");
    assert_true(read_line(&target, argv, &error));
    assert_string_equal(argv[1], "-");
    assert_null(argv[2]);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    const struct {
        char *arguments[4];
        const char *said;
    } mistakes[] = {
        {{"it", "from", "--nome"}, "there is no option --nome"},
        {{"it", "from", "--nam=x"}, "there is no option --nam"},
        {{"it", "from", "-x"}, "there is no option -x"},
        {{"it", "from", "--="}, "there is no option --"},
        {{"it", "from", "--name"}, "--name needs a value: --name NAME"},
        {{"it", "from", "-n"}, "-n needs a value: -n NAME"},
        {{"it", "from", "--name="}, "--name: a value is missing"},
        {{"it", "from", "--all=yes"}, "--all takes no value"},
        {{"it", "from", "--size=big"}, "--size: "},
        {{"it", "from", "--count=-1"}, "--count: "},
        {{"it", "--all"}, "something is missing: test it FROM [TO]"},
        {{"it", "a", "b", "c"}, "\"c\" is one word too many"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *argv[5] = {NULL};
        struct target target;
        struct error error = {.code = OK};
        memcpy(argv, mistakes[i].arguments, sizeof mistakes[i].arguments);
        assert_false(read_line(&target, argv, &error));
        assert_int_equal(error.code, INVALID_ARGUMENT);
        if (strstr(error.message, mistakes[i].said) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.message, mistakes[i].said);
    }
}

static void an_option_by_name(void **state)
{
    (void)state;
    struct target target = {.name = NULL};
    struct error error;
    assert_true(options_set(&options, "count", "12", "the file", &target, &error));
    assert_int_equal(target.count, 12);
    assert_false(options_set(&options, "count", "x", "the file", &target, &error));
    assert_non_null(strstr(error.message, "the file: count: "));
    assert_false(options_set(&options, "coun", "1", "the file", &target, &error));
}

static void help_is_made_of_the_table(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    options_help(&options, to);
    fclose(to);
    cleanup_free char *help = text;
    assert_non_null(strstr(help, "Usage: test it [OPTION]... FROM [TO]\n"));
    assert_non_null(strstr(help, "  -n, --name NAME           A name. Default: nobody. Environment: TEST_NAME.\n"));
    for (size_t i = 0; i < options.count; i++)
        assert_non_null(strstr(help, table[i].help));
    for (const char *line = help; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
}

static void help_is_asked_for(void **state)
{
    (void)state;
    assert_true(options_want_help(2, ARGUMENTS("--help")));
    assert_true(options_want_help(3, ARGUMENTS("x", "-h")));
    assert_false(options_want_help(3, ARGUMENTS("--", "--help")));
}

/* --- commands --- */

static int ran, count_seen;
static char first_seen[16];

static int run(int argc, char **argv)
{
    ran++;
    count_seen = argc;
    strncpy(first_seen, argv[0], sizeof first_seen - 1);
    return 7;
}

static void a_command_runs_with_its_own_name(void **state)
{
    (void)state;
    static const struct command commands[] = {{"go", "Goes.", run}};
    assert_int_equal(command_run("test", commands, 1, 4, ARGUMENTS("go", "a", "b")), 7);
    assert_int_equal(ran, 1);
    assert_int_equal(count_seen, 3);
    assert_string_equal(first_seen, "go");
    assert_int_equal(command_run("test", commands, 1, 2, ARGUMENTS("gone")), 2);
    assert_int_equal(command_run("test", commands, 1, 1, ((char *[]){"test", NULL})), 2);
    assert_int_equal(command_run("test", commands, 1, 2, ARGUMENTS("--help")), 0);
    assert_int_equal(ran, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_then_environment_then_arguments),
        cmocka_unit_test(all_forms_of_an_option),
        cmocka_unit_test(words_come_first_in_argv),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(an_option_by_name),
        cmocka_unit_test(help_is_made_of_the_table),
        cmocka_unit_test(help_is_asked_for),
        cmocka_unit_test(a_command_runs_with_its_own_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
