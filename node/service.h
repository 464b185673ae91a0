/* The services of node/, and what their files share. */
#pragma once

#include "pool/driver.h"
#include "rpc/server.h"

/* What rpc_context() is.  The driver comes first: for controller/ and snapshot/ it is the whole of it. */
struct node {
    struct driver driver;
    const char *endpoint; /* path of the CSI socket, as the kubelet is told it */
};

extern const struct rpc_service identity_service;
extern const struct rpc_service node_service;
extern const struct rpc_service health_service;
extern const struct rpc_service registration_service;

/* The methods of csi.v1.Node that have a file of their own. */
bool node_stage(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_unstage(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_publish(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_unpublish(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_expand(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_volume_stats(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_volume_health(struct rpc_call *call, const void *request, void *response, struct error *error);
bool node_storage_health(struct rpc_call *call, const void *request, void *response, struct error *error);
