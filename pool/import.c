/* What imports of all kinds have in common. */
#include "pool/import.h"

#include "base/clock.h"
#include "base/text.h"
#include "filesystem/filesystem.h"

#include <string.h>

void import_make_id(const struct import_wish *wish, const char *pool_id, const char *name, char id[static ID_BYTES])
{
    char hint[NODE_HINT_DIGITS + 1];
    record_node_hint(hint, wish->node);
    record_make_id(id, pool_id, hint, ID_MARK_VOLUME, name);
}

static bool check_content(const char *name, const char *found, struct error *error)
{
    if (filesystem_find(found) != NULL)
        return true;
    return fail(error, FAILED_PRECONDITION,
                "%s has %s, but a volume with a file system has one of %s; say --block if it is to be a raw block "
                "volume",
                name, found[0] != '\0' ? found : "nothing that is known", filesystem_names());
}

bool import_make_record(const struct import_wish *wish, const char *id, const char *name, const char *path,
                        struct record *record, struct error *error)
{
    char found[FILESYSTEM_NAME_BYTES] = "";
    if (!wish->block && (!filesystem_probe(path, found, error) || !check_content(name, found, error)))
        return false;
    /* Sectors of 512 bytes: a file system of small blocks could not be mounted on larger ones. */
    *record = (struct record){.kind = RECORD_VOLUME,
                              .phase = PHASE_READY,
                              .staged = true,
                              .own_identity = true,
                              .sector_bytes = SECTOR_BYTES_BLOCK,
                              .created = wall_clock_now()};
    text_copy(record->id, sizeof record->id, id);
    text_copy(record->name, sizeof record->name, name);
    text_copy(record->filesystem, sizeof record->filesystem, found);
    return true;
}

/* CreateVolume always leaves a digest. */
bool import_check_record(const struct record *record, struct error *error)
{
    return (record->phase == PHASE_READY && record->digest[0] == '\0') ||
           fail(error, FAILED_PRECONDITION, "volume %s was not imported but made by CreateVolume; it is left alone",
                record->id);
}

bool import_check_wish(const struct import_wish *wish, const struct record *record, struct error *error)
{
    if (!import_check_record(record, error))
        return false;
    return wish->block == (record->filesystem[0] == '\0') ||
           fail(error, FAILED_PRECONDITION,
                "%s has been imported already, as a volume with %s; release it first: plinth volume release %s",
                record->name, record->filesystem[0] != '\0' ? record->filesystem : "raw blocks", record->id);
}
