#include "pool/adopt.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "pool/file_identity.h"

#include <fcntl.h>

static bool open_pool(struct adoption *adoption, const char *path, struct error *error)
{
    adoption->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool there = adoption->directory >= 0 && faccessat(adoption->directory, "pool.json", F_OK, 0) == 0;
    if (there)
        return file_lock(adoption->directory, path, 0, &adoption->lock, error);
    fail_errno(error, errno, "there is no pool in %s", path);
    if (error->number == ENOENT || error->number == ENOTDIR)
        error->code = NOT_FOUND;
    return false;
}

bool adoption_begin(struct adoption *adoption, const char *path, struct error *error)
{
    struct file_identity identity;
    *adoption = (struct adoption){.directory = -1, .lock = -1};
    if (!open_pool(adoption, path, error) || !file_identity_read(adoption->directory, path, &identity, error))
        return false;
    text_copy(adoption->id, sizeof adoption->id, identity.id);
    adoption->recorded = identity.inode;
    adoption->present = file_inode(adoption->directory);
    return adoption->present != adoption->recorded ||
           fail(error, FAILED_PRECONDITION, "%s is no copy: it is pool %s itself; nothing is to be done", path,
                adoption->id);
}

bool adoption_finish(struct adoption *adoption, struct error *error)
{
    struct file_identity identity = {.inode = adoption->present};
    text_copy(identity.id, sizeof identity.id, adoption->id);
    return file_identity_write(adoption->directory, &identity, error);
}

void adoption_end(struct adoption *adoption)
{
    cleanup_close int directory = steal_descriptor(&adoption->directory), lock = steal_descriptor(&adoption->lock);
    (void)directory, (void)lock;
}
