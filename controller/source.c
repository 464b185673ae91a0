#include "controller/source.h"

#include "base/cleanup.h"
#include "base/keylock.h"
#include "filesystem/filesystem.h"
#include "snapshot/making.h"

#include <string.h>

/* Leaves it attached or not, as it was. */
static bool probe(struct pool *pool, const struct record *source, char found[static FILESYSTEM_NAME_BYTES],
                  struct error *error)
{
    char path[PATH_MAX];
    dev_t device;
    struct error ignored;
    cleanup_keylock struct keylock *lock = keylock_acquire(source->id, error);
    if (lock == NULL)
        return false;
    bool attached = pool_attached(pool, source, ATTACH_MOUNT, &device);
    bool good = pool_open_data(pool, source, path, error) && filesystem_probe(path, found, error);
    if (!attached)
        pool_detach(pool, source, &ignored);
    return good;
}

/* What is on the copy is what is on the source, and that is looked at where the record does not tell. */
static bool check_source_content(const struct volume_request *request, struct pool *pool, const struct record *source,
                                 struct error *error)
{
    char found[FILESYSTEM_NAME_BYTES];
    if (request->filesystem[0] == '\0' || strcmp(source->filesystem, request->filesystem) == 0)
        return true;
    if (source->filesystem[0] != '\0')
        return fail(error, INVALID_ARGUMENT, "%s has %s, so a volume made from it cannot have %s", source->id,
                    source->filesystem, request->filesystem);
    if (!probe(pool, source, found, error))
        return fail_context(error, "%s", source->id);
    return strcmp(found, request->filesystem) == 0 ||
           fail(error, INVALID_ARGUMENT, "%s holds %s, so a volume made from it cannot have %s", source->id,
                found[0] != '\0' ? found : "no file system", request->filesystem);
}

bool source_find(struct driver *driver, struct volume_request *request, struct pool **pool, struct record *source,
                 struct error *error)
{
    if (!pools_find(driver->pools, request->source_kind, request->source_id, pool, source, error))
        return false;
    if (source->phase == PHASE_CREATING && source->kind == RECORD_SNAPSHOT && making_is_fixed(source))
        return fail(error, ABORTED,
                    "snapshot %s is still being copied and not ready to use yet; it can be restored when it is",
                    source->id);
    if (source->phase != PHASE_READY)
        return fail(error, NOT_FOUND, "%s is not ready to be read", source->id);
    if (request->default_filesystem && source->filesystem[0] != '\0')
        request->filesystem = filesystem_name(filesystem_find(source->filesystem));
    return check_source_content(request, *pool, source, error);
}
