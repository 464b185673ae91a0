#include "controller/request.h"

#include "base/digest.h"
#include "base/text.h"
#include "filesystem/filesystem.h"
#include "snapshot/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KUBERNETES_PREFIX "csi.storage.k8s.io/"
#define LARGEST (INT64_C(1) << 62)

/* --- parameters of a StorageClass (docs/parameters.md) --- */

static bool set_pool(struct volume_request *request, const char *value, struct error *error)
{
    (void)error;
    request->pool = value;
    return true;
}

static bool set_provisioning(struct volume_request *request, const char *value, struct error *error)
{
    bool thick = strcmp(value, "thick") == 0;
    request->provisioning = thick ? PROVISIONING_THICK : PROVISIONING_THIN;
    return thick || strcmp(value, "thin") == 0 ||
           fail(error, INVALID_ARGUMENT, "parameter provisioning is thin or thick, not \"%s\"", value);
}

static bool set_mkfs_options(struct volume_request *request, const char *value, struct error *error)
{
    (void)error; /* checked when the file system is known */
    request->mkfs_options = value;
    return true;
}

static bool set_claim_name(struct volume_request *request, const char *value, struct error *error)
{
    (void)error;
    request->claim_name = value;
    return true;
}

static bool set_claim_namespace(struct volume_request *request, const char *value, struct error *error)
{
    (void)error;
    request->claim_namespace = value;
    return true;
}

static const struct parameter {
    const char *key;
    bool counts; /* in the digest: a retry with another value is another volume */
    bool (*set)(struct volume_request *request, const char *value, struct error *error);
} parameters[] = {
    {"pool", true, set_pool},
    {"provisioning", true, set_provisioning},
    {"mkfsOptions", true, set_mkfs_options},
    {KUBERNETES_PREFIX "pvc/name", false, set_claim_name},
    {KUBERNETES_PREFIX "pvc/namespace", false, set_claim_namespace},
};

static const struct parameter *find_parameter(const char *key)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        if (strcmp(parameters[i].key, key) == 0)
            return &parameters[i];
    return NULL;
}

static bool is_kubernetes(const char *key)
{
    return strncmp(key, KUBERNETES_PREFIX, strlen(KUBERNETES_PREFIX)) == 0;
}

static bool refuse(const char *key, struct error *error)
{
    return fail(error, INVALID_ARGUMENT,
                "unknown parameter \"%s\": a StorageClass of this driver has pool, provisioning and mkfsOptions", key);
}

static bool read_parameters(const Csi__V1__CreateVolumeRequest *message, struct volume_request *request,
                            struct error *error)
{
    for (size_t i = 0; i < message->n_parameters; i++) {
        const char *key = message->parameters[i]->key, *value = message->parameters[i]->value;
        const struct parameter *parameter = find_parameter(key);
        if (parameter == NULL && !is_kubernetes(key))
            return refuse(key, error);
        if (parameter != NULL && !parameter->set(request, value, error))
            return false;
    }
    if (message->n_mutable_parameters > 0)
        return fail(error, INVALID_ARGUMENT, "this driver has no mutable parameters (there is \"%s\")",
                    message->mutable_parameters[0]->key);
    return true;
}

/* In the order of the table, so that the order on the wire does not matter. */
static void digest_parameters(const Csi__V1__CreateVolumeRequest *message, struct volume_request *request)
{
    char text[8192];
    size_t used = 0;
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        for (size_t k = 0; parameters[i].counts && k < message->n_parameters; k++)
            if (strcmp(message->parameters[k]->key, parameters[i].key) == 0)
                used += (size_t)snprintf(text + used, sizeof text - used, "%s=%s\n", parameters[i].key,
                                         message->parameters[k]->value);
    digest_hex(text, used, sizeof request->digest - 1, request->digest);
}

bool request_read_pool(Csi__V1__GetCapacityRequest__ParametersEntry *const *entries, size_t count, const char **pool,
                       struct error *error)
{
    *pool = "";
    for (size_t i = 0; i < count; i++) {
        if (find_parameter(entries[i]->key) == NULL && !is_kubernetes(entries[i]->key))
            return refuse(entries[i]->key, error);
        if (strcmp(entries[i]->key, "pool") == 0)
            *pool = entries[i]->value;
    }
    return true;
}

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

bool request_size(const struct volume_request *request, const struct pool *pool, int64_t fallback, int64_t *bytes,
                  struct error *error)
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
    *bytes = pool_round(pool, asked);
    if (request->limit > 0 && *bytes > request->limit)
        return fail(error, OUT_OF_RANGE, "sizes are rounded up to %" PRId64 " bytes, which is above the limit %" PRId64,
                    *bytes, request->limit);
    return true;
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
    if (!read_capabilities(driver, message, request, error) || !read_parameters(message, request, error) ||
        !request_read_range(message->capacity_range, &request->required, &request->limit, error) ||
        !read_source(message, request, error) || !check_mkfs_options(request, error))
        return false;
    digest_parameters(message, request);
    return snapshot_check_topology(driver, message->accessibility_requirements, error);
}
