#include "rpc/methods.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a call is about, the most telling first.  Never a map: it might hold secrets. */
static const char *const subjects[] = {"volume_id", "snapshot_id", "group_snapshot_id", "target_snapshot_id", "name"};

static const ProtobufCFieldDescriptor *find_subject(const ProtobufCMessageDescriptor *type)
{
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(type, subjects[i]);
        if (field != NULL && field->type == PROTOBUF_C_TYPE_STRING && field->label != PROTOBUF_C_LABEL_REPEATED)
            return field;
    }
    return NULL;
}

static bool add_method(struct methods *methods, const struct rpc_service *service, const struct rpc_method *table,
                       struct error *error)
{
    const char *name = service->descriptor->name;
    const ProtobufCMethodDescriptor *types =
        protobuf_c_service_descriptor_get_method_by_name(service->descriptor, table->name);
    if (types == NULL)
        return fail(error, INTERNAL, "the service %s has no method %s", name, table->name);
    if ((table->handle == NULL) == (table->stream == NULL))
        return fail(error, INTERNAL, "the method %s of %s needs one handler", table->name, name);
    struct method *method = &methods->sorted[methods->count];
    if (asprintf(&method->path, "/%s/%s", name, table->name) < 0)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    method->service = name;
    method->table = table;
    method->types = types;
    method->subject = find_subject(types->input);
    methods->count++;
    return true;
}

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct method *)left)->path, ((const struct method *)right)->path);
}

bool methods_create(struct methods *methods, const struct rpc_server_options *options, struct error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < options->count; i++)
        count += options->services[i]->count;
    *methods = (struct methods){.sorted = calloc(count + 1, sizeof *methods->sorted)};
    if (methods->sorted == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < options->count; i++)
        for (size_t j = 0; j < options->services[i]->count; j++)
            if (!add_method(methods, options->services[i], &options->services[i]->methods[j], error))
                return false;
    qsort(methods->sorted, methods->count, sizeof *methods->sorted, by_path);
    return true;
}

void methods_destroy(struct methods *methods)
{
    for (size_t i = 0; i < methods->count; i++)
        free(methods->sorted[i].path);
    free(methods->sorted);
    *methods = (struct methods){.sorted = NULL};
}

static int compare_path(const void *key, const void *element)
{
    const grpc_slice *path = key;
    const struct method *method = element;
    size_t length = GRPC_SLICE_LENGTH(*path), other = strlen(method->path);
    int order = memcmp(GRPC_SLICE_START_PTR(*path), method->path, length < other ? length : other);
    return order != 0 ? order : (length > other) - (length < other);
}

struct method *methods_find(const struct methods *methods, grpc_slice path)
{
    return bsearch(&path, methods->sorted, methods->count, sizeof *methods->sorted, compare_path);
}

const char *method_subject(const struct method *method, const void *request, const char **key)
{
    if (method->subject == NULL || request == NULL)
        return NULL;
    *key = method->subject->name;
    return *(char *const *)((const char *)request + method->subject->offset);
}

void methods_counts(const struct methods *methods, void (*see)(const struct rpc_method_counts *, void *), void *data)
{
    for (size_t i = 0; i < methods->count; i++) {
        struct method *method = &methods->sorted[i];
        struct rpc_method_counts counts = {.service = method->service,
                                           .method = method->table->name,
                                           .nanoseconds = method->nanoseconds,
                                           .at_work = method->at_work};
        uint64_t all = counts.at_work;
        for (size_t code = 0; code < CODES; code++)
            all += counts.calls[code] = method->calls[code];
        if (all > 0)
            see(&counts, data);
    }
}
