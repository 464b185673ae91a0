#include "pool/disk_adopt.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "pool/disk.h"
#include "pool/disk_signatures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool start_queue(struct disk_adoption *adoption, struct error *error)
{
    text_copy(adoption->directory, sizeof adoption->directory, "/tmp/plinth-adopt.XXXXXX");
    if (mkdtemp(adoption->directory) == NULL) {
        adoption->directory[0] = '\0';
        return fail_errno(error, errno, "cannot make a directory in /tmp");
    }
    adoption->queue = lvm_queue_open(adoption->directory, adoption->pool_name, error);
    return adoption->queue != NULL;
}

static bool find(const struct disk_adoption *adoption, struct disk_found **found, size_t *count, struct error *error)
{
    struct lvm_pool everywhere = {.queue = adoption->queue, .devices = adoption->path};
    lvm_look_everywhere(&everywhere);
    return disk_groups_find(adoption->queue, found, count, error);
}

/* True if this physical volume is the device or a partition of it. */
static bool lies_on(const struct disk_found *found, const struct disk_device *device)
{
    struct disk_device at;
    struct error ignored;
    return disk_device_at(found->path, &at, &ignored) && (at.device == device->device || at.disk == device->device);
}

static bool check_device(const struct disk_device *device, struct error *error)
{
    if (disk_device_is_a_volume(device))
        return fail(error, INVALID_ARGUMENT, "%s is a volume, not a disk", device->path);
    if (device->bytes == 0 || device->read_only)
        return fail(error, INVALID_ARGUMENT, "%s is %s", device->path, device->read_only ? "read-only" : "empty");
    return !disk_device_is_busy(device) ||
           fail(error, FAILED_PRECONDITION,
                "%s is in use (mounted, swap, or part of something else, itself or a partition of it); nothing was "
                "changed",
                device->path);
}

static bool check_group(const struct disk_adoption *adoption, const struct disk_found *found, struct error *error)
{
    if (found->pool_id[0] != '\0' && found->pool_name[0] != '\0')
        return fail(error, ALREADY_EXISTS, "%s is a disk of pool %s (%s) already; nothing was changed", adoption->path,
                    found->pool_name, found->pool_id);
    return found->pool_id[0] == '\0' ||
           fail(error, ALREADY_EXISTS, "%s is in volume group %s, which is pool %s; nothing was changed",
                adoption->path, found->group, found->pool_id);
}

/* What LVM has on the device; notes the volume groups. */
static bool check_groups(struct disk_adoption *adoption, const struct disk_device *device,
                         const struct disk_found *found, size_t count, struct error *error)
{
    adoption->groups[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (!lies_on(&found[i], device))
            continue;
        if (!check_group(adoption, &found[i], error))
            return false;
        size_t used = strlen(adoption->groups);
        if (found[i].group[0] != '\0')
            snprintf(adoption->groups + used, sizeof adoption->groups - used, "%s%s", used > 0 ? ", " : "",
                     found[i].group);
    }
    return true;
}

bool disk_adoption_begin(struct disk_adoption *adoption, const char *path, const char *pool_name, const char *node,
                         struct error *error)
{
    struct disk_device device;
    cleanup_free struct disk_found *found = NULL;
    size_t count = 0;
    *adoption = (struct disk_adoption){.queue = NULL};
    text_copy(adoption->pool_name, sizeof adoption->pool_name, pool_name);
    if (!disk_device_at(path, &device, error) || !check_device(&device, error))
        return false;
    text_copy(adoption->path, sizeof adoption->path, device.path);
    text_copy(adoption->model, sizeof adoption->model, device.model);
    text_copy(adoption->serial, sizeof adoption->serial, device.serial);
    adoption->bytes = device.bytes;
    adoption->device = device.device;
    adoption->sequence = device.sequence;
    return start_queue(adoption, error) && find(adoption, &found, &count, error) &&
           check_groups(adoption, &device, found, count, error) &&
           disk_find_pool_id(node, pool_name, found, count, adoption->pool_id, error);
}

/* Its name may be another device's by now. */
static bool check_same(const struct disk_adoption *adoption, const struct disk_device *device, struct error *error)
{
    bool same = device->device == adoption->device && device->sequence == adoption->sequence &&
                device->bytes == adoption->bytes && strcmp(device->serial, adoption->serial) == 0;
    return same || fail(error, FAILED_PRECONDITION,
                        "%s is not the device any more that was shown; nothing was changed: try again", device->path);
}

/* All that was checked in the beginning. */
static bool check_again(struct disk_adoption *adoption, struct disk_device *device, struct error *error)
{
    char groups[sizeof adoption->groups];
    cleanup_free struct disk_found *found = NULL;
    size_t count = 0;
    text_copy(groups, sizeof groups, adoption->groups);
    if (!disk_device_at(adoption->path, device, error) || !check_same(adoption, device, error) ||
        !check_device(device, error) || !find(adoption, &found, &count, error) ||
        !check_groups(adoption, device, found, count, error))
        return false;
    return strcmp(groups, adoption->groups) == 0 ||
           fail(error, FAILED_PRECONDITION,
                "what LVM has on %s has changed since it was shown (volume groups: \"%s\"); nothing was changed: try "
                "again",
                device->path, adoption->groups);
}

/* The driver may have taken the disk as soon as it was empty. */
static bool is_taken(const struct disk_adoption *adoption, const struct disk_device *device)
{
    cleanup_free struct disk_found *found = NULL;
    size_t count = 0, i = 0;
    struct error ignored;
    if (!find(adoption, &found, &count, &ignored))
        return false;
    while (i < count && !lies_on(&found[i], device))
        i++;
    return i < count && strcmp(found[i].pool_id, adoption->pool_id) == 0 &&
           strcmp(found[i].pool_name, adoption->pool_name) == 0;
}

/* The checks took a while.  What is open stays what it is, so it is compared once more. */
static bool wipe(const struct disk_adoption *adoption, struct error *error)
{
    struct disk_device device;
    struct stat status;
    cleanup_close int opened = disk_signatures_open(adoption->path, error);
    if (opened < 0 || !disk_device_at(adoption->path, &device, error) || !check_same(adoption, &device, error))
        return false;
    if (fstat(opened, &status) != 0 || status.st_rdev != adoption->device)
        return fail(error, FAILED_PRECONDITION, "%s has become another device; nothing was changed: try again",
                    adoption->path);
    return disk_signatures_wipe(opened, adoption->path, error);
}

bool disk_adoption_finish(struct disk_adoption *adoption, struct error *error)
{
    struct disk_device device;
    return check_again(adoption, &device, error) && wipe(adoption, error) &&
           (disk_make_group(adoption->queue, &device, adoption->pool_id, adoption->pool_name, error) ||
            is_taken(adoption, &device));
}

void disk_adoption_end(struct disk_adoption *adoption)
{
    char path[128];
    static const char *const names[] = {"/lvm/lvm.conf", "/lvm", "", NULL};
    lvm_queue_close(adoption->queue);
    for (size_t i = 0; adoption->directory[0] != '\0' && names[i] != NULL; i++) {
        snprintf(path, sizeof path, "%s%s", adoption->directory, names[i]);
        remove(path);
    }
    *adoption = (struct disk_adoption){.queue = NULL};
}
