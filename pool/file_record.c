/* The pool of kind "file": the directory of a volume or snapshot and the record in it. */
#include "pool/file.h"

#include "base/cleanup.h"
#include "base/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const file_record_names[3] = {
    [PHASE_CREATING] = "meta.json.creating", [PHASE_READY] = "meta.json", [PHASE_DELETING] = "meta.json.deleting"};

int file_kind_directory(const struct pool *pool, const struct record *record)
{
    const struct file_pool *own = pool->own;
    return own->kinds[record->kind];
}

bool file_open_directory(const struct pool *pool, const struct record *record, int *directory, struct error *error)
{
    *directory = openat(file_kind_directory(pool, record), record->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *directory >= 0 || fail_errno(error, errno, "cannot open the directory of %s", record->id);
}

bool file_look_for(int directory, const char *name, bool *there, struct error *error)
{
    *there = faccessat(directory, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (*there || errno == ENOENT)
        return true;
    fail_errno(error, errno, "cannot look for %s", name);
    error->code = UNAVAILABLE;
    return false;
}

bool file_record_begin(int directory, const struct record *record, struct error *error)
{
    cleanup_free char *text = record_to_json(record);
    cleanup_close int file =
        openat(directory, file_record_names[PHASE_CREATING], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    if (file < 0 || write(file, text, length) != (ssize_t)length)
        return fail_errno(error, errno, "cannot write the record of %s", record->id);
    return true;
}

bool file_sync_name(int directory, const char *name, const struct record *record, struct error *error)
{
    cleanup_close int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return (file >= 0 && fsync(file) == 0) ||
           fail_errno(error, errno, "cannot write %s of %s to the disk", name, record->id);
}

static bool is_written(int directory, const char *name, const char *text)
{
    cleanup_free char *there = NULL;
    size_t length;
    struct error ignored;
    return file_read(directory, name, &there, &length, &ignored) && strcmp(there, text) == 0;
}

static bool write_record(int directory, const char *name, const struct record *record, struct error *error)
{
    cleanup_free char *text = record_to_json(record);
    if (is_written(directory, name, text))
        return record->settled || file_sync_name(directory, name, record, error);
    return file_replace(directory, name, text, error) || fail_context(error, "record of %s", record->id);
}

static bool sync_directories(struct pool *pool, int directory, const struct record *record, struct error *error)
{
    if (!fault("pool.file.phase.renamed", error))
        return false;
    return (fsync(directory) == 0 && fsync(file_kind_directory(pool, record)) == 0) ||
           fail_errno(error, errno, "cannot write the directory of %s to the disk", record->id);
}

/* Changes the phase on the disk, durably or not at all. */
static bool change_phase(struct pool *pool, int directory, const struct record *record, enum phase from,
                         struct error *error)
{
    const char *old = file_record_names[from], *new = file_record_names[record->phase];
    if (renameat2(directory, old, directory, new, RENAME_NOREPLACE) != 0)
        return fail_errno(error, errno, "cannot rename the record of %s", record->id);
    if (sync_directories(pool, directory, record, error))
        return true;
    renameat2(directory, new, directory, old, RENAME_NOREPLACE);
    return false;
}

static bool phase_on_disk(int directory, enum phase *phase, bool *there, struct error *error)
{
    for (*phase = PHASE_CREATING; *phase <= PHASE_DELETING; (*phase)++)
        if (!file_look_for(directory, file_record_names[*phase], there, error) || *there)
            return *there;
    return true;
}

/* An undoing that failed may have come so far. */
static bool check_empty(int directory, const struct record *record, struct error *error)
{
    bool image = false;
    if (record->phase == PHASE_DELETING && !file_look_for(directory, "data", &image, error))
        return fail_context(error, "%s", record->id);
    return (record->phase == PHASE_DELETING && !image) ||
           fail(error, DATA_LOSS, "the record of %s is gone; nothing is changed", record->id);
}

bool file_write(struct pool *pool, const struct record *old, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    enum phase now;
    bool there;
    (void)old;
    if (!file_open_directory(pool, record, &directory, error))
        return record->phase == PHASE_DELETING && error->number == ENOENT; /* an undoing that failed had come so far */
    if (!phase_on_disk(directory, &now, &there, error))
        return fail_context(error, "%s", record->id);
    if (!there)
        return check_empty(directory, record, error);
    if (record->phase != PHASE_DELETING && !write_record(directory, file_record_names[now], record, error))
        return false;
    return now == record->phase ||
           (fault("pool.file.phase.written", error) && change_phase(pool, directory, record, now, error));
}

bool file_settle(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    return file_open_directory(pool, record, &directory, error) &&
           file_sync_name(directory, file_record_names[PHASE_CREATING], record, error);
}
