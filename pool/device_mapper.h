/*
 * Device-mapper, asked directly (libdevmapper): what LVM's devices are doing now, without a command.  Devices are named
 * by their device-mapper UUID ("LVM-" + the UUIDs of volume group and logical volume without hyphens), never by number.
 *
 * Every function may be called by any thread.  Where there is no device-mapper, all that have an error say
 * FAILED_PRECONDITION; a device that is something else than asked for (a linear volume asked for a thin pool's status)
 * is FAILED_PRECONDITION too.  Nothing here flushes or waits for udev, but the kernel may wait for a disk: a status of
 * a thin pool whose metadata is just being written, and above all suspend and resume.
 */
#pragma once

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

#define DEVICE_MAPPER_UUID_BYTES 129
#define DEVICE_MAPPER_NAME_BYTES 129

/*
 * The UUID of a logical volume's device.  `layer` is "" or, of a thin pool, "tpool"; of a volume that has a
 * copy-on-write snapshot "real" is the volume as it was ("" is then of the target snapshot-origin).
 */
void device_mapper_uuid(char uuid[static DEVICE_MAPPER_UUID_BYTES], const char *vg_uuid, const char *lv_uuid,
                        const char *layer);

struct device_mapper_device {
    dev_t device;
    char name[DEVICE_MAPPER_NAME_BYTES]; /* below /dev/mapper */
    char path[32];                       /* "/dev/dm-3", which is there with or without udev */
    int open_count;
    bool suspended, read_only;
};

/* NOT_FOUND if there is no such device: the logical volume is not active. */
bool device_mapper_find(const char *uuid, struct device_mapper_device *device, struct error *error);

/* The UUID of the device of this name below /dev/mapper.  NOT_FOUND if there is none. */
bool device_mapper_named(const char *name, char uuid[static DEVICE_MAPPER_UUID_BYTES], struct error *error);

/* The name and the UUID ("" if it has none) of a device; false if it is none of device-mapper's. */
bool device_mapper_identify(dev_t device, char name[static DEVICE_MAPPER_NAME_BYTES],
                            char uuid[static DEVICE_MAPPER_UUID_BYTES]);

/* dm-thin's status line (Documentation/admin-guide/device-mapper/thin-provisioning.rst). */
struct thin_pool_status {
    uint64_t transaction_id;
    int64_t metadata_bytes, metadata_used;
    int64_t data_bytes, data_used;
    bool read_only, out_of_data_space, needs_check, failed; /* failed: not even the numbers are known */
    bool errors_when_full, ignores_discards;
};
bool device_mapper_thin_pool(const char *uuid, struct thin_pool_status *status, struct error *error);

/* Bytes that a thin volume maps.  FAILED_PRECONDITION if it has failed. */
bool device_mapper_thin_used(const char *uuid, int64_t *bytes, struct error *error);

/* The number that a thin volume has in its pool. */
bool device_mapper_thin_id(const char *uuid, uint32_t *id, struct error *error);

/* Sends a message to a device ("delete 7" to a thin pool).  error->number is ENODATA or EEXIST where the kernel says
 * so.
 */
bool device_mapper_message(const char *uuid, const char *message, struct error *error);

/* dm-raid's status line. */
#define RAID_LEGS_BYTES 256 /* dm-raid has at most 253 devices */
struct raid_status {
    char legs[RAID_LEGS_BYTES]; /* a letter for each device: A in sync, a not in sync, D dead, - not there */
    int devices, dead;          /* dead: D or - */
    int64_t synced, total;      /* sectors; while a whole array is checked, how far that is */
    bool rebuilding;            /* one that was replaced, or was away, does not hold yet what it should */
};
bool device_mapper_raid(const char *uuid, struct raid_status *status, struct error *error);

/* A copy-on-write snapshot: invalid when it has overflowed or a merge has failed; then there are no numbers. */
struct snapshot_status {
    int64_t used_bytes, total_bytes;
    bool invalid, overflowed;
};
bool device_mapper_snapshot(const char *uuid, struct snapshot_status *status, struct error *error);

/*
 * Suspends a device; the kernel freezes and flushes the file system on it (or the block device's cache).  Resume takes
 * what LVM has loaded meanwhile.  Resuming what is not suspended is good.
 */
bool device_mapper_suspend(const char *uuid, struct error *error);
bool device_mapper_resume(const char *uuid, struct error *error);

/* Removes a device that nobody has open.  None there: true. */
bool device_mapper_remove(const char *uuid, struct error *error);

/*
 * For what a killed process left.  Resumes every suspended device whose UUID begins with `start` ("LVM-" + the volume
 * group's UUID), those below others first, as it was before: tables that were loaded meanwhile are forgotten, and
 * devices that have none yet are removed.  Returns how many were resumed.  What cannot be resumed is logged.
 */
int device_mapper_resume_all(const char *start);
