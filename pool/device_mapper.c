#include "pool/device_mapper.h"

#include "base/log.h"
#include "base/text.h"
#include "pool/device_mapper_status.h"
#include "pool/device_mapper_task.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* --- what is where --- */

void device_mapper_uuid(char uuid[static DEVICE_MAPPER_UUID_BYTES], const char *vg_uuid, const char *lv_uuid,
                        const char *layer)
{
    const char *parts[] = {vg_uuid, lv_uuid};
    size_t used = (size_t)snprintf(uuid, DEVICE_MAPPER_UUID_BYTES, "LVM-");
    for (size_t i = 0; i < 2; i++)
        for (const char *at = parts[i]; *at != '\0' && used < DEVICE_MAPPER_UUID_BYTES - 1; at++)
            if (*at != '-')
                uuid[used++] = *at;
    snprintf(uuid + used, DEVICE_MAPPER_UUID_BYTES - used, "%s%s", layer[0] == '\0' ? "" : "-", layer);
}

bool device_mapper_find(const char *uuid, struct device_mapper_device *device, struct error *error)
{
    struct dm_info info;
    cleanup_task struct dm_task *task = NULL;
    if (!device_mapper_run(&task, DM_DEVICE_INFO, uuid, "found", error))
        return false;
    if (!dm_task_get_info(task, &info))
        return fail(error, INTERNAL, "the device-mapper device %s cannot be found", uuid);
    *device = (struct device_mapper_device){
        .device = makedev(info.major, info.minor),
        .open_count = info.open_count,
        .suspended = info.suspended != 0,
        .read_only = info.read_only != 0,
    };
    text_copy(device->name, sizeof device->name, dm_task_get_name(task));
    snprintf(device->path, sizeof device->path, "/dev/dm-%u", info.minor);
    return true;
}

bool device_mapper_named(const char *name, char uuid[static DEVICE_MAPPER_UUID_BYTES], struct error *error)
{
    struct dm_info info;
    cleanup_task struct dm_task *task = NULL;
    if (!device_mapper_task(&task, DM_DEVICE_INFO, error))
        return false;
    if (!dm_task_set_name(task, name) || !dm_task_run(task) || !dm_task_get_info(task, &info))
        return fail(error, INTERNAL, "the device-mapper device %s cannot be found", name);
    if (!info.exists)
        return fail(error, NOT_FOUND, "there is no device-mapper device %s", name);
    text_copy(uuid, DEVICE_MAPPER_UUID_BYTES, dm_task_get_uuid(task));
    return true;
}

/* Asks for the device with that number; the last 0: with another major number it is none, not device-mapper's device of
 * that minor number. */
static bool ask_number(struct dm_task **task, dev_t device, struct dm_info *info)
{
    struct error unused;
    return device_mapper_task(task, DM_DEVICE_INFO, &unused) &&
           dm_task_set_major_minor(*task, (int)major(device), (int)minor(device), 0) && dm_task_run(*task) &&
           dm_task_get_info(*task, info) && info->exists;
}

bool device_mapper_identify(dev_t device, char name[static DEVICE_MAPPER_NAME_BYTES],
                            char uuid[static DEVICE_MAPPER_UUID_BYTES])
{
    struct dm_info info;
    cleanup_task struct dm_task *task = NULL;
    if (!ask_number(&task, device, &info))
        return false;
    text_copy(name, DEVICE_MAPPER_NAME_BYTES, dm_task_get_name(task));
    text_copy(uuid, DEVICE_MAPPER_UUID_BYTES, dm_task_get_uuid(task));
    return true;
}

/* --- status --- */

bool device_mapper_thin_pool(const char *uuid, struct thin_pool_status *status, struct error *error)
{
    const char *line, *table;
    cleanup_task struct dm_task *first = NULL, *second = NULL;
    return device_mapper_ask(&first, DM_DEVICE_STATUS, uuid, "thin-pool", &line, error) &&
           device_mapper_ask(&second, DM_DEVICE_TABLE, uuid, "thin-pool", &table, error) &&
           (thin_pool_status_parse(line, table, status, error) || fail_context(error, "%s", uuid));
}

bool device_mapper_thin_used(const char *uuid, int64_t *bytes, struct error *error)
{
    const char *line;
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_ask(&task, DM_DEVICE_STATUS, uuid, "thin", &line, error) &&
           (thin_status_parse(line, bytes, error) || fail_context(error, "%s", uuid));
}

bool device_mapper_thin_id(const char *uuid, uint32_t *id, struct error *error)
{
    const char *line;
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_ask(&task, DM_DEVICE_TABLE, uuid, "thin", &line, error) &&
           (sscanf(line, "%*s %" SCNu32, id) == 1 ||
            fail(error, INTERNAL, "the table of %s cannot be read: %s", uuid, line));
}

bool device_mapper_message(const char *uuid, const char *message, struct error *error)
{
    cleanup_task struct dm_task *task = NULL;
    if (!device_mapper_task(&task, DM_DEVICE_TARGET_MSG, error))
        return false;
    if (dm_task_set_uuid(task, uuid) && dm_task_set_sector(task, 0) && dm_task_set_message(task, message) &&
        dm_task_run(task))
        return true;
    int number = dm_task_get_errno(task);
    if (number == ENXIO)
        return fail(error, NOT_FOUND, "there is no device-mapper device %s", uuid);
    return fail_errno(error, number, "the device-mapper device %s does not take \"%s\"", uuid, message);
}

bool device_mapper_raid(const char *uuid, struct raid_status *status, struct error *error)
{
    const char *line;
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_ask(&task, DM_DEVICE_STATUS, uuid, "raid", &line, error) &&
           (raid_status_parse(line, status, error) || fail_context(error, "%s", uuid));
}

bool device_mapper_snapshot(const char *uuid, struct snapshot_status *status, struct error *error)
{
    const char *line;
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_ask(&task, DM_DEVICE_STATUS, uuid, "snapshot", &line, error) &&
           (snapshot_status_parse(line, status, error) || fail_context(error, "%s", uuid));
}

/* --- suspending --- */

bool device_mapper_suspend(const char *uuid, struct error *error)
{
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_run(&task, DM_DEVICE_SUSPEND, uuid, "suspended", error);
}

bool device_mapper_resume(const char *uuid, struct error *error)
{
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_run(&task, DM_DEVICE_RESUME, uuid, "resumed", error);
}

/* Of what it has removed the kernel says that it does not exist. */
bool device_mapper_remove(const char *uuid, struct error *error)
{
    cleanup_task struct dm_task *task = NULL;
    return device_mapper_run(&task, DM_DEVICE_REMOVE, uuid, "removed", error) || error->code == NOT_FOUND;
}

/* A device that somebody was changing. */
struct changing {
    dev_t device;
    char uuid[DEVICE_MAPPER_UUID_BYTES];
    bool suspended, empty; /* empty: it never had a table that counts */
};

/* Parts of a volume with a copy-on-write snapshot, which the kernel does not remove while anything is upon them. */
static bool is_part(const char *uuid)
{
    const char *layer = strrchr(uuid, '-');
    return layer != NULL && (strcmp(layer, "-real") == 0 || strcmp(layer, "-cow") == 0);
}

/* Adds the device to the list if its UUID begins with `start` and it is being changed, or may be left of a change. */
static void add_changing(dev_t device, const char *start, struct changing **list, size_t *count)
{
    struct dm_info info;
    cleanup_task struct dm_task *task = NULL;
    if (!ask_number(&task, device, &info) || strncmp(dm_task_get_uuid(task), start, strlen(start)) != 0 ||
        (!info.suspended && !info.inactive_table && info.live_table && !is_part(dm_task_get_uuid(task))))
        return;
    struct changing *grown = realloc(*list, (*count + 1) * sizeof *grown);
    if (grown == NULL)
        return;
    *list = grown;
    grown[*count] = (struct changing){.device = device, .suspended = info.suspended, .empty = !info.live_table};
    text_copy(grown[(*count)++].uuid, DEVICE_MAPPER_UUID_BYTES, dm_task_get_uuid(task));
}

static size_t find_changing(const char *start, struct changing **list)
{
    struct error error;
    size_t count = 0;
    cleanup_task struct dm_task *task = NULL;
    if (!device_mapper_list(&task, &error)) {
        log_event(LOG_WARNING, "suspended devices cannot be found", "error", error.message, NULL);
        return 0;
    }
    const char *at = (const char *)dm_task_get_names(task);
    for (uint32_t next = 1; next != 0; at += next) {
        const struct dm_names *entry = (const struct dm_names *)(const void *)at;
        if (entry->dev != 0) /* it is 0 in an empty list */
            add_changing(entry->dev, start, list, &count);
        next = entry->next;
    }
    return count;
}

/* True if the device is upon none of these. */
static bool rests_on_none(const struct changing *device, const struct changing *others, size_t count)
{
    struct error unused;
    cleanup_task struct dm_task *task = NULL;
    struct dm_deps *below = NULL;
    if (device_mapper_run(&task, DM_DEVICE_DEPS, device->uuid, "read", &unused))
        below = dm_task_get_deps(task);
    for (uint32_t i = 0; below != NULL && i < below->count; i++)
        for (size_t j = 0; j < count; j++)
            if (others[j].device == below->device[i])
                return false;
    return true;
}

/* Resumes a device, and puts in its place the last of those that wait. */
static bool resume_one(struct changing *waiting, size_t place, size_t *count)
{
    struct error error;
    bool resumed = device_mapper_resume(waiting[place].uuid, &error);
    if (!resumed)
        log_event(LOG_WARNING, "a suspended device stays suspended", "error", error.message, NULL);
    waiting[place] = waiting[--*count];
    return resumed;
}

/*
 * Forgets the tables that were to come: they may be upon devices that have none yet, and whoever wrote to such a device
 * would get errors.  What is empty goes with them.  Keeps what is suspended.
 */
static void take_back(struct changing *devices, size_t *count)
{
    struct error ignored;
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        cleanup_task struct dm_task *task = NULL;
        device_mapper_run(&task, DM_DEVICE_CLEAR, devices[i].uuid, "cleared", &ignored);
    }
    for (size_t i = 0; i < *count; i++) {
        bool gone = (devices[i].empty || is_part(devices[i].uuid)) && device_mapper_remove(devices[i].uuid, &ignored);
        if (!gone && !devices[i].empty && devices[i].suspended)
            devices[kept++] = devices[i];
    }
    *count = kept;
}

/* From below: resuming a mirror writes to what is under it. */
int device_mapper_resume_all(const char *start)
{
    int resumed = 0;
    cleanup_free struct changing *waiting = NULL;
    size_t count = find_changing(start, &waiting);
    take_back(waiting, &count);
    while (count > 0) {
        size_t place = 0;
        while (place < count && !rests_on_none(&waiting[place], waiting, count))
            place++;
        resumed += resume_one(waiting, place % count, &count);
    }
    return resumed;
}
