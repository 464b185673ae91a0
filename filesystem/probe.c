#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/filesystem.h"

#include <blkid/blkid.h>
#include <string.h>

#define LEAST_PROBED 1025   /* libblkid finds nothing in less, without a word */
#define CHECKED (256 << 10) /* where nearly all signatures lie */

static void free_probe(blkid_probe *probe)
{
    blkid_free_probe(*probe);
}

#define cleanup_probe CLEANUP(free_probe)

/* What libblkid cannot read in full it takes for empty, so "nothing found" is believed only where everything can be
 * read. */
static bool readable(int device, const char *path, int64_t bytes, struct error *error)
{
    cleanup_free char *buffer = malloc(CHECKED);
    size_t length = bytes < CHECKED ? (size_t)bytes : CHECKED;
    if (buffer == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "cannot look at %s: out of memory", path);
    return device_read(device, path, 0, buffer, length, error) &&
           device_read(device, path, bytes - (int64_t)length, buffer, length, error);
}

static blkid_probe start(int device)
{
    blkid_probe probe = blkid_new_probe();
    if (probe == NULL || blkid_probe_set_device(probe, device, 0, 0) != 0) {
        blkid_free_probe(probe);
        return NULL;
    }
    blkid_probe_enable_superblocks(probe, 1);
    /* A super block with a wrong checksum is a damaged file system, not an empty disk. */
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_BADCSUM);
    blkid_probe_enable_partitions(probe, 1);
    return probe;
}

static void read_found(blkid_probe probe, char found[static FILESYSTEM_NAME_BYTES])
{
    const char *type = NULL, *partitions = NULL;
    blkid_probe_lookup_value(probe, "TYPE", &type, NULL);
    blkid_probe_lookup_value(probe, "PTTYPE", &partitions, NULL);
    const char *name = type != NULL && partitions != NULL ? "several" : type != NULL ? type : partitions;
    snprintf(found, FILESYSTEM_NAME_BYTES, "%s", name != NULL ? name : "several");
}

bool filesystem_probe(const char *path, char found[static FILESYSTEM_NAME_BYTES], struct error *error)
{
    cleanup_close int device = -1;
    int64_t bytes;
    found[0] = '\0';
    if (!device_open(path, &device, &bytes, error))
        return false;
    if (bytes < LEAST_PROBED)
        return fail(error, DATA_LOSS, "%s has only %d bytes: no file system fits there", path, (int)bytes);
    errno = 0;
    cleanup_probe blkid_probe probe = start(device);
    int outcome = probe != NULL ? blkid_do_safeprobe(probe) : -1;
    if (outcome == -2) /* contradicting signatures */
        text_copy(found, FILESYSTEM_NAME_BYTES, "several");
    else if (outcome == 0)
        read_found(probe, found);
    else if (outcome < 0)
        return fail_errno(error, errno != 0 ? errno : EIO, "cannot read what is on %s", path);
    return outcome != 1 || readable(device, path, bytes, error);
}
