#include "cli/volume_publish.h"

#include "cli/json.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/publish.h"
#include "cli/words.h"

#include <string.h>

#define STAGING_OPTION(type)                                                                \
    {                                                                                       \
        .name = "staging", .value = "DIRECTORY",                                            \
        .help = "Where the volume is staged.  Default: /run/plinth/staging/DRIVER/VOLUME.", \
        .field = offsetof(type, staging), .read = option_text                               \
    }

struct publish_options {
    struct session_options session;
    struct access access;
    struct words mount_options;
    const char *staging;
    bool read_only;
};

static const struct option publish_table[] = {
    {.name = "read-only",
     .help = "Nothing can be written through this target.",
     .field = offsetof(struct publish_options, read_only),
     .read = option_flag},
    {.name = "mount-option",
     .value = "OPTION",
     .help = "An option of mount(8), such as noatime.  Can be repeated.",
     .field = offsetof(struct publish_options, mount_options),
     .read = words_read},
    ACCESS_OPTIONS(struct publish_options),
    STAGING_OPTION(struct publish_options),
    SESSION_OPTIONS(struct publish_options),
};

static const struct options publish_options = {
    .command = "plinth volume publish",
    .words = "VOLUME TARGET",
    .least = 2,
    .most = 2,
    .purpose =
        "Stages a volume and mounts it at TARGET, which the driver makes: a directory, or for a raw block volume "
        "a file.  The directory that TARGET is in must be there.",
    .table = publish_table,
    .count = LENGTH(publish_table),
};

/* Fills what both commands need: the volume and its places. */
static bool prepare(struct session *session, struct publication *publication, char **words, const char *staging,
                    struct error *error)
{
    publication->id = words[0];
    if (!place_target(words[1], publication->target, error))
        return false;
    return staging != NULL ? place_target(staging, publication->staging, error)
                           : publish_staging(session, publication, error);
}

static json_t *to_json(const struct publication *publication)
{
    return json_pack("{s:o, s:o, s:o}", "volumeId", json_from_text(publication->id), "targetPath",
                     json_from_text(publication->target), "stagingTargetPath", json_from_text(publication->staging));
}

int volume_publish(int argc, char **argv)
{
    struct publish_options given = {.read_only = false};
    struct publication publication = {.id = NULL};
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &publish_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (!words_check_access(&given.access, &error))
        return options_mistake(publish_options.command, &error);
    publication.access = given.access;
    publication.access.mount_options = (char **)given.mount_options.items;
    publication.access.mount_option_count = given.mount_options.count;
    publication.read_only = given.read_only;
    if (!prepare(&session, &publication, argv + 1, given.staging, &error) ||
        !publish_volume(&session, &publication, &error))
        return session_failed(&error);
    if (session.json)
        json_print(to_json(&publication));
    else
        print_line("%s is published at %s", publication.id, publication.target);
    return session_succeeded();
}

struct unpublish_options {
    struct session_options session;
    const char *staging;
};

static const struct option unpublish_table[] = {
    STAGING_OPTION(struct unpublish_options),
    SESSION_OPTIONS(struct unpublish_options),
};

static const struct options unpublish_options = {
    .command = "plinth volume unpublish",
    .words = "VOLUME TARGET",
    .least = 2,
    .most = 2,
    .purpose = "Unmounts a volume from TARGET, which the driver removes, and unstages it if it is not mounted anywhere "
               "else.  Can be repeated.",
    .table = unpublish_table,
    .count = LENGTH(unpublish_table),
};

int volume_unpublish(int argc, char **argv)
{
    struct unpublish_options given = {.staging = NULL};
    struct publication publication = {.id = NULL};
    char elsewhere[PATH_MAX];
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &unpublish_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (!prepare(&session, &publication, argv + 1, given.staging, &error) ||
        !unpublish_volume(&session, &publication, elsewhere, &error))
        return session_failed(&error);
    bool unstaged = elsewhere[0] == '\0';
    if (session.json) {
        json_t *value = to_json(&publication);
        json_object_set_new(value, "unstaged", json_boolean(unstaged));
        json_print(value);
    } else if (unstaged) {
        print_line("%s is unpublished from %s and unstaged", publication.id, publication.target);
    } else {
        print_line("%s is unpublished from %s; it stays staged, as it is mounted at %s", publication.id,
                   publication.target, elsewhere);
    }
    return session_succeeded();
}
