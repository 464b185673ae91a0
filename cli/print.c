#include "cli/print.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void print_line(const char *format, ...)
{
    cleanup_free char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    cleanup_free char *line = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (line == NULL)
        abort();
    text_one_line(line, (size_t)length + 1, text);
    puts(line);
}

static const char *source(struct arena *arena, const Csi__V1__VolumeContentSource *from)
{
    if (from == NULL)
        return NULL;
    switch (from->type_case) {
    case CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT:
        return arena_format(arena, "snapshot %s", from->snapshot->snapshot_id);
    case CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME:
        return arena_format(arena, "volume %s", from->volume->volume_id);
    default:
        return NULL;
    }
}

struct table print_volumes(struct arena *arena)
{
    static const char *const columns[] = {"VOLUME", "SIZE", "TYPE", "MADE FROM"};
    return table_create(arena, columns, sizeof columns / sizeof *columns);
}

void print_volume(struct table *table, const Csi__V1__Volume *volume)
{
    const char *cells[] = {volume->volume_id, table_size(table->arena, volume->capacity_bytes),
                           volume_context(volume, "fsType"), source(table->arena, volume->content_source)};
    table_add(table, cells);
}

static const char *local_time(struct arena *arena, const Google__Protobuf__Timestamp *timestamp)
{
    char text[64];
    struct tm parts;
    time_t seconds = timestamp != NULL ? timestamp->seconds : 0;
    if (timestamp == NULL || localtime_r(&seconds, &parts) == NULL)
        return NULL;
    strftime(text, sizeof text, "%F %T", &parts);
    return arena_string(arena, text);
}

struct table print_snapshots(struct arena *arena)
{
    static const char *const columns[] = {"SNAPSHOT", "SIZE", "CREATED", "READY", "VOLUME", "GROUP"};
    return table_create(arena, columns, sizeof columns / sizeof *columns);
}

void print_snapshot(struct table *table, const Csi__V1__Snapshot *snapshot)
{
    const char *cells[] = {snapshot->snapshot_id,
                           table_size(table->arena, snapshot->size_bytes),
                           local_time(table->arena, snapshot->creation_time),
                           snapshot->ready_to_use ? "yes" : "no",
                           snapshot->source_volume_id,
                           snapshot->group_snapshot_id};
    table_add(table, cells);
}

void print_answer(const struct session *session, const ProtobufCMessage *answer, const struct table *table)
{
    if (!session->json) {
        table_print(table);
        return;
    }
    json_t *value = json_from_message(answer);
    json_object_del(value, "nextToken");
    json_print(value);
}

static const char *joined(struct arena *arena, const char *list, const char *more)
{
    return list != NULL ? arena_format(arena, "%s, %s", list, more) : more;
}

static const char *topology(struct arena *arena, const Csi__V1__Volume *volume)
{
    const char *list = NULL;
    for (size_t i = 0; i < volume->n_accessible_topology; i++)
        for (size_t k = 0; k < volume->accessible_topology[i]->n_segments; k++) {
            const Csi__V1__Topology__SegmentsEntry *segment = volume->accessible_topology[i]->segments[k];
            list = joined(arena, list, arena_format(arena, "%s=%s", segment->key, segment->value));
        }
    return list;
}

static void print_health(struct arena *arena, const Csi__V1__VolumeHealth *health)
{
    if (health->n_health_statuses == 0)
        table_line("Health", "nothing is wrong");
    for (size_t i = 0; i < health->n_health_statuses; i++) {
        const Csi__V1__VolumeHealth__VolumeHealthEntry *entry = health->health_statuses[i];
        const ProtobufCEnumValue *status =
            protobuf_c_enum_descriptor_get_value(&csi__v1__volume_health_error_type__descriptor, (int)entry->status);
        table_line("Health", arena_format(arena, "%s, %s: %s", status != NULL ? status->name : "UNKNOWN", entry->reason,
                                          entry->message));
    }
}

void print_details(struct arena *arena, const Csi__V1__ControllerGetVolumeResponse *answer,
                   const Csi__V1__VolumeHealth *health)
{
    const Csi__V1__Volume *volume = answer->volume;
    const char *nodes = NULL;
    for (size_t i = 0; answer->status != NULL && i < answer->status->n_published_node_ids; i++)
        nodes = joined(arena, nodes, answer->status->published_node_ids[i]);
    table_line("Volume", volume->volume_id);
    table_line("Size", arena_format(arena, "%s (%" PRId64 " bytes)", table_size(arena, volume->capacity_bytes),
                                    volume->capacity_bytes));
    table_line("Type", volume_context(volume, "fsType"));
    table_line("Made from", source(arena, volume->content_source));
    table_line("Reached from", topology(arena, volume));
    if (nodes != NULL)
        table_line("Published on", nodes);
    if (health != NULL)
        print_health(arena, health);
}
