/* plinth snapshot.  (delete: delete.c) */
#include "cli/cli.h"

#include "cli/create.h"
#include "cli/delete.h"
#include "cli/print.h"
#include "cli/words.h"

/* --- create --- */

static const struct options create_options = {
    .command = "plinth snapshot create",
    .words = "VOLUME NAME",
    .least = 2,
    .most = 2,
    .purpose = "Makes a snapshot of a volume, also while it is in use, and waits until it can be used.",
    .table = plain_table,
    .count = PLAIN_OPTIONS,
};

static int create(int argc, char **argv)
{
    struct plain_options given;
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &create_options, argc, argv, &given);
    if (status >= 0)
        return status;
    const Csi__V1__CreateSnapshotResponse *answer = csi_create_snapshot(&session, argv[1], argv[2], &error);
    if (answer == NULL)
        return session_failed(&error);
    struct table table = print_snapshots(session.arena);
    print_snapshot(&table, answer->snapshot);
    print_answer(&session, &answer->base, &table);
    return session_succeeded();
}

/* --- list --- */

struct list_options {
    struct session_options session;
    const char *volume;
};

static const struct option list_table[] = {
    {.name = "volume",
     .value = "VOLUME",
     .help = "Only the snapshots of this volume.",
     .field = offsetof(struct list_options, volume),
     .read = option_text},
    SESSION_OPTIONS(struct list_options),
};

static const struct options list_options = {
    .command = "plinth snapshot list",
    .purpose = "Lists the snapshots of a driver.",
    .table = list_table,
    .count = LENGTH(list_table),
};

static int list(int argc, char **argv)
{
    struct list_options given = {.volume = NULL};
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &list_options, argc, argv, &given);
    if (status >= 0)
        return status;
    const Csi__V1__ListSnapshotsResponse *all = csi_list_snapshots(&session, given.volume, NULL, &error);
    if (all == NULL)
        return session_failed(&error);
    struct table table = print_snapshots(session.arena);
    for (size_t i = 0; i < all->n_entries; i++)
        print_snapshot(&table, all->entries[i]->snapshot);
    print_answer(&session, &all->base, &table);
    return session_succeeded();
}

/* --- restore --- */

struct restore_options {
    struct session_options session;
    struct access access;
    int64_t size;
};

static const struct option restore_table[] = {
    {.name = "size",
     .value = "SIZE",
     .help = "The size of the new volume, at least that of the snapshot, which is the default.",
     .field = offsetof(struct restore_options, size),
     .read = words_read_size},
    ACCESS_OPTIONS(struct restore_options),
    SESSION_OPTIONS(struct restore_options),
};

static const struct options restore_options = {
    .command = "plinth snapshot restore",
    .words = "SNAPSHOT NAME",
    .least = 2,
    .most = 2,
    .purpose = "Creates a volume with the content of a snapshot: the same as plinth volume create NAME --from-snapshot "
               "SNAPSHOT.",
    .table = restore_table,
    .count = LENGTH(restore_table),
};

static int restore(int argc, char **argv)
{
    struct restore_options given = {.size = 0};
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &restore_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (!words_check_access(&given.access, &error))
        return options_mistake(restore_options.command, &error);
    struct new_volume wish = {.name = argv[2], .bytes = given.size, .access = given.access, .from_snapshot = argv[1]};
    return create_and_print(&session, &wish);
}

int cli_snapshot(int argc, char **argv)
{
    static const struct command commands[] = {
        {"create", "make a snapshot of a volume", create},
        {"list", "list the snapshots", list},
        {"restore", "create a volume with the content of a snapshot", restore},
        {"delete", "delete a snapshot", delete_snapshot},
    };
    return command_run("plinth snapshot", commands, LENGTH(commands), argc, argv);
}
