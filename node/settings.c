#include "node/settings.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/text.h"
#include "filesystem/filesystem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define LABEL_MOST 63 /* a Kubernetes label value, and CSI's topology segment and plugin name */
#define POOLS_MOST 64

/* --- kinds of values --- */

static bool read_pool(const char *value, void *field, struct error *error)
{
    struct settings *settings = field;
    cleanup_free struct pool_config *config = malloc(sizeof *config);
    if (config == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    return pool_config_parse(value, config, error) && settings_add_pool(settings, config, error);
}

static bool read_driver_name(const char *value, void *field, struct error *error)
{
    size_t length = strlen(value);
    if (!text_is_made_of(value, LETTERS DIGITS ".-", LABEL_MOST) || strchr(LETTERS, value[0]) == NULL ||
        strchr(LETTERS, value[length - 1]) == NULL)
        return fail(error, INVALID_ARGUMENT,
                    "\"%.100s\" is not a domain name of at most %d letters, digits, '-' and '.' that begins and ends "
                    "with a letter",
                    value, LABEL_MOST);
    return option_text(value, field, error);
}

static bool read_node_name(const char *value, void *field, struct error *error)
{
    size_t length = strlen(value);
    if (!text_is_made_of(value, LETTERS DIGITS ".-_", 253) || strchr(".-_", value[0]) != NULL ||
        strchr(".-_", value[length - 1]) != NULL)
        return fail(error, INVALID_ARGUMENT,
                    "\"%.100s\" is not the name of a node: at most 253 letters, digits, '-', '_' and '.' that begin "
                    "and end with a letter or digit",
                    value);
    return option_text(value, field, error);
}

static bool read_filesystem(const char *value, void *field, struct error *error)
{
    return filesystem_find(value) != NULL
               ? option_text(value, field, error)
               : fail(error, INVALID_ARGUMENT, "\"%.32s\" is not one of %s", value, filesystem_names());
}

static bool read_directory(const char *value, void *field, struct error *error)
{
    return value[0] == '/' ? option_text(value, field, error)
                           : fail(error, INVALID_ARGUMENT, "\"%.200s\" is not an absolute path", value);
}

static bool read_one_of(const char *value, const char *const *names, void *field, struct error *error)
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(value, names[i]) == 0)
            return option_text(value, field, error);
    return fail(error, INVALID_ARGUMENT, "\"%.32s\" is unknown; see --help", value);
}

static bool read_log_level(const char *value, void *field, struct error *error)
{
    return read_one_of(value, (const char *const[]){"error", "warning", "info", "debug", NULL}, field, error);
}

static bool read_log_format(const char *value, void *field, struct error *error)
{
    return read_one_of(value, (const char *const[]){"json", "text", NULL}, field, error);
}

/* --- the table --- */

#define AT(member) offsetof(struct settings, member)

static const struct option table[] = {
    {"endpoint", 0, "SOCKET", "The unix socket to serve CSI on: unix:///path or /path. Its directory must exist.",
     "unix:///run/plinth/csi.sock", "CSI_ENDPOINT", AT(endpoint), option_text},
    {"node-id", 0, "NAME", "The name of this node in Kubernetes. Default: the name of the host.", NULL, "NODE_NAME",
     AT(node), read_node_name},
    {"driver-name", 0, "NAME", "The name of the driver, which StorageClasses call provisioner.", "csi.plinth.dev", NULL,
     AT(driver), read_driver_name},
    {"config", 0, "FILE", "A YAML file with the same settings. Options given here have precedence.", NULL, NULL,
     AT(file), option_text},
    {"pool", 0, "NAME=KIND:KEY=VALUE,...",
     "A pool of storage, for example scratch=file:path=/mnt/scratch. Can be repeated; the first pool is the default "
     "one. Without any there is one file pool, named default, at /var/lib/plinth.",
     NULL, NULL, 0, read_pool},
    {"default-fstype", 0, "TYPE", "The file system of volumes whose capability names none: ext4 or xfs.", "ext4", NULL,
     AT(default_filesystem), read_filesystem},
    {"state-dir", 0, "DIRECTORY", "A directory on a tmpfs, for what must not outlive a reboot. Made if missing.",
     "/run/plinth", NULL, AT(state_directory), read_directory},
    {"kubelet-dir", 0, "DIRECTORY",
     "The kubelet's directory. Below it no symbolic link is followed in the paths of volumes.", "/var/lib/kubelet",
     NULL, AT(kubelet_directory), read_directory},
    {"registration-dir", 0, "DIRECTORY",
     "The kubelet's plugin registry, usually /var/lib/kubelet/plugins_registry: the driver registers itself there. "
     "Without it, it does not.",
     NULL, NULL, AT(registration_directory), read_directory},
    {"http", 0, "ADDRESS:PORT", "Serve /healthz and /metrics there. Without it there is no such server.", NULL, NULL,
     AT(http), option_text},
    {"frozen-copy-most", 0, "SIZE",
     "Where the storage cannot share blocks, a mounted volume is copied for a snapshot while it is frozen, if it has "
     "at most so much data.",
     "1Gi", NULL, AT(frozen_copy_most), option_size},
    {"log-level", 0, "LEVEL", "What is logged on standard error: error, warning, info or debug.", "info", NULL,
     AT(log_level), read_log_level},
    {"log-format", 0, "FORMAT", "json or text. Default: text on a terminal, else json.", NULL, NULL, AT(log_format),
     read_log_format},
};

const struct options settings_options = {
    .command = "plinth node",
    .purpose = "Serves the volumes of this machine over CSI, on one unix socket, until SIGTERM.",
    .table = table,
    .count = sizeof table / sizeof *table,
};

/* --- reading --- */

bool settings_add_pool(struct settings *settings, const struct pool_config *config, struct error *error)
{
    if (settings->pool_count == POOLS_MOST)
        return fail(error, INVALID_ARGUMENT, "there are more than %d pools", POOLS_MOST);
    struct pool_config *pools = realloc(settings->pools, (settings->pool_count + 1) * sizeof *pools);
    if (pools == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    pools[settings->pool_count++] = *config;
    settings->pools = pools;
    return true;
}

/* The kernel's name of the host and the format for a terminal are defaults that no table can hold. */
static bool begin(struct settings *settings, struct error *error)
{
    *settings = (struct settings){.log_format = isatty(STDERR_FILENO) ? "text" : "json"};
    if (gethostname(settings->host, sizeof settings->host - 1) != 0 || settings->host[0] == '\0')
        snprintf(settings->host, sizeof settings->host, "localhost");
    settings->node = settings->host;
    return options_defaults(&settings_options, settings, error);
}

/* Reads the command line, leaving the caller's argv as it was: it is read twice. */
static bool read_arguments(struct settings *settings, int argc, char **argv, struct error *error)
{
    cleanup_free char **copy = calloc((size_t)argc + 1, sizeof *copy);
    if (copy == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    memcpy(copy, argv, (size_t)argc * sizeof *copy);
    return options_arguments(&settings_options, argc, copy, settings, error);
}

static bool read_file(struct settings *settings, int argc, char **argv, struct error *error)
{
    struct settings given = {.file = NULL};
    bool good = read_arguments(&given, argc, argv, error) &&
                (given.file == NULL || settings_file_apply(given.file, settings, error));
    settings_free(&given);
    return good;
}

/* Pools of the command line replace those of the file. */
static bool read_rest(struct settings *settings, int argc, char **argv, struct error *error)
{
    cleanup_free struct pool_config *pools = steal_pointer(settings->pools);
    size_t count = settings->pool_count;
    settings->pool_count = 0;
    if (!options_environment(&settings_options, settings, error) || !read_arguments(settings, argc, argv, error))
        return false;
    if (settings->pool_count > 0)
        return true;
    settings->pools = steal_pointer(pools);
    settings->pool_count = count;
    return count > 0 || read_pool("default=file:path=/var/lib/plinth", settings, error);
}

/* A node's name may be longer than the label that Kubernetes makes of our topology: then its hash stands for it. */
static bool fit_node_name(struct settings *settings, struct error *error)
{
    if (!read_node_name(settings->node, &settings->node, error))
        return fail_context(error, "--node-id");
    if (strlen(settings->node) > LABEL_MOST) {
        digest_hex(settings->node, strlen(settings->node), LABEL_MOST, settings->host);
        settings->node = settings->host;
    }
    return true;
}

bool settings_read(struct settings *settings, int argc, char **argv, struct error *error)
{
    return begin(settings, error) && read_file(settings, argc, argv, error) && read_rest(settings, argc, argv, error) &&
           fit_node_name(settings, error);
}

void settings_free(struct settings *settings)
{
    free(settings->pools);
    settings_file_free(settings->read);
    settings->pools = NULL;
    settings->read = NULL;
}
