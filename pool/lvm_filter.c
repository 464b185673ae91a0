/* The lvm pool: which devices LVM's commands may open. */
#include "pool/lvm.h"

#include "base/text.h"
#include "pool/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILTER_BYTES 8192

/*
 * What ends a filter.  What a tenant has written into his volume is none of LVM's: he could have made a volume group of
 * our name, and the kubelet binds a loop device to each raw block volume.  A device is rejected only if all of its
 * names are, so the links of udev have to be, too.
 */
static const char nothing_else[] = "\"r|.*|\"";
static const char all_but_loops[] = "\"r|^/dev/loop|\",\"r|^/dev/block/|\",\"r|^/dev/disk/|\",\"a|.*|\"";

/* The longest of both has room after it. */
#define PATHS_BYTES (FILTER_BYTES - sizeof all_but_loops)

/* A path as a regular expression, each character of which may take three. */
static void quote(const char *path, char quoted[static 3 * PATH_MAX])
{
    for (; *path != '\0'; path++) {
        if (strchr(".+*?()[]{}^$|\\\"", *path) != NULL) {
            *quoted++ = '\\';
            *quoted++ = '\\';
        }
        *quoted++ = *path;
    }
    *quoted = '\0';
}

/* Half a path would be another one: false if there is no room for the whole. */
static bool accept(char filter[static FILTER_BYTES], const char *path)
{
    char quoted[3 * PATH_MAX];
    size_t used = strlen(filter), room = PATHS_BYTES - used;
    quote(path, quoted);
    int length = snprintf(filter + used, room, "\"a|^%s$|\",", quoted);
    if (length > 0 && (size_t)length < room)
        return true;
    filter[used] = '\0';
    return false;
}

static void use(struct lvm_pool *own, char filter[static FILTER_BYTES], const char *end)
{
    size_t used = strlen(filter);
    text_copy(filter + used, FILTER_BYTES - used, end);
    lvm_queue_set_devices(own->queue, filter);
}

/* Their numbers are given out anew: one that was named may be a volume's now. */
static void accept_named_loops(char filter[static FILTER_BYTES], const char *devices)
{
    char list[PATH_MAX], path[PATH_MAX], *rest = NULL;
    struct stat status;
    text_copy(list, sizeof list, devices != NULL ? devices : "");
    for (char *word = strtok_r(list, "+", &rest); word != NULL; word = strtok_r(NULL, "+", &rest))
        if (realpath(word, path) != NULL && strncmp(path, LOOP_PATH, strlen(LOOP_PATH)) == 0 &&
            stat(path, &status) == 0 && !loop_is_a_volume(status.st_rdev))
            accept(filter, path);
}

void lvm_look_everywhere(struct lvm_pool *own)
{
    char filter[FILTER_BYTES] = "";
    accept_named_loops(filter, own->devices);
    use(own, filter, all_but_loops);
}

void lvm_look_at(struct lvm_pool *own, const char *path)
{
    char filter[FILTER_BYTES] = "";
    struct lvm_header header;
    accept(filter, path);
    use(own, filter, nothing_else);
    if (lvm_header_find(path, &header))
        lvm_queue_watch(own->queue, &header, 1);
}

static bool has_path(const struct lvm_device *device)
{
    return device->path[0] == '/'; /* else "[unknown]" */
}

static void look_for_changes(struct lvm_pool *own, const struct lvm_report *report)
{
    struct lvm_header headers[LVM_WATCHED_MOST];
    size_t count = 0;
    for (size_t i = 0; i < report->device_count && count < LVM_WATCHED_MOST; i++)
        if (has_path(&report->devices[i]) && lvm_header_find(report->devices[i].path, &headers[count]))
            count++;
    lvm_queue_watch(own->queue, headers, count);
}

void lvm_look_at_devices_of(struct lvm_pool *own, const struct lvm_report *report)
{
    char filter[FILTER_BYTES] = "";
    bool all = true;
    for (size_t i = 0; all && i < report->device_count; i++)
        all = has_path(&report->devices[i]) && accept(filter, report->devices[i].path);
    if (all)
        use(own, filter, nothing_else);
    else
        lvm_look_everywhere(own);
    look_for_changes(own, report);
}
