/* Values of options that only these commands have. */
#pragma once

#include "cli/calls.h"

#define WORDS_MOST 64

/* Values of an option that may be repeated; borrowed. */
struct words {
    const char *items[WORDS_MOST];
    size_t count;
};

/* For the tables of options (base/options.h). */
bool words_read(const char *value, void *field, struct error *error);      /* struct words: one more */
bool words_read_pair(const char *value, void *field, struct error *error); /* struct words: one more KEY=VALUE */
bool words_read_size(const char *value, void *field, struct error *error); /* int64_t bytes, above zero */
bool words_read_mode(const char *value, void *field, struct error *error); /* access_mode, by CSI's name */

/* Splits words of words_read_pair() into pairs, in the arena; there is room for one more. */
struct pair *words_to_pairs(const struct words *words, struct arena *arena);

/* The lines of the options that say how a volume is used; `type` has a `struct access access`. */
#define ACCESS_OPTIONS(type)                                                                                   \
    {.name = "fstype",                                                                                         \
     .value = "TYPE",                                                                                          \
     .help = "The file system: ext4 or xfs.  Without it, what the driver says of the volume, or its default.", \
     .field = offsetof(type, access.filesystem),                                                               \
     .read = option_text},                                                                                     \
        {.name = "block",                                                                                      \
         .help = "A raw block volume, without a file system.",                                                 \
         .field = offsetof(type, access.block),                                                                \
         .read = option_flag},                                                                                 \
    {                                                                                                          \
        .name = "access-mode", .value = "MODE",                                                                \
        .help = "Who may use the volume, by CSI's name: SINGLE_NODE_WRITER, SINGLE_NODE_READER_ONLY, "         \
                "SINGLE_NODE_SINGLE_WRITER, SINGLE_NODE_MULTI_WRITER, MULTI_NODE_READER_ONLY ...",             \
        .standard = "SINGLE_NODE_WRITER", .field = offsetof(type, access.mode), .read = words_read_mode        \
    }

/* False if --fstype and --block are both given. */
bool words_check_access(const struct access *access, struct error *error);
