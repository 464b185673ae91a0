#include "transfer/copy.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "transfer/end.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE (8 << 20)
#define BUFFER (4 << 20)
#define ZERO_PIECE (64 << 20)
#define CHECKPOINT (256 << 20)
#define WORTH_ZEROING (64 << 10) /* on a device a run shorter than that is faster written with what is around it */

struct progress {
    const struct copy *copy;
    struct end from, to;
    char *buffer;       /* NULL: the kernel copies */
    int64_t done;       /* all before is as it should be */
    int64_t saved;      /* all before is on the disk */
    int64_t least_zero; /* the shortest run of zeros that is not written */
};

static void progress_free(struct progress *progress)
{
    end_close(&progress->from);
    end_close(&progress->to);
    if (progress->buffer != NULL)
        munmap(progress->buffer, BUFFER);
}

/* --- between pieces --- */

static bool may_go_on(const struct progress *progress, struct error *error)
{
    const struct copy *copy = progress->copy;
    return copy->go_on == NULL || copy->go_on(progress->done, copy->data) ||
           fail(error, ABORTED, "the copy was stopped; try again");
}

static bool save(struct progress *progress, struct error *error)
{
    const struct copy *copy = progress->copy;
    if (!end_sync(&progress->to, error))
        return false;
    end_forget(&progress->from, progress->saved, progress->done);
    end_forget(&progress->to, progress->saved, progress->done);
    progress->saved = progress->done;
    return copy->checkpoint == NULL || copy->checkpoint(progress->done, copy->data, error);
}

static bool end_piece(struct progress *progress, struct error *error)
{
    bool is_time = progress->done - progress->saved >= CHECKPOINT;
    return (!is_time || save(progress, error)) && fault("transfer.copy.piece", error);
}

/* --- zeros --- */

/* The next extent from `done` on that may be other than zero; at `stop` if there is none. */
static void next_to_zero(const struct progress *progress, int64_t stop, int64_t *start, int64_t *end)
{
    if (progress->copy->target_is_zero)
        *start = *end = stop;
    else
        end_next_extent(&progress->to, progress->done, stop, start, end);
}

/* Everything from `done` to `stop` is to be zeros. */
static bool zero_until(struct progress *progress, int64_t stop, struct error *error)
{
    for (int64_t start, end; progress->done < stop;) {
        next_to_zero(progress, stop, &start, &end);
        progress->done = start;
        if (start == stop)
            break;
        int64_t border = (start / ZERO_PIECE + 1) * ZERO_PIECE, piece_end = border < end ? border : end;
        if (!may_go_on(progress, error) || !end_zero(&progress->to, start, piece_end, error))
            return false;
        progress->done = piece_end;
        if (!end_piece(progress, error))
            return false;
    }
    return true;
}

/* --- data, through memory --- */

static bool is_zero(const char *bytes, size_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static size_t block_end(size_t at, size_t count)
{
    return count - at < END_BLOCK ? count : at + END_BLOCK;
}

/* Where the zeros that begin at `at` end. */
static size_t zeros_end(const char *buffer, size_t at, size_t count)
{
    while (at < count && is_zero(buffer + at, block_end(at, count) - at))
        at = block_end(at, count);
    return at;
}

/* Where the data that begins at `at` ends: at a run of zeros that is long enough not to be written. */
static size_t data_end(const char *buffer, size_t at, size_t count, size_t least_zero)
{
    while (at < count) {
        size_t end = zeros_end(buffer, at, count);
        if (end > at && end - at + END_BLOCK > least_zero)
            return at;
        at = end == at ? block_end(at, count) : end;
    }
    return count;
}

/* Zeros are left between `done` and what comes next, so that they are zeroed in one. */
static bool write_buffer(struct progress *progress, int64_t offset, size_t count, struct error *error)
{
    for (size_t at = 0, end; at < count; at = zeros_end(progress->buffer, end, count)) {
        end = data_end(progress->buffer, at, count, (size_t)progress->least_zero);
        if (end == at)
            continue;
        if (!zero_until(progress, offset + (int64_t)at, error) ||
            !end_write(&progress->to, progress->buffer + at, end - at, offset + (int64_t)at, error))
            return false;
        progress->done = offset + (int64_t)end;
    }
    int64_t read = offset + (int64_t)count;
    return read - progress->done < ZERO_PIECE || zero_until(progress, read, error);
}

/* Mapped, as memory from malloc() could stay with the process. */
static bool need_buffer(struct progress *progress, struct error *error)
{
    if (progress->buffer != NULL)
        return true;
    void *memory = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return fail_errno(error, errno, "no memory to copy %s", progress->copy->from);
    progress->buffer = memory;
    return true;
}

static bool copy_through_memory(struct progress *progress, int64_t offset, size_t bytes, size_t *count,
                                struct error *error)
{
    return need_buffer(progress, error) &&
           end_read(&progress->from, progress->buffer, bytes < BUFFER ? bytes : BUFFER, offset, count, error) &&
           write_buffer(progress, offset, *count, error);
}

/* --- data, in the kernel --- */

/* Whatever the kernel could not do is done again through memory, which tells which end failed. */
static bool copy_some(struct progress *progress, int64_t offset, size_t bytes, size_t *count, struct error *error)
{
    off_t in = offset, out = offset;
    if (progress->buffer != NULL)
        return copy_through_memory(progress, offset, bytes, count, error);
    if (!zero_until(progress, offset, error))
        return false;
    ssize_t copied = copy_file_range(progress->from.descriptor, &in, progress->to.descriptor, &out, bytes, 0);
    if (copied <= 0)
        return copy_through_memory(progress, offset, bytes, count, error);
    progress->done = offset + copied;
    *count = (size_t)copied;
    return true;
}

static bool copy_extent(struct progress *progress, int64_t offset, int64_t end, struct error *error)
{
    while (offset < end) {
        size_t count = end - offset < PIECE ? (size_t)(end - offset) : PIECE;
        if (!may_go_on(progress, error) || !copy_some(progress, offset, count, &count, error) ||
            !end_piece(progress, error))
            return false;
        offset += (int64_t)count;
    }
    return true;
}

/* --- the whole --- */

static bool prepare(struct progress *progress, struct error *error)
{
    const struct copy *copy = progress->copy;
    int64_t target_bytes = copy->target_bytes > copy->bytes ? copy->target_bytes : copy->bytes;
    if (!end_open(&progress->to, copy->to, O_WRONLY, target_bytes, error))
        return false;
    progress->least_zero = progress->to.is_device && !copy->target_is_zero ? WORTH_ZEROING : END_BLOCK;
    if (copy->from == NULL)
        return true;
    if (!end_open(&progress->from, copy->from, O_RDONLY, copy->bytes, error))
        return false;
    if (!progress->from.is_device && !progress->to.is_device)
        return true;
    end_avoid_cache(&progress->from);
    end_avoid_cache(&progress->to);
    return need_buffer(progress, error);
}

static bool copy_source(struct progress *progress, struct error *error)
{
    int64_t bytes = progress->copy->bytes;
    if (progress->done < bytes) /* what comes twice is the same */
        progress->done = progress->done / END_BLOCK * END_BLOCK;
    for (int64_t offset = progress->done, end; offset < bytes; offset = end) {
        int64_t start;
        end_next_extent(&progress->from, offset, bytes, &start, &end);
        start = start < bytes ? start / END_BLOCK * END_BLOCK : bytes;
        end = end > bytes - END_BLOCK ? bytes : (end + END_BLOCK - 1) / END_BLOCK * END_BLOCK;
        if (!copy_extent(progress, start, end, error))
            return false;
    }
    return true;
}

bool copy_bytes(const struct copy *copy, struct error *error)
{
    struct progress progress __attribute__((cleanup(progress_free))) = {
        .copy = copy, .from.descriptor = -1, .to.descriptor = -1, .done = copy->start, .saved = copy->start};
    int64_t all = copy->target_bytes > copy->bytes ? copy->target_bytes : copy->bytes;
    if (!prepare(&progress, error) || (copy->from != NULL && !copy_source(&progress, error)) ||
        !zero_until(&progress, all, error))
        return false;
    return save(&progress, error) && fault("transfer.copy.synced", error);
}
