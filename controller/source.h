/* The content source of a CreateVolume request: the snapshot or volume that the new volume starts as. */
#pragma once

#include "controller/request.h"
#include "pool/driver.h"

/*
 * Finds request->source_id and its pool; gives the request the source's file system where it named none.  Looks at what
 * is on the source (read only, and under its lock) where the record does not tell, as with a raw block volume.
 *   NOT_FOUND, UNAVAILABLE  there is none, or a pool that could have it cannot be asked
 *   ABORTED                 the snapshot is still being copied
 *   INVALID_ARGUMENT        it holds another file system than the one asked for
 */
bool source_find(struct driver *driver, struct volume_request *request, struct pool **pool, struct record *source,
                 struct error *error);
