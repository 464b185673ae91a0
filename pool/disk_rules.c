/* The disk pool: which devices the options choose. */
#include "pool/disk.h"

#include "base/text.h"
#include "pool/loop.h"

#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Calls `see` for each of the words that `+` joins, until it returns false. */
static bool each_word(const char *list, bool (*see)(const char *word, void *data), void *data)
{
    char copy[PATH_MAX], *rest = NULL;
    text_copy(copy, sizeof copy, list);
    for (char *word = strtok_r(copy, "+", &rest); word != NULL; word = strtok_r(NULL, "+", &rest))
        if (!see(word, data))
            return false;
    return true;
}

/* --- the option `devices` --- */

struct candidates {
    struct disk_device *devices;
    size_t count;
};

static bool is_pattern(const char *word)
{
    return strpbrk(word, "*?[") != NULL;
}

static bool add_named(const char *word, void *data)
{
    struct candidates *candidates = data;
    glob_t paths = {.gl_pathc = 0};
    if (glob(word, GLOB_NOSORT, NULL, &paths) == 0)
        for (size_t i = 0; i < paths.gl_pathc; i++) {
            struct disk_device device;
            struct error ignored;
            if (!disk_device_at(paths.gl_pathv[i], &device, &ignored))
                continue;
            device.named = true;
            text_copy(device.named_as, sizeof device.named_as, is_pattern(word) ? "" : word);
            disk_devices_add(&candidates->devices, &candidates->count, &device);
        }
    globfree(&paths);
    return true;
}

struct disk_device *disk_rules_candidates(const struct pool *pool, size_t *count)
{
    const char *list = pool_option(pool, "devices");
    struct candidates candidates;
    candidates.devices = disk_devices(&candidates.count);
    if (list != NULL)
        each_word(list, add_named, &candidates);
    *count = candidates.count;
    return candidates.devices;
}

static bool is_absolute(const char *word, void *data)
{
    (void)data;
    return word[0] == '/';
}

struct missing {
    void (*see)(const char *path, void *data);
    void *data;
};

static bool see_missing(const char *word, void *data)
{
    const struct missing *missing = data;
    struct stat status;
    if (!is_pattern(word) && stat(word, &status) != 0)
        missing->see(word, missing->data);
    return true;
}

void disk_rules_missing(const struct pool *pool, void (*see)(const char *path, void *data), void *data)
{
    const char *list = pool_option(pool, "devices");
    struct missing missing = {see, data};
    if (list != NULL)
        each_word(list, see_missing, &missing);
}

/* --- rules --- */

static bool size_of_option(const struct pool *pool, const char *key, int64_t *bytes, struct error *error)
{
    const char *text = pool_option(pool, key);
    return text == NULL || text_to_size(text, key, bytes, error);
}

static bool fits_rules(const struct pool *pool, const struct disk_device *device)
{
    struct error ignored;
    int64_t least = 0, most = INT64_MAX;
    const char *model = pool_option(pool, "model"), *rotational = pool_option(pool, "rotational");
    size_of_option(pool, "min-size", &least, &ignored);
    size_of_option(pool, "max-size", &most, &ignored);
    return device->bytes >= least && device->bytes <= most &&
           (model == NULL || fnmatch(model, device->model, 0) == 0) &&
           (rotational == NULL || device->rotational == (rotational[0] == '1'));
}

/* A rule means disks; partitions, sticks and what is no hardware have to be named. */
static bool is_a_disk(const struct disk_device *device)
{
    return device->partition == 0 && !device->removable;
}

/* Whoever writes a pattern does not think of them, and LVM is not shown them (lvm_filter.c). */
static bool is_any_loop(const struct disk_device *device)
{
    return strncmp(device->path, LOOP_PATH, strlen(LOOP_PATH)) == 0 && device->named_as[0] == '\0';
}

bool disk_rules_choose(const struct pool *pool, const struct disk_device *device)
{
    bool meant = pool_option(pool, "devices") != NULL ? device->named : is_a_disk(device);
    return meant && !is_any_loop(device) && fits_rules(pool, device);
}

bool disk_rules_check(const struct pool *pool, struct error *error)
{
    static const char *const rules[] = {"devices", "min-size", "max-size", "model", "rotational"};
    static const char *const refused[] = {"reserve", "overprovision", "provisioning"};
    const char *list = pool_option(pool, "devices"), *rotational = pool_option(pool, "rotational");
    int64_t least = 0, most = INT64_MAX;
    bool any = false;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (pool_option(pool, refused[i]) != NULL)
            return fail(error, INVALID_ARGUMENT, "a pool of kind disk has no option \"%s\": a volume has a whole disk",
                        refused[i]);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        any = any || pool_option(pool, rules[i]) != NULL;
    if (!any)
        return fail(error, INVALID_ARGUMENT,
                    "a pool of kind disk needs devices=PATH+PATH... or a rule: min-size, max-size, model, rotational");
    if (list != NULL && !each_word(list, is_absolute, NULL))
        return fail(error, INVALID_ARGUMENT, "devices=\"%.200s\" must be absolute paths, joined by \"+\"", list);
    if (rotational != NULL && strcmp(rotational, "0") != 0 && strcmp(rotational, "1") != 0)
        return fail(error, INVALID_ARGUMENT, "rotational is 0 or 1, not \"%.32s\"", rotational);
    return size_of_option(pool, "min-size", &least, error) && size_of_option(pool, "max-size", &most, error) &&
           (least <= most || fail(error, INVALID_ARGUMENT, "min-size is larger than max-size"));
}
