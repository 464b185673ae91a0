/* stand-in */
#include "pool/device_mapper.h"
#include "base/text.h"
#include <libdevmapper.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
void device_mapper_uuid(char uuid[static DEVICE_MAPPER_UUID_BYTES], const char *vg, const char *lv, const char *layer)
{
    size_t n = 4;
    memcpy(uuid, "LVM-", 4);
    for (; *vg; vg++)
        if (*vg != '-')
            uuid[n++] = *vg;
    for (; *lv; lv++)
        if (*lv != '-')
            uuid[n++] = *lv;
    uuid[n] = 0;
    if (*layer) {
        uuid[n++] = '-';
        text_copy(uuid + n, DEVICE_MAPPER_UUID_BYTES - n, layer);
    }
}
static struct dm_task *run(int type, const char *name, const char *uuid, dev_t dev, struct dm_info *info)
{
    struct dm_task *t = dm_task_create(type);
    if (name)
        dm_task_set_name(t, name);
    if (uuid)
        dm_task_set_uuid(t, uuid);
    if (dev) {
        dm_task_set_major(t, (int)major(dev));
        dm_task_set_minor(t, (int)minor(dev));
    }
    if (type == DM_DEVICE_STATUS)
        dm_task_no_flush(t);
    if (dm_task_run(t) && (!info || (dm_task_get_info(t, info) && info->exists)))
        return t;
    dm_task_destroy(t);
    return NULL;
}
bool device_mapper_named(const char *name, char uuid[static DEVICE_MAPPER_UUID_BYTES], struct error *error)
{
    struct dm_info i;
    struct dm_task *t = run(DM_DEVICE_INFO, name, NULL, 0, &i);
    if (!t)
        return fail(error, NOT_FOUND, "no device %s", name);
    text_copy(uuid, DEVICE_MAPPER_UUID_BYTES, dm_task_get_uuid(t));
    dm_task_destroy(t);
    return true;
}
bool device_mapper_find(const char *uuid, struct device_mapper_device *d, struct error *error)
{
    struct dm_info i;
    struct dm_task *t = run(DM_DEVICE_INFO, NULL, uuid, 0, &i);
    if (!t)
        return fail(error, NOT_FOUND, "no device %s", uuid);
    d->device = makedev(i.major, i.minor);
    text_copy(d->name, sizeof d->name, dm_task_get_name(t));
    snprintf(d->path, sizeof d->path, "/dev/dm-%u", i.minor);
    d->open_count = i.open_count;
    d->suspended = i.suspended;
    d->read_only = i.read_only;
    dm_task_destroy(t);
    return true;
}
bool device_mapper_identify(dev_t dev, char name[static DEVICE_MAPPER_NAME_BYTES],
                            char uuid[static DEVICE_MAPPER_UUID_BYTES])
{
    struct dm_info i;
    struct dm_task *t = run(DM_DEVICE_INFO, NULL, NULL, dev, &i);
    if (!t)
        return false;
    text_copy(name, DEVICE_MAPPER_NAME_BYTES, dm_task_get_name(t));
    text_copy(uuid, DEVICE_MAPPER_UUID_BYTES, dm_task_get_uuid(t));
    dm_task_destroy(t);
    return true;
}
static bool status(const char *uuid, char *out, int64_t *len, struct error *error)
{
    struct dm_info i;
    struct dm_task *t = run(DM_DEVICE_STATUS, NULL, uuid, 0, &i);
    uint64_t s, l = 0;
    char *type, *p = NULL;
    if (!t)
        return fail(error, NOT_FOUND, "no device %s", uuid);
    dm_get_next_target(t, NULL, &s, &l, &type, &p);
    text_copy(out, 512, p ? p : "");
    if (len)
        *len = (int64_t)l * 512;
    dm_task_destroy(t);
    return true;
}
bool device_mapper_thin_pool(const char *uuid, struct thin_pool_status *st, struct error *error)
{
    char b[512];
    int64_t len;
    unsigned long long tr, mu, mt, du, dt;
    memset(st, 0, sizeof *st);
    if (!status(uuid, b, &len, error))
        return false;
    if (sscanf(b, "%llu %llu/%llu %llu/%llu", &tr, &mu, &mt, &du, &dt) != 5) {
        st->failed = true;
        return true;
    }
    st->transaction_id = tr;
    st->metadata_used = (int64_t)mu * 4096;
    st->metadata_bytes = (int64_t)mt * 4096;
    st->data_bytes = len;
    st->data_used = dt ? (int64_t)((double)len * (double)du / (double)dt) : 0;
    st->read_only = strstr(b, " ro ") != NULL;
    st->out_of_data_space = strstr(b, "out_of_data") != NULL;
    st->needs_check = strstr(b, "needs_check") != NULL;
    return true;
}
bool device_mapper_thin_used(const char *uuid, int64_t *bytes, struct error *error)
{
    char b[512];
    long long s;
    if (!status(uuid, b, NULL, error))
        return false;
    if (sscanf(b, "%lld", &s) != 1)
        return fail(error, FAILED_PRECONDITION, "failed");
    *bytes = s * 512;
    return true;
}
bool device_mapper_raid(const char *uuid, struct raid_status *st, struct error *error)
{
    char b[512], h[64] = "";
    memset(st, 0, sizeof *st);
    if (!status(uuid, b, NULL, error))
        return false;
    sscanf(b, "%*s %d %63s", &st->devices, h);
    for (char *p = h; *p; p++)
        st->dead += *p == 'D';
    return true;
}
bool device_mapper_snapshot(const char *uuid, struct snapshot_status *st, struct error *error)
{
    char b[512];
    memset(st, 0, sizeof *st);
    if (!status(uuid, b, NULL, error))
        return false;
    st->invalid = strstr(b, "nvalid") != NULL;
    st->overflowed = strstr(b, "verflow") != NULL;
    return true;
}
bool device_mapper_suspend(const char *uuid, struct error *error)
{
    struct dm_task *t = run(DM_DEVICE_SUSPEND, NULL, uuid, 0, NULL);
    if (!t)
        return fail(error, INTERNAL, "suspend");
    dm_task_destroy(t);
    return true;
}
bool device_mapper_resume(const char *uuid, struct error *error)
{
    struct dm_task *t = run(DM_DEVICE_RESUME, NULL, uuid, 0, NULL);
    if (!t)
        return fail(error, INTERNAL, "resume");
    dm_task_destroy(t);
    return true;
}
int device_mapper_resume_all(const char *start)
{
    (void)start;
    return 0;
}
