/* plinth pool */
#include "cli/cli.h"

#include "cli/adopt.h"
#include "cli/json.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- list --- */

struct list_options {
    struct session_options session;
    const char *pool;
};

static const struct option list_table[] = {
    {.name = "pool",
     .value = "POOL",
     .help = "Only this pool: the driver is asked for the capacity with the parameter pool=POOL.",
     .field = offsetof(struct list_options, pool),
     .read = option_text},
    SESSION_OPTIONS(struct list_options),
};

static const struct options list_options = {
    .command = "plinth pool list",
    .purpose = "Shows the space of a driver's pools. Other drivers than Plinth's, which do not say which pools they "
               "have, are asked for their capacity in all.",
    .table = list_table,
    .count = LENGTH(list_table),
};

/* What the driver says of itself. */
struct driver_info {
    const Csi__V1__GetPluginInfoResponse *plugin;
    const char *node; /* "": it serves no node */
};

struct capacity {
    const char *pool;                           /* "": the driver in all */
    const Csi__V1__GetCapacityResponse *answer; /* NULL: it does not tell */
};

static bool ask_driver(struct session *session, struct driver_info *info, struct error *error)
{
    struct error ignored;
    Csi__V1__GetPluginInfoRequest plugin = CSI__V1__GET_PLUGIN_INFO_REQUEST__INIT;
    Csi__V1__NodeGetInfoRequest node = CSI__V1__NODE_GET_INFO_REQUEST__INIT;
    info->plugin = session_call(session, &csi__v1__identity__descriptor, "GetPluginInfo", &plugin,
                                "asking for the driver's name", error);
    if (info->plugin == NULL)
        return false;
    const Csi__V1__NodeGetInfoResponse *answer =
        session_call(session, &csi__v1__node__descriptor, "NodeGetInfo", &node, "asking for the node", &ignored);
    info->node = answer != NULL ? answer->node_id : "";
    return true;
}

/* The names of the pools that our driver puts into its manifest: "scratch,fast"; "" for another driver. */
static const char *pool_names(const Csi__V1__GetPluginInfoResponse *plugin)
{
    for (size_t i = 0; i < plugin->n_manifest; i++)
        if (strcmp(plugin->manifest[i]->key, "pools") == 0)
            return plugin->manifest[i]->value;
    return "";
}

static bool ask_capacity(struct session *session, struct capacity *capacity, struct error *error)
{
    Csi__V1__GetCapacityRequest request = CSI__V1__GET_CAPACITY_REQUEST__INIT;
    Csi__V1__GetCapacityRequest__ParametersEntry pool = CSI__V1__GET_CAPACITY_REQUEST__PARAMETERS_ENTRY__INIT;
    Csi__V1__GetCapacityRequest__ParametersEntry *parameters = &pool;
    pool.key = "pool";
    pool.value = (char *)capacity->pool;
    request.parameters = &parameters;
    request.n_parameters = capacity->pool[0] != '\0';
    capacity->answer = session_call(session, &csi__v1__controller__descriptor, "GetCapacity", &request,
                                    "asking for the capacity", error);
    return capacity->answer != NULL || error->code == UNIMPLEMENTED;
}

static const char *optional_size(struct arena *arena, const Google__Protobuf__Int64Value *value)
{
    return value != NULL ? table_size(arena, value->value) : NULL;
}

static void add_row(struct table *table, const struct driver_info *info, const struct capacity *capacity)
{
    const Csi__V1__GetCapacityResponse *answer = capacity->answer;
    const char *cells[] = {capacity->pool,
                           info->node,
                           info->plugin->name,
                           info->plugin->vendor_version,
                           answer != NULL ? table_size(table->arena, answer->available_capacity) : NULL,
                           answer != NULL ? optional_size(table->arena, answer->maximum_volume_size) : NULL,
                           answer != NULL ? optional_size(table->arena, answer->minimum_volume_size) : NULL};
    table_add(table, cells);
}

static void add_json(json_t *pools, const struct capacity *capacity)
{
    json_t *value = json_pack("{s:o}", "pool", json_from_text(capacity->pool));
    cleanup_json json_t *answer = capacity->answer != NULL ? json_from_message(&capacity->answer->base) : NULL;
    json_object_update(value, answer);
    json_array_append_new(pools, value);
}

static json_t *to_json(const struct driver_info *info, json_t *pools)
{
    json_t *value = json_from_message(&info->plugin->base);
    json_object_set_new(value, "nodeId", json_from_text(info->node));
    json_object_set(value, "pools", pools);
    return value;
}

/* Asks for each of the names, which are separated by commas.  A pool that fails is told, and the others are shown. */
static int list_pools(struct session *session, const struct driver_info *info, const char *names)
{
    static const char *const columns[] = {"POOL", "NODE", "DRIVER", "VERSION", "AVAILABLE", "LARGEST", "SMALLEST"};
    struct table table = table_create(session->arena, columns, LENGTH(columns));
    cleanup_json json_t *pools = json_array();
    int status = 0;
    char *rest = arena_string(session->arena, names);
    for (const char *name; (name = strsep(&rest, ",")) != NULL;) {
        struct error error;
        struct capacity capacity = {.pool = name};
        if (!ask_capacity(session, &capacity, &error)) {
            status = session_failed(&error);
            continue;
        }
        add_row(&table, info, &capacity);
        add_json(pools, &capacity);
    }
    if (session->json)
        json_print(to_json(info, pools));
    else if (table.first != NULL)
        table_print(&table);
    return status != 0 ? status : session_succeeded();
}

static int list(int argc, char **argv)
{
    struct list_options given = {.pool = NULL};
    struct driver_info info;
    struct error error;
    cleanup_session struct session session = {.client = NULL};
    int status = session_begin(&session, &list_options, argc, argv, &given);
    if (status >= 0)
        return status;
    if (!ask_driver(&session, &info, &error))
        return session_failed(&error);
    return list_pools(&session, &info, given.pool != NULL ? given.pool : pool_names(info.plugin));
}

int cli_pool(int argc, char **argv)
{
    static const struct command commands[] = {
        {"list", "show the space of the driver's pools", list},
        {"adopt", "give a disk to a disk pool; make a copy of a file pool's directory the pool", adopt_pool},
    };
    return command_run("plinth pool", commands, LENGTH(commands), argc, argv);
}
