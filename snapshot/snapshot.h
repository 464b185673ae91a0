/*
 * CSI's snapshot methods of the Controller service, and the GroupController service.  How copies are made is in
 * making.h. snapshot/ formats nothing and mounts nothing; it freezes mounted volumes for the cut (filesystem/freeze.h).
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

/* At start, and from then on for each pool that is opened later: goes on with copies from cuts and with wipes, and
 * undoes group snapshots that a killed process left half made.  A job does it, which is waited for at start, but not
 * for long: a disk may hang. */
void snapshot_recover(struct driver *driver);
