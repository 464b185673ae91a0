/* A CreateVolume request, checked and turned into what it asks for. */
#pragma once

#include "controller/capability.h"

struct volume_request {
    const char *name;
    int64_t required, limit; /* bytes; 0: not given */
    const char *filesystem;  /* "": a raw block volume */
    bool default_filesystem; /* it was not named: a copy has its source's */
    const char *pool;        /* parameter "pool", or "" */
    const char *mkfs_options;
    enum { PROVISIONING_DEFAULT, PROVISIONING_THIN, PROVISIONING_THICK } provisioning;
    enum layout layout;
    int32_t stripes, mirrors; /* 0: the layout's default */
    enum wipe wipe;
    const char *claim_namespace, *claim_name;
    const char *source_id; /* or "" */
    enum record_kind source_kind;
    char digest[33]; /* of our parameters */
};

/* Reads and checks a whole request: INVALID_ARGUMENT, OUT_OF_RANGE, RESOURCE_EXHAUSTED (topology) with a sentence. */
bool request_read(const struct driver *driver, const Csi__V1__CreateVolumeRequest *message,
                  struct volume_request *request, struct error *error);

/* What the request says of how the bytes lie: thick, layout, stripes, mirrors; all else is zero. */
struct record request_shape(const struct volume_request *request, const struct pool *pool);

/* Checks the two numbers of a capacity range (NULL: none): INVALID_ARGUMENT for negative or contradicting ones. */
bool request_read_range(const Csi__V1__CapacityRange *range, int64_t *required, int64_t *limit, struct error *error);

/*
 * The size in bytes a new volume gets: what is required (or `fallback`), at least the file system's smallest, rounded
 * up as the pool does for a volume of that shape.  OUT_OF_RANGE if that is above the limit or too large for any file.
 */
bool request_size(const struct volume_request *request, const struct pool *pool, const struct record *shape,
                  int64_t fallback, int64_t *bytes, struct error *error);
