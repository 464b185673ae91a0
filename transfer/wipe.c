#include "transfer/wipe.h"

#include "base/fault.h"
#include "transfer/end.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define STEP (INT64_C(64) << 20)
#define PIECE (INT64_C(1) << 30) /* after each of them how far it is is written down */

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

static bool discard(struct end *end, int64_t start, int64_t stop, struct error *error)
{
    uint64_t range[] = {(uint64_t)start, (uint64_t)(stop - start)};
    if (ioctl(end->descriptor, BLKDISCARD, range) == 0)
        return true;
    if (errno == EOPNOTSUPP || errno == ENOTTY)
        return fail(error, FAILED_PRECONDITION, "%s has no discard; wipe it with zeros (wipe: zero)", end->path);
    return fail_errno(error, errno, "cannot discard %s at byte %jd", end->path, (intmax_t)start);
}

/* The zeros have to be on the disk before their blocks are given back. */
static bool zero_and_give_back(struct end *end, int64_t start, int64_t stop, struct error *error)
{
    struct error none; /* a pool may ignore discards */
    if (!end_zero(end, start, stop, error) || !end_sync(end, error))
        return false;
    discard(end, start, stop, &none);
    return true;
}

static bool save(const struct wiping *wiping, struct end *end, int64_t done, struct error *error)
{
    return end_sync(end, error) && (wiping->checkpoint == NULL || wiping->checkpoint(done, wiping->data, error)) &&
           fault("transfer.wipe.piece", error);
}

bool wipe_device(const struct wiping *wiping, struct error *error)
{
    cleanup_end struct end end = {.descriptor = -1};
    bool (*act)(struct end *, int64_t, int64_t, struct error *) = wiping->how == WIPE_DISCARD ? discard
                                                                  : wiping->sparse            ? zero_and_give_back
                                                                                              : end_zero;
    if (wiping->how == WIPE_NONE)
        return true;
    if (!end_open(&end, wiping->path, O_WRONLY, wiping->bytes, error))
        return false;
    for (int64_t done = wiping->start, stop; done < wiping->bytes; done = stop) {
        stop = wiping->bytes - done < STEP ? wiping->bytes : done + STEP;
        if (wiping->go_on != NULL && !wiping->go_on(done, wiping->data))
            return fail(error, ABORTED, "the wipe of %s was stopped; try again", wiping->path);
        bool piece = stop % PIECE == 0 || stop == wiping->bytes;
        if (!act(&end, done, stop, error) || (piece && !save(wiping, &end, stop, error)))
            return false;
    }
    return true;
}
