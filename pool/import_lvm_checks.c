#include "pool/import_lvm.h"

#include "base/clock.h"

#include <string.h>
#include <unistd.h>

#define UDEV_LOOKS NANOSECONDS_PER_SECOND /* at a device that has just come, or was just closed */

static bool is_volume(const struct lvm_volume *volume)
{
    static const char *const types[] = {"linear", "striped", "mirror", "raid", "thin"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bool family = strcmp(types[i], "raid") == 0 && strncmp(volume->segment_type, "raid", 4) == 0;
        if (family || strcmp(volume->segment_type, types[i]) == 0)
            return true;
    }
    return false;
}

/* LVM moves the exceptions of such a snapshot along with its origin: neither can be renamed and grown on its own. */
bool import_check_snapshots(const struct import_work *work, const struct lvm_volume *volume, struct error *error)
{
    const struct lvm_report *report = &work->report;
    if (volume->origin[0] != '\0' && volume->pool[0] == '\0')
        return fail(error, FAILED_PRECONDITION,
                    "%s/%s is a copy-on-write snapshot of %s, which is not a volume of its own", work->own.vg,
                    volume->name, volume->origin);
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *other = &report->volumes[i];
        if (!other->hidden && other->pool[0] == '\0' && strcmp(other->origin, volume->name) == 0)
            return fail(
                error, FAILED_PRECONDITION,
                "%s/%s has the copy-on-write snapshot %s: merge or remove that first, or wait if a copy is made "
                "from it",
                work->own.vg, volume->name, other->name);
    }
    return true;
}

bool import_check_kind(const struct import_work *work, const struct lvm_volume *volume, struct error *error)
{
    const char *vg = work->own.vg, *name = volume->name;
    if (volume->hidden)
        return fail(error, FAILED_PRECONDITION, "%s/%s is a hidden part of %s, not a volume", vg, name,
                    volume->parent[0] != '\0' ? volume->parent : "another logical volume");
    if (!is_volume(volume))
        return fail(error, FAILED_PRECONDITION,
                    "%s/%s is of type %s; only linear, striped, mirror, raid and thin volumes can be imported", vg,
                    name, volume->segment_type);
    if (volume->partial)
        return fail(error, FAILED_PRECONDITION, "%s/%s has parts on a missing device; repair it first", vg, name);
    if (record_is_id(name, ID_MARK_VOLUME) || record_is_id(name, ID_MARK_SNAPSHOT))
        return fail(error, FAILED_PRECONDITION, "%s/%s has the name of a volume or snapshot of Plinth's", vg, name);
    return import_check_snapshots(work, volume, error);
}

/*
 * Whoever has it open would write behind the driver's back, which takes what is not staged for unused: it would check,
 * grow and copy it.
 */
bool import_check_closed(const struct import_work *work, const char *name, struct error *error)
{
    struct device_mapper_device device;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    for (int64_t give_up = monotonic_now() + UDEV_LOOKS;; usleep(20000)) {
        if (!lvm_find_device(&work->own, name, "", &device, uuid, error))
            return error->code == NOT_FOUND;
        if (device.open_count == 0)
            return true;
        if (monotonic_now() > give_up)
            break;
    }
    return fail(
        error, FAILED_PRECONDITION,
        "%s/%s is open: mounted (also in /etc/fstab?), or in use by a process or another device; end that first "
        "(lsblk and fuser %s tell what)",
        work->own.vg, name, device.path);
}

bool import_check_writable(const struct import_work *work, const char *name, const struct device_mapper_device *device,
                           struct error *error)
{
    return !device->read_only ||
           fail(error, FAILED_PRECONDITION, "%s/%s is read-only; lvchange --permission rw makes it writable",
                work->own.vg, name);
}
