#include "controller/message.h"

#include "snapshot/message.h"

static Csi__V1__VolumeContentSource *source_message(struct arena *arena, const char *id)
{
    Csi__V1__VolumeContentSource *source = arena_allocate(arena, sizeof *source);
    csi__v1__volume_content_source__init(source);
    if (record_is_id(id, ID_MARK_SNAPSHOT)) {
        source->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
        source->snapshot = arena_allocate(arena, sizeof *source->snapshot);
        csi__v1__volume_content_source__snapshot_source__init(source->snapshot);
        source->snapshot->snapshot_id = arena_string(arena, id);
    } else {
        source->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
        source->volume = arena_allocate(arena, sizeof *source->volume);
        csi__v1__volume_content_source__volume_source__init(source->volume);
        source->volume->volume_id = arena_string(arena, id);
    }
    return source;
}

Csi__V1__Volume *volume_message(struct rpc_call *call, const struct record *record)
{
    struct arena *arena = rpc_arena(call);
    Csi__V1__Volume *volume = arena_allocate(arena, sizeof *volume);
    Csi__V1__Volume__VolumeContextEntry *context = arena_allocate(arena, sizeof *context);
    csi__v1__volume__init(volume);
    csi__v1__volume__volume_context_entry__init(context);
    volume->capacity_bytes = record->bytes;
    volume->volume_id = arena_string(arena, record->id);
    if (record->source_id[0] != '\0')
        volume->content_source = source_message(arena, record->source_id);
    context->key = arena_string(arena, "fsType");
    context->value = arena_string(arena, record->filesystem[0] != '\0' ? record->filesystem : "block");
    volume->n_volume_context = 1;
    volume->volume_context = arena_array(arena, 1, sizeof *volume->volume_context);
    volume->volume_context[0] = context;
    volume->n_accessible_topology = 1;
    volume->accessible_topology = snapshot_topology(rpc_context(call), arena);
    return volume;
}
