#include "pool/lvm_report.h"

#include "base/text.h"
#include "pool/lvm_json.h"

#include <stdlib.h>
#include <string.h>

const char lvm_report_settings[] =
    "report { vgs_cols_full=\"vg_name,vg_uuid,vg_tags,vg_extent_size,vg_extent_count,vg_free_count,vg_seqno,"
    "vg_mda_size,vg_mda_free,vg_partial,vg_exported,vg_clustered,vg_shared\" "
    "pvs_cols_full=\"pv_name,pv_uuid,pv_missing\" "
    "lvs_cols_full=\"lv_name,lv_uuid,lv_size,lv_parent,pool_lv,origin,lv_tags,lv_active,lv_when_full\" "
    "pvsegs_cols_full=\"lv_name,pvseg_size,pv_missing\" "
    "segs_cols_full=\"lv_name,seg_start_pe,segtype,data_stripes,data_copies,transaction_id,zero\" "
    "list_item_separator=\",\" binary_values_as_numeric=0 mark_hidden_devices=1 compact_output=0 }";

/* No logical volume of LVM has parts of parts of ... deeper than this. */
#define PARTS_DEPTH 16

/* --- the rows --- */

static const struct lvm_field group_fields[] = {
    LVM_FIELD("vg_name", FIELD_TEXT, lvm_report, name, NULL),
    LVM_FIELD("vg_uuid", FIELD_TEXT, lvm_report, uuid, NULL),
    LVM_FIELD("vg_tags", FIELD_LIST, lvm_report, tags, NULL),
    LVM_FIELD("vg_extent_size", FIELD_NUMBER, lvm_report, extent_bytes, NULL),
    LVM_FIELD("vg_extent_count", FIELD_NUMBER, lvm_report, extents, NULL),
    LVM_FIELD("vg_free_count", FIELD_NUMBER, lvm_report, free_extents, NULL),
    LVM_FIELD("vg_seqno", FIELD_NUMBER, lvm_report, sequence, NULL),
    LVM_FIELD("vg_mda_size", FIELD_NUMBER, lvm_report, metadata_bytes, NULL),
    LVM_FIELD("vg_mda_free", FIELD_NUMBER, lvm_report, metadata_free_bytes, NULL),
    LVM_FIELD("vg_partial", FIELD_FLAG, lvm_report, partial, "partial"),
    LVM_FIELD("vg_exported", FIELD_FLAG, lvm_report, exported, "exported"),
    LVM_FIELD("vg_clustered", FIELD_FLAG, lvm_report, clustered, "clustered"),
    LVM_FIELD("vg_shared", FIELD_FLAG, lvm_report, clustered, "shared"),
    LVM_FIELDS_END,
};

static const struct lvm_field device_fields[] = {
    LVM_FIELD("pv_name", FIELD_TEXT, lvm_device, path, NULL),
    LVM_FIELD("pv_uuid", FIELD_TEXT, lvm_device, uuid, NULL),
    LVM_FIELD("pv_missing", FIELD_FLAG, lvm_device, missing, "missing"),
    LVM_FIELDS_END,
};

static const struct lvm_field volume_fields[] = {
    LVM_FIELD("lv_name", FIELD_NAME, lvm_volume, name, NULL),
    LVM_FIELD("lv_name", FIELD_HIDDEN, lvm_volume, hidden, NULL),
    LVM_FIELD("lv_uuid", FIELD_TEXT, lvm_volume, uuid, NULL),
    LVM_FIELD("lv_size", FIELD_NUMBER, lvm_volume, bytes, NULL),
    LVM_FIELD("lv_parent", FIELD_NAME, lvm_volume, parent, NULL),
    LVM_FIELD("pool_lv", FIELD_NAME, lvm_volume, pool, NULL),
    LVM_FIELD("origin", FIELD_NAME, lvm_volume, origin, NULL),
    LVM_FIELD("lv_tags", FIELD_LIST, lvm_volume, tags, NULL),
    LVM_FIELD("lv_active", FIELD_FLAG, lvm_volume, active, "active"),
    LVM_FIELD("lv_when_full", FIELD_FLAG, lvm_volume, errors_when_full, "error"),
    LVM_FIELDS_END,
};

/* Extents of a device that a logical volume has; of none if they are free. */
struct extents {
    char volume[LVM_NAME_BYTES];
    int64_t count;
    bool missing;
};

static const struct lvm_field extents_fields[] = {
    LVM_FIELD("lv_name", FIELD_NAME, extents, volume, NULL),
    LVM_FIELD("pvseg_size", FIELD_NUMBER, extents, count, NULL),
    LVM_FIELD("pv_missing", FIELD_FLAG, extents, missing, "missing"),
    LVM_FIELDS_END,
};

struct segment {
    char volume[LVM_NAME_BYTES];
    char type[sizeof((struct lvm_volume *)0)->segment_type];
    int64_t start, stripes, copies, transaction_id;
    bool zero;
};

static const struct lvm_field segment_fields[] = {
    LVM_FIELD("lv_name", FIELD_NAME, segment, volume, NULL),
    LVM_FIELD("seg_start_pe", FIELD_NUMBER, segment, start, NULL),
    LVM_FIELD("segtype", FIELD_TEXT, segment, type, NULL),
    LVM_FIELD("data_stripes", FIELD_NUMBER, segment, stripes, NULL),
    LVM_FIELD("data_copies", FIELD_NUMBER, segment, copies, NULL),
    LVM_FIELD("transaction_id", FIELD_NUMBER, segment, transaction_id, NULL),
    LVM_FIELD("zero", FIELD_FLAG, segment, zero, "zero"),
    LVM_FIELDS_END,
};

/* --- what becomes of them --- */

static bool add_group(void *data, const json_t *row, struct error *error)
{
    struct lvm_report *report = data;
    if (report->name[0] != '\0')
        return fail(error, INTERNAL, "there is a second volume group after %s", report->name);
    return lvm_row_read(row, group_fields, report, error) &&
           (report->name[0] != '\0' || fail(error, INTERNAL, "the volume group has no name")) &&
           (report->extent_bytes > 0 || fail(error, INTERNAL, "the volume group %s has no extents", report->name));
}

/* A new element, all zero, at the end of an array that doubles when it is full. */
static void *append(void *array, size_t *count, size_t size)
{
    char **elements = array;
    if ((*count & (*count - 1)) == 0)
        *elements = reallocarray(*elements, *count == 0 ? 1 : 2 * *count, size);
    return memset(*elements + (*count)++ * size, 0, size);
}

static bool add_device(void *data, const json_t *row, struct error *error)
{
    struct lvm_report *report = data;
    return lvm_row_read(row, device_fields, append(&report->devices, &report->device_count, sizeof *report->devices),
                        error);
}

static bool add_volume(void *data, const json_t *row, struct error *error)
{
    struct lvm_report *report = data;
    struct lvm_volume *volume = append(&report->volumes, &report->volume_count, sizeof *volume);
    return lvm_row_read(row, volume_fields, volume, error) &&
           (volume->name[0] != '\0' || fail(error, INTERNAL, "a logical volume has no name"));
}

static int by_name(const void *one, const void *other)
{
    return strcmp(((const struct lvm_volume *)one)->name, ((const struct lvm_volume *)other)->name);
}

struct lvm_volume *lvm_report_volume(const struct lvm_report *report, const char *name)
{
    struct lvm_volume sought;
    text_copy(sought.name, sizeof sought.name, name);
    return report->volumes == NULL
               ? NULL
               : bsearch(&sought, report->volumes, report->volume_count, sizeof *report->volumes, by_name);
}

/* What belongs to a cache has no parent in LVM's report: the volume names it as its origin or its pool. */
static void adopt(const struct lvm_report *report, const struct lvm_volume *volume, const char *part_name)
{
    struct lvm_volume *part = lvm_report_volume(report, part_name);
    if (part != NULL && part->hidden && part->parent[0] == '\0' && part != volume)
        text_copy(part->parent, sizeof part->parent, volume->name);
}

static bool finish_volumes(void *data, struct error *error)
{
    struct lvm_report *report = data;
    if (report->volume_count > 0)
        qsort(report->volumes, report->volume_count, sizeof *report->volumes, by_name);
    for (size_t i = 1; i < report->volume_count; i++)
        if (by_name(&report->volumes[i - 1], &report->volumes[i]) == 0)
            return fail(error, INTERNAL, "there are two logical volumes %s", report->volumes[i].name);
    for (size_t i = 0; i < report->volume_count; i++) {
        adopt(report, &report->volumes[i], report->volumes[i].origin);
        adopt(report, &report->volumes[i], report->volumes[i].pool);
    }
    return true;
}

static bool find(const struct lvm_report *report, const char *name, struct lvm_volume **volume, struct error *error)
{
    *volume = lvm_report_volume(report, name);
    return *volume != NULL || fail(error, INTERNAL, "there is no logical volume %s", name);
}

/* Counts extents for their volume and for all that it is a part of. */
static bool add_extents(void *data, const json_t *row, struct error *error)
{
    struct lvm_report *report = data;
    struct extents extents = {.missing = false};
    if (!lvm_row_read(row, extents_fields, &extents, error))
        return false;
    const char *name = extents.volume;
    for (int depth = 0; name[0] != '\0'; depth++) {
        struct lvm_volume *volume;
        if (!find(report, name, &volume, error))
            return false;
        if (depth == PARTS_DEPTH || __builtin_add_overflow(volume->extents, extents.count, &volume->extents))
            return fail(error, INTERNAL, "the parts of the logical volume %s have no end", name);
        volume->partial |= extents.missing;
        name = volume->parent;
    }
    return true;
}

/* A thin volume is as partial as its pool. */
static bool finish_extents(void *data, struct error *error)
{
    struct lvm_report *report = data;
    (void)error;
    for (size_t i = 0; i < report->volume_count; i++) {
        const struct lvm_volume *pool = lvm_report_volume(report, report->volumes[i].pool);
        report->volumes[i].partial |= pool != NULL && pool->partial;
    }
    return true;
}

static bool add_segment(void *data, const json_t *row, struct error *error)
{
    struct lvm_report *report = data;
    struct segment segment = {.start = 0};
    struct lvm_volume *volume;
    if (!lvm_row_read(row, segment_fields, &segment, error) || !find(report, segment.volume, &volume, error))
        return false;
    if (segment.start != 0)
        return true;
    text_copy(volume->segment_type, sizeof volume->segment_type, segment.type);
    volume->stripes = segment.stripes;
    volume->copies = segment.copies;
    bool is_pool = strcmp(segment.type, "thin-pool") == 0;
    volume->transaction_id = is_pool ? segment.transaction_id : 0;
    volume->zero = is_pool && segment.zero;
    return true;
}

/* In the order of the report: later rows look for the volumes. */
static const struct lvm_section sections[] = {{"\"vg\"", add_group, NULL},
                                              {"\"pv\"", add_device, NULL},
                                              {"\"lv\"", add_volume, finish_volumes},
                                              {"\"pvseg\"", add_extents, finish_extents},
                                              {"\"seg\"", add_segment, NULL}};

/* --- public --- */

bool lvm_report_parse(const char *text, struct lvm_report *report, struct error *error)
{
    *report = (struct lvm_report){.volumes = NULL};
    bool done = lvm_json_read(text, sections, sizeof sections / sizeof *sections, report, error) ||
                fail_context(error, "the report of LVM is not what was asked for");
    if (done && report->name[0] == '\0')
        done = fail(error, NOT_FOUND, "LVM knows no such volume group");
    if (!done)
        lvm_report_free(report);
    return done;
}

void lvm_report_free(struct lvm_report *report)
{
    for (size_t i = 0; i < report->volume_count; i++)
        free(report->volumes[i].tags);
    free(report->volumes);
    free(report->devices);
    free(report->tags);
    *report = (struct lvm_report){.volumes = NULL};
}

/* The first element of the list that begins with `start`, or NULL; *length is the element's. */
static const char *element(const char *tags, const char *start, size_t *length)
{
    for (const char *tag = tags;; tag += *length + 1) {
        *length = strcspn(tag, ",");
        if (*length > 0 && strncmp(tag, start, strlen(start)) == 0)
            return tag;
        if (tag[*length] == '\0')
            return NULL;
    }
}

bool lvm_tags_have(const char *tags, const char *tag)
{
    size_t length;
    for (const char *at = tags; (at = element(at, tag, &length)) != NULL; at += length)
        if (length == strlen(tag))
            return true;
    return false;
}

bool lvm_tags_find(const char *tags, const char *start, char *tag, size_t size)
{
    size_t length;
    const char *found = element(tags, start, &length);
    if (found == NULL || length >= size)
        return false;
    memcpy(tag, found, length);
    tag[length] = '\0';
    return true;
}
