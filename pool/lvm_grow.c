/*
 * The lvm pool: growth.  What a raw block volume gets must not show what was in those extents before, not even for a
 * moment, and it may be in use: so the extents are first given to a scratch volume, zeroed there, and then named in the
 * lvextend.  Should somebody else take them in between, lvextend fails and the retry begins anew.
 */
#include "pool/lvm.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/keylock.h"
#include "pool/loop.h"
#include "pool/lvm_tag.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define PIECE (INT64_C(64) << 20)

static void extend_words(struct lvm_words *words, const struct lvm_pool *own, const char *id, int64_t bytes)
{
    lvm_words(words, "lvextend", "--size", lvm_bytes(words, bytes), lvm_full_name(words, own, id, ""), NULL);
}

static bool extend(struct lvm_pool *own, const char *id, int64_t bytes, struct error *error)
{
    struct lvm_words words = {.count = 0};
    extend_words(&words, own, id, bytes);
    return fault("pool.lvm.extend.before", error) && lvm_run(own->queue, words.argv, error);
}

/* --- zeroed extents --- */

static bool take_lock(const struct progress *progress, struct error *error)
{
    return progress == NULL || progress->lock(progress->data, error);
}

static bool go_on(const struct progress *progress, int64_t done, int64_t total, struct error *error)
{
    return progress == NULL || progress->go_on(done, total, progress->data) ||
           fail(error, ABORTED, "the driver is shutting down, or the volume is to be deleted; try again");
}

static bool zero(const char *path, int64_t bytes, const struct progress *progress, struct error *error)
{
    cleanup_close int device = open(path, O_WRONLY | O_CLOEXEC);
    if (device < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    for (int64_t offset = 0; offset < bytes; offset += PIECE) {
        uint64_t range[2] = {(uint64_t)offset, (uint64_t)(bytes - offset < PIECE ? bytes - offset : PIECE)};
        if (!go_on(progress, offset, bytes, error))
            return false;
        if (ioctl(device, BLKZEROOUT, range) != 0)
            return fail_errno(error, errno, "cannot zero %s at byte %jd", path, (intmax_t)offset);
    }
    bool written = fsync(device) == 0 || fail_errno(error, errno, "cannot write %s to the disk", path);
    clock_allow_to_finish();
    return written;
}

/* Keeps the ranges of physical extents ("/dev/sda:100-149") that are data of the scratch volume. */
static void keep_ranges(char *listing, const char *name)
{
    char *kept = listing, *rest = NULL;
    for (char *line = strtok_r(listing, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *words = NULL, *part = strtok_r(line, " ", &words);
        bool wanted = part != NULL && strstr(part, name) != NULL && strstr(part, "_rmeta_") == NULL;
        while (wanted && (part = strtok_r(NULL, " ", &words)) != NULL)
            if (part[0] == '/') {
                size_t length = strlen(part);
                memmove(kept, part, length);
                kept += length;
                *kept++ = ' ';
            }
    }
    *kept = '\0';
}

static bool list_ranges(struct lvm_pool *own, const char *name, char **ranges, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvs", "-a", "--noheadings", "-o", "lv_name,seg_pe_ranges", own->vg, NULL);
    if (!lvm_run_with(own->queue, "", words.argv, ranges, error))
        return false;
    keep_ranges(*ranges, name);
    return (*ranges)[0] != '\0' || fail(error, INTERNAL, "lvs does not tell the extents of %s", name);
}

static void removal_words(struct lvm_words *words, const struct lvm_pool *own, const char *name)
{
    lvm_words(words, "lvremove", "--yes", "--force", lvm_full_name(words, own, name, ""), NULL);
}

/* Frees the scratch volume's extents and gives them to the volume. */
static bool hand_over(struct lvm_pool *own, const char *name, const char *id, int64_t bytes, char *ranges,
                      struct error *error)
{
    struct lvm_words removal = {.count = 0}, extension = {.count = 0};
    char *rest = NULL;
    removal_words(&removal, own, name);
    extend_words(&extension, own, id, bytes);
    for (char *range = strtok_r(ranges, " \n", &rest); range != NULL; range = strtok_r(NULL, " \n", &rest)) {
        if (extension.count == LVM_WORDS_MOST)
            return fail(error, RESOURCE_EXHAUSTED,
                        "the free space of volume group %s is in too many pieces; grow it in smaller steps", own->vg);
        lvm_words(&extension, range, NULL);
    }
    bool good = lvm_run_both(own->queue, removal.argv, extension.argv, error);
    if (!good && error->code == RESOURCE_EXHAUSTED) /* just those extents: there may be others */
        error->code = ABORTED;
    return good;
}

static bool make_zeroed(struct lvm_pool *own, const struct record *record, int64_t bytes, const char *name,
                        const struct progress *progress, char **ranges, struct error *error)
{
    struct lvm_words words = {.count = 0};
    struct device_mapper_device device;
    struct record scratch = *record;
    scratch.bytes = bytes;
    lvm_words(&words, "lvcreate", "--yes", "--name", name, "--addtag", LVM_TAG_GROW, "--setactivationskip", "y", NULL);
    lvm_add_thick(&words, &scratch);
    lvm_words(&words, own->vg, NULL);
    return lvm_run_create(own, &words, error) && fault("pool.lvm.grow.scratch", error) &&
           lvm_activate(own, name, "", &device, error) && zero(device.path, bytes, progress, error) &&
           list_ranges(own, name, ranges, error) && fault("pool.lvm.grow.zeroed", error);
}

static bool check_not_cut(struct pool *pool, const struct record *record, struct error *error)
{
    return !lvm_is_cut(pool, record->id) ||
           fail(error, ABORTED, "volume %s is being copied for a snapshot; it can grow when that is done", record->id);
}

static bool extend_with_zeros(struct pool *pool, const struct record *record, int64_t bytes,
                              const struct progress *progress, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct lvm_words removal = {.count = 0};
    cleanup_free char *ranges = NULL;
    char name[ID_BYTES + 8];
    struct error second;
    snprintf(name, sizeof name, "%s.grow", record->id);
    cleanup_keylock struct keylock *lock = keylock_acquire(name, error); /* nobody else makes or removes it */
    if (lock == NULL)
        return false;
    bool good = make_zeroed(own, record, bytes - record->bytes, name, progress, &ranges, error) &&
                take_lock(progress, error) && check_not_cut(pool, record, error) &&
                hand_over(own, name, record->id, bytes, ranges, error);
    if (!good) {
        removal_words(&removal, own, name); /* it may be there or not */
        lvm_run(own->queue, removal.argv, &second);
    }
    return good || fail_context(error, "zeroed space for %s", record->id);
}

bool lvm_grow(struct pool *pool, const struct record *record, int64_t bytes, const struct progress *progress,
              struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    bool raw = record->thick && record->filesystem[0] == '\0';
    if (!check_not_cut(pool, record, error))
        return false;
    bool good = raw ? extend_with_zeros(pool, record, bytes, progress, error) : extend(own, record->id, bytes, error);
    if (good)
        lvm_account(pool, own, lvm_extents(own, record, bytes) - lvm_extents(own, record, record->bytes), 0);
    if (raw)
        lvm_has_passed(pool, own);
    return good && fault("pool.lvm.extend.after", error) && loop_resize(record->id, error);
}
