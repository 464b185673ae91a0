/* The lvm pool at its start: what a driver that was killed, or a power cut, has left of LVM's (docs/lvm.md,
 * "Starting"). */
#include "pool/lvm.h"

#include "base/fault.h"
#include "base/log.h"
#include "pool/lvm_tag.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool remove_leftover(struct lvm_pool *own, const char *name, const char *suffix, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvremove", "--yes", "--force", lvm_full_name(&words, own, name, suffix), NULL);
    log_event(LOG_INFO, "leftover removed", "logical_volume", words.argv[3], NULL);
    lvm_queue_make_uncertain(own->queue); /* its space was counted as used */
    return fault("pool.lvm.open.leftover.before", error) && lvm_run(own->queue, words.argv, error) &&
           fault("pool.lvm.open.leftover.after", error);
}

/* Cuts whose copy does not go on. */
static bool remove_cuts(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    for (struct lvm_cut **at = &own->cuts, *cut; (cut = *at) != NULL;) {
        const struct entry *entry = inventory_find(pool, RECORD_SNAPSHOT, cut->id);
        if (entry == NULL)
            entry = inventory_find(pool, RECORD_VOLUME, cut->id);
        if (entry != NULL && entry->record.phase == PHASE_CREATING && entry->record.copying && cut->origin[0] != '\0') {
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

/* Where lvcreate was killed between its message and its number, LVM finds the thin volume there already, and gives up.
 */
static bool count_message(struct lvm_pool *own, uint64_t transaction, const struct error *why, struct error *error)
{
    return strstr(why->message, "already contain thin device") != NULL &&
           lvm_send(own, error, "set_transaction_id %" PRIu64 " %" PRIu64, transaction, transaction + 1);
}

static bool make_scratch(struct lvm_pool *own, const char *name, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvcreate", "--yes", "--name", name, "--type", "thin", "--addtag", LVM_TAG_SCRATCH,
              "--virtualsize", "4m", "--thinpool", own->thin_pool, "--setactivationskip", "y", "--activate", "n",
              own->vg, NULL);
    return lvm_run(own->queue, words.argv, error);
}

/*
 * After a power cut or a kill within lvcreate the thin pool may not have heard of a volume that LVM's metadata has. The
 * message is still waiting there, and goes with the next one: a snapshot would be of that moment.
 */
static bool send_waiting_messages(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report,
                                  struct error *error)
{
    struct thin_pool_status status;
    const struct lvm_volume *thin = own->thin_pool[0] != '\0' ? lvm_report_volume(report, own->thin_pool) : NULL;
    char name[POOL_ID_DIGITS + 16];
    struct error ignored;
    if (thin == NULL)
        return true;
    if (!lvm_thin_status(own, &status, error))
        return error->code == UNAVAILABLE;
    if (status.failed || (int64_t)status.transaction_id == thin->transaction_id)
        return true;
    log_event(LOG_WARNING, "the thin pool missed a change of LVM's; sending it again", "pool", pool_name(pool), NULL);
    snprintf(name, sizeof name, "%s.scratch", pool->id);
    bool counted = (int64_t)status.transaction_id + 1 == thin->transaction_id;
    return (make_scratch(own, name, error) || (counted && count_message(own, status.transaction_id, error, &ignored) &&
                                               make_scratch(own, name, error))) &&
           remove_leftover(own, name, "", error);
}

/* They were resumed as they had been, and LVM's metadata may have changed. */
static bool load_anew(struct lvm_pool *own, struct error *error)
{
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "vgchange", "--refresh", own->vg, NULL);
    return lvm_run(own->queue, words.argv, error);
}

static bool settle(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report, struct error *error)
{
    bool resumed;
    lvm_queue_has_ended_one(own->queue, &resumed);
    if (!send_waiting_messages(pool, own, report, error) || (resumed && !load_anew(own, error)))
        return false;
    lvm_queue_settle(own->queue);
    return true;
}

bool lvm_settle(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    struct lvm_report report;
    bool resumed;
    if (!lvm_queue_has_ended_one(own->queue, &resumed))
        return true;
    if (!lvm_read_report(own, &report, error))
        return false;
    bool good = settle(pool, own, &report, error);
    lvm_report_free(&report);
    return good;
}

/* They are active only while they are copied. */
static void deactivate_snapshots(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report)
{
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *volume = &report->volumes[i];
        enum record_kind kind;
        struct error error;
        if (volume->hidden || !volume->active || !lvm_is_ours(pool, volume->name, &kind) || kind != RECORD_SNAPSHOT ||
            inventory_find(pool, kind, volume->name) == NULL || lvm_deactivate(own, volume->name, &error))
            continue;
        log_event(LOG_WARNING, "a snapshot stays active", "volume_id", volume->name, "error", error.message, NULL);
    }
}

static bool remove_scratch(const struct pool *pool, struct lvm_pool *own, const struct lvm_report *report,
                           struct error *error)
{
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *volume = &report->volumes[i];
        bool scratch = strncmp(volume->name, pool->id, POOL_ID_DIGITS) == 0 &&
                       (lvm_tags_have(volume->tags, LVM_TAG_GROW) || lvm_tags_have(volume->tags, LVM_TAG_SCRATCH));
        if (scratch && !volume->hidden && !remove_leftover(own, volume->name, "", error))
            return false;
    }
    return true;
}

static bool clean_up(struct pool *pool, struct lvm_pool *own, const struct lvm_report *report, struct error *error)
{
    if (own->thin_pool[0] != '\0')
        lvm_forget_marks(own);
    deactivate_snapshots(pool, own, report);
    return remove_cuts(pool, own, error);
}

/* Commands are waited for without the mutex: the other disks of a disk pool are in use. */
static bool read_group(struct pool *pool, struct lvm_pool *own, struct lvm_report *report, struct error *error)
{
    own->pool = pool;
    if (!lvm_read_report(own, report, error))
        return false;
    lvm_queue_resume(own->queue); /* who is at work has the group's lock, for which the report has waited */
    if (!remove_scratch(pool, own, report, error) || !settle(pool, own, report, error)) {
        lvm_report_free(report);
        return false;
    }
    LOCKED(pool);
    lvm_see_report(pool, own, report);
    lvm_take_noted(pool, own);
    forbid_resuming(pool, own);
    return true;
}

bool lvm_scan_group(struct pool *pool, struct lvm_pool *own, struct error *error)
{
    struct lvm_report report;
    if (!read_group(pool, own, &report, error))
        return false;
    lvm_report_free(&report);
    return true;
}

bool lvm_scan(struct pool *pool, struct error *error)
{
    struct lvm_pool *own = pool->own;
    struct lvm_report report;
    if (!read_group(pool, own, &report, error))
        return false;
    bool good = clean_up(pool, own, &report, error) && (own->thin_pool[0] == '\0' || lvm_guard_start(pool, error));
    lvm_report_free(&report);
    return good;
}
