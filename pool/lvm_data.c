/* The lvm pool: making and changing volumes, each by one command (docs/lvm.md). */
#include "pool/lvm.h"

#include "base/fault.h"
#include "pool/lvm_tag.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* What each layout is called, and what it needs. */
static const struct geometry {
    const char *type;
    int stripes, mirrors; /* defaults; 0: it has none */
    int parity;           /* devices with parity */
    bool stripes_per_mirror;
} layouts[] = {
    [LAYOUT_LINEAR] = {"linear", 0, 0, 0, false}, [LAYOUT_STRIPED] = {"striped", 2, 0, 0, false},
    [LAYOUT_RAID1] = {"raid1", 0, 1, 0, false},   [LAYOUT_RAID5] = {"raid5", 2, 0, 1, false},
    [LAYOUT_RAID6] = {"raid6", 3, 0, 2, false},   [LAYOUT_RAID10] = {"raid10", 2, 1, 0, true},
};

int lvm_stripes(const struct record *record)
{
    int standard = layouts[record->layout].stripes;
    return standard == 0 ? 1 : record->stripes > 0 ? record->stripes : standard;
}

static int copies_of(const struct record *record)
{
    int standard = layouts[record->layout].mirrors;
    return standard == 0 ? 1 : 1 + (record->mirrors > 0 ? record->mirrors : standard);
}

static int devices_of(const struct record *record)
{
    return lvm_stripes(record) * copies_of(record) + layouts[record->layout].parity;
}

/* Copies of the same bytes lie beside each other, and one of them has to be left; with parity it is all as one. */
bool lvm_serves(const struct record *record, const char *legs)
{
    int copies = record->layout == LAYOUT_RAID1 ? (int)strlen(legs) : copies_of(record);
    int most = copies > 1 ? copies - 1 : layouts[record->layout].parity, dead = 0;
    for (int i = 0; legs[i] != '\0'; i++) {
        if (copies > 1 && i % copies == 0)
            dead = 0;
        dead += legs[i] == 'D' || legs[i] == '-';
        if (dead > most)
            return false;
    }
    return true;
}

/* Extents of RAID metadata on each device. */
static int64_t overhead(const struct record *record)
{
    return copies_of(record) > 1 || layouts[record->layout].parity > 0;
}

int64_t lvm_extents(const struct lvm_pool *own, const struct record *record, int64_t bytes)
{
    if (!record->thick || own->extent_bytes == 0)
        return 0;
    int stripes = lvm_stripes(record);
    int64_t extents = (bytes + own->extent_bytes - 1) / own->extent_bytes;
    return ((extents + stripes - 1) / stripes + overhead(record)) * devices_of(record);
}

int64_t lvm_usable(const struct lvm_pool *own, const struct record *shape, int64_t extents)
{
    int64_t each = extents / devices_of(shape) - overhead(shape);
    return each <= 0 ? 0 : each * lvm_stripes(shape) * own->extent_bytes;
}

void lvm_account(struct pool *pool, struct lvm_pool *own, int64_t extents, int64_t metadata_bytes)
{
    pthread_mutex_lock(&pool->mutex);
    own->free_extents -= extents;
    own->metadata_free_bytes -= metadata_bytes;
    pthread_mutex_unlock(&pool->mutex);
}

/* --- making --- */

/* Snapshots and what promises nothing pass the account of promises. */
static bool check_thin_room(struct pool *pool, const struct lvm_pool *own, struct error *error)
{
    struct thin_pool_status status;
    char reason[sizeof((struct pool_space *)0)->reason];
    if (!lvm_has_room_for_metadata(pool, own, error) || !lvm_thin_status(own, &status, error))
        return false;
    if (!lvm_is_full(&status))
        return true;
    lvm_tell_full(own, &status, reason);
    return fail(error, RESOURCE_EXHAUSTED, "%s", reason);
}

static bool check_layout(const struct lvm_pool *own, const struct record *record, struct error *error)
{
    if (!record->thick && own->thin_pool[0] == '\0')
        return fail(error, INVALID_ARGUMENT,
                    "pool %s has no thin pool (option thinpool), so its volumes are thick: provisioning=thick",
                    own->pool != NULL ? pool_name(own->pool) : own->vg);
    return record->thick || record->layout == LAYOUT_LINEAR ||
           fail(error, INVALID_ARGUMENT,
                "layout %s is for thick volumes (parameter provisioning); a thin volume lies as its thin pool does",
                layouts[record->layout].type);
}

/* A volume that gets its file system now stays active; of the others nothing needs a device yet. */
static void add_thin(struct lvm_words *words, const struct lvm_pool *own, const struct record *record)
{
    bool formatted = record->kind == RECORD_VOLUME && record->filesystem[0] != '\0' && record->source_id[0] == '\0';
    lvm_words(words, "--type", "thin", "--virtualsize", lvm_bytes(words, record->bytes), "--thinpool", own->thin_pool,
              "--activate", formatted ? "y" : "n", NULL);
    if (formatted)
        lvm_words(words, "--ignoreactivationskip", NULL);
}

void lvm_add_thick(struct lvm_words *words, const struct record *record)
{
    static const char *const numbers[] = {"0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",  "8",  "9",  "10",
                                          "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21",
                                          "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32"};
    lvm_words(words, "--type", layouts[record->layout].type, "--size", lvm_bytes(words, record->bytes),
              "--ignoreactivationskip", "--wipesignatures", "n", "--zero", "n", NULL);
    if (lvm_stripes(record) > 1)
        lvm_words(words, "--stripes", numbers[lvm_stripes(record)], NULL);
    if (copies_of(record) > 1)
        lvm_words(words, "--mirrors", numbers[copies_of(record) - 1], NULL);
}

bool lvm_run_create(struct lvm_pool *own, const struct lvm_words *words, struct error *error)
{
    if (lvm_run(own->queue, words->argv, error))
        return true;
    if (error->code == ALREADY_EXISTS) {
        lvm_queue_make_uncertain(own->queue);
        error->code = ABORTED;
    }
    return false;
}

bool lvm_create(struct pool *pool, const struct record *record, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct lvm_words words = {.count = 0};
    char tag[LVM_TAG_BYTES];
    if (!check_layout(own, record, error) || (!record->thick && !check_thin_room(pool, own, error)))
        return false;
    lvm_tag_from_record(record, tag);
    lvm_words(&words, "lvcreate", "--yes", "--name", record->id, "--addtag", tag, "--setactivationskip", "y", NULL);
    if (record->thick)
        lvm_add_thick(&words, record);
    else
        add_thin(&words, own, record);
    lvm_words(&words, own->vg, NULL);
    if (!fault("pool.lvm.create.before", error) || !lvm_run_create(own, &words, error))
        return false;
    lvm_account(pool, own, lvm_extents(own, record, record->bytes), LVM_TAG_COST);
    return fault("pool.lvm.create.after", error);
}

static bool snapshot(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct lvm_words words = {.count = 0};
    char tag[LVM_TAG_BYTES];
    lvm_tag_from_record(record, tag);
    lvm_words(&words, "lvcreate", "--yes", "--snapshot", "--name", record->id, "--addtag", tag, "--setactivationskip",
              "y", "--permission", record->kind == RECORD_SNAPSHOT ? "r" : "rw",
              lvm_full_name(&words, own, source->id, ""), NULL);
    if (!fault("pool.lvm.snapshot.before", error) || !lvm_run_create(own, &words, error))
        return false;
    lvm_account(pool, own, 0, LVM_TAG_COST);
    return fault("pool.lvm.snapshot.after", error);
}

bool lvm_copy(struct pool *pool, const struct record *source, const struct record *record, bool *done,
              struct error *error)
{
    *done = pool_copies_at_once(pool, source, record);
    if (!*done)
        return lvm_create(pool, record, error);
    struct record made = *record;
    made.bytes = source->bytes;
    return check_thin_room(pool, lvm_of(pool, record->id), error) && snapshot(pool, source, record, error) &&
           lvm_use_mark(pool, record, error) &&
           (record->bytes == source->bytes || lvm_grow(pool, &made, record->bytes, NULL, error));
}

/* Nothing is removed here: what came of a command that failed is seen at the next look, which comes before the retry.
 */
bool lvm_undo(struct pool *pool, const struct record *record, struct error *error)
{
    (void)error;
    lvm_queue_make_uncertain(lvm_of(pool, record->id)->queue);
    return true;
}

/* --- changing --- */

/* A thin snapshot is read-only until it is to be wiped. */
static bool becomes_writable(const struct record *old, const struct record *record)
{
    return record->kind == RECORD_SNAPSHOT && !record->thick && old->phase != PHASE_DELETING &&
           record->phase == PHASE_DELETING;
}

static bool change_tag(struct lvm_pool *own, const struct record *old, const struct record *record, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char from[LVM_TAG_BYTES], to[LVM_TAG_BYTES];
    lvm_tag_from_record(old, from);
    lvm_tag_from_record(record, to);
    if (strcmp(from, to) == 0)
        return true;
    lvm_words(&words, "lvchange", "--deltag", from, "--addtag", to, NULL);
    if (becomes_writable(old, record))
        lvm_words(&words, "--permission", "rw", NULL);
    lvm_words(&words, lvm_full_name(&words, own, record->id, ""), NULL);
    return fault("pool.lvm.write.before", error) && lvm_run(own->queue, words.argv, error) &&
           fault("pool.lvm.write.after", error);
}

bool lvm_write(struct pool *pool, const struct record *old, const struct record *record, struct error *error)
{
    /* lvremove is one step: only a wipe, which takes long, has to be remembered. */
    if (record->phase == PHASE_DELETING && record->wipe == WIPE_NONE)
        return true;
    if (!change_tag(lvm_of(pool, record->id), old, record, error))
        return fail_context(error, "%s", record->id);
    bool finished = old->phase == PHASE_CREATING && record->phase == PHASE_READY;
    return !finished || record->kind != RECORD_SNAPSHOT || lvm_deactivate(lvm_of(pool, record->id), record->id, error);
}
