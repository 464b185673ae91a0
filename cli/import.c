#include "cli/import.h"

#include "base/options.h"
#include "base/text.h"
#include "cli/json.h"
#include "cli/manifest.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/yaml.h"
#include "node/settings.h"
#include "pool/import.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define STATE_DIRECTORY "/run/plinth-import"
#define VG_BYTES 128 /* as import.h has it */

/* --- import --- */

struct import_options {
    const char *pool_path, *node, *driver, *class, *claim, *state_directory;
    bool block, json;
};

static bool read_format(const char *value, void *field, struct error *error)
{
    *(bool *)field = strcmp(value, "json") == 0;
    return *(bool *)field || strcmp(value, "yaml") == 0 ||
           fail(error, INVALID_ARGUMENT, "the format is yaml or json, not \"%.64s\"", value);
}

static bool read_class(const char *value, void *field, struct error *error)
{
    return text_is_utf8(value, strlen(value)) ? option_text(value, field, error)
                                              : fail(error, INVALID_ARGUMENT, "it is no text in UTF-8");
}

static bool read_claim(const char *value, void *field, struct error *error)
{
    const char *slash = strchr(value, '/');
    if (slash != NULL && (slash == value || slash[1] == '\0' || strchr(slash + 1, '/') != NULL))
        return fail(error, INVALID_ARGUMENT, "\"%.200s\" is not NAME or NAMESPACE/NAME", value);
    return read_class(value, field, error);
}

#define STATE_OPTION(type)                                                                                \
    {                                                                                                     \
        .name = "state-dir", .value = "DIRECTORY", .help = "Where LVM's configuration for this is kept.", \
        .standard = STATE_DIRECTORY, .field = offsetof(type, state_directory), .read = option_text        \
    }

static const struct option import_table[] = {
    {.name = "pool-path",
     .value = "DIRECTORY",
     .help = "The directory of a file pool, whose driver is stopped: IMAGE becomes a volume of it, by renaming.",
     .field = offsetof(struct import_options, pool_path),
     .read = option_text},
    {.name = "block",
     .help = "A raw block volume, whatever is in it. Without it there must be a file system, ext4 or xfs.",
     .field = offsetof(struct import_options, block),
     .read = option_flag},
    {.name = "class",
     .value = "NAME",
     .help = "The StorageClass to name in the manifests; one with allowVolumeExpansion lets the volume grow. Default: "
             "none.",
     .field = offsetof(struct import_options, class),
     .read = read_class},
    {.name = "claim",
     .value = "NAMESPACE/NAME",
     .help = "The PersistentVolumeClaim that gets the volume. Default: one in \"default\" named like the volume.",
     .field = offsetof(struct import_options, claim),
     .read = read_claim},
    {.name = "node-id",
     .value = "NAME",
     .help = "The name of this node, as the driver has it. Default: NODE_NAME, or the name of the host.",
     .field = offsetof(struct import_options, node),
     .read = option_text},
    {.name = "driver-name",
     .value = "NAME",
     .help = "The name of the driver.",
     .standard = "csi.plinth.dev",
     .field = offsetof(struct import_options, driver),
     .read = option_text},
    {.name = "output",
     .letter = 'o',
     .value = "FORMAT",
     .help = "How to print the manifests: yaml or json.",
     .standard = "yaml",
     .field = offsetof(struct import_options, json),
     .read = read_format},
    STATE_OPTION(struct import_options),
};

static const struct options import_options = {
    .command = "plinth volume import",
    .words = "VG/LV | --pool-path DIRECTORY IMAGE",
    .least = 1,
    .most = 1,
    .purpose =
        "Makes a logical volume or an image file that is there already a volume, without touching what is in it, "
        "and prints a PersistentVolume for it and a claim that gets it. Nobody may have it open. The same command "
        "again finds the volume.",
    .table = import_table,
    .count = LENGTH(import_table),
};

/* As the driver would be told: the checks of both names, and the hash of a long one, are in one place. */
static bool read_names(const struct import_options *given, struct settings *settings, struct error *error)
{
    char *words[] = {
        "node", "--driver-name", (char *)given->driver, given->node != NULL ? "--node-id" : NULL, (char *)given->node,
        NULL};
    return settings_read(settings, given->node != NULL ? 5 : 3, words, error);
}

/* Splits "VG/LV", which may have "/dev/" before it. */
static bool split(const char *word, char vg[static PATH_MAX], const char **lv, struct error *error)
{
    const char *name = strncmp(word, "/dev/", 5) == 0 ? word + 5 : word, *slash = strchr(name, '/');
    if (slash == NULL || slash == name || strchr(slash + 1, '/') != NULL || slash - name >= PATH_MAX)
        return fail(
            error, FAILED_PRECONDITION,
            "\"%.200s\" is no logical volume VG/LV. A disk or partition cannot become a volume without a change "
            "to it: give an empty one to a pool, make a raw block volume of its size there (plinth volume "
            "create --block), publish that and copy it over with dd. An image file wants --pool-path.",
            word);
    snprintf(vg, PATH_MAX, "%.*s", (int)(slash - name), name);
    *lv = slash + 1;
    return true;
}

static bool do_import(const struct import_options *given, const char *node, const char *word, struct record *record,
                      struct error *error)
{
    struct import_wish wish = {.node = node, .state_directory = given->state_directory, .block = given->block};
    char vg[PATH_MAX];
    const char *lv = NULL;
    if (given->pool_path != NULL)
        return import_image(&wish, given->pool_path, word, record, error);
    return split(word, vg, &lv, error) && import_logical_volume(&wish, vg, lv, record, error);
}

static void print_manifests(const struct import_options *given, const char *node, const struct record *record)
{
    char name[64], name_space[PATH_MAX] = "default";
    const char *slash = given->claim != NULL ? strchr(given->claim, '/') : NULL;
    manifest_claim_name(record->name, name);
    if (slash != NULL)
        snprintf(name_space, sizeof name_space, "%.*s", (int)(slash - given->claim), given->claim);
    struct manifest manifest = {.driver = given->driver,
                                .node = node,
                                .class = given->class != NULL ? given->class : "",
                                .claim_namespace = name_space,
                                .claim_name = slash != NULL          ? slash + 1
                                              : given->claim != NULL ? given->claim
                                                                     : name};
    json_t *volume = manifest_volume(&manifest, record), *claim = manifest_claim(&manifest, record);
    if (given->json) {
        json_print(json_pack("{ss ss s[oo]}", "apiVersion", "v1", "kind", "List", "items", volume, claim));
        return;
    }
    yaml_print(volume);
    yaml_print(claim);
}

int volume_import(int argc, char **argv)
{
    struct import_options given = {.block = false};
    struct settings settings;
    struct record record;
    struct error error;
    int status = options_read(&import_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (!read_names(&given, &settings, &error))
        status = options_mistake(import_options.command, &error);
    else if (!do_import(&given, settings.node, argv[1], &record, &error))
        status = session_failed(&error);
    else {
        print_manifests(&given, settings.node, &record);
        status = session_succeeded();
    }
    settings_free(&settings);
    return status;
}

/* --- release --- */

struct release_options {
    const char *pool_path, *to, *state_directory;
};

static const struct option release_table[] = {
    {.name = "pool-path",
     .value = "DIRECTORY",
     .help = "The directory of the file pool that has the volume; its driver is stopped.",
     .field = offsetof(struct release_options, pool_path),
     .read = option_text},
    {.name = "to",
     .value = "FILE",
     .help = "With --pool-path: what the image is to be called, in the same file system.",
     .field = offsetof(struct release_options, to),
     .read = option_text},
    STATE_OPTION(struct release_options),
};

static const struct options release_options = {
    .command = "plinth volume release",
    .words = "VOLUME",
    .least = 1,
    .most = 1,
    .purpose = "Undoes \"plinth volume import\": the volume becomes the logical volume or image file that it was, with "
               "what is in it now. It must not be staged. Delete its PersistentVolume first.",
    .table = release_table,
    .count = LENGTH(release_table),
};

static int release_image_of(const struct release_options *given, const char *id)
{
    struct record record;
    struct error error;
    if (!release_image(given->pool_path, id, given->to, &record, &error))
        return session_failed(&error);
    print_line("%s is the file %s now", id, given->to);
    return session_succeeded();
}

static int release_logical_volume_of(const struct release_options *given, const char *id)
{
    struct record record;
    struct error error;
    char vg[VG_BYTES];
    if (!release_logical_volume(given->state_directory, id, &record, vg, &error))
        return session_failed(&error);
    print_line("%s is the logical volume %s/%s again, not active: lvchange --activate y %s/%s", id, vg, record.name, vg,
               record.name);
    return session_succeeded();
}

int volume_release(int argc, char **argv)
{
    struct release_options given = {.to = NULL};
    struct error error;
    int status = options_read(&release_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if ((given.pool_path != NULL) == (given.to != NULL))
        return given.to != NULL ? release_image_of(&given, argv[1]) : release_logical_volume_of(&given, argv[1]);
    fail(&error, INVALID_ARGUMENT, "--pool-path and --to go together");
    return options_mistake(release_options.command, &error);
}
