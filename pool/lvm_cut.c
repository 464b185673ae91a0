/*
 * The lvm pool: cuts.  A thick volume in use is copied from a copy-on-write snapshot of its full size, which can
 * therefore never overflow, and which goes when the copy is whole.  A thin one is copied from a thin snapshot.
 */
#include "pool/lvm.h"

#include "base/fault.h"
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

bool lvm_has_cut(struct pool *pool, const char *id)
{
    pthread_mutex_lock(&pool->mutex);
    bool found = *find(lvm_of(pool, id), id) != NULL;
    pthread_mutex_unlock(&pool->mutex);
    return found;
}

bool lvm_is_cut_from(struct pool *pool, const char *origin)
{
    bool found = false;
    pthread_mutex_lock(&pool->mutex);
    for (const struct lvm_cut *cut = lvm_of(pool, origin)->cuts; cut != NULL; cut = cut->next)
        found = found || strcmp(cut->origin, origin) == 0;
    pthread_mutex_unlock(&pool->mutex);
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

bool lvm_make_cut(struct pool *pool, const struct record *source, const struct record *record, bool *cut,
                  struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct lvm_words words = {.count = 0};
    char name[ID_BYTES + 8];
    snprintf(name, sizeof name, "%s.cut", record->id);
    *cut = true;
    if (lvm_has_cut(pool, record->id))
        return true;
    lvm_words(&words, "lvcreate", "--yes", "--snapshot", "--name", name, "--addtag", LVM_TAG_CUT, NULL);
    if (source->thick)
        lvm_words(&words, "--extents", "100%ORIGIN", NULL);
    lvm_words(&words, lvm_full_name(&words, own, source->id, ""), NULL);
    if (!fault("pool.lvm.cut.before", error) || !lvm_run(own->queue, words.argv, error))
        return fail_context(error, "cannot fix the moment of volume %s", source->id);
    pthread_mutex_lock(&pool->mutex);
    lvm_note_cut(own, record->id, source->id);
    pthread_mutex_unlock(&pool->mutex);
    return fault("pool.lvm.cut.after", error);
}

bool lvm_open_source(struct pool *pool, const struct record *source, const struct record *record, char *path,
                     struct error *error)
{
    struct device_mapper_device device;
    struct snapshot_status status;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    if (!lvm_has_cut(pool, record->id))
        return lvm_open_data(pool, source, path, error);
    if (!lvm_activate(lvm_of(pool, record->id), record->id, ".cut", &device, error))
        return fail_context(error, "the cut of volume %s", source->id);
    if (source->thick && lvm_find_device(lvm_of(pool, record->id), record->id, ".cut", &device, uuid, error) &&
        device_mapper_snapshot(uuid, &status, error) && (status.invalid || status.overflowed))
        return fail(error, DATA_LOSS, "the cut of volume %s has become invalid; the volume is whole: try again",
                    source->id);
    text_copy(path, sizeof device.path, device.path);
    return true;
}

static bool let_origin_go(struct pool *pool, const struct record *source, struct error *error)
{
    return lvm_is_cut_from(pool, source->id) || lvm_let_go(pool, source, error);
}

bool lvm_close_source(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    struct lvm_words words = {.count = 0};
    if (source->kind == RECORD_SNAPSHOT)
        return lvm_let_go(pool, source, error);
    if (!lvm_has_cut(pool, record->id))
        return let_origin_go(pool, source, error);
    lvm_words(&words, "lvremove", "--yes", "--force", lvm_full_name(&words, own, record->id, ".cut"), NULL);
    if (!fault("pool.lvm.uncut.before", error) || !lvm_run(own->queue, words.argv, error))
        return fail_context(error, "the cut of volume %s", source->id);
    lvm_forget_cut(pool, record->id);
    return fault("pool.lvm.uncut.after", error) && let_origin_go(pool, source, error);
}
