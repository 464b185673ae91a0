/* The pool of kind "file": images, their records and their loop devices. */
#include "pool/file.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "pool/loop.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int kind_directory(const struct pool *pool, const struct record *record)
{
    const struct file_pool *own = pool->own;
    return own->kinds[record->kind];
}

const char *const file_phase_suffixes[3] = {
    [PHASE_CREATING] = ".creating", [PHASE_READY] = "", [PHASE_DELETING] = ".deleting"};

/* The name of its directory in a phase. */
static void directory_name(const struct record *record, enum phase phase, char name[static 64])
{
    snprintf(name, 64, "%s%s", record->id, file_phase_suffixes[phase]);
}

static void data_name(const struct record *record, char name[static 96])
{
    snprintf(name, 96, "%s%s/data", record->id, file_phase_suffixes[record->phase]);
}

static bool open_directory(const struct pool *pool, const struct record *record, int *directory, struct error *error)
{
    char name[64];
    directory_name(record, record->phase, name);
    *directory = openat(kind_directory(pool, record), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *directory >= 0 || fail_errno(error, errno, "cannot open the directory of %s", record->id);
}

static bool open_data(const struct pool *pool, const struct record *record, int flags, int *data, struct error *error)
{
    cleanup_close int directory = -1;
    if (!open_directory(pool, record, &directory, error))
        return false;
    *data = openat(directory, "data", flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*data >= 0)
        return true;
    fail_errno(error, errno, "cannot open the image of %s", record->id);
    if (error->number == ENOENT)
        error->code = DATA_LOSS;
    return false;
}

bool file_can_reflink(int directory)
{
    cleanup_close int from = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    cleanup_close int to = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return from >= 0 && to >= 0 && ioctl(to, FICLONE, from) == 0;
}

/* Its way to the disk begins at once, so that the fsync of mkfs takes it along. */
static bool write_first(int directory, const struct record *record, struct error *error)
{
    cleanup_free char *text = record_to_json(record);
    cleanup_close int file = openat(directory, "meta.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    if (file < 0 || write(file, text, length) != (ssize_t)length)
        return fail_errno(error, errno, "cannot write the record of %s", record->id);
    sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);
    return true;
}

static bool begin(struct pool *pool, const struct record *record, int *directory, struct error *error)
{
    char name[64];
    directory_name(record, PHASE_CREATING, name);
    if (mkdirat(kind_directory(pool, record), name, 0700) != 0)
        return fail_errno(error, errno, "cannot make the directory of %s", record->id);
    return fault("pool.file.create.directory", error) && open_directory(pool, record, directory, error) &&
           write_first(*directory, record, error) && fault("pool.file.create.recorded", error);
}

static bool set_size(int data, const struct record *record, int64_t bytes, struct error *error)
{
    if (record->thick && fallocate(data, 0, 0, bytes) != 0)
        return fail_errno(error, errno, "cannot allocate the image of %s", record->id);
    return ftruncate(data, bytes) == 0 || fail_errno(error, errno, "cannot size the image of %s", record->id);
}

static bool create_data(int directory, const struct record *record, int *data, struct error *error)
{
    *data = openat(directory, "data", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *data >= 0 || fail_errno(error, errno, "cannot make the image of %s", record->id);
}

bool file_create(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1, data = -1;
    return begin(pool, record, &directory, error) && create_data(directory, record, &data, error) &&
           set_size(data, record, record->bytes, error) && fault("pool.file.create.sized", error);
}

/* An image that was cut short must not be handed on as one that ends in zeros. */
static bool check_length(int data, const struct record *record, struct error *error)
{
    struct stat status;
    if (fstat(data, &status) != 0)
        return fail_errno(error, errno, "cannot look at the image of %s", record->id);
    return status.st_size >= record->bytes ||
           fail(error, DATA_LOSS, "the image of %s has %jd bytes, its record says %jd; nothing is changed", record->id,
                (intmax_t)status.st_size, (intmax_t)record->bytes);
}

bool file_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
               struct error *error)
{
    cleanup_close int directory = -1, data = -1, from = -1;
    if (!open_data(pool, source, O_RDONLY, &from, error) || !check_length(from, source, error) ||
        !begin(pool, record, &directory, error) || !create_data(directory, record, &data, error))
        return false;
    *done = ioctl(data, FICLONE, from) == 0;
    if (!*done && errno != EOPNOTSUPP && errno != EXDEV && errno != EINVAL && errno != ENOTTY)
        return fail_errno(error, errno, "cannot clone the image of %s to %s", source->id, record->id);
    return fault("pool.file.copy.cloned", error) && set_size(data, record, record->bytes, error) &&
           fault("pool.file.copy.sized", error);
}

/* Changes the phase on the disk.  Can be repeated. */
static bool rename_directory(struct pool *pool, const struct record *record, enum phase from, struct error *error)
{
    int parent = kind_directory(pool, record);
    char old[64], new[64];
    directory_name(record, from, old);
    directory_name(record, record->phase, new);
    if (renameat2(parent, old, parent, new, RENAME_NOREPLACE) != 0 &&
        (errno != ENOENT || faccessat(parent, new, F_OK, 0) != 0))
        return fail_errno(error, errno, "cannot rename %s to %s", old, new);
    if (!fault("pool.file.phase.renamed", error))
        return false;
    return fsync(parent) == 0 || fail_errno(error, errno, "cannot write the directory of %s", record->id);
}

static bool sync_file(int directory, const char *name, const struct record *record, struct error *error)
{
    cleanup_close int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return (file >= 0 && fsync(file) == 0) ||
           fail_errno(error, errno, "cannot write %s of %s to the disk", name, record->id);
}

static bool is_written(int directory, const char *text)
{
    cleanup_free char *there = NULL;
    size_t length;
    struct error ignored;
    return file_read(directory, "meta.json", &there, &length, &ignored) && strcmp(there, text) == 0;
}

static bool write_record(int directory, const struct record *record, struct error *error)
{
    cleanup_free char *text = record_to_json(record);
    if (is_written(directory, text))
        return sync_file(directory, "meta.json", record, error);
    return file_replace(directory, "meta.json", text, error) || fail_context(error, "record of %s", record->id);
}

/* Until the rename, nobody relies on anything; after it, on everything. */
static bool make_ready(struct pool *pool, const struct record *record, int directory, struct error *error)
{
    if (!write_record(directory, record, error))
        return false;
    if (fsync(directory) != 0)
        return fail_errno(error, errno, "cannot write the directory of %s", record->id);
    return fault("pool.file.phase.written", error) && rename_directory(pool, record, PHASE_CREATING, error);
}

/* The phase that a record which is to be deleted has on the disk. */
static enum phase phase_before(const struct pool *pool, const struct record *record)
{
    char name[64];
    directory_name(record, PHASE_CREATING, name);
    return faccessat(kind_directory(pool, record), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? PHASE_CREATING : PHASE_READY;
}

bool file_write(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    struct record creating = *record;
    creating.phase = PHASE_CREATING;
    if (record->phase == PHASE_DELETING)
        return rename_directory(pool, record, phase_before(pool, record), error);
    if (record->phase == PHASE_READY && open_directory(pool, &creating, &directory, error))
        return make_ready(pool, record, directory, error);
    return open_directory(pool, record, &directory, error) && write_record(directory, record, error);
}

bool file_sync(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    return open_directory(pool, record, &directory, error) && sync_file(directory, "data", record, error);
}

static bool remove_name(int directory, const char *name, const char *id, struct error *error)
{
    return unlinkat(directory, name, 0) == 0 || errno == ENOENT ||
           fail_errno(error, errno, "cannot remove %s of %s", name, id);
}

bool file_remove(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    int parent = kind_directory(pool, record);
    char name[64];
    if (!open_directory(pool, record, &directory, error))
        return error->number == ENOENT;
    if (!remove_name(directory, "data", record->id, error) || !fault("pool.file.remove.data", error) ||
        !remove_name(directory, "meta.json.new", record->id, error) ||
        !remove_name(directory, "meta.json", record->id, error) || !fault("pool.file.remove.recorded", error))
        return false;
    directory_name(record, record->phase, name);
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return fail_errno(error, errno, "cannot remove the directory of %s", record->id);
    return fault("pool.file.remove.directory", error);
}

bool file_grow(struct pool *pool, const struct record *record, int64_t bytes, struct error *error)
{
    cleanup_close int data = -1;
    struct stat status;
    if (!open_data(pool, record, O_RDWR, &data, error))
        return false;
    if (fstat(data, &status) != 0)
        return fail_errno(error, errno, "cannot look at the image of %s", record->id);
    if (status.st_size < bytes && !set_size(data, record, bytes, error))
        return false;
    if (fsync(data) != 0)
        return fail_errno(error, errno, "cannot write the image of %s to the disk", record->id);
    return fault("pool.file.grow.sized", error) && loop_resize(record->id, error) &&
           fault("pool.file.grow.resized", error);
}

bool file_allocated(struct pool *pool, const struct record *record, int64_t *bytes, struct error *error)
{
    char path[96];
    struct stat status;
    data_name(record, path);
    if (fstatat(kind_directory(pool, record), path, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno(error, errno, "cannot look at the image of %s", record->id);
    *bytes = (int64_t)status.st_blocks * 512;
    return true;
}

void file_data_path(struct pool *pool, const struct record *record, char *path)
{
    const struct file_pool *own = pool->own;
    char name[96];
    data_name(record, name);
    snprintf(path, PATH_MAX, "%.3900s/%s/%s", own->path, file_kind_names[record->kind], name);
}

bool file_attach(struct pool *pool, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error)
{
    cleanup_close int data = -1;
    return open_data(pool, record, mode == ATTACH_READONLY ? O_RDONLY : O_RDWR, &data, error) &&
           check_length(data, record, error) && loop_attach(data, record, mode, attachment, error);
}

bool file_detach(struct pool *pool, const struct record *record, struct error *error)
{
    (void)pool;
    return loop_detach(record->id, error);
}

bool file_attached(struct pool *pool, const struct record *record, enum attach_mode mode, dev_t *device)
{
    (void)pool;
    return loop_attached(record->id, mode, device);
}

void file_volume_health(struct pool *pool, const struct record *record,
                        void (*see)(enum health, const char *, const char *, void *), void *data)
{
    char path[96];
    struct stat status;
    struct error said;
    data_name(record, path);
    if (fstatat(kind_directory(pool, record), path, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        fail_errno(&said, errno, "the image of %s in pool %s cannot be found", record->id, pool_name(pool));
        see(said.number == ENOENT ? HEALTH_DATA_LOSS : HEALTH_INACCESSIBLE, "ImageMissing", said.message, data);
    } else if (status.st_size < record->bytes) {
        fail(&said, DATA_LOSS, "the image of %s in pool %s has %jd bytes instead of %jd", record->id, pool_name(pool),
             (intmax_t)status.st_size, (intmax_t)record->bytes);
        see(HEALTH_DATA_LOSS, "ImageTruncated", said.message, data);
    }
}
