/* plinth pool adopt: the copy of a file pool's directory becomes the pool, a disk becomes one of a disk pool. */
#include "cli/adopt.h"

#include "base/digest.h"
#include "base/text.h"
#include "cli/print.h"
#include "cli/session.h"
#include "pool/adopt.h"
#include "pool/disk_adopt.h"
#include "pool/disk_signatures.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define NODE_NAME_MOST 63 /* longer ones are hashed, as by `plinth node` */

struct adopt_options {
    const char *pool, *node;
    bool yes;
};

#define AT(member) offsetof(struct adopt_options, member)

static const struct option table[] = {
    {.name = "pool",
     .value = "NAME",
     .help = "The disk pool that gets the device, as the driver's configuration calls it.",
     .field = AT(pool),
     .read = option_text},
    {.name = "yes", .help = "Wipe the device without asking.", .field = AT(yes), .read = option_flag},
    {.name = "node-id",
     .value = "NAME",
     .help = "The name of this node, as the driver has it; the identity of a pool without disks is made of it. "
             "Default: the name of the host.",
     .environment = "NODE_NAME",
     .field = AT(node),
     .read = option_text},
};

static const struct options adopt_options = {
    .command = "plinth pool adopt",
    .words = "DIRECTORY|DEVICE",
    .least = 1,
    .most = 1,
    .purpose = "With --pool: wipes a disk or partition and gives it to a disk pool; all that is on it is lost. A "
               "driver that runs notices it by itself. Without: makes the copy of a file pool's directory the pool. A "
               "driver refuses a copy, for two pools with one identity would be mistaken for each other: adopt it "
               "only if the original is gone for good.",
    .table = table,
    .count = LENGTH(table),
};

/* --- a copied directory --- */

static int adopt_directory(const char *path)
{
    struct error error;
    cleanup_adoption struct adoption adoption = {.directory = -1, .lock = -1};
    if (!adoption_begin(&adoption, path, &error))
        return session_failed(&error);
    print_line("%s is a copy of pool %s: pool.json names the directory with inode %ju, this one has inode %ju.", path,
               adoption.id, adoption.recorded, adoption.present);
    puts("Adopting it with its volumes and snapshots. The original must not be used any more.");
    fflush(stdout);
    if (!adoption_finish(&adoption, &error))
        return session_failed(&error);
    print_line("%s is pool %s now", path, adoption.id);
    return session_succeeded();
}

/* --- a disk --- */

static void show_signature(const char *type, const char *label, int64_t offset, void *data)
{
    size_t *count = data;
    ++*count;
    print_line("  %s%s%s at byte %" PRId64, type, label[0] != '\0' ? ", label " : "", label, offset);
}

static bool show_disk(const struct disk_adoption *adoption, struct error *error)
{
    char size[32];
    size_t count = 0;
    print_line("%s: %s (%" PRId64 " bytes)%s%s%s%s. On it:", adoption->path, text_from_size(adoption->bytes, size),
               adoption->bytes, adoption->model[0] != '\0' ? ", " : "", adoption->model,
               adoption->serial[0] != '\0' ? ", serial number " : "", adoption->serial);
    if (!disk_signatures_each(adoption->path, show_signature, &count, error))
        return false;
    if (adoption->groups[0] != '\0')
        print_line("  it, or a partition of it, is a physical volume of: %s", adoption->groups);
    if (count == 0)
        puts("  nothing that is known");
    return true;
}

/* The answer must name the disk, so that nobody wipes another by mistake. */
static bool confirm(const struct disk_adoption *adoption, struct error *error)
{
    char answer[128] = "", bytes[32];
    bool has_serial = adoption->serial[0] != '\0' && strcmp(adoption->serial, "(null)") != 0;
    snprintf(bytes, sizeof bytes, "%" PRId64, adoption->bytes);
    printf("All of it will be lost. To wipe %s, type its %s: ", adoption->path,
           has_serial ? "serial number" : "size in bytes");
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) != NULL)
        answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, has_serial ? adoption->serial : bytes) == 0 ||
           fail(error, FAILED_PRECONDITION, "that is not the %s of %s; nothing was changed",
                has_serial ? "serial number" : "size", adoption->path);
}

/* The node's name as the driver makes it. */
static bool read_node(const struct adopt_options *given, char node[static 256], struct error *error)
{
    if (given->node != NULL)
        text_copy(node, 256, given->node);
    else if (gethostname(node, 256) != 0)
        return fail_errno(error, errno, "cannot read the name of the host; give --node-id");
    node[255] = '\0';
    if (strlen(node) > NODE_NAME_MOST) {
        char digits[NODE_NAME_MOST + 1];
        digest_hex(node, strlen(node), NODE_NAME_MOST, digits);
        text_copy(node, 256, digits);
    }
    return text_is_made_of(given->pool, LETTERS "._-", 63) ||
           fail(error, INVALID_ARGUMENT, "\"%.64s\" is no name of a pool", given->pool);
}

static int adopt_disk(const struct adopt_options *given, const char *path)
{
    struct error error;
    char node[256];
    cleanup_disk_adoption struct disk_adoption adoption = {.queue = NULL};
    if (!read_node(given, node, &error) || !disk_adoption_begin(&adoption, path, given->pool, node, &error) ||
        !show_disk(&adoption, &error) || (!given->yes && !confirm(&adoption, &error)))
        return session_failed(&error);
    fflush(stdout);
    if (!disk_adoption_finish(&adoption, &error))
        return session_failed(&error);
    print_line("%s is a disk of pool %s (%s) now", adoption.path, adoption.pool_name, adoption.pool_id);
    return session_succeeded();
}

int adopt_pool(int argc, char **argv)
{
    struct adopt_options given = {.pool = NULL};
    int status = options_read(&adopt_options, argc, argv, &given);
    if (status >= 0)
        return status;
    return given.pool != NULL ? adopt_disk(&given, argv[1]) : adopt_directory(argv[1]);
}
