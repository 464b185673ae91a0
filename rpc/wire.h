/*
 * Checks a protobuf message on the wire, guided by its protobuf-c descriptor.
 *
 * protobuf-c cuts strings at a NUL byte, accepts what is not UTF-8 and keeps every duplicate of a map key, so this must
 * be looked at before unpacking; after it wire_fold_maps() makes maps behave like maps.
 */
#pragma once

#include "base/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

/* A limit in bytes of one field, wherever it occurs. */
struct wire_limit {
    const char *field; /* its name in the .proto file: "target_path" */
    size_t bytes;      /* of the string; for repeated strings and maps: of all elements together */
};

struct wire_limits {
    size_t string_bytes; /* of every string field not named below (CSI: 128) */
    size_t map_bytes;    /* of all keys and values of a map field together (CSI: 4 KiB) */
    const struct wire_limit *fields;
    size_t count;
};

/* CSI's limits (spec.md, "Size Limits"). */
extern const struct wire_limits wire_limits_csi;

/*
 * True if the bytes are a well-formed message of this type within the limits.  Else INVALID_ARGUMENT, with a sentence
 * that names the field ("volume_id is longer than 128 bytes"), never its content: it may be a secret.
 * Unknown fields are skipped, as protobuf demands.  Stricter than protobuf: groups, and a singular message that occurs
 * twice, are refused (no encoder writes them; merging would go past the limits).  What passes can be unpacked: a NULL
 * from protobuf-c then means that its memory budget is spent.
 */
bool wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t length,
                const struct wire_limits *limits, struct error *error);

/* In every map field of an unpacked message (repeated messages named "...Entry" with key and value) keeps only the
 * last entry of each key, as protobuf demands of a parser.  Messages within messages too. */
void wire_fold_maps(ProtobufCMessage *message);
