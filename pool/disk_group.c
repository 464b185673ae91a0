/* The disk pool: the volume group of a disk. */
#include "pool/disk.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/fault.h"
#include "base/text.h"
#include "pool/lvm_tag.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define GROUP_DIGITS 8

/* --- finding --- */

/* The next field of a line; "" at its end. */
static const char *next_field(char **rest)
{
    const char *field = strsep(rest, "|");
    return field != NULL ? field : "";
}

static void read_tags(const char *tags, struct disk_found *found)
{
    char tag[128];
    const char *id = tag + sizeof LVM_TAG_POOL - 1;
    if (lvm_tags_find(tags, LVM_TAG_POOL, tag, sizeof tag) && strlen(id) == POOL_ID_DIGITS &&
        text_is_made_of(id, HEX_DIGITS, POOL_ID_DIGITS))
        text_copy(found->pool_id, sizeof found->pool_id, id);
    if (lvm_tags_find(tags, LVM_TAG_DISK, tag, sizeof tag))
        text_copy(found->pool_name, sizeof found->pool_name, tag + sizeof LVM_TAG_DISK - 1);
}

static struct disk_found *read_lines(char *text, size_t *count)
{
    struct disk_found *found = NULL;
    char *rest = NULL;
    *count = 0;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        struct disk_found one = {.path = ""};
        line += strspn(line, " ");
        text_copy(one.path, sizeof one.path, next_field(&line));
        text_copy(one.uuid, sizeof one.uuid, next_field(&line));
        text_copy(one.group, sizeof one.group, next_field(&line));
        text_copy(one.group_uuid, sizeof one.group_uuid, next_field(&line));
        read_tags(next_field(&line), &one);
        if (one.path[0] != '/' || one.uuid[0] == '\0')
            continue; /* a missing one of a group of several; a device that is none */
        found = realloc(found, (*count + 1) * sizeof *found);
        if (found == NULL)
            abort();
        found[(*count)++] = one;
    }
    return found;
}

/* Without --all LVM shows one of several with the same UUID. */
bool disk_groups_find(struct lvm_queue *queue, struct disk_found **found, size_t *count, struct error *error)
{
    static const char *const argv[] = {
        "pvs", "--all", "--noheadings", "--separator", "|", "-o", "pv_name,pv_uuid,vg_name,vg_uuid,vg_tags", NULL};
    cleanup_free char *text = NULL;
    if (!lvm_run_with(queue, "", argv, &text, error))
        return fail_context(error, "cannot find out which disks there are");
    *found = read_lines(text, count);
    return true;
}

/* --- identity --- */

void disk_make_pool_id(const char *node, const char *pool_name, char id[static POOL_ID_DIGITS + 1])
{
    char text[512];
    int length = snprintf(text, sizeof text, "disk pool %s of node %s", pool_name, node);
    digest_hex(text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1, POOL_ID_DIGITS, id);
}

bool disk_find_pool_id(const char *node, const char *pool_name, const struct disk_found *found, size_t count,
                       char id[static POOL_ID_DIGITS + 1], struct error *error)
{
    const struct disk_found *first = NULL, *other = NULL;
    disk_make_pool_id(node, pool_name, id);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(found[i].pool_name, pool_name) != 0 || found[i].pool_id[0] == '\0')
            continue;
        if (strcmp(found[i].pool_id, id) == 0)
            return true;
        if (first != NULL && strcmp(first->pool_id, found[i].pool_id) != 0)
            other = &found[i];
        first = first == NULL ? &found[i] : first;
    }
    if (other != NULL)
        return fail(error, FAILED_PRECONDITION,
                    "the disks %s and %s are of different pools that are both called %s (ids %s and %s), perhaps of "
                    "other machines: take out the one that does not belong here",
                    first->path, other->path, pool_name, first->pool_id, other->pool_id);
    if (first != NULL)
        text_copy(id, POOL_ID_DIGITS + 1, first->pool_id);
    return true;
}

/* --- making --- */

/* From what stays of the disk, so that one knows its group by it. */
static bool make_stable_digits(const struct disk_device *device, char digits[static GROUP_DIGITS + 1])
{
    char text[2 * DISK_WORDS_BYTES];
    snprintf(text, sizeof text, "%s %d", device->serial, device->partition);
    digest_hex(text, strlen(text), GROUP_DIGITS, digits);
    return device->serial[0] != '\0';
}

static bool make_any_digits(char digits[static GROUP_DIGITS + 1], struct error *error)
{
    unsigned char random[GROUP_DIGITS / 2];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return fail_errno(error, errno, "no random number for the name of a volume group");
    text_to_hex(random, sizeof random, digits);
    return true;
}

/* Not --yes: should there be a signature after all, LVM asks, and nobody answers. */
static bool make_named(struct lvm_queue *queue, const struct disk_device *device, const char *pool_id,
                       const char *pool_name, const char *digits, struct error *error)
{
    struct lvm_words words = {.count = 0};
    char name[64], by_id[64], by_name[128];
    snprintf(name, sizeof name, "plinth-%s-%s", pool_id, digits);
    snprintf(by_id, sizeof by_id, LVM_TAG_POOL "%s", pool_id);
    snprintf(by_name, sizeof by_name, LVM_TAG_DISK "%s", pool_name);
    lvm_words(&words, "vgcreate", "--dataalignment", "1m", "--setautoactivation", "n", "--addtag", by_id, "--addtag",
              by_name, name, device->path, NULL);
    return lvm_run(queue, words.argv, error);
}

bool disk_make_group(struct lvm_queue *queue, const struct disk_device *device, const char *pool_id,
                     const char *pool_name, struct error *error)
{
    char digits[GROUP_DIGITS + 1];
    bool stable = make_stable_digits(device, digits);
    if (!fault("pool.disk.take.before", error) || (!stable && !make_any_digits(digits, error)))
        return false;
    bool made = make_named(queue, device, pool_id, pool_name, digits, error);
    if (!made && stable && error->code == ALREADY_EXISTS) /* not all makers number their disks */
        made = make_any_digits(digits, error) && make_named(queue, device, pool_id, pool_name, digits, error);
    return (made && fault("pool.disk.take.after", error)) || fail_context(error, "disk %s", device->path);
}
