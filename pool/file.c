/* The pool of kind "file": a directory with images.  This file: the pool itself. */
#include "pool/file.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DEFAULT_PATH "/var/lib/plinth"
#define ORPHAN_GRACE (3 * NANOSECONDS_PER_SECOND) /* for a killed predecessor's mkfs to end */
#define SMALL_FILE 65536

const char *const file_kind_names[2] = {[RECORD_VOLUME] = "volumes", [RECORD_SNAPSHOT] = "snapshots"};
static const char *const option_names[] = {"path", NULL};

/* --- small files --- */

bool file_replace(int directory, const char *name, const char *text, struct error *error)
{
    char fresh[64];
    snprintf(fresh, sizeof fresh, "%s.new", name);
    cleanup_close int file = openat(directory, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    if (file < 0 || write(file, text, length) != (ssize_t)length || fsync(file) != 0)
        return fail_errno(error, errno, "cannot write %s", fresh);
    if (!fault("pool.file.replace.written", error))
        return false;
    if (renameat(directory, fresh, directory, name) != 0 || fsync(directory) != 0)
        return fail_errno(error, errno, "cannot rename %s to %s", fresh, name);
    return fault("pool.file.replace.renamed", error);
}

bool file_read(int directory, const char *name, char **text, size_t *length, struct error *error)
{
    cleanup_close int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return fail_errno(error, errno, "cannot open %s", name);
    struct stat status;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > SMALL_FILE)
        return fail(error, DATA_LOSS, "%s is not a file of at most %d bytes", name, SMALL_FILE);
    cleanup_free char *bytes = calloc(1, (size_t)status.st_size + 1);
    ssize_t count = bytes != NULL ? read(file, bytes, (size_t)status.st_size) : -1;
    if (count < 0)
        return fail_errno(error, errno, "cannot read %s", name);
    *length = (size_t)count;
    *text = steal_pointer(bytes);
    return true;
}

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

/* True if the process that wrote its number into the lock file is alive and is not us. */
static bool holder_lives(int lock, char holder[static 32])
{
    struct error ignored;
    int64_t pid;
    ssize_t count = pread(lock, holder, 31, 0);
    holder[count > 0 ? count : 0] = '\0';
    return text_to_number(holder, 1, INT32_MAX, "process", &pid, &ignored) && pid != getpid() &&
           kill((pid_t)pid, 0) == 0;
}

static bool wait_for_lock(int lock, const char *path, struct error *error)
{
    char holder[32];
    for (int64_t give_up = monotonic_now() + ORPHAN_GRACE; flock(lock, LOCK_EX | LOCK_NB) != 0;) {
        if (errno != EWOULDBLOCK)
            return fail_errno(error, errno, "cannot lock %s", path);
        if (holder_lives(lock, holder))
            return fail(error, ALREADY_EXISTS, "%s is in use by another Plinth (process %s)", path, holder);
        if (monotonic_now() > give_up)
            return fail(error, UNAVAILABLE,
                        "%s is locked by what a killed Plinth left running (see fuser %s/lock); waiting for it to end",
                        path, path);
        usleep(20000);
    }
    return true;
}

static bool lock_pool(struct pool *pool, struct file_pool *own, struct error *error)
{
    cleanup_close int lock = openat(own->directory, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return fail_errno(error, errno, "%s cannot be written", own->path);
    if (!wait_for_lock(lock, own->path, error))
        return false;
    char number[32];
    int length = snprintf(number, sizeof number, "%d", (int)getpid());
    if (ftruncate(lock, 0) != 0 || pwrite(lock, number, (size_t)length, 0) != length)
        return fail_errno(error, errno, "cannot write %s/lock", own->path);
    pool->lock = steal_descriptor(&lock);
    return true;
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

/* The pool.json of a copied directory names another inode than it has itself. */
static ino_t own_inode(const struct file_pool *own)
{
    struct stat status;
    return fstat(own->directory, &status) == 0 ? status.st_ino : 0;
}

static bool write_identity(struct pool *pool, struct file_pool *own, struct error *error)
{
    char text[256];
    snprintf(text, sizeof text, "{\n \"version\": 1,\n \"incompatible\": 0,\n \"id\": \"%s\",\n \"inode\": %ju\n}\n",
             pool->id, (uintmax_t)own_inode(own));
    return file_replace(own->directory, "pool.json", text, error);
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
    text_to_hex(random, sizeof random, pool->id);
    log_event(LOG_INFO, "new pool", "path", own->path, "id", pool->id, NULL);
    return write_identity(pool, own, error);
}

static bool read_identity(struct pool *pool, struct file_pool *own, const char *text, size_t length,
                          struct error *error)
{
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    const char *id = json_string_value(json_object_get(json, "id"));
    json_int_t version = json_integer_value(json_object_get(json, "version"));
    json_int_t incompatible = json_integer_value(json_object_get(json, "incompatible"));
    ino_t inode = (ino_t)json_integer_value(json_object_get(json, "inode"));
    bool good = id != NULL && strlen(id) == POOL_ID_DIGITS && text_is_made_of(id, HEX_DIGITS, POOL_ID_DIGITS);
    if (good)
        memcpy(pool->id, id, sizeof pool->id);
    json_decref(json);
    if (!good)
        return fail(error, DATA_LOSS, "%s/pool.json is damaged; nothing is changed: restore it from a backup",
                    own->path);
    if (version != 1 || incompatible != 0)
        return fail(error, FAILED_PRECONDITION, "%s was written by a newer Plinth: run that version here", own->path);
    if (inode != own_inode(own))
        return fail(error, FAILED_PRECONDITION,
                    "%s is a copy of pool %s (its directory has another inode); if the original is gone for good, say "
                    "\"plinth pool adopt %s\"",
                    own->path, pool->id, own->path);
    return true;
}

static bool load_identity(struct pool *pool, struct file_pool *own, struct error *error)
{
    cleanup_free char *text = NULL;
    size_t length;
    if (file_read(own->directory, "pool.json", &text, &length, error))
        return read_identity(pool, own, text, length, error);
    return error->number == ENOENT && make_identity(pool, own, error);
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
    else if (open_directory(own, error) && lock_pool(pool, own, error) && load_identity(pool, own, error) &&
             open_kinds(own, error)) {
        pool->copies_at_once = file_can_reflink(own->directory);
        return true;
    }
    file_close(pool);
    return false;
}

/* --- scanning --- */

static bool is_ours(const struct pool *pool, int kind, const char *name)
{
    const char *mark = kind == RECORD_VOLUME ? ID_MARK_VOLUME : ID_MARK_SNAPSHOT;
    return record_is_id(name, mark) && strncmp(name, pool->id, POOL_ID_DIGITS) == 0;
}

/* A directory without a good record but without bytes too is what a kill left of making or removing it. */
static bool is_husk(int directory)
{
    struct stat status;
    return fstatat(directory, "data", &status, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

static void remove_husk(int kind_directory, int directory, const char *id)
{
    unlinkat(directory, "meta.json", 0);
    unlinkat(directory, "meta.json.new", 0);
    unlinkat(kind_directory, id, AT_REMOVEDIR);
}

static int64_t occupied(int directory)
{
    struct stat status;
    return fstatat(directory, "data", &status, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)status.st_blocks * 512 : 0;
}

static void scan_one(struct pool *pool, int kind, int kind_directory, const char *id)
{
    struct error error;
    struct record record;
    cleanup_free char *text = NULL;
    size_t length = 0;
    cleanup_close int directory = openat(kind_directory, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0)
        return;
    bool good = file_read(directory, "meta.json", &text, &length, &error) &&
                record_from_json(text, length, id, &record, &error);
    if (good && (int)record.kind != kind)
        good = fail(&error, DATA_LOSS, "the record of %s is of another kind; it is left alone", id);
    if (good) {
        unlinkat(directory, "meta.json.new", 0);
        int64_t bytes = record.kind == RECORD_VOLUME ? record.bytes : occupied(directory);
        inventory_add(pool, &record, bytes < record.bytes ? bytes : record.bytes);
    } else if (is_husk(directory)) {
        remove_husk(kind_directory, directory, id);
    } else {
        error.code = error.code == FAILED_PRECONDITION ? FAILED_PRECONDITION : DATA_LOSS;
        fail_context(&error, "%s in pool %s", id, pool_name(pool));
        log_event(LOG_ERROR, "record left alone", "volume_id", id, "error", error.message, NULL);
        inventory_damage(pool, kind, id, &error);
    }
}

/* A directory that is being deleted says so in its name: what is in it does not matter any more. */
static bool finish_deletion(struct pool *pool, int kind, const char *name)
{
    struct error error;
    struct record record = {.kind = (enum record_kind)kind, .phase = PHASE_DELETING};
    size_t length = strlen(name), suffix = strlen(FILE_DELETING);
    if (length <= suffix || strcmp(name + length - suffix, FILE_DELETING) != 0)
        return false;
    text_copy(record.id, length - suffix < sizeof record.id ? length - suffix + 1 : sizeof record.id, name);
    if (!is_ours(pool, kind, record.id))
        return false;
    bool good = file_detach(pool, &record, &error) && file_remove(pool, &record, &error);
    log_event(good ? LOG_INFO : LOG_WARNING, good ? "deletion finished" : "deletion goes on at the next start",
              "volume_id", record.id, "pool", pool_name(pool), "error", good ? NULL : error.message, NULL);
    return true;
}

static bool file_scan(struct pool *pool, struct error *error)
{
    struct file_pool *own = pool->own;
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        int copy = openat(own->kinds[kind], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup_directory DIR *entries = fdopendir(copy);
        if (entries == NULL)
            return fail_errno(error, errno, "cannot read %s/%s", own->path, file_kind_names[kind]);
        errno = 0;
        for (const struct dirent *entry; (entry = readdir(entries)) != NULL; errno = 0)
            if (!finish_deletion(pool, kind, entry->d_name) && is_ours(pool, kind, entry->d_name))
                scan_one(pool, kind, own->kinds[kind], entry->d_name);
        if (errno != 0)
            return fail_errno(error, errno, "cannot read %s/%s", own->path, file_kind_names[kind]);
    }
    return true;
}

/* --- space and health --- */

static bool file_space(struct pool *pool, int64_t *total, int64_t *free_bytes, struct error *error)
{
    struct file_pool *own = pool->own;
    struct statvfs status;
    if (fstatvfs(own->directory, &status) != 0)
        return fail_errno(error, errno, "pool %s: cannot ask %s for its space", pool_name(pool), own->path);
    *total = (int64_t)(status.f_blocks * status.f_frsize);
    *free_bytes = (int64_t)(status.f_bavail * status.f_frsize);
    return true;
}

static int64_t file_round(const struct pool *pool, int64_t bytes)
{
    (void)pool;
    return bytes > INT64_MAX - 4095 ? bytes / 4096 * 4096 : (bytes + 4095) / 4096 * 4096;
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
    if (status.f_flag & ST_RDONLY) {
        fail(&said, INTERNAL, "pool %s: the file system of %s is read-only; look at the kernel's log", pool_name(pool),
             own->path);
        see(HEALTH_INACCESSIBLE, "PoolReadOnly", said.message, data);
    }
    if (free_bytes < (int64_t)(status.f_blocks * status.f_frsize) / 50) {
        fail(&said, INTERNAL, "pool %s: %s has only %s free; volumes that need new blocks will see write errors",
             pool_name(pool), own->path, text_from_size(free_bytes, left));
        see(HEALTH_DEGRADED, "PoolNearlyFull", said.message, data);
    }
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
    .sync = file_sync,
    .remove = file_remove,
    .grow = file_grow,
    .allocated = file_allocated,
    .data_path = file_data_path,
    .attach = file_attach,
    .detach = file_detach,
    .attached = file_attached,
    .volume_health = file_volume_health,
    .health = file_health,
};
