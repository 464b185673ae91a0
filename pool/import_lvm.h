/* Importing and releasing logical volumes: the work at hand, and what makes it safe.  For import_lvm*.c only. */
#pragma once

#include "pool/lvm.h"

/* One import or release: the volume group, locked against another, and what was in it at the beginning. */
struct import_work {
    struct lvm_pool own;
    struct lvm_report report;
    char pool_id[POOL_ID_DIGITS + 1];
    int lock;
};

/* --- import_lvm_checks.c: FAILED_PRECONDITION says why it is not safe, and what to do --- */

/* It is a volume of its own, whole, and none of ours by its name. */
bool import_check_kind(const struct import_work *work, const struct lvm_volume *volume, struct error *error);

/* It is no copy-on-write snapshot, and has none. */
bool import_check_snapshots(const struct import_work *work, const struct lvm_volume *volume, struct error *error);

/* Nobody has it open; udev, which does for a moment, is waited for. */
bool import_check_closed(const struct import_work *work, const char *name, struct error *error);

bool import_check_writable(const struct import_work *work, const char *name, const struct device_mapper_device *device,
                           struct error *error);
