/* The YAML file of --config, read with libcyaml. */
#include "node/settings.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys at the top, each the name of an option as YAML is written in Kubernetes; `pools` is beside them. */
#define KEYS(X)                            \
    X(endpoint, "endpoint")                \
    X(nodeId, "node-id")                   \
    X(driverName, "driver-name")           \
    X(defaultFstype, "default-fstype")     \
    X(stateDir, "state-dir")               \
    X(kubeletDir, "kubelet-dir")           \
    X(registrationDir, "registration-dir") \
    X(http, "http")                        \
    X(frozenCopyMost, "frozen-copy-most")  \
    X(logLevel, "log-level")               \
    X(logFormat, "log-format")

/* Keys of a pool beside its name and kind: the options of all kinds.  libcyaml needs to know them; which belong to the
 * kind is checked when the pool is opened. */
/* Of all kinds: a pool refuses what its kind does not have. */
#define POOL_KEYS(X)                  \
    X(path, "path")                   \
    X(vg, "vg")                       \
    X(thinpool, "thinpool")           \
    X(thinpool_size, "thinpool-size") \
    X(when_full, "when-full")         \
    X(devices, "devices")             \
    X(min_size, "min-size")           \
    X(max_size, "max-size")           \
    X(model, "model")                 \
    X(rotational, "rotational")       \
    X(reserve, "reserve")             \
    X(overprovision, "overprovision") \
    X(provisioning, "provisioning")

struct pool_entry {
    char *name, *kind;
#define MEMBER(member, key) char *member;
    POOL_KEYS(MEMBER)
#undef MEMBER
};

struct document {
#define MEMBER(key, option) char *key;
    KEYS(MEMBER)
#undef MEMBER
    struct pool_entry *pools;
    unsigned pools_count;
};

struct settings_file {
    struct document *document;
};

#define OPTIONAL_TEXT(structure, member, key) \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, 0, CYAML_UNLIMITED),

static const cyaml_schema_field_t pool_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct pool_entry, name, 1, CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("kind", CYAML_FLAG_POINTER, struct pool_entry, kind, 1, CYAML_UNLIMITED),
#define FIELD(member, key) OPTIONAL_TEXT(struct pool_entry, member, key)
    POOL_KEYS(FIELD)
#undef FIELD
        CYAML_FIELD_END};

static const cyaml_schema_value_t pool_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct pool_entry, pool_fields)};

static const cyaml_schema_field_t fields[] = {
#define FIELD(key, option) OPTIONAL_TEXT(struct document, key, #key)
    KEYS(FIELD)
#undef FIELD
        CYAML_FIELD_SEQUENCE("pools", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct document, pools, &pool_schema, 0,
                             CYAML_UNLIMITED),
    CYAML_FIELD_END};

static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct document, fields)};

__attribute__((format(printf, 3, 0))) static void keep_words(cyaml_log_t level, void *context, const char *format,
                                                             va_list arguments)
{
    char *words = context;
    size_t used = strlen(words);
    (void)level;
    vsnprintf(words + used, 512 - used, format, arguments);
}

static cyaml_config_t configuration(char words[static 512])
{
    words[0] = '\0';
    return (cyaml_config_t){.log_fn = keep_words, .log_ctx = words, .log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};
}

static bool load(const char *path, struct settings_file *file, struct error *error)
{
    char words[512], line[512];
    cyaml_config_t config = configuration(words);
    cyaml_err_t status = cyaml_load_file(path, &config, &schema, (cyaml_data_t **)&file->document, NULL);
    if (status == CYAML_ERR_FILE_OPEN)
        return fail_errno(error, errno, "cannot open the file %s", path);
    text_one_line(line, sizeof line, words);
    return (status == CYAML_OK && file->document != NULL) ||
           fail(error, INVALID_ARGUMENT, "the file %s: %s%s%s", path, cyaml_strerror(status),
                line[0] != '\0' ? ": " : "", line);
}

static bool apply_options(const char *path, const struct document *document, struct settings *settings,
                          struct error *error)
{
    const struct {
        const char *option, *value;
    } given[] = {
#define PAIR(key, option) {option, document->key},
        KEYS(PAIR)
#undef PAIR
    };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i].value != NULL &&
            !options_set(&settings_options, given[i].option, given[i].value, path, settings, error))
            return false;
    return true;
}

/* A pool in the file is the same as one on the command line. */
static bool apply_pool(const char *path, const struct pool_entry *entry, struct settings *settings, struct error *error)
{
    const struct {
        const char *key, *value;
    } given[] = {
#define PAIR(member, key) {key, entry->member},
        POOL_KEYS(PAIR)
#undef PAIR
    };
    char text[2 * PATH_MAX];
    int used = snprintf(text, sizeof text, "%s=%s:", entry->name, entry->kind);
    for (size_t i = 0; i < sizeof given / sizeof *given && used < (int)sizeof text; i++) {
        if (given[i].value == NULL)
            continue;
        if (strchr(given[i].value, ',') != NULL)
            return fail(error, INVALID_ARGUMENT, "%s: the pool %.64s: %s must have no comma", path, entry->name,
                        given[i].key);
        used += snprintf(text + used, sizeof text - (size_t)used, "%s=%s,", given[i].key, given[i].value);
    }
    if (used >= (int)sizeof text)
        return fail(error, INVALID_ARGUMENT, "%s: the pool %.64s has values that are too long", path, entry->name);
    return options_set(&settings_options, "pool", text, path, settings, error);
}

bool settings_file_apply(const char *path, struct settings *settings, struct error *error)
{
    settings->read = calloc(1, sizeof *settings->read);
    if (settings->read == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    if (!load(path, settings->read, error) || !apply_options(path, settings->read->document, settings, error))
        return false;
    for (unsigned i = 0; i < settings->read->document->pools_count; i++)
        if (!apply_pool(path, &settings->read->document->pools[i], settings, error))
            return false;
    return true;
}

void settings_file_free(struct settings_file *file)
{
    char words[512];
    cyaml_config_t config = configuration(words);
    if (file == NULL)
        return;
    if (file->document != NULL)
        cyaml_free(&config, &schema, file->document, 0);
    free(file);
}
