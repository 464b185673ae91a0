/*
 * The lvm pool: cuts.  A thick volume in use is copied from a copy-on-write snapshot of its full size, which can
 * therefore never overflow, and which goes when the copy is whole.  A thin one is copied from a thin snapshot.
 */
#include "pool/lvm.h"

#include "base/fault.h"
#include "base/keylock.h"
#include "base/log.h"
#include "base/text.h"
#include "pool/lvm_tag.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lvm_cut **find(struct lvm_pool *own, const char *id)
{
    struct lvm_cut **cut = &own->cuts;
    while (*cut != NULL && strcmp((*cut)->id, id) != 0)
        cut = &(*cut)->next;
    return cut;
}

static bool has(struct pool *pool, const char *id)
{
    LOCKED(pool);
    return *find(lvm_of(pool, id), id) != NULL;
}

bool lvm_has_cut(struct pool *pool, const struct record *record)
{
    return has(pool, record->id);
}

/* The first one from `origin` whose id is greater than `after`. */
static bool next_from(struct pool *pool, const char *origin, const char *after, char id[static ID_BYTES])
{
    bool found = false;
    LOCKED(pool);
    for (const struct lvm_cut *cut = lvm_of(pool, origin)->cuts; cut != NULL; cut = cut->next)
        if (strcmp(cut->origin, origin) == 0 && strcmp(cut->id, after) > 0 && (!found || strcmp(cut->id, id) < 0)) {
            text_copy(id, ID_BYTES, cut->id);
            found = true;
        }
    return found;
}

void lvm_note_cut(struct lvm_pool *own, const char *id, const char *origin)
{
    if (*find(own, id) != NULL)
        return;
    struct lvm_cut *cut = calloc(1, sizeof *cut);
    if (cut == NULL)
        abort();
    text_copy(cut->id, sizeof cut->id, id);
    text_copy(cut->origin, sizeof cut->origin, origin);
    cut->next = own->cuts;
    own->cuts = cut;
}

void lvm_forget_cut(struct pool *pool, const char *id)
{
    pthread_mutex_lock(&pool->mutex);
    struct lvm_cut **at = find(lvm_of(pool, id), id), *cut = *at;
    if (cut != NULL)
        *at = cut->next;
    pthread_mutex_unlock(&pool->mutex);
    free(cut);
}

static bool remove_cut(struct pool *pool, const char *id, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, id);
    struct lvm_words words = {.count = 0};
    lvm_words(&words, "lvremove", "--yes", "--force", lvm_full_name(&words, own, id, ".cut"), NULL);
    /* An earlier attempt whose caller did not wait may have removed it. */
    if (!fault("pool.lvm.uncut.before", error) || (!lvm_run(own->queue, words.argv, error) && error->code != NOT_FOUND))
        return fail_context(error, "the cut for %s", id);
    lvm_forget_cut(pool, id);
    lvm_has_passed(pool, own);
    return fault("pool.lvm.uncut.after", error);
}

/* Nobody copies from it (who does has the lock), and nobody will go on with it. */
static bool is_orphan(struct pool *pool, const char *id)
{
    LOCKED(pool);
    for (int kind = RECORD_VOLUME; kind <= RECORD_SNAPSHOT; kind++) {
        const struct entry *entry = inventory_find(pool, (enum record_kind)kind, id);
        if (entry != NULL && entry->record.phase == PHASE_CREATING && entry->record.copying)
            return false;
    }
    return true;
}

static void drop_orphan(struct pool *pool, const char *origin, const char *id)
{
    struct error error;
    cleanup_keylock struct keylock *lock = keylock_acquire(id, &error);
    if (lock == NULL || !is_orphan(pool, id))
        return;
    if (remove_cut(pool, id, &error))
        log_event(LOG_INFO, "leftover removed", "logical_volume", id, NULL);
    else
        log_event(LOG_WARNING, "a cut is left", "volume_id", origin, "error", error.message, NULL);
}

bool lvm_is_cut(struct pool *pool, const char *origin)
{
    char id[ID_BYTES], after[ID_BYTES] = "";
    for (; next_from(pool, origin, after, id); text_copy(after, sizeof after, id))
        drop_orphan(pool, origin, id);
    return next_from(pool, origin, "", id);
}

/* One that is there already is of a moment that nobody was promised: it could not be removed when that was given up. */
bool lvm_make_cut(struct pool *pool, const struct record *source, const struct record *record, bool *cut,
                  struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, source->id);
    struct lvm_words words = {.count = 0};
    char name[ID_BYTES + 8];
    snprintf(name, sizeof name, "%s.cut", record->id);
    *cut = true;
    if (has(pool, record->id) && !remove_cut(pool, record->id, error))
        return false;
    lvm_words(&words, "lvcreate", "--yes", "--snapshot", "--name", name, "--addtag", LVM_TAG_CUT, NULL);
    if (source->thick)
        lvm_words(&words, "--extents", "100%ORIGIN", NULL);
    lvm_words(&words, lvm_full_name(&words, own, source->id, ""), NULL);
    if (!fault("pool.lvm.cut.before", error) || !lvm_run_create(own, &words, error)) {
        lvm_queue_make_uncertain(own->queue); /* the command may still come to its end */
        return fail_context(error, "cannot fix the moment of volume %s", source->id);
    }
    pthread_mutex_lock(&pool->mutex);
    lvm_note_cut(own, record->id, source->id);
    pthread_mutex_unlock(&pool->mutex);
    return fault("pool.lvm.cut.after", error);
}

/* False, too, if it is not active. */
static bool is_invalid(const struct lvm_pool *own, const char *id)
{
    struct device_mapper_device device;
    struct snapshot_status status;
    struct error ignored;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    return lvm_find_device(own, id, ".cut", &device, uuid, &ignored) &&
           device_mapper_snapshot(uuid, &status, &ignored) && status.invalid;
}

bool lvm_has_invalid_cut(struct pool *pool, const char *origin, char id[static ID_BYTES])
{
    char after[ID_BYTES] = "";
    for (; next_from(pool, origin, after, id); text_copy(after, sizeof after, id))
        if (is_invalid(lvm_of(pool, origin), id))
            return true;
    return false;
}

static bool open_cut(struct pool *pool, const struct record *source, const struct record *record, char *path,
                     struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, source->id);
    struct device_mapper_device device;
    if (!lvm_activate(own, record->id, ".cut", &device, error))
        return fail_context(error, "the cut of volume %s", source->id);
    if (source->thick && is_invalid(own, record->id))
        return fail(error, DATA_LOSS, "the cut of volume %s has become invalid; the volume is whole: try again",
                    source->id);
    text_copy(path, sizeof device.path, device.path);
    return true;
}

/* A volume may be written to meanwhile: without its cut a copy would be of no moment at all. */
bool lvm_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                     struct error *error)
{
    if (source->kind == RECORD_SNAPSHOT)
        return lvm_open_data(pool, source, path, error);
    return has(pool, record->id)
               ? open_cut(pool, source, record, path, error)
               : fail(error, ABORTED, "the cut of volume %s for %s is gone; nothing was copied from it: try again",
                      source->id, record->id);
}

static bool let_origin_go(struct pool *pool, const struct record *source, struct error *error)
{
    return lvm_is_cut(pool, source->id) || lvm_let_go(pool, source, error);
}

bool lvm_close_source(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    if (source->kind == RECORD_SNAPSHOT)
        return lvm_let_go(pool, source, error);
    return (!has(pool, record->id) || remove_cut(pool, record->id, error)) && let_origin_go(pool, source, error);
}
