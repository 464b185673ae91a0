/*
 * The status lines of device-mapper's targets, as numbers.  Pure parsing: asks nobody.  A line that the kernel would
 * not write is INTERNAL with the line in the message.  Words that a line has beyond those that are read here are
 * ignored: newer kernels append.  Of a pair used/total, `used` is never more than `total`.
 */
#pragma once

#include "pool/device_mapper.h"

/*
 * Documentation/admin-guide/device-mapper/thin-provisioning.rst.  The line counts data in blocks; their size is only in
 * the table ("<metadata device> <data device> <sectors a block> ...").
 */
bool thin_pool_status_parse(const char *line, const char *table, struct thin_pool_status *status, struct error *error);

/* The same page, of a thin volume.  FAILED_PRECONDITION for "Fail" (the pool has failed) and "-" (not loaded). */
bool thin_status_parse(const char *line, int64_t *bytes, struct error *error);

/* dm-raid.rst. */
bool raid_status_parse(const char *line, struct raid_status *status, struct error *error);

/* snapshot.rst. */
bool snapshot_status_parse(const char *line, struct snapshot_status *status, struct error *error);
