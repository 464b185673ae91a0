#include "transfer/copy.h"

#include "base/cleanup.h"
#include "base/fault.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (8 << 20)
#define CHECKPOINT (256 << 20)
#define BUFFER 65536

struct progress {
    const struct copy *copy;
    int from, to;
    int64_t saved; /* all before is on the disk */
};

/* For block devices and file systems that copy_file_range() does not serve. */
static ssize_t copy_through_memory(int from, int to, int64_t offset, size_t bytes)
{
    char buffer[BUFFER];
    ssize_t count = pread(from, buffer, bytes < sizeof buffer ? bytes : sizeof buffer, offset);
    return count <= 0 ? count : pwrite(to, buffer, (size_t)count, offset);
}

static ssize_t copy_some(int from, int to, int64_t offset, size_t bytes)
{
    off_t in = offset, out = offset;
    ssize_t count = copy_file_range(from, &in, to, &out, bytes, 0);
    bool unable = count < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS);
    return unable ? copy_through_memory(from, to, offset, bytes) : count;
}

static bool save(struct progress *progress, int64_t done, struct error *error)
{
    const struct copy *copy = progress->copy;
    if (fdatasync(progress->to) != 0)
        return fail_errno(error, errno, "cannot write %s to the disk", copy->to);
    posix_fadvise(progress->from, progress->saved, done - progress->saved, POSIX_FADV_DONTNEED);
    posix_fadvise(progress->to, progress->saved, done - progress->saved, POSIX_FADV_DONTNEED);
    progress->saved = done;
    return copy->checkpoint == NULL || copy->checkpoint(done, copy->data, error);
}

static bool copy_extent(struct progress *progress, int64_t offset, int64_t end, struct error *error)
{
    const struct copy *copy = progress->copy;
    while (offset < end) {
        size_t bytes = end - offset < PIECE ? (size_t)(end - offset) : PIECE;
        if (!copy->go_on(offset, copy->data))
            return fail(error, ABORTED, "the copy was stopped; try again");
        ssize_t count = copy_some(progress->from, progress->to, offset, bytes);
        if (count < 0)
            return fail_errno(error, errno, "cannot copy %s to %s at byte %jd", copy->from, copy->to, (intmax_t)offset);
        if (count == 0)
            return fail(error, DATA_LOSS, "%s ends at byte %jd, too early", copy->from, (intmax_t)offset);
        offset += count;
        if (offset - progress->saved >= CHECKPOINT && !save(progress, offset, error))
            return false;
        if (!fault("transfer.copy.piece", error))
            return false;
    }
    return true;
}

/* The next extent with data at or after `offset`.  Without SEEK_DATA everything is data. */
static void next_extent(int from, int64_t offset, int64_t bytes, int64_t *start, int64_t *end)
{
    off_t data = lseek(from, offset, SEEK_DATA);
    bool beyond = data < 0 && errno == ENXIO;
    *start = beyond ? bytes : data < 0 ? offset : data;
    off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
    *end = beyond || hole < 0 || hole > bytes ? bytes : hole;
}

/* A hole at the end of a source that was cut short would be taken for zeros. */
static bool check_length(const struct copy *copy, int from, struct error *error)
{
    off_t length = lseek(from, 0, SEEK_END);
    if (length < 0)
        return fail_errno(error, errno, "cannot look at %s", copy->from);
    return length >= copy->bytes || fail(error, DATA_LOSS, "%s has %jd bytes instead of %jd; nothing is made from it",
                                         copy->from, (intmax_t)length, (intmax_t)copy->bytes);
}

bool copy_bytes(const struct copy *copy, struct error *error)
{
    cleanup_close int from = open(copy->from, O_RDONLY | O_CLOEXEC), to = open(copy->to, O_WRONLY | O_CLOEXEC);
    if (from < 0 || to < 0)
        return fail_errno(error, errno, "cannot open %s", from < 0 ? copy->from : copy->to);
    if (!check_length(copy, from, error))
        return false;
    struct progress progress = {.copy = copy, .from = from, .to = to, .saved = copy->start};
    for (int64_t offset = copy->start, end; offset < copy->bytes; offset = end) {
        int64_t start;
        next_extent(from, offset, copy->bytes, &start, &end);
        if (start < end && !copy_extent(&progress, start, end, error))
            return false;
    }
    return save(&progress, copy->bytes, error) && fault("transfer.copy.synced", error);
}
