/* What `plinth node` is told: by its options, the environment and a file.  docs/man/plinth-node.8 explains each. */
#pragma once

#include "base/options.h"
#include "pool/pool.h"

struct settings_file;

struct settings {
    const char *endpoint, *node, *driver, *file, *default_filesystem;
    const char *state_directory, *kubelet_directory;
    const char *registration_directory, *http; /* or NULL */
    int64_t frozen_copy_most;                  /* bytes */
    const char *log_level, *log_format;
    struct pool_config *pools;
    size_t pool_count;
    struct settings_file *read; /* holds the texts that came from the file */
    char host[256];
};

/* The table, for --help. */
extern const struct options settings_options;

/*
 * Reads the settings: defaults, then the file that --config names, then the environment, then the command line; what
 * comes later has precedence, and pools on the command line replace the file's.  INVALID_ARGUMENT says what is wrong,
 * and where. Free with settings_free(), also after a failure.
 */
bool settings_read(struct settings *settings, int argc, char **argv, struct error *error);
void settings_free(struct settings *settings);

/* Adds a pool: to be called by settings_file.c and the table. */
bool settings_add_pool(struct settings *settings, const struct pool_config *config, struct error *error);

/* Applies a YAML file.  Its texts live until settings_file_free(). */
bool settings_file_apply(const char *path, struct settings *settings, struct error *error);
void settings_file_free(struct settings_file *file);
