/*
 * The record: what a volume or snapshot is, as written on the storage itself (docs/on-disk.md).  It is the only truth;
 * what is in memory is a copy of it.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_ID_DIGITS 12
#define NODE_HINT_DIGITS 8
#define NAME_DIGITS 20
#define ID_BYTES 48 /* of an id with its NUL: 12-8-20 and a mark are 43 */
#define NAME_BYTES 129

enum record_kind {
    RECORD_VOLUME,
    RECORD_SNAPSHOT,
};

/* A volume is formatted in `creating` only, handed out in `ready` only, and its bytes removed in `deleting` only. */
enum phase {
    PHASE_CREATING,
    PHASE_READY,
    PHASE_DELETING,
};

/*
 * A volume with a file system has 4 KiB sectors, as its file system is made for them and direct I/O works with them
 * everywhere (Linux 6.14 and later want them for an xfs file that shares blocks); a raw block volume has 512 bytes,
 * which is what is expected of a disk.
 */
#define SECTOR_BYTES_FILESYSTEM 4096
#define SECTOR_BYTES_BLOCK 512

/* How the bytes lie on several devices; what a kind of pool does not know, it refuses. */
enum layout {
    LAYOUT_LINEAR,
    LAYOUT_STRIPED,
    LAYOUT_RAID1,
    LAYOUT_RAID5,
    LAYOUT_RAID6,
    LAYOUT_RAID10,
};

/* What happens to the bytes of a deleted volume. */
enum wipe {
    WIPE_NONE,
    WIPE_DISCARD,
    WIPE_ZERO,
};

struct record {
    enum record_kind kind;
    enum phase phase;
    char id[ID_BYTES];
    char name[NAME_BYTES];    /* CSI's name */
    int64_t bytes;            /* size: of a volume its capacity, of a snapshot its source's at the cut */
    char filesystem[16];      /* "ext4", "xfs"; "": a raw block volume */
    int32_t sector_bytes;     /* of its block device; never changes, a copy has its source's */
    bool thick;               /* allocated in full */
    bool staged;              /* was ever handed to a node: somebody may have written to it */
    bool own_identity;        /* false: a copy whose file system has its source's UUID still */
    bool copying;             /* phase creating: bytes are being copied from a snapshot; can be resumed */
    int64_t copied;           /* so far, from the beginning, durable */
    char source_id[ID_BYTES]; /* of a snapshot its volume; of a volume what it was made from, or "" */
    char group_id[ID_BYTES];  /* group snapshot this snapshot belongs to, or "" */
    int32_t group_members;    /* how many snapshots that group has */
    char digest[33];          /* of the parameters it was asked for with */
    int64_t created;          /* nanoseconds since 1970 */
    char claim_namespace[64]; /* from the provisioner's extra metadata, or "" */
    char claim_name[254];
    enum wipe wipe;
    enum layout layout;
    int32_t stripes, mirrors; /* of the layout; 0: its default */
    bool settled;             /* in memory only: what the storage has of it is durable */
};

/*
 * Ids.  volume:   <12 digits pool>-<8 digits node hint>-<20 digits of SHA-256 of the name>
 *       snapshot: the same with "s" before the last part;  group of snapshots: with "g".
 * Within a pool the same name always gives the same id.
 */
#define ID_MARK_VOLUME ""
#define ID_MARK_SNAPSHOT "s"
#define ID_MARK_GROUP "g"
void record_make_id(char id[static ID_BYTES], const char *pool_id, const char *node_hint, const char *mark,
                    const char *name);

/* True if `id` has the form of an id with this mark.  Anything else is simply not found. */
bool record_is_id(const char *id, const char *mark);

/* True if the record's id is one of its name: it ends in the digest of it. */
bool record_has_its_name(const struct record *record);

/* From now on it is to be removed, and nothing of it is wiped yet.  For a record that is then written. */
void record_begin_removal(struct record *record);

/* True if it has to be wiped before it goes.  Half made, only a copy has: it holds bytes of its source. */
bool record_wants_wipe(const struct record *record);

/* The first 8 hexadecimal digits of the SHA-256 of a node's name. */
void record_node_hint(char hint[static NODE_HINT_DIGITS + 1], const char *node);

/* The record as JSON text, which the caller frees.  Without its phase: that must change in one step, so each kind of
 * pool has its own way to tell it (the file pool, the name of the file). */
char *record_to_json(const struct record *record);

/*
 * Reads a record back, in phase `ready`.  Nothing is believed: DATA_LOSS for text that is not a whole record or
 * contradicts itself (another id than `id`, a size below zero ...), FAILED_PRECONDITION for one written by a newer
 * Plinth whose features we must not ignore (its "incompatible" is not zero, or "version" is larger).
 */
bool record_from_json(const char *text, size_t length, const char *id, struct record *record, struct error *error);
