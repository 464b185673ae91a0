#include "transfer/end.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* --- opening --- */

static bool look_at(struct end *end, struct error *error)
{
    struct stat status;
    int sector = 1;
    if (fstat(end->descriptor, &status) != 0)
        return fail_errno(error, errno, "cannot look at %s", end->path);
    end->is_device = S_ISBLK(status.st_mode);
    if (!end->is_device && !S_ISREG(status.st_mode))
        return fail(error, FAILED_PRECONDITION, "%s is neither a file nor a block device", end->path);
    if (end->is_device && ioctl(end->descriptor, BLKSSZGET, &sector) != 0)
        return fail_errno(error, errno, "cannot ask %s for its sector size", end->path);
    end->sector = sector;
    end->bytes = lseek(end->descriptor, 0, SEEK_END);
    return end->bytes >= 0 || fail_errno(error, errno, "cannot ask %s for its length", end->path);
}

bool end_open(struct end *end, const char *path, int flags, int64_t bytes, struct error *error)
{
    *end = (struct end){.path = path, .descriptor = open(path, flags | O_CLOEXEC)};
    if (end->descriptor < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    if (!look_at(end, error))
        return false;
    return end->bytes >= bytes || fail(error, DATA_LOSS, "%s has %jd bytes instead of %jd; nothing was copied", path,
                                       (intmax_t)end->bytes, (intmax_t)bytes);
}

void end_close(struct end *end)
{
    cleanup_close_descriptor(&end->descriptor);
    end->descriptor = -1;
}

/* --- past the page cache --- */

void end_avoid_cache(struct end *end)
{
    end->is_direct = fcntl(end->descriptor, F_SETFL, O_DIRECT) == 0;
}

/* After EINVAL: some file systems refuse O_DIRECT only here, and the last bytes may be less than a sector. */
static bool use_cache(struct end *end)
{
    if (errno != EINVAL || !end->is_direct)
        return false;
    end->is_direct = false;
    return fcntl(end->descriptor, F_SETFL, 0) == 0;
}

/* --- reading --- */

/* What a disk or file system says of data that it has lost (blk_errors[] in Linux' block/blk-core.c; EUCLEAN: xfs,
 * ext4). */
static bool is_loss(int number)
{
    return number == EIO || number == ENODATA || number == EILSEQ || number == EUCLEAN;
}

/* One bad block fails a read as a whole: says which it is. */
static bool fail_read(const struct end *end, char *buffer, size_t bytes, int64_t offset, struct error *error)
{
    int number = errno;
    int64_t stop = offset + (int64_t)bytes, bad = offset;
    while (bad < stop && pread(end->descriptor, buffer, END_BLOCK, bad) >= 0)
        bad += END_BLOCK;
    fail_errno(error, number, "cannot read %s at byte %jd (nothing was changed on the source)", end->path,
               (intmax_t)(bad < stop ? bad : offset));
    if (is_loss(number))
        error->code = DATA_LOSS;
    return false;
}

bool end_read(struct end *end, char *buffer, size_t bytes, int64_t offset, size_t *count, struct error *error)
{
    size_t blocks = (bytes + END_BLOCK - 1) / END_BLOCK * END_BLOCK;
    ssize_t got;
    do
        got = pread(end->descriptor, buffer, blocks, offset);
    while (got < 0 && use_cache(end));
    if (got < 0)
        return fail_read(end, buffer, bytes, offset, error);
    if (got == 0)
        return fail(error, DATA_LOSS, "%s ends at byte %jd, too early", end->path, (intmax_t)offset);
    *count = (size_t)got < bytes ? (size_t)got : bytes;
    return true;
}

void end_next_extent(const struct end *end, int64_t offset, int64_t stop, int64_t *data, int64_t *hole)
{
    off_t found = lseek(end->descriptor, offset, SEEK_DATA);
    bool none = found < 0 && errno == ENXIO;
    *data = none || found > stop ? stop : found < 0 ? offset : found;
    off_t after = found < 0 ? -1 : lseek(end->descriptor, found, SEEK_HOLE);
    *hole = none || after < 0 || after > stop ? stop : after;
}

/* --- writing --- */

bool end_write(struct end *end, const char *bytes, size_t count, int64_t offset, struct error *error)
{
    while (count > 0) {
        ssize_t written = pwrite(end->descriptor, bytes, count, offset);
        if (written < 0 && use_cache(end))
            continue;
        if (written <= 0)
            return fail_errno(error, written < 0 ? errno : ENOSPC, "cannot write %s at byte %jd", end->path,
                              (intmax_t)offset);
        bytes += written;
        count -= (size_t)written;
        offset += written;
    }
    return true;
}

/* The part of a sector that is not to be touched as a whole. */
static bool write_zeros(struct end *end, int64_t start, int64_t stop, struct error *error)
{
    static const char zeros[END_BLOCK];
    for (int64_t piece; start < stop; start += piece) {
        piece = stop - start < END_BLOCK ? stop - start : END_BLOCK;
        if (!end_write(end, zeros, (size_t)piece, start, error))
            return false;
    }
    return true;
}

static bool zero_sectors(const struct end *end, int64_t start, int64_t stop, struct error *error)
{
    uint64_t range[] = {(uint64_t)start, (uint64_t)(stop - start)};
    return start == stop || ioctl(end->descriptor, BLKZEROOUT, range) == 0 ||
           fail_errno(error, errno, "cannot zero %s at byte %jd", end->path, (intmax_t)start);
}

static bool zero_device(struct end *end, int64_t start, int64_t stop, struct error *error)
{
    int64_t first = (start + end->sector - 1) / end->sector * end->sector, last = stop / end->sector * end->sector;
    if (first > last)
        return write_zeros(end, start, stop, error);
    return write_zeros(end, start, first, error) && zero_sectors(end, first, last, error) &&
           write_zeros(end, last, stop, error);
}

/* tmpfs can only punch. */
static bool zero_file(const struct end *end, int64_t start, int64_t stop, struct error *error)
{
    return fallocate(end->descriptor, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, start, stop - start) == 0 ||
           (errno == EOPNOTSUPP &&
            fallocate(end->descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, stop - start) == 0) ||
           fail_errno(error, errno, "cannot zero %s at byte %jd", end->path, (intmax_t)start);
}

bool end_zero(struct end *end, int64_t start, int64_t stop, struct error *error)
{
    return end->is_device ? zero_device(end, start, stop, error) : zero_file(end, start, stop, error);
}

bool end_sync(struct end *end, struct error *error)
{
    return fdatasync(end->descriptor) == 0 || fail_errno(error, errno, "cannot write %s to the disk", end->path);
}

void end_forget(const struct end *end, int64_t start, int64_t stop)
{
    posix_fadvise(end->descriptor, start, stop - start, POSIX_FADV_DONTNEED);
}
