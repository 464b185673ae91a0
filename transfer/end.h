/*
 * One end of a copy: a file or a block device.  Offsets and lengths are bytes and need no alignment.  Errors name the
 * path, the byte and the system's words.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define END_BLOCK 4096 /* the largest sector of common disks; aligned to it, O_DIRECT is possible (open(2), NOTES) */

struct end {
    const char *path; /* borrowed */
    int descriptor;   /* -1: closed */
    bool is_device;
    bool is_direct; /* past the page cache */
    int64_t bytes;  /* its length */
    int64_t sector; /* of a device: what it is zeroed in (BLKSSZGET) */
};

/* Opens a file or block device with the flags of open(2); it must have at least `bytes` (DATA_LOSS). */
bool end_open(struct end *end, const char *path, int flags, int64_t bytes, struct error *error);
void end_close(struct end *end);
#define cleanup_end CLEANUP(end_close)

/* Goes past the page cache from now on, if the file system can (O_DIRECT). */
void end_avoid_cache(struct end *end);

/*
 * Reads up to `bytes` into a buffer with room for whole blocks, aligned to END_BLOCK.  *count is at least 1: an end
 * that comes too early is DATA_LOSS, as is a disk that cannot read what it has (the error says the block).
 */
bool end_read(struct end *end, char *buffer, size_t bytes, int64_t offset, size_t *count, struct error *error);

/* Writes all of it. */
bool end_write(struct end *end, const char *bytes, size_t count, int64_t offset, struct error *error);

/*
 * Makes [start, stop) read as zeros.  A device: BLKZEROOUT, which writes zeros where the device has no command for it
 * (blkdev_issue_zeroout() in Linux' block/blk-lib.c).  A file keeps its length, and blocks it has allocated.
 */
bool end_zero(struct end *end, int64_t start, int64_t stop, struct error *error);

/* The next extent with data in [offset, stop); at `stop` if there is none.  A device is data throughout. */
void end_next_extent(const struct end *end, int64_t offset, int64_t stop, int64_t *data, int64_t *hole);

/* What has been written and zeroed is on the disk afterwards. */
bool end_sync(struct end *end, struct error *error);

/* [start, stop) need not stay in the page cache. */
void end_forget(const struct end *end, int64_t start, int64_t stop);
