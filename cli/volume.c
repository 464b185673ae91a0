/* plinth volume: create, list, show, expand.  (publish and unpublish: volume_publish.c; delete: delete.c; import.c) */
#include "cli/cli.h"

#include "base/text.h"
#include "cli/create.h"
#include "cli/delete.h"
#include "cli/import.h"
#include "cli/json.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/volume_publish.h"
#include "cli/words.h"

#include <inttypes.h>
#include <stdio.h>

/* --- create --- */

struct create_options {
    struct session_options session;
    struct access access;
    int64_t size;
    const char *pool, *from_snapshot, *from_volume;
    struct words parameters;
};

static const struct option create_table[] = {
    {.name = "size",
     .value = "SIZE",
     .help = "1Gi, 500Mi, 1073741824.  Without it: the size of the source, or the driver's default.",
     .field = offsetof(struct create_options, size),
     .read = words_read_size},
    ACCESS_OPTIONS(struct create_options),
    {.name = "pool",
     .value = "POOL",
     .help = "The pool to make it in: the same as --parameter pool=POOL.",
     .field = offsetof(struct create_options, pool),
     .read = option_text},
    {.name = "parameter",
     .value = "KEY=VALUE",
     .help = "A parameter of the driver, as in a StorageClass.  Can be repeated.",
     .field = offsetof(struct create_options, parameters),
     .read = words_read_pair},
    {.name = "from-snapshot",
     .value = "SNAPSHOT",
     .help = "Fill it with the content of a snapshot.",
     .field = offsetof(struct create_options, from_snapshot),
     .read = option_text},
    {.name = "from-volume",
     .value = "VOLUME",
     .help = "Fill it with the content of a volume: a clone.",
     .field = offsetof(struct create_options, from_volume),
     .read = option_text},
    SESSION_OPTIONS(struct create_options),
};

static const struct options create_options = {
    .command = "plinth volume create",
    .words = "NAME",
    .least = 1,
    .most = 1,
    .purpose = "Creates a volume.  The same command again finds the volume that it has made.",
    .table = create_table,
    .count = LENGTH(create_table),
};

static struct pair *parameters(struct session *session, struct create_options *given)
{
    struct pair *pairs = words_to_pairs(&given->parameters, session->arena);
    if (given->pool != NULL)
        pairs[given->parameters.count++] = (struct pair){.key = "pool", .value = given->pool};
    return pairs;
}

static int create(int argc, char **argv)
{
    struct create_options given = {.size = 0};
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &create_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (given.from_snapshot != NULL && given.from_volume != NULL)
        fail(&error, INVALID_ARGUMENT, "--from-snapshot and --from-volume exclude each other");
    else if (words_check_access(&given.access, &error)) {
        struct new_volume wish = {.name = argv[1],
                                  .bytes = given.size,
                                  .access = given.access,
                                  .parameters = parameters(&session, &given),
                                  .parameter_count = given.parameters.count,
                                  .from_snapshot = given.from_snapshot,
                                  .from_volume = given.from_volume};
        return create_and_print(&session, &wish);
    }
    return options_mistake(create_options.command, &error);
}

/* --- list --- */

static const struct options list_options = {
    .command = "plinth volume list",
    .purpose = "Lists the volumes of a driver.",
    .table = plain_table,
    .count = PLAIN_OPTIONS,
};

static int list(int argc, char **argv)
{
    struct plain_options given;
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &list_options, argc, argv, &given);
    if (status >= 0)
        return status;
    const Csi__V1__ListVolumesResponse *all = csi_list_volumes(&session, &error);
    if (all == NULL)
        return session_failed(&error);
    struct table table = print_volumes(session.arena);
    for (size_t i = 0; i < all->n_entries; i++)
        print_volume(&table, all->entries[i]->volume);
    print_answer(&session, &all->base, &table);
    return session_succeeded();
}

/* --- show --- */

static const struct options show_options = {
    .command = "plinth volume show",
    .words = "VOLUME",
    .least = 1,
    .most = 1,
    .purpose = "Shows all that a driver tells of a volume, and what is wrong with it.",
    .table = plain_table,
    .count = PLAIN_OPTIONS,
};

static int show(int argc, char **argv)
{
    struct plain_options given;
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &show_options, argc, argv, &given);
    if (status >= 0)
        return status;
    const Csi__V1__ControllerGetVolumeResponse *volume = csi_get_volume(&session, argv[1], &error);
    if (volume == NULL)
        return session_failed(&error);
    const Csi__V1__VolumeHealth *health = csi_volume_health(&session, argv[1]);
    if (session.json) {
        json_t *value = json_from_message(&volume->base);
        if (health != NULL)
            json_object_set_new(value, "volumeHealth", json_from_message(&health->base));
        json_print(value);
    } else {
        print_details(session.arena, volume, health);
    }
    return session_succeeded();
}

/* --- expand --- */

struct expand_options {
    struct session_options session;
    int64_t size;
    const char *path;
};

static const struct option expand_table[] = {
    {.name = "size",
     .value = "SIZE",
     .help = "The size it is to have at least.  Volumes do not shrink.",
     .field = offsetof(struct expand_options, size),
     .read = words_read_size},
    {.name = "path",
     .value = "TARGET",
     .help = "Where it is published, for a driver that grows file systems in a second step.",
     .field = offsetof(struct expand_options, path),
     .read = option_text},
    SESSION_OPTIONS(struct expand_options),
};

static const struct options expand_options = {
    .command = "plinth volume expand",
    .words = "VOLUME",
    .least = 1,
    .most = 1,
    .purpose = "Grows a volume and its file system, also while it is in use.",
    .table = expand_table,
    .count = LENGTH(expand_table),
};

static void print_expansion(const char *id, const Csi__V1__ControllerExpandVolumeResponse *answer, bool node_done)
{
    char size[32];
    text_from_size(answer->capacity_bytes, size);
    print_line("%s has %s (%" PRId64 " bytes)", id, size, answer->capacity_bytes);
    if (answer->node_expansion_required && !node_done)
        puts("The driver grows its file system in a second step: say where it is published with --path.");
}

static int expand(int argc, char **argv)
{
    struct expand_options given = {.size = 0};
    struct error error;
    char path[PATH_MAX];
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &expand_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (given.size == 0) {
        fail(&error, INVALID_ARGUMENT, "--size is missing");
        return options_mistake(expand_options.command, &error);
    }
    if (given.path != NULL && !place_target(given.path, path, &error))
        return session_failed(&error);
    const Csi__V1__ControllerExpandVolumeResponse *answer =
        csi_expand_volume(&session, argv[1], given.size, given.path != NULL ? path : NULL, &error);
    if (answer == NULL)
        return session_failed(&error);
    if (session.json)
        json_print(json_from_message(&answer->base));
    else
        print_expansion(argv[1], answer, given.path != NULL);
    return session_succeeded();
}

int cli_volume(int argc, char **argv)
{
    static const struct command commands[] = {
        {"create", "create a volume, empty or from a snapshot or volume", create},
        {"list", "list the volumes", list},
        {"show", "show one volume", show},
        {"expand", "grow a volume", expand},
        {"publish", "mount a volume somewhere on this machine", volume_publish},
        {"unpublish", "unmount it again", volume_unpublish},
        {"delete", "delete a volume", delete_volume},
        {"import", "make a logical volume or image that is there already a volume", volume_import},
        {"release", "make it what it was again", volume_release},
    };
    return command_run("plinth volume", commands, LENGTH(commands), argc, argv);
}
