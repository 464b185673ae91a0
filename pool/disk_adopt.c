#include "pool/disk_adopt.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "pool/disk.h"
#include "pool/disk_signatures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* What LVM has on this device, or NULL. */
static const struct disk_found *find_device(const struct disk_adoption *adoption, const struct disk_found *found,
                                            size_t count)
{
    struct disk_device wanted, device;
    struct error ignored;
    if (!disk_device_at(adoption->path, &wanted, &ignored))
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (disk_device_at(found[i].path, &device, &ignored) && device.device == wanted.device)
            return &found[i];
    return NULL;
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

static bool check_group(struct disk_adoption *adoption, const struct disk_found *found, struct error *error)
{
    if (found == NULL)
        return true;
    if (found->pool_id[0] != '\0' && found->pool_name[0] != '\0')
        return fail(error, ALREADY_EXISTS, "%s is a disk of pool %s (%s) already; nothing was changed", adoption->path,
                    found->pool_name, found->pool_id);
    if (found->pool_id[0] != '\0')
        return fail(error, ALREADY_EXISTS, "%s is in volume group %s, which is pool %s; nothing was changed",
                    adoption->path, found->group, found->pool_id);
    text_copy(adoption->group, sizeof adoption->group, found->group);
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
    return start_queue(adoption, error) && find(adoption, &found, &count, error) &&
           check_group(adoption, find_device(adoption, found, count), error) &&
           disk_find_pool_id(node, pool_name, found, count, adoption->pool_id, error);
}

/* The driver may have taken the disk as soon as it was empty. */
static bool is_taken(struct disk_adoption *adoption)
{
    cleanup_free struct disk_found *found = NULL;
    size_t count = 0;
    struct error ignored;
    const struct disk_found *now =
        find(adoption, &found, &count, &ignored) ? find_device(adoption, found, count) : NULL;
    return now != NULL && strcmp(now->pool_id, adoption->pool_id) == 0 &&
           strcmp(now->pool_name, adoption->pool_name) == 0;
}

bool disk_adoption_finish(struct disk_adoption *adoption, struct error *error)
{
    struct disk_device device;
    return disk_device_at(adoption->path, &device, error) && disk_signatures_wipe(adoption->path, error) &&
           (disk_make_group(adoption->queue, &device, adoption->pool_id, adoption->pool_name, error) ||
            is_taken(adoption));
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
