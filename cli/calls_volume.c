#include "cli/calls.h"

#include <string.h>

#define CONTROLLER (&csi__v1__controller__descriptor)
#define PAGE 1000

/* --- parts of requests --- */

Csi__V1__VolumeCapability *access_capability(struct session *session, const struct access *access)
{
    Csi__V1__VolumeCapability *capability = arena_allocate(session->arena, sizeof *capability);
    csi__v1__volume_capability__init(capability);
    capability->access_mode = arena_allocate(session->arena, sizeof *capability->access_mode);
    csi__v1__volume_capability__access_mode__init(capability->access_mode);
    capability->access_mode->mode =
        access->mode != 0 ? access->mode : CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER;
    if (access->block) {
        capability->access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
        capability->block = arena_allocate(session->arena, sizeof *capability->block);
        csi__v1__volume_capability__block_volume__init(capability->block);
        return capability;
    }
    capability->access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
    capability->mount = arena_allocate(session->arena, sizeof *capability->mount);
    csi__v1__volume_capability__mount_volume__init(capability->mount);
    if (access->filesystem != NULL)
        capability->mount->fs_type = (char *)access->filesystem;
    capability->mount->mount_flags = access->mount_options;
    capability->mount->n_mount_flags = access->mount_option_count;
    return capability;
}

static void set_parameters(struct session *session, const struct new_volume *wish,
                           Csi__V1__CreateVolumeRequest *request)
{
    request->parameters = arena_array(session->arena, wish->parameter_count, sizeof *request->parameters);
    request->n_parameters = wish->parameter_count;
    for (size_t i = 0; i < wish->parameter_count; i++) {
        request->parameters[i] = arena_allocate(session->arena, sizeof **request->parameters);
        csi__v1__create_volume_request__parameters_entry__init(request->parameters[i]);
        request->parameters[i]->key = (char *)wish->parameters[i].key;
        request->parameters[i]->value = (char *)wish->parameters[i].value;
    }
}

static void set_source(struct session *session, const struct new_volume *wish, Csi__V1__CreateVolumeRequest *request)
{
    Csi__V1__VolumeContentSource *source = arena_allocate(session->arena, sizeof *source);
    csi__v1__volume_content_source__init(source);
    if (wish->from_snapshot != NULL) {
        source->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
        source->snapshot = arena_allocate(session->arena, sizeof *source->snapshot);
        csi__v1__volume_content_source__snapshot_source__init(source->snapshot);
        source->snapshot->snapshot_id = (char *)wish->from_snapshot;
    } else if (wish->from_volume != NULL) {
        source->type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
        source->volume = arena_allocate(session->arena, sizeof *source->volume);
        csi__v1__volume_content_source__volume_source__init(source->volume);
        source->volume->volume_id = (char *)wish->from_volume;
    } else {
        return;
    }
    request->volume_content_source = source;
}

/* --- volumes --- */

const Csi__V1__CreateVolumeResponse *csi_create_volume(struct session *session, const struct new_volume *wish,
                                                       struct error *error)
{
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__VolumeCapability *capability = access_capability(session, &wish->access);
    Csi__V1__CreateVolumeRequest request = CSI__V1__CREATE_VOLUME_REQUEST__INIT;
    request.name = (char *)wish->name;
    request.volume_capabilities = &capability;
    request.n_volume_capabilities = 1;
    range.required_bytes = wish->bytes;
    request.capacity_range = wish->bytes > 0 ? &range : NULL;
    set_parameters(session, wish, &request);
    set_source(session, wish, &request);
    const Csi__V1__CreateVolumeResponse *answer =
        session_call(session, CONTROLLER, "CreateVolume", &request,
                     arena_format(session->arena, "creating the volume %s", wish->name), error);
    if (answer == NULL || answer->volume != NULL)
        return answer;
    fail(error, INTERNAL, "the driver answered CreateVolume without a volume");
    return NULL;
}

static bool expand_on_node(struct session *session, const char *id, int64_t bytes, const char *path,
                           struct error *error)
{
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__NodeExpandVolumeRequest request = CSI__V1__NODE_EXPAND_VOLUME_REQUEST__INIT;
    range.required_bytes = bytes;
    request.volume_id = (char *)id;
    request.volume_path = (char *)path;
    request.capacity_range = &range;
    return session_call(session, &csi__v1__node__descriptor, "NodeExpandVolume", &request,
                        arena_format(session->arena, "growing the file system of %s", id), error) != NULL;
}

const Csi__V1__ControllerExpandVolumeResponse *csi_expand_volume(struct session *session, const char *id, int64_t bytes,
                                                                 const char *path, struct error *error)
{
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__ControllerExpandVolumeRequest request = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    range.required_bytes = bytes;
    request.volume_id = (char *)id;
    request.capacity_range = &range;
    const Csi__V1__ControllerExpandVolumeResponse *answer =
        session_call(session, CONTROLLER, "ControllerExpandVolume", &request,
                     arena_format(session->arena, "growing the volume %s", id), error);
    bool node_too = answer != NULL && answer->node_expansion_required && path != NULL;
    return !node_too || expand_on_node(session, id, answer->capacity_bytes, path, error) ? answer : NULL;
}

const Csi__V1__ListVolumesResponse *csi_list_volumes(struct session *session, struct error *error)
{
    Csi__V1__ListVolumesResponse *all = arena_allocate(session->arena, sizeof *all);
    Csi__V1__ListVolumesRequest request = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    csi__v1__list_volumes_response__init(all);
    request.max_entries = PAGE;
    do {
        const Csi__V1__ListVolumesResponse *page =
            session_call_once(session, CONTROLLER, "ListVolumes", &request, "listing volumes", error);
        if (page == NULL)
            return NULL;
        for (size_t i = 0; i < page->n_entries; i++)
            if (page->entries[i]->volume != NULL) {
                all->entries = arena_grow(session->arena, all->entries, all->n_entries, sizeof *all->entries);
                all->entries[all->n_entries++] = page->entries[i];
            }
        request.starting_token = page->next_token;
    } while (request.starting_token[0] != '\0');
    return all;
}

static const Csi__V1__ControllerGetVolumeResponse *from_entry(struct session *session,
                                                              const Csi__V1__ListVolumesResponse__Entry *entry)
{
    Csi__V1__ControllerGetVolumeResponse *found = arena_allocate(session->arena, sizeof *found);
    csi__v1__controller_get_volume_response__init(found);
    found->volume = entry->volume;
    if (entry->status == NULL)
        return found;
    found->status = arena_allocate(session->arena, sizeof *found->status);
    csi__v1__controller_get_volume_response__volume_status__init(found->status);
    found->status->published_node_ids = entry->status->published_node_ids;
    found->status->n_published_node_ids = entry->status->n_published_node_ids;
    return found;
}

static const Csi__V1__ControllerGetVolumeResponse *find_in_list(struct session *session, const char *id,
                                                                struct error *error)
{
    const Csi__V1__ListVolumesResponse *all = csi_list_volumes(session, error);
    for (size_t i = 0; all != NULL && i < all->n_entries; i++)
        if (strcmp(all->entries[i]->volume->volume_id, id) == 0)
            return from_entry(session, all->entries[i]);
    if (all != NULL)
        fail(error, NOT_FOUND, "the driver lists no volume %s", id);
    return NULL;
}

const Csi__V1__ControllerGetVolumeResponse *csi_get_volume(struct session *session, const char *id, struct error *error)
{
    Csi__V1__ControllerGetVolumeRequest request = CSI__V1__CONTROLLER_GET_VOLUME_REQUEST__INIT;
    request.volume_id = (char *)id;
    const Csi__V1__ControllerGetVolumeResponse *answer = session_call(
        session, CONTROLLER, "ControllerGetVolume", &request, arena_format(session->arena, "looking at %s", id), error);
    if (answer == NULL && error->code == UNIMPLEMENTED)
        return find_in_list(session, id, error);
    if (answer == NULL || answer->volume != NULL)
        return answer;
    fail(error, INTERNAL, "the driver answered ControllerGetVolume without a volume");
    return NULL;
}

const Csi__V1__VolumeHealth *csi_volume_health(struct session *session, const char *id)
{
    struct error ignored;
    Csi__V1__ControllerGetVolumeHealthRequest request = CSI__V1__CONTROLLER_GET_VOLUME_HEALTH_REQUEST__INIT;
    request.volume_id = (char *)id;
    const Csi__V1__ControllerGetVolumeHealthResponse *answer =
        session_call(session, CONTROLLER, "ControllerGetVolumeHealth", &request, "asking for its health", &ignored);
    return answer != NULL ? answer->volume_health : NULL;
}

const char *volume_context(const Csi__V1__Volume *volume, const char *key)
{
    for (size_t i = 0; i < volume->n_volume_context; i++)
        if (strcmp(volume->volume_context[i]->key, key) == 0)
            return volume->volume_context[i]->value;
    return NULL;
}

void volume_access(const Csi__V1__Volume *volume, struct access *access)
{
    const char *filesystem = volume != NULL ? volume_context(volume, "fsType") : NULL;
    if (filesystem == NULL || access->block || access->filesystem != NULL)
        return;
    access->block = strcmp(filesystem, "block") == 0;
    access->filesystem = access->block ? NULL : filesystem;
}
