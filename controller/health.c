#include "controller/methods.h"

#include "controller/health.h"

#include "base/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct collector {
    struct arena *arena;
    Csi__V1__VolumeHealth *message;
};

static void collect(enum health status, const char *reason, const char *text, void *data)
{
    struct collector *collector = data;
    Csi__V1__VolumeHealth *message = collector->message;
    message->health_statuses = arena_grow(collector->arena, message->health_statuses, message->n_health_statuses,
                                          sizeof *message->health_statuses);
    Csi__V1__VolumeHealth__VolumeHealthEntry *entry = arena_allocate(collector->arena, sizeof *entry);
    csi__v1__volume_health__volume_health_entry__init(entry);
    entry->status = (Csi__V1__VolumeHealthErrorType)status;
    entry->reason = arena_string(collector->arena, reason);
    entry->message = arena_string(collector->arena, text);
    message->health_statuses[message->n_health_statuses++] = entry;
}

static Csi__V1__VolumeHealth *new_message(struct arena *arena, const char *id)
{
    Csi__V1__VolumeHealth *message = arena_allocate(arena, sizeof *message);
    csi__v1__volume_health__init(message);
    message->volume_id = arena_string(arena, id);
    return message;
}

Csi__V1__VolumeHealth *volume_health_message(struct arena *arena, struct pool *pool, const struct record *record)
{
    struct collector collector = {.arena = arena, .message = new_message(arena, record->id)};
    pool_volume_health(pool, record, collect, &collector);
    return collector.message;
}

void volume_health_add(struct arena *arena, Csi__V1__VolumeHealth *message, enum health status, const char *reason,
                       const char *text)
{
    struct collector collector = {.arena = arena, .message = message};
    collect(status, reason, text, &collector);
}

Csi__V1__VolumeHealth *volume_health_damaged(struct arena *arena, const char *id, const struct error *why)
{
    Csi__V1__VolumeHealth *message = new_message(arena, id);
    bool lost = why->code == DATA_LOSS;
    volume_health_add(arena, message, lost ? HEALTH_DATA_LOSS : HEALTH_INACCESSIBLE,
                      lost ? "RecordDamaged" : "VolumeUnavailable", why->message);
    return message;
}

/* --- ControllerGetVolumeHealth --- */

bool controller_get_health(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    struct driver *driver = rpc_context(call);
    const Csi__V1__ControllerGetVolumeHealthRequest *request = message;
    Csi__V1__ControllerGetVolumeHealthResponse *response = answer;
    struct pool *pool;
    struct record record;
    if (request->volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "volume_id is missing");
    if (pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &pool, &record, error))
        response->volume_health = volume_health_message(rpc_arena(call), pool, &record);
    else if (error->code != NOT_FOUND)
        response->volume_health = volume_health_damaged(rpc_arena(call), request->volume_id, error);
    return response->volume_health != NULL;
}

/* --- ControllerListVolumeHealth: only what is not well --- */

struct id_list {
    struct arena *arena;
    const char *after;
    char (*ids)[ID_BYTES];
    size_t count, most;
};

static void add_id(struct id_list *list, const char *id)
{
    list->ids = arena_grow(list->arena, list->ids, list->count, sizeof *list->ids);
    text_copy(list->ids[list->count++], ID_BYTES, id);
}

static bool add_record(struct pool *pool, const struct record *record, void *data)
{
    struct id_list *list = data;
    (void)pool;
    if (record->phase == PHASE_READY)
        add_id(list, record->id);
    return list->count < list->most;
}

static void add_damaged(struct pool *pool, const char *id, const struct error *why, void *data)
{
    struct id_list *list = data;
    (void)pool, (void)why;
    if (record_is_id(id, ID_MARK_VOLUME) && strcmp(id, list->after) > 0)
        add_id(list, id);
}

static int compare_ids(const void *left, const void *right)
{
    return strcmp(left, right);
}

/* The next volumes in the order of ids, also those whose record is damaged: one more than `most`, if there are so many.
 */
static struct id_list next_ids(struct rpc_call *call, const char *after, size_t most)
{
    const struct driver *driver = rpc_context(call);
    struct id_list list = {.arena = rpc_arena(call), .after = after, .most = most < SIZE_MAX ? most + 1 : most};
    pools_list(driver->pools, RECORD_VOLUME, after, add_record, &list);
    pools_list_damaged(driver->pools, add_damaged, &list);
    if (list.count > 0)
        qsort(list.ids, list.count, ID_BYTES, compare_ids);
    return list;
}

static Csi__V1__VolumeHealth *look_at(struct rpc_call *call, const char *id)
{
    const struct driver *driver = rpc_context(call);
    struct pool *pool;
    struct record record;
    struct error error;
    if (pools_find(driver->pools, RECORD_VOLUME, id, &pool, &record, &error))
        return volume_health_message(rpc_arena(call), pool, &record);
    return error.code == NOT_FOUND ? NULL : volume_health_damaged(rpc_arena(call), id, &error);
}

bool controller_list_health(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const Csi__V1__ControllerListVolumeHealthRequest *request = message;
    Csi__V1__ControllerListVolumeHealthResponse *response = answer;
    if (request->max_entries < 0)
        return fail(error, INVALID_ARGUMENT, "max_entries is negative");
    if (request->starting_token[0] != '\0' && !record_is_id(request->starting_token, ID_MARK_VOLUME))
        return fail(error, ABORTED, "starting_token is not one of ours; start from the beginning");
    /* A page looks at as many volumes as it may have entries, so its cost does not grow with the pool; it may be empty.
     */
    size_t most = request->max_entries > 0 ? (size_t)request->max_entries : SIZE_MAX;
    struct id_list list = next_ids(call, request->starting_token, most);
    response->entries = arena_array(rpc_arena(call), list.count + 1, sizeof *response->entries);
    for (size_t i = 0; i < list.count && i < most; i++) {
        Csi__V1__VolumeHealth *health = look_at(call, list.ids[i]);
        if (health != NULL && health->n_health_statuses > 0)
            response->entries[response->n_entries++] = health;
    }
    if (list.count > most)
        response->next_token = arena_string(rpc_arena(call), list.ids[most - 1]);
    return true;
}
