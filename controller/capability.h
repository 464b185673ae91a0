/* Volume capabilities of requests, checked once and turned into a plain struct. */
#pragma once

#include "base/error.h"
#include "pool/driver.h"

#include "csi.pb-c.h"

typedef Csi__V1__VolumeCapability__AccessMode__Mode access_mode;

struct capability {
    bool block; /* a raw block volume, else a file system */
    access_mode mode;
    bool reader_only;         /* SINGLE_NODE_READER_ONLY, MULTI_NODE_READER_ONLY */
    bool single_writer;       /* only one target at a time: SINGLE_NODE_WRITER, SINGLE_NODE_SINGLE_WRITER */
    bool is_default;          /* the request named no file system, so `filesystem` is the driver's default */
    const char *filesystem;   /* "ext4": the request's or the driver's default; "" for block */
    char *const *mount_flags; /* of the request; not copied */
    size_t mount_flag_count;
};

/*
 * Reads one capability of a request.  INVALID_ARGUMENT if it is missing, names neither or an unknown access type or
 * mode, or a file system we do not have, or a mode that needs several nodes ("... is on one node's disk; use
 * ReadWriteOnce"). CSI: RPC VolumeCapability; Kubernetes' mapping of access modes is in docs/parameters.md.
 */
bool capability_read(const struct driver *driver, const Csi__V1__VolumeCapability *message,
                     struct capability *capability, struct error *error);

/* True if a volume with this record can be used with the capability; else FAILED_PRECONDITION with the reason. */
bool capability_fits(const struct capability *capability, const struct record *record, struct error *error);
