/* The parameters of a StorageClass (docs/parameters.md). */
#include "controller/parameters.h"

#include "base/digest.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KUBERNETES_PREFIX "csi.storage.k8s.io/"

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

/* The index of a word in a table of words, or INVALID_ARGUMENT with all of them. */
static bool read_word(const char *parameter, const char *const words[], int count, const char *value, int *index,
                      struct error *error)
{
    char all[128] = "";
    for (*index = 0; *index < count; (*index)++) {
        if (strcmp(words[*index], value) == 0)
            return true;
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", used > 0 ? ", " : "", words[*index]);
    }
    return fail(error, INVALID_ARGUMENT, "parameter %s is one of %s, not \"%s\"", parameter, all, value);
}

static bool read_count(const char *parameter, int least, int most, const char *value, int32_t *count,
                       struct error *error)
{
    char *end;
    long number = strtol(value, &end, 10);
    *count = (int32_t)number;
    return (isdigit((unsigned char)value[0]) && *end == '\0' && number >= least && number <= most) ||
           fail(error, INVALID_ARGUMENT, "parameter %s is a number from %d to %d, not \"%s\"", parameter, least, most,
                value);
}

/* In the order of enum layout. */
static const struct layout_words {
    const char *name;
    bool striped, mirrored;
    int least_stripes;
} layouts[] = {
    {"linear", false, false, 0}, {"striped", true, false, 2}, {"raid1", false, true, 0},
    {"raid5", true, false, 2},   {"raid6", true, false, 3},   {"raid10", true, true, 2},
};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

static bool set_layout(struct volume_request *request, const char *value, struct error *error)
{
    const char *names[LAYOUTS];
    int index;
    for (size_t i = 0; i < LAYOUTS; i++)
        names[i] = layouts[i].name;
    if (!read_word("layout", names, LAYOUTS, value, &index, error))
        return false;
    request->layout = (enum layout)index;
    return true;
}

static bool set_stripes(struct volume_request *request, const char *value, struct error *error)
{
    return read_count("stripes", 2, 32, value, &request->stripes, error);
}

static bool set_mirrors(struct volume_request *request, const char *value, struct error *error)
{
    return read_count("mirrors", 1, 4, value, &request->mirrors, error);
}

static bool set_wipe(struct volume_request *request, const char *value, struct error *error)
{
    static const char *const words[] = {"none", "discard", "zero"}; /* in the order of enum wipe */
    int index;
    if (!read_word("wipe", words, sizeof words / sizeof *words, value, &index, error))
        return false;
    request->wipe = (enum wipe)index;
    return true;
}

static bool check_layout(const struct volume_request *request, struct error *error)
{
    const struct layout_words *layout = &layouts[request->layout];
    if (request->stripes > 0 && !layout->striped)
        return fail(error, INVALID_ARGUMENT,
                    "parameter stripes is for layout striped, raid5, raid6 or raid10, and the layout is %s",
                    layout->name);
    if (request->stripes > 0 && request->stripes < layout->least_stripes)
        return fail(error, INVALID_ARGUMENT, "layout %s has at least %d stripes, not %d", layout->name,
                    layout->least_stripes, request->stripes);
    if (request->mirrors > 0 && !layout->mirrored)
        return fail(error, INVALID_ARGUMENT, "parameter mirrors is for layout raid1 or raid10, and the layout is %s",
                    layout->name);
    return request->layout == LAYOUT_LINEAR || request->provisioning != PROVISIONING_THIN ||
           fail(error, INVALID_ARGUMENT,
                "layout %s is for thick volumes, and parameter provisioning is thin: a thin volume lies as its thin "
                "pool does",
                layout->name);
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
    {"layout", true, set_layout},
    {"stripes", true, set_stripes},
    {"mirrors", true, set_mirrors},
    {"wipe", true, set_wipe},
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
                "unknown parameter \"%s\": a StorageClass of this driver has pool, provisioning, layout, stripes, "
                "mirrors, wipe and mkfsOptions",
                key);
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

bool parameters_read(const Csi__V1__CreateVolumeRequest *message, struct volume_request *request, struct error *error)
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
    digest_parameters(message, request);
    return check_layout(request, error);
}

bool parameters_read_shape(Csi__V1__GetCapacityRequest__ParametersEntry *const *entries, size_t count,
                           struct volume_request *request, struct error *error)
{
    *request = (struct volume_request){.pool = ""};
    for (size_t i = 0; i < count; i++) {
        const struct parameter *parameter = find_parameter(entries[i]->key);
        if (parameter == NULL && !is_kubernetes(entries[i]->key))
            return refuse(entries[i]->key, error);
        if (parameter != NULL && !parameter->set(request, entries[i]->value, error))
            return false;
    }
    return check_layout(request, error);
}
