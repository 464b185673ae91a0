/*
 * What `lvm fullreport --reportformat json` says of one volume group, as structures.  Pure parsing: runs nothing.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LVM_NAME_BYTES 128
#define LVM_UUID_BYTES 39 /* with its six hyphens and the NUL */

struct lvm_volume {
    char name[LVM_NAME_BYTES]; /* without the brackets of a hidden one */
    char uuid[LVM_UUID_BYTES];
    char segment_type[32];       /* of its first segment: "linear", "striped", "thin", "thin-pool", "raid1" ... */
    int64_t stripes, copies;     /* LVM's data_stripes and data_copies, of its first segment */
    char pool[LVM_NAME_BYTES];   /* thin pool, or "" */
    char origin[LVM_NAME_BYTES]; /* of a thin snapshot; with no pool: of a copy-on-write snapshot ("linear") */
    char parent[LVM_NAME_BYTES]; /* of a hidden one the volume that it is a part of, or "" */
    char *tags;                  /* separated by ",", or "" */
    int64_t bytes;
    int64_t extents;        /* that it takes from the volume group, with all its parts; 0 for a thin volume */
    int64_t transaction_id; /* of a thin pool, else 0 */
    bool active;
    bool hidden;           /* LVM's own: a part of another, or the spare of the thin pools' metadata */
    bool zero;             /* a thin pool that zeroes new blocks */
    bool errors_when_full; /* a thin pool that does not let writers wait for room */
    bool partial;          /* a device of it, of its parts or of its thin pool is missing */
};

struct lvm_device {
    char path[256]; /* "[unknown]" if it is missing */
    char uuid[LVM_UUID_BYTES];
    bool missing;
};

struct lvm_report {
    char name[LVM_NAME_BYTES], uuid[LVM_UUID_BYTES];
    char *tags;
    int64_t extent_bytes, extents, free_extents, sequence;
    int64_t metadata_bytes, metadata_free_bytes; /* of the smallest metadata area; LVM can fill half of it */
    bool partial, exported, clustered;           /* clustered: other nodes may have it open */
    struct lvm_volume *volumes;                  /* by name */
    size_t volume_count;
    struct lvm_device *devices;
    size_t device_count;
};

/* The `report { ... }` settings for --config that make fullreport print what the parser wants and no more. */
extern const char lvm_report_settings[];

/*
 * Parses the output of `lvm fullreport VG --reportformat json --units b --nosuffix -a` (run with the settings above).
 * INTERNAL with what is wrong for text that is no such report; NOT_FOUND if there is no volume group in it.  Free with
 * lvm_report_free(); after an error there is nothing in it.
 */
bool lvm_report_parse(const char *text, struct lvm_report *report, struct error *error);
void lvm_report_free(struct lvm_report *report);

/* The volume of that name, hidden ones too, or NULL. */
struct lvm_volume *lvm_report_volume(const struct lvm_report *report, const char *name);

/* True if the comma-separated list `tags` has `tag`. */
bool lvm_tags_have(const char *tags, const char *tag);

/* Copies the first tag of the list that begins with `start`.  False if there is none or it does not fit. */
bool lvm_tags_find(const char *tags, const char *start, char *tag, size_t size);
