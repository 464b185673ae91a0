/* Options from StorageClasses and claims, checked against the tables of what is allowed. */
#pragma once

#include "filesystem/kind.h"

#include <stddef.h>

#define MAKE_VALUE_BYTES 1024

/* The value for each letter of the table, "" for none. */
struct make_values {
    char text[MAKE_OPTIONS_MOST][MAKE_VALUE_BYTES];
};

/* Puts our own options and the user's together.  INVALID_ARGUMENT as filesystem_check_options() says. */
bool options_read_make(const struct filesystem *filesystem, const char *options, struct make_values *values,
                       struct error *error);

/* Checks mount options, separated by commas, quoted as in mount(8).  INVALID_ARGUMENT names the one that is not
 * allowed. */
bool options_check_mount(const struct filesystem *filesystem, const char *options, struct error *error);

/* After a mount has failed: false if the kernel refuses one of the options, with its words, which mount(2) does not
 * give. */
bool options_ask_kernel(const struct filesystem *filesystem, const char *options, char *words, size_t size);

/* True if a comma-separated list has this very option. */
bool options_have(const char *options, const char *option);
