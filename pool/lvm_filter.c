/* The lvm pool: which devices LVM's commands may open. */
#include "pool/lvm.h"

#include "base/cleanup.h"
#include "pool/loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define LOOP_MAJOR 7
#define FILTER_BYTES 8192

/* A filter is a list of regular expressions. */
static void add_pattern(char filter[static FILTER_BYTES], char mark, const char *path)
{
    size_t used = strlen(filter);
    used += (size_t)snprintf(filter + used, FILTER_BYTES - used, "%s\"%c|^", used > 0 ? "," : "", mark);
    for (; *path != '\0' && used + 16 < FILTER_BYTES; path++) {
        if (strchr(".+*?()[]{}^$|\\\"", *path) != NULL) {
            filter[used++] = '\\';
            filter[used++] = '\\';
        }
        filter[used++] = *path;
    }
    snprintf(filter + used, FILTER_BYTES - used, "$|\"");
}

static void add_rest(char filter[static FILTER_BYTES], bool accept)
{
    size_t used = strlen(filter);
    snprintf(filter + used, FILTER_BYTES - used, "%s\"%c|.*|\"", used > 0 ? "," : "", accept ? 'a' : 'r');
}

/* What a tenant has written into his volume is none of LVM's: he could have made a volume group of our name. */
static void reject_own_loops(char filter[static FILTER_BYTES])
{
    cleanup_directory DIR *devices = opendir("/sys/block");
    for (const struct dirent *entry; devices != NULL && (entry = readdir(devices)) != NULL;) {
        char id[ID_BYTES], path[300];
        int number;
        if (sscanf(entry->d_name, "loop%d", &number) != 1 || !loop_identify(makedev(LOOP_MAJOR, (unsigned)number), id))
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        add_pattern(filter, 'r', path);
    }
}

void lvm_look_everywhere(struct lvm_pool *own)
{
    char filter[FILTER_BYTES] = "";
    reject_own_loops(filter);
    add_rest(filter, true);
    lvm_queue_set_devices(own->queue, filter);
}

void lvm_look_at(struct lvm_pool *own, const char *path)
{
    char filter[FILTER_BYTES] = "";
    struct lvm_header header;
    add_pattern(filter, 'a', path);
    add_rest(filter, false);
    lvm_queue_set_devices(own->queue, filter);
    if (lvm_header_find(path, &header))
        lvm_queue_set_header(own->queue, &header);
}

static bool has_path(const struct lvm_device *device)
{
    return device->path[0] == '/'; /* else "[unknown]" */
}

static void look_for_changes(struct lvm_pool *own, const struct lvm_report *report)
{
    struct lvm_header header;
    for (size_t i = 0; i < report->device_count; i++)
        if (has_path(&report->devices[i]) && lvm_header_find(report->devices[i].path, &header)) {
            lvm_queue_set_header(own->queue, &header);
            return;
        }
}

void lvm_look_at_devices_of(struct lvm_pool *own, const struct lvm_report *report)
{
    char filter[FILTER_BYTES] = "";
    bool all = true;
    for (size_t i = 0; i < report->device_count; i++) {
        all = all && has_path(&report->devices[i]);
        add_pattern(filter, 'a', report->devices[i].path);
    }
    add_rest(filter, false);
    if (all)
        lvm_queue_set_devices(own->queue, filter);
    else
        lvm_look_everywhere(own);
    look_for_changes(own, report);
}
