/* The lvm pool: removing volumes and snapshots.  What carries our tag and the phase for it, and nothing that hangs on
 * it. */
#include "pool/lvm.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "pool/loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* It may be used as before if its deletion has not begun. */
static void keep(struct pool *pool, const struct record *record)
{
    LOCKED(pool);
    struct entry *entry = inventory_find(pool, record->kind, record->id);
    if (entry != NULL && record->phase == PHASE_DELETING && record->wipe == WIPE_NONE)
        entry->record.phase = PHASE_READY;
}

static bool run_removal(struct lvm_pool *own, const char *const argv[], const struct record *record,
                        struct error *error)
{
    cleanup_free char *told = NULL;
    char removed[ID_BYTES + 32];
    snprintf(removed, sizeof removed, "\"%s\" successfully removed", record->id);
    if (!lvm_run_with(own->queue, "", argv, &told, error))
        return false;
    if (strstr(told, removed) != NULL)
        return true;
    fail(
        error, FAILED_PRECONDITION,
        "it has a snapshot that Plinth has not made and that would be lost with it: see \"lvs -o name,origin %s\", and "
        "remove that first",
        own->vg);
    error->number = EBUSY;
    return false;
}

static bool is_gone(struct pool *pool, const struct record *record)
{
    struct lvm_report report;
    struct error ignored;
    if (!lvm_read_report(lvm_of(pool, record->id), &report, &ignored))
        return false;
    bool found = lvm_report_volume(&report, record->id) != NULL;
    lvm_report_free(&report);
    return !found;
}

static bool may_begin(struct pool *pool, const struct record *record, struct error *error)
{
    if (record->phase == PHASE_DELETING && record->wipe != WIPE_NONE && record->copied < record->bytes)
        return fail(error, FAILED_PRECONDITION, "%s is to be wiped before it is removed", record->id);
    if (lvm_is_cut(pool, record->id)) /* lvremove would take the cut along */
        return fail(error, ABORTED, "volume %s is being copied for a snapshot; it can be deleted when that is done",
                    record->id);
    return loop_detach(record->id, error);
}

bool lvm_remove(struct pool *pool, const struct record *record, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct lvm_words words = {.count = 0};
    if (!may_begin(pool, record, error)) {
        keep(pool, record);
        return false;
    }
    /* LVM would take along snapshots that somebody else has made of it: an origin is not selected. */
    lvm_words(&words, "lvremove", "--yes", "--force", "--select", "lv_attr!~\"^[oO]\"", NULL);
    if (lvm_has_cut(pool, record))
        lvm_words(&words, lvm_full_name(&words, own, record->id, ".cut"), NULL);
    lvm_words(&words, lvm_full_name(&words, own, record->id, ""), NULL);
    if (!fault("pool.lvm.remove.before", error))
        return false;
    if (!run_removal(own, words.argv, record, error) && !is_gone(pool, record)) {
        if (error->number != 0 && error->number != EINTR)
            keep(pool, record);
        return fail_context(error, "%s", record->id);
    }
    lvm_forget_cut(pool, record->id);
    lvm_forget_lost(pool, record->id);
    lvm_give_back(record->id);
    lvm_account(pool, own, -lvm_extents(own, record, record->bytes), -LVM_TAG_COST);
    return fault("pool.lvm.remove.after", error);
}
