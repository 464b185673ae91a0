#include "base/options.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define COLUMN 28 /* where the help of an option begins */
#define WIDTH 80
#define MISTAKE 2

bool option_text(const char *value, void *field, struct error *error)
{
    if (value[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "a value is missing");
    *(const char **)field = value;
    return true;
}

bool option_flag(const char *value, void *field, struct error *error)
{
    (void)value, (void)error;
    *(bool *)field = true;
    return true;
}

bool option_size(const char *value, void *field, struct error *error)
{
    return text_to_size(value, "the value", field, error);
}

bool option_number(const char *value, void *field, struct error *error)
{
    return text_to_number(value, 0, INT64_MAX, "the value", field, error);
}

/* --- reading --- */

static bool set(const struct option *option, const char *value, void *target, struct error *error)
{
    return option->read(value, (char *)target + option->field, error);
}

static const struct option *find(const struct options *options, const char *name, size_t length)
{
    for (size_t i = 0; i < options->count; i++)
        if (strncmp(options->table[i].name, name, length) == 0 && options->table[i].name[length] == '\0')
            return &options->table[i];
    return NULL;
}

static const struct option *find_letter(const struct options *options, char letter)
{
    for (size_t i = 0; letter != '\0' && i < options->count; i++)
        if (options->table[i].letter == letter)
            return &options->table[i];
    return NULL;
}

bool options_defaults(const struct options *options, void *target, struct error *error)
{
    for (size_t i = 0; i < options->count; i++) {
        const struct option *option = &options->table[i];
        if (option->standard != NULL && !set(option, option->standard, target, error))
            return fail_context(error, "the default of --%s", option->name);
    }
    return true;
}

bool options_environment(const struct options *options, void *target, struct error *error)
{
    for (size_t i = 0; i < options->count; i++) {
        const struct option *option = &options->table[i];
        const char *value = option->environment != NULL ? getenv(option->environment) : NULL;
        if (value != NULL && value[0] != '\0' && !set(option, value, target, error))
            return fail_context(error, "the environment variable %s", option->environment);
    }
    return true;
}

bool options_set(const struct options *options, const char *name, const char *value, const char *from, void *target,
                 struct error *error)
{
    const struct option *option = find(options, name, strlen(name));
    if (option == NULL)
        return fail(error, INVALID_ARGUMENT, "%s: there is no option --%s", from, name);
    return set(option, value, target, error) || fail_context(error, "%s: %s", from, name);
}

/* Reads the option at argv[*at] and its value, which may be the next argument. */
static bool read_option(const struct options *options, char **argv, int *at, void *target, struct error *error)
{
    const char *text = argv[*at];
    bool is_long = text[1] == '-';
    size_t length = is_long ? strcspn(text + 2, "=") : 1;
    const struct option *option = is_long ? find(options, text + 2, length) : find_letter(options, text[1]);
    int shown = (int)(is_long ? length + 2 : strlen(text));
    if (option == NULL)
        return fail(error, INVALID_ARGUMENT, "there is no option %.*s", shown, text);
    const char *value = is_long ? text + 2 + length + (text[2 + length] == '=') : text + 2;
    bool given = is_long ? text[2 + length] == '=' : value[0] != '\0';
    if (option->value == NULL && given)
        return fail(error, INVALID_ARGUMENT, "%.*s takes no value", shown, text);
    if (option->value != NULL && !given) {
        if (argv[*at + 1] == NULL)
            return fail(error, INVALID_ARGUMENT, "%s needs a value: %s %s", text, text, option->value);
        value = argv[++*at];
    }
    return set(option, option->value != NULL ? value : NULL, target, error) ||
           fail_context(error, "--%s", option->name);
}

static bool check_words(const struct options *options, size_t words, char **argv, struct error *error)
{
    if (words < options->least)
        return fail(error, INVALID_ARGUMENT, "something is missing: %s %s", options->command, options->words);
    if (words > options->most)
        return fail(error, INVALID_ARGUMENT, "\"%.200s\" is one word too many", argv[1 + options->most]);
    return true;
}

bool options_arguments(const struct options *options, int argc, char **argv, void *target, struct error *error)
{
    size_t words = 0;
    bool ended = false;
    for (int at = 1; at < argc; at++) {
        if (!ended && strcmp(argv[at], "--") == 0)
            ended = true;
        else if (ended || argv[at][0] != '-' || argv[at][1] == '\0')
            argv[1 + words++] = argv[at];
        else if (!read_option(options, argv, &at, target, error))
            return false;
    }
    argv[argc > 0 ? 1 + words : 0] = NULL;
    return check_words(options, words, argv, error);
}

int options_mistake(const char *command, const struct error *error)
{
    fprintf(stderr, "%s: %s\nTry: %s --help\n", command, error->message, command);
    return MISTAKE;
}

int options_read(const struct options *options, int argc, char **argv, void *target)
{
    struct error error;
    if (options_want_help(argc, argv)) {
        options_help(options, stdout);
        return 0;
    }
    if (!options_defaults(options, target, &error) || !options_environment(options, target, &error) ||
        !options_arguments(options, argc, argv, target, &error))
        return options_mistake(options->command, &error);
    return -1;
}

/* --- help --- */

bool options_want_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* Prints words from column `at` on, in lines that begin at `indent`. */
static void print_wrapped(FILE *to, const char *text, int at, int indent)
{
    bool first = true;
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (!first && at + 1 + length > WIDTH) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(to, "%s%.*s", first ? "" : " ", length, text);
        first = false;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

static void print_line(FILE *to, const char *name, const char *help)
{
    int used = fprintf(to, "  %s", name);
    if (used >= COLUMN)
        fputc('\n', to);
    fprintf(to, "%*s", used < COLUMN ? COLUMN - used : COLUMN, "");
    print_wrapped(to, help, COLUMN, COLUMN);
}

static void print_option(FILE *to, const struct option *option)
{
    char name[128], letter[8] = "", text[2048];
    if (option->letter != '\0')
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(name, sizeof name, "%s--%s%s%s", letter, option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "");
    snprintf(text, sizeof text, "%s%s%s%s%s%s%s", option->help, option->standard != NULL ? " Default: " : "",
             option->standard != NULL ? option->standard : "", option->standard != NULL ? "." : "",
             option->environment != NULL ? " Environment: " : "",
             option->environment != NULL ? option->environment : "", option->environment != NULL ? "." : "");
    print_line(to, name, text);
}

void options_help(const struct options *options, FILE *to)
{
    fprintf(to, "Usage: %s%s%s%s\n\n", options->command, options->count > 0 ? " [OPTION]..." : "",
            options->words != NULL ? " " : "", options->words != NULL ? options->words : "");
    print_wrapped(to, options->purpose, 0, 0);
    fputs("\nOptions:\n", to);
    for (size_t i = 0; i < options->count; i++)
        print_option(to, &options->table[i]);
    print_line(to, "-h, --help", "Show this help.");
}

/* --- commands --- */

static int list_commands(const char *program, const struct command *commands, size_t count)
{
    printf("Usage: %s COMMAND [OPTION]...\n\nCommands:\n", program);
    for (size_t i = 0; i < count; i++)
        print_line(stdout, commands[i].name, commands[i].help);
    printf("\n%s COMMAND --help tells more about a command.\n", program);
    return 0;
}

int command_run(const char *program, const struct command *commands, size_t count, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    struct error error;
    if (name != NULL && (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0))
        return list_commands(program, commands, count);
    for (size_t i = 0; name != NULL && i < count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (name == NULL)
        fail(&error, INVALID_ARGUMENT, "a command is missing");
    else
        fail(&error, INVALID_ARGUMENT, "there is no command \"%.100s\"", name);
    return options_mistake(program, &error);
}
