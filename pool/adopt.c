#include "pool/adopt.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "pool/file.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool lock_directory(struct adoption *adoption, const char *path, struct error *error)
{
    adoption->lock = openat(adoption->directory, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (adoption->lock < 0)
        return fail_errno(error, errno, "%s/lock cannot be opened", path);
    if (flock(adoption->lock, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno != EWOULDBLOCK)
        return fail_errno(error, errno, "cannot lock %s", path);
    return fail(error, ALREADY_EXISTS, "%s is in use by another Plinth; stop it first (fuser %s/lock)", path, path);
}

static bool open_pool(struct adoption *adoption, const char *path, struct error *error)
{
    adoption->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool there = adoption->directory >= 0 && faccessat(adoption->directory, "pool.json", F_OK, 0) == 0;
    if (there)
        return lock_directory(adoption, path, error);
    fail_errno(error, errno, "there is no pool in %s", path);
    if (error->number == ENOENT || error->number == ENOTDIR)
        error->code = NOT_FOUND;
    return false;
}

/* Reads pool.json, all of it: what an adoption does not change, it must keep.  NULL: it is not whole. */
static json_t *read_identity(const struct adoption *adoption, struct error *error)
{
    cleanup_free char *text = NULL;
    size_t length;
    if (!file_read(adoption->directory, "pool.json", &text, &length, error))
        return NULL;
    json_t *identity = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    const char *id = json_string_value(json_object_get(identity, "id"));
    if (id != NULL && strlen(id) == POOL_ID_DIGITS && text_is_made_of(id, HEX_DIGITS, POOL_ID_DIGITS))
        return identity;
    json_decref(identity);
    fail(error, DATA_LOSS, "pool.json is damaged; nothing is changed: restore it from a backup");
    return NULL;
}

static bool check_identity(struct adoption *adoption, json_t *identity, struct error *error)
{
    struct stat status;
    if (json_integer_value(json_object_get(identity, "version")) != 1 ||
        json_integer_value(json_object_get(identity, "incompatible")) != 0)
        return fail(error, FAILED_PRECONDITION, "it was written by a newer Plinth: use that version");
    if (fstat(adoption->directory, &status) != 0)
        return fail_errno(error, errno, "it cannot be looked at");
    snprintf(adoption->id, sizeof adoption->id, "%s", json_string_value(json_object_get(identity, "id")));
    adoption->recorded = (uintmax_t)json_integer_value(json_object_get(identity, "inode"));
    adoption->present = status.st_ino;
    return adoption->present != adoption->recorded ||
           fail(error, FAILED_PRECONDITION, "it is no copy: it is pool %s itself; nothing is to be done", adoption->id);
}

bool adoption_begin(struct adoption *adoption, const char *path, struct error *error)
{
    *adoption = (struct adoption){.directory = -1, .lock = -1};
    if (!open_pool(adoption, path, error))
        return false;
    json_t *identity = read_identity(adoption, error);
    bool good = identity != NULL && check_identity(adoption, identity, error);
    json_decref(identity);
    return good || fail_context(error, "%s", path);
}

bool adoption_finish(struct adoption *adoption, struct error *error)
{
    json_t *identity = read_identity(adoption, error);
    if (identity == NULL)
        return false;
    json_object_set_new(identity, "inode", json_integer((json_int_t)adoption->present));
    cleanup_free char *text = json_dumps(identity, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(identity);
    return text != NULL ? file_replace(adoption->directory, "pool.json", text, error)
                        : fail(error, RESOURCE_EXHAUSTED, "out of memory");
}

void adoption_end(struct adoption *adoption)
{
    cleanup_close int directory = steal_descriptor(&adoption->directory), lock = steal_descriptor(&adoption->lock);
    (void)directory, (void)lock;
}
