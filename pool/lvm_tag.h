/*
 * The record of a volume as one LVM tag (docs/lvm.md).  Size, thin pool and layout are LVM's own knowledge and are not
 * in it.  Knows nothing of commands.
 */
#pragma once

#include "pool/record.h"

#define LVM_TAG_BYTES 257 /* 256 and the NUL */
#define LVM_TAG_START "plinth.1:"
#define LVM_TAG_CUT "plinth.1:cut"
#define LVM_TAG_GROW "plinth.1:grow"
#define LVM_TAG_SCRATCH "plinth.1:scratch"
#define LVM_TAG_POOL "plinth.pool." /* of the volume group, followed by the pool's id */

/* Writes the tag; always fits: the claim, then the name are left out where they would not. */
void lvm_tag_from_record(const struct record *record, char tag[static LVM_TAG_BYTES]);

/*
 * Reads the record of the logical volume `id` from its tag.  Fields that are not in it (bytes, sector_bytes, the
 * layout) are zero; `staged` is true of a volume in phase `ready`, as nobody can know. Nothing is believed: DATA_LOSS
 * with a sentence for anything that lvm_tag_from_record() would not have written for this id, FAILED_PRECONDITION for a
 * tag of a newer Plinth ("plinth.2:").
 */
bool lvm_tag_to_record(const char *tag, const char *id, struct record *record, struct error *error);
