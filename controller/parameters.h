/* The parameters of a StorageClass (docs/parameters.md).  For controller/ only. */
#pragma once

#include "controller/request.h"

/*
 * Reads and checks the parameters map of CreateVolume into the request, and takes the digest of those that make another
 * volume of it.  INVALID_ARGUMENT for what is unknown, makes no sense, or contradicts another.
 */
bool parameters_read(const Csi__V1__CreateVolumeRequest *message, struct volume_request *request, struct error *error);

/* The parameters map of GetCapacity: the pool it names ("" if none) and the shape of the volumes it would be for. */
bool parameters_read_shape(Csi__V1__GetCapacityRequest__ParametersEntry *const *parameters, size_t count,
                           struct volume_request *request, struct error *error);
