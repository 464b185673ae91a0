/* What is there: ListVolumes, ControllerGetVolume, ValidateVolumeCapabilities, GetCapacity. */
#include "controller/methods.h"

#include "controller/capability.h"
#include "controller/message.h"
#include "controller/parameters.h"
#include "filesystem/filesystem.h"
#include "snapshot/message.h"

#include <stdint.h>
#include <string.h>

/* --- ListVolumes --- */

struct listing {
    struct rpc_call *call;
    Csi__V1__ListVolumesResponse *response;
    size_t most;
    bool more;
};

static void add_entry(struct listing *listing, const struct record *record)
{
    Csi__V1__ListVolumesResponse *response = listing->response;
    struct arena *arena = rpc_arena(listing->call);
    response->entries = arena_grow(arena, response->entries, response->n_entries, sizeof *response->entries);
    Csi__V1__ListVolumesResponse__Entry *entry = arena_allocate(arena, sizeof *entry);
    csi__v1__list_volumes_response__entry__init(entry);
    entry->volume = volume_message(listing->call, record);
    response->entries[response->n_entries++] = entry;
}

static bool list_one(struct pool *pool, const struct record *record, void *data)
{
    struct listing *listing = data;
    (void)pool;
    if (record->phase != PHASE_READY)
        return true;
    listing->more = listing->response->n_entries == listing->most;
    if (!listing->more)
        add_entry(listing, record);
    return !listing->more;
}

bool controller_list_volumes(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__ListVolumesRequest *request = message;
    Csi__V1__ListVolumesResponse *response = answer;
    if (request->max_entries < 0)
        return fail(error, INVALID_ARGUMENT, "max_entries is negative");
    /* The token is the last id handed out: it stays good when that volume is deleted. */
    if (request->starting_token[0] != '\0' && !record_is_id(request->starting_token, ID_MARK_VOLUME))
        return fail(error, ABORTED, "starting_token is not one of ours; start from the beginning");
    struct listing listing = {
        .call = call, .response = response, .most = request->max_entries > 0 ? (size_t)request->max_entries : SIZE_MAX};
    pools_list(driver->pools, RECORD_VOLUME, request->starting_token, list_one, &listing);
    if (listing.more)
        response->next_token = response->entries[response->n_entries - 1]->volume->volume_id;
    return true;
}

/* --- ControllerGetVolume --- */

bool controller_get_volume(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__ControllerGetVolumeRequest *request = message;
    Csi__V1__ControllerGetVolumeResponse *response = answer;
    struct pool *pool;
    struct record record;
    if (request->volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "volume_id is missing");
    if (!pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &pool, &record, error))
        return false;
    if (record.phase != PHASE_READY)
        return fail(error, NOT_FOUND, "volume %s is not ready", record.id);
    response->volume = volume_message(call, &record);
    response->status = arena_allocate(rpc_arena(call), sizeof *response->status);
    csi__v1__controller_get_volume_response__volume_status__init(response->status);
    return true;
}

/* --- ValidateVolumeCapabilities --- */

/* What does not fit is no error here: `confirmed` stays empty and `message` says why (spec.md). */
bool controller_validate_capabilities(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__ValidateVolumeCapabilitiesRequest *request = message;
    Csi__V1__ValidateVolumeCapabilitiesResponse *response = answer;
    struct arena *arena = rpc_arena(call);
    struct pool *pool;
    struct record record;
    if (request->volume_id[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "volume_id is missing");
    if (request->n_volume_capabilities == 0)
        return fail(error, INVALID_ARGUMENT, "volume_capabilities is missing");
    if (!pools_find(driver->pools, RECORD_VOLUME, request->volume_id, &pool, &record, error))
        return false;
    for (size_t i = 0; i < request->n_volume_capabilities; i++) {
        struct capability capability;
        struct error why;
        if (capability_read(driver, request->volume_capabilities[i], &capability, &why) &&
            capability_fits(&capability, &record, &why))
            continue;
        response->message = arena_string(arena, why.message);
        return true;
    }
    Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *confirmed = arena_allocate(arena, sizeof *confirmed);
    csi__v1__validate_volume_capabilities_response__confirmed__init(confirmed);
    confirmed->n_volume_capabilities = request->n_volume_capabilities;
    confirmed->volume_capabilities = request->volume_capabilities;
    response->confirmed = confirmed;
    return true;
}

/* --- GetCapacity --- */

static Google__Protobuf__Int64Value *number(struct arena *arena, int64_t value)
{
    Google__Protobuf__Int64Value *message = arena_allocate(arena, sizeof *message);
    google__protobuf__int64_value__init(message);
    message->value = value;
    return message;
}

/* Capabilities that we cannot serve have no capacity; the smallest volume depends on the file system. */
static bool look_at_capabilities(const struct driver *driver, const Csi__V1__GetCapacityRequest *request,
                                 int64_t *smallest)
{
    const struct filesystem *standard = filesystem_find(driver->default_filesystem);
    *smallest = request->n_volume_capabilities == 0 && standard != NULL ? filesystem_least_bytes(standard) : 4096;
    for (size_t i = 0; i < request->n_volume_capabilities; i++) {
        struct capability capability;
        struct error ignored;
        if (!capability_read(driver, request->volume_capabilities[i], &capability, &ignored))
            return false;
        if (!capability.block)
            *smallest = filesystem_least_bytes(filesystem_find(capability.filesystem));
    }
    return true;
}

static bool is_on_this_node(const struct driver *driver, Csi__V1__Topology *topology)
{
    struct error ignored;
    Csi__V1__TopologyRequirement requirement = CSI__V1__TOPOLOGY_REQUIREMENT__INIT;
    requirement.n_requisite = topology != NULL;
    requirement.requisite = &topology;
    return snapshot_check_topology(driver, &requirement, &ignored);
}

bool controller_get_capacity(struct rpc_call *call, const void *message, void *answer, struct error *error)
{
    const struct driver *driver = rpc_context(call);
    const Csi__V1__GetCapacityRequest *request = message;
    Csi__V1__GetCapacityResponse *response = answer;
    struct pool_space space = {.available = 0};
    struct volume_request wanted;
    int64_t smallest;
    if (!parameters_read_shape(request->parameters, request->n_parameters, &wanted, error))
        return false;
    struct pool *pool = pools_named(driver->pools, wanted.pool, error);
    if (pool == NULL)
        return false;
    struct record shape = request_shape(&wanted, pool);
    bool served =
        look_at_capabilities(driver, request, &smallest) && is_on_this_node(driver, request->accessible_topology);
    if (served && !pool_space(pool, &shape, &space, error))
        return false;
    response->available_capacity = space.available;
    response->maximum_volume_size = number(rpc_arena(call), space.largest);
    response->minimum_volume_size = number(rpc_arena(call), smallest);
    return true;
}
