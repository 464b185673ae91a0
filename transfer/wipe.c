#include "transfer/wipe.h"

#include "base/fault.h"
#include "base/log.h"
#include "transfer/end.h"

#include <errno.h>
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

static bool discard(const struct end *end, int64_t start, int64_t stop)
{
    uint64_t range[] = {(uint64_t)start, (uint64_t)(stop - start)};
    return ioctl(end->descriptor, BLKDISCARD, range) == 0;
}

/* The zeros have to be on the disk before their blocks are given back. */
static bool zero_and_give_back(struct end *end, int64_t start, int64_t stop, struct error *error)
{
    if (!end_zero(end, start, stop, error) || !end_sync(end, error))
        return false;
    discard(end, start, stop); /* a pool may ignore it */
    return true;
}

static void tell_no_discard(const struct wiping *wiping, int number)
{
    log_event(LOG_WARNING, "discards are not taken here: overwritten with zeros instead", "volume_id", wiping->id,
              "device", wiping->path, "error", strerrordesc_np(number), NULL);
}

/* Nobody is to see the bytes, and zeros do that too: a volume that could not be wiped could never be deleted. */
static bool wipe_step(const struct wiping *wiping, enum wipe *how, struct end *end, int64_t start, int64_t stop,
                      struct error *error)
{
    if (*how == WIPE_DISCARD && discard(end, start, stop))
        return true;
    if (*how == WIPE_DISCARD)
        tell_no_discard(wiping, errno);
    *how = WIPE_ZERO;
    return wiping->sparse ? zero_and_give_back(end, start, stop, error) : end_zero(end, start, stop, error);
}

static bool save(const struct wiping *wiping, struct end *end, int64_t done, struct error *error)
{
    return end_sync(end, error) && (wiping->checkpoint == NULL || wiping->checkpoint(done, wiping->data, error)) &&
           fault("transfer.wipe.piece", error);
}

bool wipe_device(const struct wiping *wiping, struct error *error)
{
    cleanup_end struct end end = {.descriptor = -1};
    enum wipe how = wiping->how;
    if (how == WIPE_NONE)
        return true;
    if (!end_open(&end, wiping->path, O_WRONLY, wiping->bytes, error))
        return false;
    for (int64_t done = wiping->start, stop; done < wiping->bytes; done = stop) {
        stop = wiping->bytes - done < STEP ? wiping->bytes : done + STEP;
        if (wiping->go_on != NULL && !wiping->go_on(done, wiping->data))
            return fail(error, ABORTED, "the wipe of %s was stopped; try again", wiping->path);
        bool piece = stop % PIECE == 0 || stop == wiping->bytes;
        if (!wipe_step(wiping, &how, &end, done, stop, error) || (piece && !save(wiping, &end, stop, error)))
            return false;
    }
    return true;
}
