/* Volumes as CSI messages. */
#pragma once

#include "pool/driver.h"
#include "rpc/server.h"

#include "csi.pb-c.h"

/* The message for a volume's record, in the call's arena. */
Csi__V1__Volume *volume_message(struct rpc_call *call, const struct record *record);
