/* The pool of kind "file": images and their loop devices. */
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

static bool open_data(const struct pool *pool, const struct record *record, int flags, int *data, struct error *error)
{
    cleanup_close int directory = -1;
    if (!file_open_directory(pool, record, &directory, error))
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

static bool check_wishes(const struct pool *pool, const struct record *record, struct error *error)
{
    if (record->layout != LAYOUT_LINEAR)
        return fail(error, INVALID_ARGUMENT, "parameter layout: pool %s is one directory; layouts are for pools of LVM",
                    pool_name(pool));
    return record->wipe == WIPE_NONE ||
           fail(error, INVALID_ARGUMENT,
                "parameter wipe: pool %s gives the blocks of deleted files back to its file system, it cannot wipe "
                "them",
                pool_name(pool));
}

static bool begin(struct pool *pool, const struct record *record, int *directory, struct error *error)
{
    if (!check_wishes(pool, record, error))
        return false;
    if (mkdirat(file_kind_directory(pool, record), record->id, 0700) != 0)
        return fail_errno(error, errno, "cannot make the directory of %s", record->id);
    return fault("pool.file.create.directory", error) && file_open_directory(pool, record, directory, error) &&
           file_record_begin(*directory, record, error) && fault("pool.file.create.recorded", error);
}

static bool set_size(int data, const struct record *record, int64_t bytes, struct error *error)
{
    bool allocated = record->thick && record->kind == RECORD_VOLUME; /* nobody writes to a snapshot */
    if (allocated && fallocate(data, 0, 0, bytes) != 0)
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
    if (record->bytes < source->bytes)
        return fail(error, ABORTED, "%s has grown to %jd bytes, and its copy %s was to have %jd; try again", source->id,
                    (intmax_t)source->bytes, record->id, (intmax_t)record->bytes);
    if (!open_data(pool, source, O_RDONLY, &from, error) || !check_length(from, source, error) ||
        !begin(pool, record, &directory, error) || !create_data(directory, record, &data, error))
        return false;
    *done = ioctl(data, FICLONE, from) == 0;
    if (!*done && errno != EOPNOTSUPP && errno != EXDEV && errno != EINVAL && errno != ENOTTY)
        return fail_errno(error, errno, "cannot clone the image of %s to %s", source->id, record->id);
    return fault("pool.file.copy.cloned", error) && set_size(data, record, record->bytes, error) &&
           fault("pool.file.copy.sized", error);
}

bool file_sync(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    return file_open_directory(pool, record, &directory, error) && file_sync_name(directory, "data", record, error);
}

static bool remove_name(int directory, const char *name, const char *id, struct error *error)
{
    return unlinkat(directory, name, 0) == 0 || errno == ENOENT ||
           fail_errno(error, errno, "cannot remove %s of %s", name, id);
}

/* Whatever led here: what says that it is in use stays. */
static bool check_removable(int directory, const struct record *record, struct error *error)
{
    bool ready;
    if (!file_look_for(directory, file_record_names[PHASE_READY], &ready, error))
        return fail_context(error, "%s is not removed", record->id);
    return !ready || fail(error, FAILED_PRECONDITION,
                          "%s is not marked for deletion on the disk (there is %s); it is not removed", record->id,
                          file_record_names[PHASE_READY]);
}

bool file_remove(struct pool *pool, const struct record *record, struct error *error)
{
    cleanup_close int directory = -1;
    if (!file_open_directory(pool, record, &directory, error))
        return error->number == ENOENT;
    if (!check_removable(directory, record, error) || !remove_name(directory, "data", record->id, error) ||
        !fault("pool.file.remove.data", error))
        return false;
    static const char *const rest[] = {"meta.json.new", "meta.json.creating.new", "meta.json.creating",
                                       "meta.json.deleting"};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (!remove_name(directory, rest[i], record->id, error))
            return false;
    if (!fault("pool.file.remove.recorded", error))
        return false;
    if (unlinkat(file_kind_directory(pool, record), record->id, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return fail_errno(error, errno, "cannot remove the directory of %s", record->id);
    return fault("pool.file.remove.directory", error);
}

bool file_grow(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
               struct error *error)
{
    cleanup_close int data = -1;
    struct stat status;
    (void)progress;
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
    char path[ID_BYTES + 8];
    struct stat status;
    snprintf(path, sizeof path, "%s/data", record->id);
    if (fstatat(file_kind_directory(pool, record), path, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno(error, errno, "cannot look at the image of %s", record->id);
    *bytes = (int64_t)status.st_blocks * 512;
    return true;
}

bool file_open_data(struct pool *pool, const struct record *record, char *path, struct error *error)
{
    const struct file_pool *own = pool->own;
    (void)error;
    snprintf(path, PATH_MAX, "%.3900s/%s/%s/data", own->path, file_kind_names[record->kind], record->id);
    return true;
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
    char path[ID_BYTES + 8];
    struct stat status;
    struct error said;
    snprintf(path, sizeof path, "%s/data", record->id);
    if (fstatat(file_kind_directory(pool, record), path, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        fail_errno(&said, errno, "the image of %s in pool %s cannot be found", record->id, pool_name(pool));
        see(said.number == ENOENT ? HEALTH_DATA_LOSS : HEALTH_INACCESSIBLE, "ImageMissing", said.message, data);
    } else if (status.st_size < record->bytes) {
        fail(&said, DATA_LOSS, "the image of %s in pool %s has %jd bytes instead of %jd", record->id, pool_name(pool),
             (intmax_t)status.st_size, (intmax_t)record->bytes);
        see(HEALTH_DATA_LOSS, "ImageTruncated", said.message, data);
    }
}
