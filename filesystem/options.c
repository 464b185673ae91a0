#include "filesystem/options.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <libmount.h>
#include <string.h>
#include <sys/mount.h>

#define MAKE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=,.^_%-"

/* mount(8), "Filesystem-independent mount options", but for those that are not the kernel's. */
static const char general_mount_options[] =
    "defaults rw ro sync async dirsync exec noexec dev nodev suid nosuid atime noatime diratime nodiratime relatime "
    "norelatime strictatime nostrictatime lazytime nolazytime iversion noiversion nosymfollow context= fscontext= "
    "defcontext= rootcontext=";

/* True if a list of words has this very word. */
static bool listed(const char *list, const char *word, size_t length)
{
    for (const char *at = list; *at != '\0'; at += strspn(at, " ")) {
        size_t size = strcspn(at, " ");
        if (size == length && strncmp(at, word, length) == 0)
            return true;
        at += size;
    }
    return false;
}

/* "size=64" and "^quota" are asked for as "size=" and "quota". */
static bool allowed_value(const char *keys, const char *value)
{
    while (*value != '\0') {
        size_t length = strcspn(value, ",");
        const char *key = value + (*value == '^');
        size_t name = strcspn(key, ",=");
        name += key[name] == '=';
        if (!listed(keys, key, name))
            return false;
        value += length + (value[length] == ',');
    }
    return true;
}

static bool refuse_letter(const struct filesystem *filesystem, const char *word, struct error *error)
{
    char letters[4 * MAKE_OPTIONS_MOST + 1] = "";
    for (const struct make_option *option = filesystem->make_options; option->letter != NULL; option++) {
        size_t used = strlen(letters);
        snprintf(letters + used, sizeof letters - used, " %s", option->letter);
    }
    return fail(error, INVALID_ARGUMENT, "the mkfs option \"%s\" is not allowed for %s: allowed are%s", word,
                filesystem->name, letters);
}

static bool add_value(const struct make_option *option, const char *value, char *text, struct error *error)
{
    if (value[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "the mkfs option %s needs a value", option->letter);
    if (option->keys != NULL && !allowed_value(option->keys, value))
        return fail(error, INVALID_ARGUMENT, "the mkfs option \"%s %s\" is not allowed: %s takes %s", option->letter,
                    value, option->letter, option->keys);
    if (option->keys == NULL)
        text[0] = '\0';
    size_t used = strlen(text);
    snprintf(text + used, MAKE_VALUE_BYTES - used, "%s%s", used > 0 ? "," : "", value);
    return true;
}

static int find_letter(const struct filesystem *filesystem, const char *word)
{
    for (int i = 0; filesystem->make_options[i].letter != NULL; i++)
        if (strncmp(filesystem->make_options[i].letter, word, 2) == 0)
            return i;
    return -1;
}

static void set_ours(const struct filesystem *filesystem, struct make_values *values)
{
    memset(values, 0, sizeof *values);
    for (int i = 0; filesystem->make_options[i].letter != NULL; i++)
        if (filesystem->make_options[i].ours != NULL)
            text_copy(values->text[i], MAKE_VALUE_BYTES, filesystem->make_options[i].ours);
}

bool options_read_make(const struct filesystem *filesystem, const char *options, struct make_values *values,
                       struct error *error)
{
    char words[MAKE_VALUE_BYTES / 2], *rest = words;
    set_ours(filesystem, values);
    if (strlen(options) >= sizeof words)
        return fail(error, INVALID_ARGUMENT, "the mkfs options are longer than %zu bytes", sizeof words - 1);
    text_copy(words, sizeof words, options);
    for (char *word; (word = strtok_r(NULL, " \t\n", &rest)) != NULL;) {
        if (!text_is_made_of(word, MAKE_CHARACTERS, sizeof words))
            return fail(error, INVALID_ARGUMENT, "the mkfs option \"%s\" has a character that is not one of %s", word,
                        "a-z A-Z 0-9 = , . ^ _ % -");
        int letter = find_letter(filesystem, word);
        if (letter < 0)
            return refuse_letter(filesystem, word, error);
        const char *value = word[2] != '\0' ? word + 2 : strtok_r(NULL, " \t\n", &rest);
        if (value == NULL || !text_is_made_of(value, MAKE_CHARACTERS, sizeof words))
            return fail(error, INVALID_ARGUMENT, "the mkfs option %s needs a value of the characters %s", word,
                        "a-z A-Z 0-9 = , . ^ _ % -");
        if (!add_value(&filesystem->make_options[letter], value, values->text[letter], error))
            return false;
    }
    return true;
}

/* libmount silently ignores what follows a quotation mark that is never closed. */
static bool quotes_are_closed(const char *options)
{
    bool open = false;
    for (; *options != '\0'; options++)
        open ^= *options == '"';
    return !open;
}

struct mount_option {
    char *name, *value;
    size_t name_length, value_length;
};

/* mnt_optstr_next_option() does not change the string, whatever its type says. */
static bool next_option(const char **rest, struct mount_option *option)
{
    return mnt_optstr_next_option((char **)rest, &option->name, &option->name_length, &option->value,
                                  &option->value_length) == 0;
}

static bool is_general(const struct mount_option *option)
{
    return listed(general_mount_options, option->name, option->name_length + (option->value != NULL));
}

bool options_check_mount(const struct filesystem *filesystem, const char *options, struct error *error)
{
    struct mount_option option;
    if (!quotes_are_closed(options))
        return fail(error, INVALID_ARGUMENT, "the mount options \"%s\" have an open quotation mark", options);
    while (next_option(&options, &option)) {
        size_t length = option.name_length + (option.value != NULL);
        if (!is_general(&option) && !listed(filesystem->mount_options, option.name, length))
            return fail(error, INVALID_ARGUMENT,
                        "the mount option \"%.*s\" is not allowed for %s: those that mount(8) has for all file systems "
                        "and for this "
                        "one are, unless they name a device or file or are not for the kernel",
                        (int)length, option.name, filesystem->name);
    }
    return true;
}

/* Says one option to a file system that is being configured (fsconfig(2)). */
static bool try_option(int context, const struct mount_option *option)
{
    char name[64], value[256];
    snprintf(name, sizeof name, "%.*s", (int)option->name_length, option->name);
    if (option->value == NULL)
        return fsconfig(context, FSCONFIG_SET_FLAG, name, NULL, 0) == 0;
    snprintf(value, sizeof value, "%.*s", (int)option->value_length, option->value);
    return fsconfig(context, FSCONFIG_SET_STRING, name, value, 0) == 0;
}

bool options_ask_kernel(const struct filesystem *filesystem, const char *options, char *words, size_t size)
{
    struct mount_option option;
    cleanup_close int context = fsopen(filesystem->name, FSOPEN_CLOEXEC);
    while (context >= 0 && next_option(&options, &option)) {
        if (is_general(&option) || try_option(context, &option))
            continue;
        char said[256] = "";
        ssize_t count = read(context, said, sizeof said - 1); /* "e ext4: Bad value for 'commit'" */
        text_one_line(words, size, count > 2 ? said + 2 : "");
        return false;
    }
    return true;
}

bool options_have(const char *options, const char *option)
{
    char *value;
    size_t length;
    return mnt_optstr_get_option(options, option, &value, &length) == 0;
}
