#include "pool/device_mapper_status.h"

#include "base/text.h"

#include <stddef.h>
#include <string.h>

#define SECTOR INT64_C(512)
#define METADATA_BLOCK INT64_C(4096) /* of dm-thin: always */

/* A line, cut into its words. */
struct words {
    char text[1024]; /* dm-raid has at most 253 devices, each a character; a thin pool's table is shorter */
    char *word[32];
    size_t count;
};

/* A line of which only the beginning is wanted may have more words than fit. */
static bool split(struct words *words, const char *line, size_t least)
{
    words->count = 0;
    if (strlen(line) >= sizeof words->text)
        return false;
    text_copy(words->text, sizeof words->text, line);
    char *rest = words->text;
    while (rest != NULL && words->count < sizeof words->word / sizeof *words->word) {
        char *word = strsep(&rest, " ");
        if (word[0] != '\0')
            words->word[words->count++] = word;
    }
    return words->count >= least;
}

static bool strange(const char *what, const char *line, struct error *error)
{
    char shown[160];
    text_one_line(shown, sizeof shown, line);
    return fail(error, INTERNAL, "device-mapper says of a %s what this version does not know: \"%s\"", what, shown);
}

/* A count of units of `unit` bytes, as bytes. */
static bool read_count(const char *word, int64_t unit, int64_t *bytes)
{
    struct error unused;
    int64_t count;
    if (!text_to_number(word, 0, INT64_MAX / unit, "", &count, &unused))
        return false;
    *bytes = count * unit;
    return true;
}

/* "used/total", both in units of `unit` bytes.  Cuts the word in two. */
static bool read_ratio(char *word, int64_t unit, int64_t *used, int64_t *total)
{
    char *slash = strchr(word, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    if (!read_count(word, unit, used) || !read_count(slash + 1, unit, total))
        return false;
    if (*used > *total)
        *used = *total;
    return true;
}

/* What a word of a thin pool's line says; a word that is not here says nothing that matters. */
static const struct flag {
    const char *word;
    size_t member;
} thin_pool_flags[] = {
    {"ro", offsetof(struct thin_pool_status, read_only)},
    {"out_of_data_space", offsetof(struct thin_pool_status, out_of_data_space)},
    {"needs_check", offsetof(struct thin_pool_status, needs_check)},
    {"error_if_no_space", offsetof(struct thin_pool_status, errors_when_full)},
    {"ignore_discard", offsetof(struct thin_pool_status, ignores_discards)},
};

static void set_thin_pool_flag(struct thin_pool_status *status, const char *word)
{
    for (size_t i = 0; i < sizeof thin_pool_flags / sizeof *thin_pool_flags; i++)
        if (strcmp(word, thin_pool_flags[i].word) == 0)
            *(bool *)((char *)status + thin_pool_flags[i].member) = true;
}

bool thin_pool_status_parse(const char *line, const char *table, struct thin_pool_status *status, struct error *error)
{
    struct words words;
    int64_t transaction, block;
    *status = (struct thin_pool_status){.failed = strcmp(line, "Fail") == 0};
    if (status->failed)
        return true;
    if (!split(&words, table, 3) || !read_count(words.word[2], SECTOR, &block) || block == 0)
        return strange("thin pool's table", table, error);
    /* Word 3 is the held metadata root or "-": nobody here reads metadata. */
    if (!split(&words, line, 5) || !read_count(words.word[0], 1, &transaction) ||
        !read_ratio(words.word[1], METADATA_BLOCK, &status->metadata_used, &status->metadata_bytes) ||
        !read_ratio(words.word[2], block, &status->data_used, &status->data_bytes))
        return strange("thin pool", line, error);
    status->transaction_id = (uint64_t)transaction;
    for (size_t i = 4; i < words.count; i++)
        set_thin_pool_flag(status, words.word[i]);
    return true;
}

bool thin_status_parse(const char *line, int64_t *bytes, struct error *error)
{
    struct words words;
    if (strcmp(line, "Fail") == 0)
        return fail(error, FAILED_PRECONDITION, "its thin pool has failed");
    if (strcmp(line, "-") == 0)
        return fail(error, FAILED_PRECONDITION, "it is not loaded into its thin pool");
    if (!split(&words, line, 2) || !read_count(words.word[0], SECTOR, bytes))
        return strange("thin volume", line, error);
    return true;
}

/* In a new array that is filled for the first time all are "a", and all have what was written. */
static bool read_health(const char *health, struct raid_status *status)
{
    size_t devices = strlen(health);
    if (strspn(health, "AaD-") != devices || devices != (size_t)status->devices || devices >= sizeof status->legs)
        return false;
    text_copy(status->legs, sizeof status->legs, health);
    for (const char *one = health; *one != '\0'; one++)
        status->dead += *one == 'D' || *one == '-';
    status->rebuilding = strchr(health, 'a') != NULL && strchr(health, 'A') != NULL;
    return true;
}

bool raid_status_parse(const char *line, struct raid_status *status, struct error *error)
{
    struct words words;
    struct error unused;
    int64_t devices;
    *status = (struct raid_status){.devices = 0};
    if (!split(&words, line, 5) || !text_to_number(words.word[1], 1, 1024, "", &devices, &unused))
        return strange("raid volume", line, error);
    status->devices = (int)devices;
    return (read_health(words.word[2], status) && read_ratio(words.word[3], 1, &status->synced, &status->total)) ||
           strange("raid volume", line, error);
}

bool snapshot_status_parse(const char *line, struct snapshot_status *status, struct error *error)
{
    struct words words;
    *status = (struct snapshot_status){.overflowed = strcmp(line, "Overflow") == 0};
    status->invalid = status->overflowed || strcmp(line, "Invalid") == 0 || strcmp(line, "Merge failed") == 0;
    if (status->invalid)
        return true;
    if (!split(&words, line, 1) || !read_ratio(words.word[0], SECTOR, &status->used_bytes, &status->total_bytes))
        return strange("snapshot", line, error);
    return true;
}
