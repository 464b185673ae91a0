#include "cli/words.h"

#include "base/text.h"

#include <string.h>
#include <strings.h>

bool words_read(const char *value, void *field, struct error *error)
{
    struct words *words = field;
    if (value[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "a value is missing");
    if (words->count == WORDS_MOST)
        return fail(error, INVALID_ARGUMENT, "it can be given %d times at most", WORDS_MOST);
    words->items[words->count++] = value;
    return true;
}

bool words_read_pair(const char *value, void *field, struct error *error)
{
    if (value[0] == '=' || strchr(value, '=') == NULL)
        return fail(error, INVALID_ARGUMENT, "\"%.200s\" is not KEY=VALUE", value);
    return words_read(value, field, error);
}

bool words_read_size(const char *value, void *field, struct error *error)
{
    int64_t *bytes = field;
    return text_to_size(value, "the size", bytes, error) &&
           (*bytes > 0 || fail(error, INVALID_ARGUMENT, "the size must be above zero"));
}

bool words_read_mode(const char *value, void *field, struct error *error)
{
    const ProtobufCEnumDescriptor *modes = &csi__v1__volume_capability__access_mode__mode__descriptor;
    for (unsigned i = 0; i < modes->n_values; i++)
        if (modes->values[i].value != 0 && strcasecmp(modes->values[i].name, value) == 0) {
            *(access_mode *)field = modes->values[i].value;
            return true;
        }
    return fail(error, INVALID_ARGUMENT, "CSI has no access mode \"%.64s\"; the usual one is SINGLE_NODE_WRITER",
                value);
}

struct pair *words_to_pairs(const struct words *words, struct arena *arena)
{
    struct pair *pairs = arena_array(arena, words->count + 1, sizeof *pairs);
    for (size_t i = 0; i < words->count; i++) {
        char *key = arena_string(arena, words->items[i]);
        char *equals = strchr(key, '=');
        *equals = '\0';
        pairs[i] = (struct pair){.key = key, .value = equals + 1};
    }
    return pairs;
}

bool words_check_access(const struct access *access, struct error *error)
{
    return !access->block || access->filesystem == NULL ||
           fail(error, INVALID_ARGUMENT, "--block and --fstype exclude each other");
}
