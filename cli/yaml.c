#include "cli/yaml.h"

#include "base/cleanup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* What YAML 1.1, which Kubernetes reads, takes for something else than a string. */
static bool is_word_of_yaml(const char *text)
{
    static const char *const words[] = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    return false;
}

/* JSON's strings are YAML's in double quotes; with all beyond ASCII escaped nothing in it moves a terminal. */
static void print_text(const char *text)
{
    size_t length = strlen(text);
    if (length > 0 && strchr(LETTERS, text[0]) != NULL && strspn(text, LETTERS "0123456789./-") == length &&
        !is_word_of_yaml(text)) {
        fputs(text, stdout);
        return;
    }
    json_t *value = json_string(text);
    cleanup_free char *quoted = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
    json_decref(value);
    fputs(quoted != NULL ? quoted : "\"\"", stdout);
}

static void print_value(json_t *value, int indent);

static void print_object(json_t *object, int indent)
{
    const char *key;
    json_t *value;
    bool first = true; /* stands where its parent has left off */
    json_object_foreach(object, key, value)
    {
        if (!first)
            printf("%*s", indent, "");
        first = false;
        print_text(key);
        putchar(':');
        if (json_is_object(value))
            printf("\n%*s", indent + 2, "");
        else
            putchar(json_is_array(value) ? '\n' : ' ');
        print_value(value, json_is_object(value) ? indent + 2 : indent);
    }
}

static void print_array(const json_t *array, int indent)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        printf("%*s- ", indent, "");
        print_value(json_array_get(array, i), indent + 2);
    }
}

static void print_value(json_t *value, int indent)
{
    if (json_is_object(value))
        print_object(value, indent);
    else if (json_is_array(value))
        print_array(value, indent);
    else {
        print_text(json_string_value(value));
        putchar('\n');
    }
}

void yaml_print(json_t *value)
{
    puts("---");
    print_value(value, 0);
    json_decref(value);
}
