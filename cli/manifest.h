/* Kubernetes' objects for a volume that nobody has asked the driver for: a static PersistentVolume and its claim. */
#pragma once

#include "pool/record.h"

#include <jansson.h>

struct manifest {
    const char *driver, *node;
    const char *class;           /* "": none, so that no StorageClass provisions anything for the claim */
    const char *claim_namespace; /* and name, as given or manifest_claim_name() */
    const char *claim_name;
};

/* A name for a claim, from a volume's: a DNS label (RFC 1123) of at most 63 bytes. */
void manifest_claim_name(const char *volume, char name[static 64]);

/*
 * The PersistentVolume, named by the volume's id, which no other node's has: reserved for the claim, on this node only,
 * and kept when the claim is deleted.  Free with json_decref(), as all.
 */
json_t *manifest_volume(const struct manifest *manifest, const struct record *record);
json_t *manifest_claim(const struct manifest *manifest, const struct record *record);
