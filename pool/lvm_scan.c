/* The lvm pool: reading the storage, at start and when something uncertain has happened. */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/lvm_tag.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_SETTINGS_BYTES 2048
#define MUTEX_MOST 5 /* seconds */

static void report_words(const struct lvm_pool *own, const char *settings, struct lvm_words *words,
                         char together[static REPORT_SETTINGS_BYTES])
{
    lvm_words(words, "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "-a", own->vg, NULL);
    snprintf(together, REPORT_SETTINGS_BYTES, "%s %s", lvm_report_settings, settings);
}

bool lvm_read_report(struct lvm_pool *own, const char *settings, struct lvm_report *report, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char together[REPORT_SETTINGS_BYTES], *text = NULL;
    report_words(own, settings, &words, together);
    if (!lvm_run_with(own->queue, together, words.argv, &text, error))
        return false;
    bool good = lvm_report_parse(text, report, error);
    free(text);
    return good;
}

/* --- one logical volume --- */

static enum layout layout_of(const char *type)
{
    static const struct {
        const char *type;
        enum layout layout;
    } known[] = {{"striped", LAYOUT_STRIPED}, {"raid1", LAYOUT_RAID1}, {"mirror", LAYOUT_RAID1},
                 {"raid5", LAYOUT_RAID5},     {"raid6", LAYOUT_RAID6}, {"raid10", LAYOUT_RAID10}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(type, known[i].type, strlen(known[i].type)) == 0)
            return known[i].layout;
    return LAYOUT_LINEAR;
}

static bool is_ours(const struct pool *pool, const char *name, enum record_kind *kind)
{
    *kind = record_is_id(name, ID_MARK_SNAPSHOT) ? RECORD_SNAPSHOT : RECORD_VOLUME;
    return strncmp(name, pool->id, POOL_ID_DIGITS) == 0 &&
           (*kind == RECORD_SNAPSHOT || record_is_id(name, ID_MARK_VOLUME));
}

static bool to_record(const struct lvm_pool *own, const struct lvm_volume *volume, enum record_kind kind,
                      struct record *record, struct error *error)
{
    char tag[LVM_TAG_BYTES];
    if (!lvm_tags_find(volume->tags, "plinth.", tag, sizeof tag))
        return fail(error, DATA_LOSS,
                    "logical volume %s/%s has a name of ours but no tag of ours (\"%.80s\"); it is left alone", own->vg,
                    volume->name, volume->tags);
    if (!lvm_tag_to_record(tag, volume->name, record, error))
        return fail_context(error, "logical volume %s/%s", own->vg, volume->name);
    if (record->kind != kind)
        return fail(error, DATA_LOSS, "the tag of %s/%s is of another kind; it is left alone", own->vg, volume->name);
    record->bytes = volume->bytes;
    record->thick = volume->pool[0] == '\0';
    record->layout = layout_of(volume->segment_type);
    /* LVM counts the legs of all mirrors as stripes. */
    int64_t stripes =
        record->layout == LAYOUT_RAID10 ? volume->stripes / (volume->copies > 0 ? volume->copies : 1) : volume->stripes;
    record->stripes = (int32_t)stripes;
    record->mirrors = (int32_t)volume->copies - 1;
    record->sector_bytes = record->filesystem[0] != '\0' ? SECTOR_BYTES_FILESYSTEM : SECTOR_BYTES_BLOCK;
    return true;
}

static void leave_alone(struct pool *pool, enum record_kind kind, const char *id, const struct error *why)
{
    if (inventory_find_damage(pool, kind, id) != NULL)
        return;
    log_event(LOG_ERROR, "left alone", "volume_id", id, "pool", pool_name(pool), "error", why->message, NULL);
    inventory_drop(pool, kind, id);
    inventory_damage(pool, kind, id, why);
}

/* A snapshot that is being copied has to have its cut still; one without was made a moment before a kill. */
static void see_volume(struct pool *pool, struct lvm_pool *own, const struct lvm_volume *volume, enum record_kind kind)
{
    struct record record;
    struct error error;
    struct entry *entry = inventory_find(pool, kind, volume->name);
    if (!to_record(own, volume, kind, &record, &error)) {
        leave_alone(pool, kind, volume->name, &error);
        return;
    }
    if (volume->partial)
        id_set_add(&own->partial, record.id);
    inventory_mend(pool, kind, record.id);
    if (entry == NULL) {
        inventory_add(pool, &record, record.bytes);
        return;
    }
    if (entry->record.phase == PHASE_READY && entry->record.bytes != record.bytes) {
        pool->promised += record.bytes - entry->record.bytes;
        entry->promised += record.bytes - entry->record.bytes;
    }
    record.staged = entry->record.staged;
    /* How far a wipe is, is not on the storage yet; but a deletion without one has failed when it is still there. */
    if (entry->record.phase != PHASE_DELETING || entry->record.wipe == WIPE_NONE)
        entry->record = record;
}

static bool is_cut(const struct pool *pool, const struct lvm_volume *volume, char id[static ID_BYTES])
{
    size_t length = strlen(volume->name);
    enum record_kind kind;
    if (length < 4 || length - 4 >= ID_BYTES || strcmp(volume->name + length - 4, ".cut") != 0)
        return false;
    memcpy(id, volume->name, length - 4);
    id[length - 4] = '\0';
    return is_ours(pool, id, &kind) && lvm_tags_have(volume->tags, LVM_TAG_CUT);
}

/* --- the whole report; the caller holds pool->mutex --- */

void lvm_forget(struct lvm_pool *own)
{
    for (struct lvm_cut *cut = own->cuts, *next; cut != NULL; cut = next) {
        next = cut->next;
        free(cut);
    }
    own->cuts = NULL;
    id_set_clear(&own->partial);
}

static void see_group(struct lvm_pool *own, const struct lvm_report *report)
{
    own->extent_bytes = report->extent_bytes;
    own->extents = report->extents;
    own->free_extents = report->free_extents;
    own->metadata_bytes = report->metadata_bytes;
    own->metadata_free_bytes = report->metadata_free_bytes;
    own->device_missing = report->partial;
}

/* A place that was kept for a volume of which nothing has come. */
static void forget_volume(struct pool *pool, struct lvm_pool *own)
{
    if (inventory_find(pool, RECORD_VOLUME, own->volume) == NULL)
        own->volume[0] = '\0';
}

static void see_all(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report)
{
    char id[ID_BYTES];
    enum record_kind kind;
    lvm_forget(own);
    see_group(own, report);
    forget_volume(pool, own);
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *volume = &report->volumes[i];
        if (volume->hidden)
            continue;
        if (is_cut(pool, volume, id))
            lvm_note_cut(own, id, volume->origin);
        else if (is_ours(pool, volume->name, &kind)) {
            text_copy(own->volume, sizeof own->volume, volume->name);
            see_volume(pool, own, volume, kind);
        }
    }
}

/* --- at start --- */

static bool remove_leftover(struct lvm_pool *own, const char *name, const char *suffix, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvremove", "--yes", "--force", lvm_full_name(&words, own, name, suffix), NULL);
    log_event(LOG_INFO, "leftover removed", "logical_volume", words.argv[3], NULL);
    return lvm_run(own->queue, words.argv, error);
}

/* Cuts whose copy does not go on. */
static bool remove_cuts(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    for (struct lvm_cut **at = &own->cuts, *cut; (cut = *at) != NULL;) {
        const struct entry *entry = inventory_find(pool, RECORD_SNAPSHOT, cut->id);
        if (entry == NULL)
            entry = inventory_find(pool, RECORD_VOLUME, cut->id);
        if (entry != NULL && entry->record.phase == PHASE_CREATING && entry->record.copying) {
            at = &cut->next;
            continue;
        }
        if (!remove_leftover(own, cut->id, ".cut", error))
            return false;
        *at = cut->next;
        free(cut);
    }
    return true;
}

/* A copy of a volume without its cut has lost its moment. */
static void forbid_resuming(struct pool *pool, const struct lvm_pool *own)
{
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
        for (size_t i = 0; i < pool->entries[kind].count; i++) {
            struct record *record = &pool->entries[kind].sorted[i]->record;
            bool from_volume = record_is_id(record->source_id, ID_MARK_VOLUME), has_cut = false;
            for (const struct lvm_cut *cut = own->cuts; cut != NULL; cut = cut->next)
                has_cut = has_cut || strcmp(cut->id, record->id) == 0;
            if (from_volume && !has_cut && lvm_of(pool, record->id) == own)
                record->copying = false;
        }
}

/*
 * After a power cut within lvcreate the thin pool may not have heard of a volume that LVM's metadata has.  The message
 * is still waiting there, and goes with the next one.
 */
static bool send_waiting_messages(struct pool *pool, struct lvm_pool *own, int64_t transaction, struct error *error)
{
    struct lvm_words words = {.count = 0};
    struct thin_pool_status status;
    char name[POOL_ID_DIGITS + 16];
    if (!lvm_thin_status(own, &status, error))
        return error->code == UNAVAILABLE;
    if (status.failed || (int64_t)status.transaction_id == transaction)
        return true;
    log_event(LOG_WARNING, "the thin pool missed a change of LVM's; sending it again", "pool", pool_name(pool), NULL);
    snprintf(name, sizeof name, "%s.scratch", pool->id);
    lvm_words(&words, "lvcreate", "--yes", "--name", name, "--type", "thin", "--addtag", LVM_TAG_SCRATCH,
              "--virtualsize", "4m", "--thinpool", own->thin_pool, "--setactivationskip", "y", "--activate", "n",
              own->vg, NULL);
    return lvm_run(own->queue, words.argv, error) && remove_leftover(own, name, "", error);
}

static bool clean_up(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report, struct error *error)
{
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *volume = &report->volumes[i];
        bool scratch = strncmp(volume->name, pool->id, POOL_ID_DIGITS) == 0 &&
                       (lvm_tags_have(volume->tags, LVM_TAG_GROW) || lvm_tags_have(volume->tags, LVM_TAG_SCRATCH));
        if (scratch && !volume->hidden && !remove_leftover(own, volume->name, "", error))
            return false;
    }
    const struct lvm_volume *thin = own->thin_pool[0] != '\0' ? lvm_report_volume(report, own->thin_pool) : NULL;
    if (thin != NULL && !send_waiting_messages(pool, own, thin->transaction_id, error))
        return false;
    if (thin != NULL)
        lvm_forget_marks(own);
    forbid_resuming(pool, own);
    return remove_cuts(pool, own, error);
}

/* A command, or a driver, that was killed may have left them suspended. */
static void resume_all(const struct pool *pool, const struct lvm_pool *own)
{
    char start[DEVICE_MAPPER_UUID_BYTES];
    device_mapper_uuid(start, own->vg_uuid, "", "");
    if (device_mapper_resume_all(start) > 0)
        log_event(LOG_WARNING, "resumed devices that a killed process had left suspended", "pool", pool_name(pool),
                  NULL);
}

bool lvm_scan_group(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    struct lvm_report report;
    own->pool = pool;
    resume_all(pool, own);
    if (!lvm_read_report(own, "", &report, error))
        return false;
    see_all(pool, own, &report);
    lvm_take_noted(pool);
    bool good = clean_up(pool, own, &report, error) && (own->thin_pool[0] == '\0' || lvm_guard_start(pool, error));
    lvm_report_free(&report);
    return good;
}

bool lvm_scan(struct pool *pool, struct error *error)
{
    return lvm_scan_group(pool, pool->own, error);
}

/* --- later --- */

/* `plinth volume release` has given it its old name back (pool/import.h); CreateVolume's volumes have a digest. */
static bool is_released(const struct lvm_report *report, const struct record *record)
{
    return record->kind == RECORD_VOLUME && record->digest[0] == '\0' &&
           lvm_report_volume(report, record->name) != NULL;
}

/* What was ready and is not there any more has been removed or renamed by somebody else. */
static void miss(struct pool *pool, const struct lvm_pool *own, const struct lvm_report *report, enum record_kind kind)
{
    struct entries *entries = &pool->entries[kind];
    for (size_t i = entries->count; i-- > 0;) {
        const struct record *record = &entries->sorted[i]->record;
        struct error error;
        char id[ID_BYTES];
        if (record->phase != PHASE_READY || lvm_of(pool, record->id) != own ||
            lvm_report_volume(report, record->id) != NULL)
            continue;
        text_copy(id, sizeof id, record->id);
        if (is_released(report, record)) {
            inventory_drop(pool, kind, id);
            continue;
        }
        fail(&error, DATA_LOSS,
             "the logical volume %s/%s is gone: it was removed or renamed by hand (Plinth has not); lvs -o+tags shows "
             "what there is, vgcfgrestore may bring it back",
             own->vg, id);
        error.number = ESTALE;
        leave_alone(pool, kind, id, &error);
    }
}

/* What was wrong with a logical volume goes with it; that one is gone stays known. */
static void forget_damage(struct pool *pool, const struct lvm_pool *own, const struct lvm_report *report)
{
    for (const struct damage *damage = pool->damaged, *next; damage != NULL; damage = next) {
        next = damage->next;
        if (damage->why.number != ESTALE && lvm_of(pool, damage->id) == own &&
            lvm_report_volume(report, damage->id) == NULL)
            inventory_mend(pool, damage->kind, damage->id);
    }
}

/* On the thread of the queue.  Whoever closes the pool has its mutex and waits for this thread. */
static void compare(const char *output, void *data)
{
    struct lvm_pool *own = data;
    struct pool *pool = own->pool;
    struct lvm_report report;
    struct error error;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += MUTEX_MOST;
    if (!lvm_report_parse(output, &report, &error)) {
        log_event(LOG_ERROR, "LVM's report cannot be read", "pool", pool_name(pool), "error", error.message, NULL);
        return;
    }
    if (pthread_mutex_timedlock(&pool->mutex, &until) == 0) {
        see_all(pool, own, &report);
        for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++)
            miss(pool, own, &report, (enum record_kind)kind);
        forget_damage(pool, own, &report);
        pthread_mutex_unlock(&pool->mutex);
    }
    lvm_report_free(&report);
}

bool lvm_refresh_group(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char together[REPORT_SETTINGS_BYTES];
    if (!lvm_queue_is_uncertain(own->queue))
        return true;
    if (lvm_queue_has_ended_one(own->queue))
        resume_all(pool, own);
    report_words(own, "", &words, together);
    if (lvm_run_then(own->queue, together, words.argv, compare, own, error))
        return true;
    lvm_queue_make_uncertain(own->queue);
    return false;
}

bool lvm_refresh(struct pool *pool, struct error *error)
{
    return lvm_refresh_group(pool, pool->own, error);
}
