/*
 * The lvm pool: thin volumes of a group at one moment.  LVM can snapshot a thin volume that it suspends itself, but not
 * one that we hold suspended: its message to the thin pool is lost then.  So, while all are suspended, each is
 * snapshotted in the thin pool alone, under a number that LVM does not use (its own are small and count up): the mark.
 * After that LVM makes its snapshot as ever, and its bytes are replaced by the mark's.
 */
#include "pool/lvm.h"

#include "base/fault.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_FIRST 0xf00000 /* of 0xffffff */
#define MARKS_MOST 256      /* as many as a group has members */

/* Ids of the records that have a mark, "" where none has. */
static char marks[MARKS_MOST][ID_BYTES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* The place of an id, which becomes `next`; -1: it has none. */
static int replace(const char *id, const char *next)
{
    int place = 0;
    pthread_mutex_lock(&mutex);
    while (place < MARKS_MOST && strcmp(marks[place], id) != 0)
        place++;
    if (place < MARKS_MOST)
        text_copy(marks[place], sizeof marks[place], next);
    pthread_mutex_unlock(&mutex);
    return place < MARKS_MOST ? place : -1;
}

bool lvm_send(const struct lvm_pool *own, struct error *error, const char *format, ...)
{
    char uuid[DEVICE_MAPPER_UUID_BYTES], message[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    device_mapper_uuid(uuid, own->vg_uuid, own->thin_pool_uuid, "tpool");
    return device_mapper_message(uuid, message, error);
}

static bool snapshot(const struct lvm_pool *own, int mark, uint32_t origin, struct error *error)
{
    struct error ignored;
    if (lvm_send(own, error, "create_snap %d %" PRIu32, mark, origin))
        return true;
    if (error->number != EEXIST) /* a killed process left it */
        return false;
    lvm_send(own, &ignored, "delete %d", mark);
    return lvm_send(own, error, "create_snap %d %" PRIu32, mark, origin);
}

bool lvm_mark(struct pool *pool, const struct record *source, const struct record *record, struct error *error)
{
    struct device_mapper_device device;
    struct lvm_pool *own = lvm_of(pool, source->id);
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    uint32_t origin;
    if (!lvm_find_device(own, source->id, "", &device, uuid, error) || !device_mapper_thin_id(uuid, &origin, error))
        return false;
    int place = replace("", record->id);
    if (place < 0)
        return fail(error, ABORTED, "too many volumes are in group snapshots just now; try again");
    if (fault("pool.lvm.mark.before", error) && snapshot(own, MARK_FIRST + place, origin, error) &&
        fault("pool.lvm.mark.after", error))
        return true;
    lvm_unmark(pool, record);
    return false;
}

void lvm_unmark(struct pool *pool, const struct record *record)
{
    struct error ignored;
    int place = replace(record->id, record->id);
    if (place < 0)
        return;
    lvm_send(lvm_of(pool, record->id), &ignored, "delete %d", MARK_FIRST + place);
    replace(record->id, "");
}

/* The number LVM gave the thin volume. */
static bool thin_id(struct lvm_pool *own, const char *id, uint32_t *number, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char *text = NULL;
    lvm_words(&words, "lvs", "--noheadings", "--options", "thin_id", lvm_full_name(&words, own, id, ""), NULL);
    bool good = lvm_run_with(own->queue, "", words.argv, &text, error) &&
                (sscanf(text, " %" SCNu32, number) == 1 ||
                 fail(error, INTERNAL, "lvs does not tell the thin id of %s: %s", id, text));
    free(text);
    return good;
}

bool lvm_use_mark(struct pool *pool, const struct record *record, struct error *error)
{
    struct lvm_pool *own = lvm_of(pool, record->id);
    uint32_t number;
    int place = replace(record->id, record->id);
    if (place < 0)
        return true;
    bool good = thin_id(own, record->id, &number, error) && lvm_send(own, error, "delete %" PRIu32, number) &&
                fault("pool.lvm.mark.replaced", error) &&
                lvm_send(own, error, "create_snap %" PRIu32 " %d", number, MARK_FIRST + place);
    lvm_unmark(pool, record);
    return good && fault("pool.lvm.mark.used", error);
}

void lvm_forget_marks(const struct lvm_pool *own)
{
    struct error error;
    for (int place = 0; place < MARKS_MOST; place++)
        lvm_send(own, &error, "delete %d", MARK_FIRST + place);
}
