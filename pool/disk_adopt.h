/*
 * Giving a disk pool a disk on which something is, or that its options do not choose: `plinth pool adopt`.  Runs in a
 * process of its own, beside a driver or without one; the driver notices the disk by itself.
 */
#pragma once

#include "base/error.h"
#include "pool/record.h"

#include <stdint.h>
#include <sys/types.h>

struct disk_adoption {
    char path[256];             /* the device's own name: "/dev/sda" */
    char model[64], serial[64]; /* or "" */
    int64_t bytes;
    dev_t device;
    uint64_t sequence; /* that it is still the same (disk.h) */
    char pool_name[64], pool_id[POOL_ID_DIGITS + 1];
    char groups[512];   /* volume groups that it, or a partition of it, is a physical volume of: "a, b", or "" */
    char directory[64]; /* what LVM's commands need, until disk_adoption_end() */
    struct lvm_queue *queue;
};

/*
 * Looks at the device and changes nothing.  `node` is the node's name, of which a pool without disks has its id.
 * NOT_FOUND, INVALID_ARGUMENT if it is no block device or none that can be adopted, FAILED_PRECONDITION if it is in
 * use, ALREADY_EXISTS if it is in a pool already.  disk_adoption_end() in any case.
 */
bool disk_adoption_begin(struct disk_adoption *adoption, const char *path, const char *pool_name, const char *node,
                         struct error *error);

/*
 * Wipes all signatures and makes the volume group.  Nothing is changed if it is not what it was when it was looked at:
 * whoever was asked has had time.
 */
bool disk_adoption_finish(struct disk_adoption *adoption, struct error *error);
void disk_adoption_end(struct disk_adoption *adoption);
#define cleanup_disk_adoption __attribute__((cleanup(disk_adoption_end)))
