/*
 * Snapshots: CSI's snapshot methods of the Controller service, the GroupController service, and the making of volumes from
 * snapshots and volumes (restore, clone).  Mounted sources are frozen for the cut (filesystem/freeze.h).
 */
#pragma once

#include "pool/driver.h"
#include "rpc/server.h"

/* The methods of csi.v1.Controller that are about snapshots; controller_service lists them. */
bool snapshot_create(struct rpc_call *call, const void *request, void *response, struct error *error);
bool snapshot_delete(struct rpc_call *call, const void *request, void *response, struct error *error);
bool snapshot_list(struct rpc_call *call, const void *request, void *response, struct error *error);
bool snapshot_get(struct rpc_call *call, const void *request, void *response, struct error *error);

extern const struct rpc_service group_controller_service;

/*
 * Fills a new volume (`record`, in phase `creating`, its lock held) with the content of a snapshot or volume, to phase `ready`.  Waits for a long copy
 * until shortly before the call's deadline: then ABORTED with the progress, and the copy goes on.
 */
bool snapshot_restore(struct rpc_call *call, struct pool *pool, const struct record *source, struct record *record,
                      struct error *error);

/* At start, once all pools are open: finishes or undoes group snapshots that a killed process left half made. */
bool snapshot_recover(struct driver *driver, struct error *error);
