/* The pool of kind "file": a directory with images.  This file: the pool itself. */
#include "pool/file.h"
#include "pool/account.h"
#include "pool/loop.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEFAULT_PATH "/var/lib/plinth"
#define ORPHAN_GRACE (3 * NANOSECONDS_PER_SECOND) /* for a killed predecessor's mkfs to end */

const char *const file_kind_names[2] = {[RECORD_VOLUME] = "volumes", [RECORD_SNAPSHOT] = "snapshots"};
static const char *const option_names[] = {"path", NULL};

/* --- opening --- */

static bool open_directory(struct file_pool *own, struct error *error)
{
    /* Only the default is made: a configured directory that is missing is a disk that is not mounted. */
    if (strcmp(own->path, DEFAULT_PATH) == 0 && mkdir(own->path, 0700) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot make %s", own->path);
    own->directory = open(own->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own->directory >= 0)
        return true;
    fail_errno(error, errno, "the directory %s cannot be opened (is its disk mounted?)", own->path);
    error->code = UNAVAILABLE;
    return false;
}

/* --- identity --- */

static bool is_empty(int directory, char other[static 256])
{
    static const char *const harmless[] = {".", "..", "lock", "lost+found", "pool.json.new"};
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_directory DIR *entries = fdopendir(copy);
    for (const struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        bool known = false;
        for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
            known = known || strcmp(entry->d_name, harmless[i]) == 0;
        if (!known) {
            snprintf(other, 256, "%s", entry->d_name);
            return false;
        }
    }
    return true;
}

static bool make_identity(struct pool *pool, struct file_pool *own, struct error *error)
{
    unsigned char random[POOL_ID_DIGITS / 2];
    char other[256];
    if (!is_empty(own->directory, other))
        return fail(error, FAILED_PRECONDITION,
                    "%s has no pool.json but is not empty (there is \"%s\"): a new pool is made in an empty directory "
                    "only",
                    own->path, other);
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return fail_errno(error, errno, "no random number for the pool's id");
    struct file_identity identity = {.inode = file_inode(own->directory)};
    text_to_hex(random, sizeof random, identity.id);
    pool_set_id(pool, identity.id);
    log_event(LOG_INFO, "new pool", "path", own->path, "id", identity.id, NULL);
    return file_identity_write(own->directory, &identity, error);
}

static bool load_identity(struct pool *pool, struct file_pool *own, struct error *error)
{
    struct file_identity identity;
    if (!file_identity_read(own->directory, own->path, &identity, error))
        return error->number == ENOENT && make_identity(pool, own, error);
    pool_set_id(pool, identity.id);
    return identity.inode == file_inode(own->directory) ||
           fail(error, FAILED_PRECONDITION,
                "%s is a copy of pool %s (its directory has another inode); if the original is gone for good, say "
                "\"plinth pool adopt %s\"",
                own->path, pool->id, own->path);
}

static bool open_kinds(struct file_pool *own, struct error *error)
{
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        const char *name = file_kind_names[kind];
        if (mkdirat(own->directory, name, 0700) != 0 && errno != EEXIST)
            return fail_errno(error, errno, "cannot make %s/%s", own->path, name);
        own->kinds[kind] = openat(own->directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (own->kinds[kind] < 0)
            return fail_errno(error, errno, "cannot open %s/%s", own->path, name);
    }
    return fsync(own->directory) == 0 || fail_errno(error, errno, "cannot write %s", own->path);
}

static void file_close(struct pool *pool)
{
    struct file_pool *own = pool->own;
    if (own == NULL)
        return;
    cleanup_close int lock = steal_descriptor(&pool->lock), directory = own->directory;
    cleanup_close int volumes = own->kinds[RECORD_VOLUME], snapshots = own->kinds[RECORD_SNAPSHOT];
    (void)lock, (void)directory, (void)volumes, (void)snapshots;
    free(own);
    pool->own = NULL;
}

static bool file_open(struct pool *pool, struct error *error)
{
    const char *path = pool_option(pool, "path");
    struct file_pool *own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    *own = (struct file_pool){.directory = -1, .kinds = {-1, -1}};
    snprintf(own->path, sizeof own->path, "%s", path != NULL ? path : DEFAULT_PATH);
    pool->own = own;
    if (own->path[0] != '/')
        fail(error, INVALID_ARGUMENT, "path must be absolute, not \"%s\"", own->path);
    else if (open_directory(own, error) && file_lock(own->directory, own->path, ORPHAN_GRACE, &pool->lock, error) &&
             load_identity(pool, own, error) && open_kinds(own, error)) {
        pool->copies_at_once = file_can_reflink(own->directory);
        return true;
    }
    file_close(pool);
    return false;
}

/* --- space and health --- */

static bool file_space(struct pool *pool, const struct record *shape, struct pool_space *space, struct error *error)
{
    (void)shape;
    struct file_pool *own = pool->own;
    struct statvfs status;
    if (fstatvfs(own->directory, &status) != 0)
        return fail_errno(error, errno, "pool %s: cannot ask %s for its space", pool_name(pool), own->path);
    account_space(pool, (int64_t)(status.f_blocks * status.f_frsize), (int64_t)(status.f_bavail * status.f_frsize),
                  space);
    return true;
}

static int64_t file_round(const struct pool *pool, const struct record *shape, int64_t bytes)
{
    (void)pool, (void)shape;
    return bytes > INT64_MAX - 4095 ? bytes / 4096 * 4096 : (bytes + 4095) / 4096 * 4096;
}

/* Since Linux 6.15 an ext4 that has stopped after an error does not say so to statfs(2). */
static bool is_writable(int directory)
{
    cleanup_close int file = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return file >= 0 || (errno != EROFS && errno != EIO);
}

static void file_health(struct pool *pool, void (*see)(enum health, const char *, const char *, void *), void *data)
{
    struct file_pool *own = pool->own;
    struct statvfs status;
    struct error said;
    char left[32];
    if (fstatvfs(own->directory, &status) != 0) {
        fail_errno(&said, errno, "pool %s: %s cannot be read", pool_name(pool), own->path);
        see(HEALTH_INACCESSIBLE, "PoolUnreadable", said.message, data);
        return;
    }
    int64_t free_bytes = (int64_t)(status.f_bavail * status.f_frsize);
    if (!is_writable(own->directory)) {
        fail_errno(&said, errno, "%s cannot be written; look at the kernel's log", own->path);
        see(HEALTH_INACCESSIBLE, "PoolReadOnly", said.message, data);
    }
    if (free_bytes < (int64_t)(status.f_blocks * status.f_frsize) / 50) {
        fail(&said, INTERNAL, "pool %s: %s has only %s free; volumes that need new blocks will see write errors",
             pool_name(pool), own->path, text_from_size(free_bytes, left));
        see(HEALTH_DEGRADED, "PoolNearlyFull", said.message, data);
    }
}

static bool file_copies_at_once(const struct pool *pool, const struct record *source, const struct record *record)
{
    (void)source, (void)record;
    return pool->copies_at_once;
}

static bool file_in_use(struct pool *pool, const struct record *record)
{
    dev_t device;
    return file_attached(pool, record, ATTACH_MOUNT, &device);
}

const struct pool_ops file_pool_ops = {
    .kind = "file",
    .option_names = option_names,
    .open = file_open,
    .close = file_close,
    .scan = file_scan,
    .space = file_space,
    .round = file_round,
    .create = file_create,
    .copy = file_copy,
    .write = file_write,
    .settle = file_settle,
    .sync = file_sync,
    .undo = file_remove,
    .remove = file_remove,
    .grow = file_grow,
    .allocated = file_allocated,
    .open_data = file_open_data,
    .copies_at_once = file_copies_at_once,
    .attach = file_attach,
    .detach = file_detach,
    .attached = file_attached,
    .detaches_closed = true,
    .in_use = file_in_use,
    .identify = loop_identify,
    .volume_health = file_volume_health,
    .health = file_health,
};
