#include "transfer/wipe.h"

#include "base/fault.h"
#include "transfer/copy.h"
#include "transfer/end.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define PIECE (INT64_C(1) << 30)

static const char *const names[] = {[WIPE_NONE] = "none", [WIPE_DISCARD] = "discard", [WIPE_ZERO] = "zero"};

bool wipe_parse(const char *text, enum wipe *how, struct error *error)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            *how = (enum wipe)i;
            return true;
        }
    return fail(error, INVALID_ARGUMENT, "a wipe is none, discard or zero, not \"%s\"", text);
}

static bool discard_piece(const struct end *end, int64_t start, int64_t stop, struct error *error)
{
    uint64_t range[] = {(uint64_t)start, (uint64_t)(stop - start)};
    if (ioctl(end->descriptor, BLKDISCARD, range) == 0)
        return true;
    if (errno == EOPNOTSUPP || errno == ENOTTY)
        return fail(error, FAILED_PRECONDITION, "%s has no discard; wipe it with zeros (wipe: zero)", end->path);
    return fail_errno(error, errno, "cannot discard %s at byte %jd", end->path, (intmax_t)start);
}

static bool discard(const struct copy *wipe, struct error *error)
{
    cleanup_end struct end end = {.descriptor = -1};
    if (!end_open(&end, wipe->to, O_WRONLY, wipe->bytes, error))
        return false;
    for (int64_t done = wipe->start; done < wipe->bytes;) {
        int64_t stop = wipe->bytes - done < PIECE ? wipe->bytes : done + PIECE;
        if (wipe->go_on != NULL && !wipe->go_on(done, wipe->data))
            return fail(error, ABORTED, "the wipe of %s was stopped; try again", wipe->to);
        if (!discard_piece(&end, done, stop, error) || !end_sync(&end, error) ||
            (wipe->checkpoint != NULL && !wipe->checkpoint(stop, wipe->data, error)) ||
            !fault("transfer.wipe.piece", error))
            return false;
        done = stop;
    }
    return true;
}

bool wipe_device(const char *path, int64_t bytes, enum wipe how, int64_t start, bool (*go_on)(int64_t done, void *data),
                 bool (*checkpoint)(int64_t done, void *data, struct error *error), void *data, struct error *error)
{
    struct copy wipe = {
        .to = path, .bytes = bytes, .start = start, .go_on = go_on, .checkpoint = checkpoint, .data = data};
    switch (how) {
    case WIPE_DISCARD:
        return discard(&wipe, error);
    case WIPE_ZERO:
        return copy_bytes(&wipe, error);
    default:
        return true;
    }
}
