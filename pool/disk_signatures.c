#include "pool/disk_signatures.h"

#include "base/cleanup.h"
#include "base/fault.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

static void free_probe(blkid_probe *probe)
{
    blkid_free_probe(*probe);
}

#define cleanup_probe CLEANUP(free_probe)

static blkid_probe start(int device)
{
    blkid_probe probe = blkid_new_probe();
    if (probe == NULL || blkid_probe_set_device(probe, device, 0, 0) != 0) {
        blkid_free_probe(probe);
        return NULL;
    }
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_MAGIC |
                                                 BLKID_SUBLKS_BADCSUM);
    blkid_probe_enable_partitions(probe, 1);
    blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT);
    return probe;
}

static const char *value_of(blkid_probe probe, const char *name)
{
    const char *value = NULL;
    return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value : NULL;
}

bool disk_signatures_each(const char *path,
                          void (*see)(const char *type, const char *label, int64_t offset, void *data), void *data,
                          struct error *error)
{
    cleanup_close int device = open(path, O_RDONLY | O_CLOEXEC);
    cleanup_probe blkid_probe probe = device >= 0 ? start(device) : NULL;
    int outcome;
    if (probe == NULL)
        return fail_errno(error, errno, "cannot open %s", path);
    while ((outcome = blkid_do_probe(probe)) == 0) {
        const char *type = value_of(probe, "TYPE"), *label = value_of(probe, "LABEL");
        const char *place = value_of(probe, type != NULL ? "SBMAGIC_OFFSET" : "PTMAGIC_OFFSET");
        if (type == NULL)
            type = value_of(probe, "PTTYPE");
        if (type != NULL)
            see(type, label != NULL ? label : "", place != NULL ? strtoll(place, NULL, 10) : 0, data);
    }
    return outcome == 1 || fail_errno(error, errno != 0 ? errno : EIO, "cannot read what is on %s", path);
}

int disk_signatures_open(const char *path, struct error *error)
{
    int device = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
    if (device < 0 && errno == EBUSY)
        fail(error, FAILED_PRECONDITION, "%s is in use (mounted, swap, or part of something else)", path);
    else if (device < 0)
        fail_errno(error, errno, "cannot open %s", path);
    return device;
}

bool disk_signatures_wipe(int device, const char *path, struct error *error)
{
    cleanup_probe blkid_probe probe = start(device);
    int outcome = -1;
    if (probe == NULL)
        return fail_errno(error, errno, "cannot read what is on %s", path);
    if (!fault("pool.disk.wipe.before", error))
        return false;
    while ((outcome = blkid_do_probe(probe)) == 0)
        if (blkid_do_wipe(probe, 0) != 0)
            return fail_errno(error, errno != 0 ? errno : EIO, "cannot wipe %s", path);
    if (outcome < 0 || fsync(device) != 0)
        return fail_errno(error, errno != 0 ? errno : EIO, "cannot wipe %s", path);
    ioctl(device, BLKRRPART); /* a partition has none to forget */
    return fault("pool.disk.wipe.after", error);
}
