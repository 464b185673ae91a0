/* The lvm pool: reading the storage. */
#include "pool/lvm.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/disk.h"
#include "pool/lvm_tag.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lvm_report_words(const struct lvm_pool *own, struct lvm_words *words)
{
    lvm_words(words, "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "-a", own->vg, NULL);
}

bool lvm_read_report(struct lvm_pool *own, struct lvm_report *report, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char *text = NULL;
    lvm_report_words(own, &words);
    if (!lvm_run_with(own->queue, lvm_report_settings, words.argv, &text, error))
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
    } known[] = {{"striped", LAYOUT_STRIPED}, {"raid10", LAYOUT_RAID10}, {"raid1", LAYOUT_RAID1},
                 {"mirror", LAYOUT_RAID1},    {"raid5", LAYOUT_RAID5},   {"raid6", LAYOUT_RAID6}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(type, known[i].type, strlen(known[i].type)) == 0)
            return known[i].layout;
    return LAYOUT_LINEAR;
}

bool lvm_is_ours(const struct pool *pool, const char *name, enum record_kind *kind)
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

void lvm_leave_alone(struct pool *pool, enum record_kind kind, const char *id, const struct error *why)
{
    if (inventory_find_damage(pool, kind, id) != NULL)
        return;
    log_event(LOG_ERROR, "left alone", "volume_id", id, "pool", pool_name(pool), "error", why->message, NULL);
    inventory_drop(pool, kind, id);
    inventory_damage(pool, kind, id, why);
}

/* An old archive of LVM's metadata was restored, at the start or while we run. */
static bool is_rolled_back(struct pool *pool, const struct record *record)
{
    struct error error;
    const struct damage *damage = inventory_find_damage(pool, record->kind, record->id);
    const struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (record->phase != PHASE_CREATING)
        return false;
    if (damage != NULL)
        return damage->quarantined;
    if (entry == NULL || entry->record.phase != PHASE_READY)
        return false;
    fail(&error, FAILED_PRECONDITION,
         "%s was ready, and its tag says that it is being created again: LVM's metadata are older than it is "
         "(vgcfgrestore?).  It is left alone, nothing was removed",
         record->id);
    log_event(LOG_ERROR, "left alone", "volume_id", record->id, "pool", pool_name(pool), "error", error.message, NULL);
    inventory_quarantine(pool, record->kind, record->id, &error);
    return true;
}

static const struct lvm_volume *part_of(const struct lvm_report *report, const char *name, const char *part, int number)
{
    char full[LVM_NAME_BYTES + 32];
    snprintf(full, sizeof full, "%s_%s_%d", name, part, number);
    return lvm_report_volume(report, full);
}

/* As dm-raid would tell it: a leg is dead without its data or without what it knows of them. */
static void read_legs(const struct lvm_report *report, const char *name, char legs[static RAID_LEGS_BYTES])
{
    const struct lvm_volume *image, *metadata;
    int leg = 0;
    for (; leg < RAID_LEGS_BYTES - 1 && (image = part_of(report, name, "rimage", leg)) != NULL; leg++) {
        metadata = part_of(report, name, "rmeta", leg);
        legs[leg] = image->partial || (metadata != NULL && metadata->partial) ? 'D' : 'A';
    }
    legs[leg] = '\0';
}

static void note_partial(struct lvm_pool *own, const struct lvm_report *report, const struct record *record)
{
    char legs[RAID_LEGS_BYTES];
    read_legs(report, record->id, legs);
    id_set_add(&own->partial, record->id);
    if (record->layout < LAYOUT_RAID1 || !lvm_serves(record, legs))
        id_set_add(&own->broken, record->id);
}

static void see_volume(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report,
                       const struct lvm_volume *volume, enum record_kind kind)
{
    struct record record;
    struct error error;
    bool good = to_record(own, volume, kind, &record, &error);
    if (pool->ops == &disk_pool_ops && disk_has_it_too(pool, own, kind, volume->name, good ? &record : NULL))
        return;
    struct entry *entry = inventory_find(pool, kind, volume->name);
    text_copy(own->volume, sizeof own->volume, volume->name);
    if (!good) {
        lvm_leave_alone(pool, kind, volume->name, &error);
        return;
    }
    if (volume->partial)
        note_partial(own, report, &record);
    if (is_rolled_back(pool, &record))
        return;
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

/*
 * It is named after what is copied from it, which may be in another pool.  LVM makes that of a thick volume without an
 * origin, and gives it one by a second change: where that never came it is half made.
 */
static bool is_cut(const struct pool *pool, const struct lvm_volume *volume, char id[static ID_BYTES])
{
    size_t length = strlen(volume->name);
    enum record_kind kind;
    if (length < 4 || length - 4 >= ID_BYTES || strcmp(volume->name + length - 4, ".cut") != 0)
        return false;
    memcpy(id, volume->name, length - 4);
    id[length - 4] = '\0';
    bool is_id = record_is_id(id, ID_MARK_SNAPSHOT) || record_is_id(id, ID_MARK_VOLUME);
    return is_id && (volume->origin[0] == '\0' || lvm_is_ours(pool, volume->origin, &kind)) &&
           lvm_tags_have(volume->tags, LVM_TAG_CUT);
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
    id_set_clear(&own->broken);
}

static void see_group(struct lvm_pool *own, const struct lvm_report *report)
{
    own->extent_bytes = report->extent_bytes;
    own->extents = report->extents;
    own->free_extents = report->free_extents;
    own->metadata_bytes = report->metadata_bytes;
    own->metadata_free_bytes = report->metadata_free_bytes;
    own->device_missing = report->partial;
    own->reported = monotonic_now();
}

/* A place that was kept for a volume of which nothing has come. */
static void forget_volume(struct pool *pool, struct lvm_pool *own)
{
    if (inventory_find(pool, RECORD_VOLUME, own->volume) == NULL)
        own->volume[0] = '\0';
}

/* What we make for a while only.  Its extents are not in the account, unless the report was read meanwhile. */
static bool is_passing(const struct pool *pool, const struct lvm_volume *volume)
{
    return strncmp(volume->name, pool->id, POOL_ID_DIGITS) == 0 &&
           (lvm_tags_have(volume->tags, LVM_TAG_CUT) || lvm_tags_have(volume->tags, LVM_TAG_GROW) ||
            lvm_tags_have(volume->tags, LVM_TAG_SCRATCH));
}

/* Volumes of others, and those of ours that are left alone. */
static bool is_foreign_thin(struct pool *pool, const struct lvm_pool *own, const struct lvm_volume *volume)
{
    enum record_kind kind;
    return volume->pool[0] != '\0' && strcmp(volume->pool, own->thin_pool) == 0 && !volume->hidden &&
           !is_passing(pool, volume) &&
           !(lvm_is_ours(pool, volume->name, &kind) && inventory_find(pool, kind, volume->name) != NULL);
}

static int64_t promised_to_others(struct pool *pool, const struct lvm_pool *own, const struct lvm_report *report)
{
    int64_t promised = 0;
    for (size_t i = 0; i < report->volume_count; i++)
        if (is_foreign_thin(pool, own, &report->volumes[i]) &&
            __builtin_add_overflow(promised, report->volumes[i].bytes, &promised))
            return INT64_MAX;
    return promised;
}

void lvm_see_report(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report)
{
    char id[ID_BYTES];
    enum record_kind kind;
    lvm_forget(own);
    see_group(own, report);
    forget_volume(pool, own);
    own->elsewhere[0] = '\0';
    own->has_passing = false;
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *volume = &report->volumes[i];
        if (volume->hidden)
            continue;
        own->has_passing = own->has_passing || is_passing(pool, volume);
        if (is_cut(pool, volume, id))
            lvm_note_cut(own, id, volume->origin);
        else if (lvm_is_ours(pool, volume->name, &kind))
            see_volume(pool, own, report, volume, kind);
    }
    own->promised_to_others = promised_to_others(pool, own, report);
}
