#include "controller/request.h"

#include "base/text.h"
#include "controller/parameters.h"
#include "filesystem/filesystem.h"
#include "snapshot/message.h"

#include <inttypes.h>
#include <string.h>

#define LARGEST (INT64_C(1) << 62)

/* --- sizes --- */

bool request_read_range(const Csi__V1__CapacityRange *range, int64_t *required, int64_t *limit, struct error *error)
{
    *required = range != NULL ? range->required_bytes : 0;
    *limit = range != NULL ? range->limit_bytes : 0;
    if (*required < 0 || *limit < 0)
        return fail(error, INVALID_ARGUMENT, "a size in the capacity range is negative");
    if (*limit > 0 && *limit < *required)
        return fail(error, INVALID_ARGUMENT,
                    "the capacity range contradicts itself: limit %" PRId64 " is below %" PRId64, *limit, *required);
    return true;
}

bool request_size(const struct volume_request *request, const struct pool *pool, const struct record *shape,
                  int64_t fallback, int64_t *bytes, struct error *error)
{
    const struct filesystem *filesystem = filesystem_find(request->filesystem);
    int64_t least = filesystem != NULL ? filesystem_least_bytes(filesystem) : 1;
    int64_t asked = request->required > 0 ? request->required : fallback;
    char smallest[32], given[32];
    if (request->required == 0 && request->limit > 0 && request->limit < asked)
        asked = request->limit / 4096 * 4096;
    if (asked < least)
        return fail(error, OUT_OF_RANGE, "%s is too small for %s: the smallest volume is %s (%" PRId64 " bytes)",
                    text_from_size(asked, given), filesystem != NULL ? request->filesystem : "a volume",
                    text_from_size(least, smallest), least);
    if (asked > LARGEST)
        return fail(error, OUT_OF_RANGE, "%" PRId64 " bytes are more than any volume can have", asked);
    *bytes = pool_round(pool, shape, asked);
    if (request->limit > 0 && *bytes > request->limit)
        return fail(error, OUT_OF_RANGE, "sizes are rounded up to %" PRId64 " bytes, which is above the limit %" PRId64,
                    *bytes, request->limit);
    return true;
}

struct record request_shape(const struct volume_request *request, const struct pool *pool)
{
    bool by_default = pool_is_thick(pool) || request->layout != LAYOUT_LINEAR;
    return (struct record){
        .thick = request->provisioning == PROVISIONING_THICK ||
                 (request->provisioning == PROVISIONING_DEFAULT && by_default),
        .layout = request->layout,
        .stripes = request->stripes,
        .mirrors = request->mirrors,
    };
}

/* --- the rest --- */

static bool read_capabilities(const struct driver *driver, const Csi__V1__CreateVolumeRequest *message,
                              struct volume_request *request, struct error *error)
{
    if (message->n_volume_capabilities == 0)
        return fail(error, INVALID_ARGUMENT, "volume_capabilities is missing");
    for (size_t i = 0; i < message->n_volume_capabilities; i++) {
        struct capability capability;
        if (!capability_read(driver, message->volume_capabilities[i], &capability, error))
            return false;
        if (i > 0 && strcmp(capability.filesystem, request->filesystem) != 0)
            return fail(error, INVALID_ARGUMENT,
                        "the volume capabilities contradict each other: a volume is raw block or has one file system");
        request->filesystem = capability.filesystem;
        request->default_filesystem = capability.is_default;
    }
    return true;
}

static bool read_source(const Csi__V1__CreateVolumeRequest *message, struct volume_request *request,
                        struct error *error)
{
    const Csi__V1__VolumeContentSource *source = message->volume_content_source;
    request->source_id = "";
    if (source == NULL)
        return true;
    switch (source->type_case) {
    case CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT:
        request->source_id = source->snapshot->snapshot_id;
        request->source_kind = RECORD_SNAPSHOT;
        break;
    case CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME:
        request->source_id = source->volume->volume_id;
        request->source_kind = RECORD_VOLUME;
        break;
    default:
        break;
    }
    return request->source_id[0] != '\0' ||
           fail(error, INVALID_ARGUMENT, "volume_content_source names neither a snapshot nor a volume");
}

static bool check_mkfs_options(const struct volume_request *request, struct error *error)
{
    const struct filesystem *filesystem = filesystem_find(request->filesystem);
    if (request->mkfs_options[0] == '\0')
        return true;
    if (filesystem == NULL)
        return fail(error, INVALID_ARGUMENT, "parameter mkfsOptions makes no sense for a raw block volume");
    return filesystem_check_options(filesystem, request->mkfs_options, error) ||
           fail_context(error, "parameter mkfsOptions");
}

bool request_read(const struct driver *driver, const Csi__V1__CreateVolumeRequest *message,
                  struct volume_request *request, struct error *error)
{
    *request = (struct volume_request){
        .name = message->name, .pool = "", .mkfs_options = "", .claim_name = "", .claim_namespace = ""};
    if (message->name[0] == '\0')
        return fail(error, INVALID_ARGUMENT, "name is missing");
    if (!read_capabilities(driver, message, request, error) || !parameters_read(message, request, error) ||
        !request_read_range(message->capacity_range, &request->required, &request->limit, error) ||
        !read_source(message, request, error) || !check_mkfs_options(request, error))
        return false;
    return snapshot_check_topology(driver, message->accessibility_requirements, error);
}
