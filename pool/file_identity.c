#include "pool/file_identity.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_FILE 65536
#define POOL_VERSION 1

static bool write_fresh(int directory, const char *name, const char *text, struct error *error)
{
    cleanup_close int file = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    if (file < 0 || write(file, text, length) != (ssize_t)length || fsync(file) != 0)
        return fail_errno(error, errno, "cannot write %s", name);
    return fault("pool.file.replace.written", error);
}

bool file_replace(int directory, const char *name, const char *text, struct error *error)
{
    char fresh[64];
    snprintf(fresh, sizeof fresh, "%s.new", name);
    if (!write_fresh(directory, fresh, text, error) ||
        (renameat(directory, fresh, directory, name) != 0 &&
         !fail_errno(error, errno, "cannot rename %s to %s", fresh, name))) {
        unlinkat(directory, fresh, 0);
        return false;
    }
    if (fsync(directory) != 0)
        return fail_errno(error, errno, "cannot write the directory of %s to the disk", name);
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

/* --- the lock --- */

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

static bool wait_for_lock(int lock, const char *path, int64_t patience, struct error *error)
{
    char holder[32];
    for (int64_t give_up = monotonic_now() + patience; flock(lock, LOCK_EX | LOCK_NB) != 0;) {
        if (errno != EWOULDBLOCK)
            return fail_errno(error, errno, "cannot lock %s", path);
        if (holder_lives(lock, holder))
            return fail(error, ALREADY_EXISTS, "%s is in use by another Plinth (process %s)", path, holder);
        if (monotonic_now() > give_up)
            return fail(error, UNAVAILABLE,
                        "%s is locked by what a killed Plinth left running (fuser tells what); waiting for it to end",
                        path);
        usleep(20000);
    }
    return true;
}

bool file_lock(int directory, const char *path, int64_t patience, int *lock, struct error *error)
{
    return file_lock_named(directory, "lock", path, patience, lock, error);
}

bool file_lock_named(int directory, const char *name, const char *path, int64_t patience, int *lock,
                     struct error *error)
{
    cleanup_close int opened = openat(directory, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (opened < 0)
        return fail_errno(error, errno, "%s cannot be written", path);
    if (!wait_for_lock(opened, path, patience, error))
        return false;
    char number[32];
    int length = snprintf(number, sizeof number, "%d", (int)getpid());
    if (ftruncate(opened, 0) != 0 || pwrite(opened, number, (size_t)length, 0) != length)
        return fail_errno(error, errno, "cannot write the lock of %s", path);
    *lock = steal_descriptor(&opened);
    return true;
}

/* --- pool.json --- */

uintmax_t file_inode(int directory)
{
    struct stat status;
    return fstat(directory, &status) == 0 ? status.st_ino : 0;
}

static bool read_json(const char *path, const json_t *json, struct file_identity *identity, struct error *error)
{
    const char *id = json_string_value(json_object_get(json, "id"));
    if (id == NULL || strlen(id) != POOL_ID_DIGITS || !text_is_made_of(id, HEX_DIGITS, POOL_ID_DIGITS))
        return fail(error, DATA_LOSS, "%s/pool.json is damaged; nothing is changed: restore it from a backup", path);
    if (json_integer_value(json_object_get(json, "version")) != POOL_VERSION ||
        json_integer_value(json_object_get(json, "incompatible")) != 0)
        return fail(error, FAILED_PRECONDITION, "%s was written by a newer Plinth: run that version here", path);
    text_copy(identity->id, sizeof identity->id, id);
    identity->inode = (uintmax_t)json_integer_value(json_object_get(json, "inode"));
    return true;
}

/* What is there and not ours to know stays. */
bool file_identity_write(int directory, const struct file_identity *identity, struct error *error)
{
    cleanup_free char *old = NULL, *text = NULL;
    struct error ignored;
    size_t length = 0;
    json_t *json = file_read(directory, "pool.json", &old, &length, &ignored) ? json_loadb(old, length, 0, NULL) : NULL;
    if (json == NULL)
        json = json_object();
    json_object_set_new(json, "version", json_integer(POOL_VERSION));
    json_object_set_new(json, "incompatible", json_integer(0));
    json_object_set_new(json, "id", json_string(identity->id));
    json_object_set_new(json, "inode", json_integer((json_int_t)identity->inode));
    text = json_dumps(json, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(json);
    return text != NULL ? file_replace(directory, "pool.json", text, error)
                        : fail(error, RESOURCE_EXHAUSTED, "out of memory");
}

bool file_identity_read(int directory, const char *path, struct file_identity *identity, struct error *error)
{
    cleanup_free char *text = NULL;
    size_t length;
    if (!file_read(directory, "pool.json", &text, &length, error))
        return fail_context(error, "%s", path);
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    bool good = read_json(path, json, identity, error);
    json_decref(json);
    return good;
}
