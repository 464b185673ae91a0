/* The text form of a pool's configuration, and the options that every kind has. */
#include "pool/kind.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* Copies `length` bytes into a field of `size`; false if they do not fit or are none. */
static bool take(char *field, size_t size, const char *text, size_t length)
{
    if (length == 0 || length >= size)
        return false;
    memcpy(field, text, length);
    field[length] = '\0';
    return true;
}

static bool add_option(struct pool_config *config, const char *text, size_t length, struct error *error)
{
    const char *equals = memchr(text, '=', length);
    if (config->option_count == sizeof config->options / sizeof *config->options)
        return fail(error, INVALID_ARGUMENT, "pool %s has too many options", config->name);
    struct pool_option *option = &config->options[config->option_count];
    if (equals == NULL || !take(option->key, sizeof option->key, text, (size_t)(equals - text)) ||
        !take(option->value, sizeof option->value, equals + 1, length - (size_t)(equals + 1 - text)))
        return fail(error, INVALID_ARGUMENT, "pool %s: \"%.*s\" is not key=value", config->name, (int)length, text);
    config->option_count++;
    return true;
}

bool pool_config_parse(const char *text, struct pool_config *config, struct error *error)
{
    *config = (struct pool_config){.option_count = 0};
    const char *equals = strchr(text, '=');
    const char *colon = equals != NULL ? strchr(equals, ':') : NULL;
    if (colon == NULL || !take(config->name, sizeof config->name, text, (size_t)(equals - text)) ||
        !take(config->kind, sizeof config->kind, equals + 1, (size_t)(colon - equals - 1)))
        return fail(error, INVALID_ARGUMENT,
                    "\"%.200s\" is not NAME=KIND:key=value,...; for example scratch=file:path=/mnt/scratch", text);
    if (!text_is_made_of(config->name, NAME_CHARACTERS, sizeof config->name - 1))
        return fail(error, INVALID_ARGUMENT, "the pool name \"%s\" may have letters, digits, '.', '_' and '-' only",
                    config->name);
    for (const char *option = colon + 1; *option != '\0';) {
        size_t length = strcspn(option, ",");
        if (!add_option(config, option, length, error))
            return false;
        option += length + (option[length] == ',');
    }
    return true;
}

const char *pool_option(const struct pool *pool, const char *key)
{
    for (size_t i = 0; i < pool->config.option_count; i++)
        if (strcmp(pool->config.options[i].key, key) == 0)
            return pool->config.options[i].value;
    return NULL;
}

static bool read_reserve(struct pool *pool, const char *value, struct error *error)
{
    char number[32];
    int64_t percent;
    size_t length = strlen(value);
    pool->reserve_parts = 0; /* also for 0 bytes */
    if (value[length - 1] != '%' || length > sizeof number)
        return text_to_size(value, "reserve", &pool->reserve_bytes, error);
    memcpy(number, value, length - 1);
    number[length - 1] = '\0';
    if (!text_to_number(number, 0, 99, "reserve in percent", &percent, error))
        return false;
    pool->reserve_parts = percent * 10;
    return true;
}

static bool read_overprovision(struct pool *pool, const char *value, struct error *error)
{
    char *end;
    pool->overprovision = strtod(value, &end);
    if (*end != '\0' || !(pool->overprovision >= 1 && pool->overprovision <= 1000))
        return fail(error, INVALID_ARGUMENT, "overprovision must be a number from 1 to 1000, not \"%.32s\"", value);
    return true;
}

static bool read_provisioning(struct pool *pool, const char *value, struct error *error)
{
    pool->thick = strcmp(value, "thick") == 0;
    return pool->thick || strcmp(value, "thin") == 0 ||
           fail(error, INVALID_ARGUMENT, "provisioning is thin or thick, not \"%.32s\"", value);
}

static const struct {
    const char *key;
    bool (*read)(struct pool *pool, const char *value, struct error *error);
} common_options[] = {
    {"reserve", read_reserve},
    {"overprovision", read_overprovision},
    {"provisioning", read_provisioning},
};

static bool is_option_of_kind(const struct pool *pool, const char *key)
{
    for (const char *const *name = pool->ops->option_names; *name != NULL; name++)
        if (strcmp(*name, key) == 0)
            return true;
    return false;
}

static bool read_option(struct pool *pool, const struct pool_option *option, struct error *error)
{
    for (size_t i = 0; i < sizeof common_options / sizeof *common_options; i++)
        if (strcmp(common_options[i].key, option->key) == 0)
            return common_options[i].read(pool, option->value, error);
    return is_option_of_kind(pool, option->key) ||
           fail(error, INVALID_ARGUMENT, "a pool of kind %s has no option \"%s\"", pool->ops->kind, option->key);
}

bool pool_read_options(struct pool *pool, struct error *error)
{
    pool->overprovision = 1;
    pool->reserve_parts = 50;
    for (size_t i = 0; i < pool->config.option_count; i++)
        if (!read_option(pool, &pool->config.options[i], error))
            return fail_context(error, "pool %s", pool->config.name);
    return true;
}
