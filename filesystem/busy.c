#include "filesystem/busy.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "filesystem/mountinfo.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SEARCH_MOST (500 * NANOSECONDS_PER_MILLISECOND)

/* What below /proc/<process> leads to files it uses; a name with a slash at its end is a directory of such links. */
static const struct {
    const char *name, *words;
} uses[] = {
    {"cwd", "has its working directory there"}, {"root", "has its root directory there"},
    {"exe", "runs a program from there"},       {"fd/", "has files open"},
    {"map_files/", "has files mapped"},
};
#define CHEAP_USES 4 /* the first ones; a process may have tens of thousands of mappings */

/* What is looked for, and until when. */
struct search {
    dev_t device;              /* a block device that is open; else 0 */
    const struct statx *mount; /* or a mount that is used */
    bool anywhere;             /* through whatever mount of the same file system */
    bool mapped;               /* by mappings; else by the cheap uses */
    int64_t end;
};

static bool matches(const struct search *search, const struct statx *status)
{
    if (search->device != 0)
        return S_ISBLK(status->stx_mode) && makedev(status->stx_rdev_major, status->stx_rdev_minor) == search->device;
    if (search->anywhere)
        return status->stx_dev_major == search->mount->stx_dev_major &&
               status->stx_dev_minor == search->mount->stx_dev_minor;
    return (status->stx_mask & STATX_MNT_ID) != 0 && status->stx_mnt_id == search->mount->stx_mnt_id;
}

/* The link itself need not be read: statx() goes through it to the file and tells the mount it was opened on. */
static bool leads_there(const struct search *search, int directory, const char *name)
{
    struct statx status;
    return statx(directory, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &status) == 0 &&
           matches(search, &status);
}

static bool any_leads_there(const struct search *search, int process, const char *name)
{
    int opened = openat(process, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_directory DIR *links = opened >= 0 ? fdopendir(opened) : NULL;
    if (links == NULL && opened >= 0)
        close(opened);
    for (struct dirent *entry; links != NULL && monotonic_now() < search->end && (entry = readdir(links)) != NULL;)
        if (entry->d_name[0] != '.' && leads_there(search, dirfd(links), entry->d_name))
            return true;
    return false;
}

/*
 * The list of mappings names the device of each (proc_pid_maps(5)), and is five times as fast to read as map_files/,
 * which alone tells through which mount.
 */
static bool maps_device(const struct search *search, int process)
{
    char device[32];
    snprintf(device, sizeof device, " %02x:%02x ", search->mount->stx_dev_major, search->mount->stx_dev_minor);
    int opened = openat(process, "maps", O_RDONLY | O_CLOEXEC);
    cleanup_file FILE *maps = opened >= 0 ? fdopen(opened, "r") : NULL;
    if (maps == NULL && opened >= 0)
        close(opened);
    cleanup_free char *line = NULL;
    size_t room = 0;
    while (maps != NULL && monotonic_now() < search->end && getline(&line, &room, maps) > 0)
        if (strstr(line, device) != NULL)
            return true;
    return false;
}

static const char *use_by(const struct search *search, int process)
{
    if (search->mapped && !maps_device(search, process))
        return NULL;
    size_t first = search->mapped ? CHEAP_USES : 0, end = search->mapped ? sizeof uses / sizeof *uses : CHEAP_USES;
    for (size_t i = first; i < end; i++) {
        bool many = strchr(uses[i].name, '/') != NULL;
        if (many ? any_leads_there(search, process, uses[i].name) : leads_there(search, process, uses[i].name))
            return uses[i].words;
    }
    return NULL;
}

static void read_name(int process, char *name, size_t size)
{
    char bytes[64];
    cleanup_close int file = openat(process, "comm", O_RDONLY | O_CLOEXEC);
    ssize_t count = file >= 0 ? read(file, bytes, sizeof bytes - 1) : 0;
    bytes[count > 0 ? count : 0] = '\0';
    bytes[strcspn(bytes, "\n")] = '\0';
    text_one_line(name, size, bytes[0] != '\0' ? bytes : "a process");
}

static bool find_process_by(struct search search, char *words)
{
    char self[16];
    snprintf(self, sizeof self, "%d", (int)getpid());
    search.end = monotonic_now() + SEARCH_MOST;
    cleanup_directory DIR *processes = opendir("/proc");
    for (struct dirent *entry;
         processes != NULL && monotonic_now() < search.end && (entry = readdir(processes)) != NULL;) {
        bool ourselves = search.device != 0 && strcmp(entry->d_name, self) == 0; /* we have it open to look at it */
        if (!isdigit((unsigned char)entry->d_name[0]) || ourselves)
            continue;
        cleanup_close int process = openat(dirfd(processes), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        const char *use = process >= 0 ? use_by(&search, process) : NULL;
        if (use != NULL) {
            char name[64];
            read_name(process, name, sizeof name);
            snprintf(words, BUSY_WORDS_BYTES, "%s (process %s) %s", name, entry->d_name, use);
            return true;
        }
    }
    return false;
}

static bool find_process(const struct statx *mount, bool anywhere, char *words)
{
    struct search search = {.mount = mount, .anywhere = anywhere};
    if (find_process_by(search, words))
        return true;
    search.mapped = true;
    return find_process_by(search, words);
}

static bool find_mount_below(uint64_t id, char *words)
{
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    while (mountinfo_next(&mounts, &entry))
        if ((uint64_t)entry.parent == id) {
            char target[300];
            text_one_line(target, sizeof target, entry.target);
            snprintf(words, BUSY_WORDS_BYTES, "something else (%s) is mounted at %s", entry.type, target);
            return true;
        }
    return false;
}

/* /sys/block/loopN/loop/backing_file names the file by its path when it was attached. */
static bool find_loop_device(const char *path, char *words)
{
    size_t length = strlen(path);
    cleanup_directory DIR *blocks = opendir("/sys/block");
    for (struct dirent *entry; blocks != NULL && (entry = readdir(blocks)) != NULL;) {
        char name[NAME_MAX + 32], backing[PATH_MAX + 32] = "";
        snprintf(name, sizeof name, "%s/loop/backing_file", entry->d_name);
        cleanup_close int file = openat(dirfd(blocks), name, O_RDONLY | O_CLOEXEC);
        if (file < 0 || read(file, backing, sizeof backing - 1) <= 0)
            continue;
        if (strncmp(backing, path, length) == 0 && backing[length] == '/') {
            snprintf(words, BUSY_WORDS_BYTES, "the loop device /dev/%s uses a file on it", entry->d_name);
            return true;
        }
    }
    return false;
}

/* The kernel also refuses if a mount is held that ours would take along (a peer in another mount namespace). */
void busy_find(const struct statx *mount, const char *path, char words[static BUSY_WORDS_BYTES])
{
    bool known = (mount->stx_mask & STATX_MNT_ID) != 0;
    if (!known || !(find_mount_below(mount->stx_mnt_id, words) || find_process(mount, false, words) ||
                    find_loop_device(path, words) || find_process(mount, true, words)))
        snprintf(words, BUSY_WORDS_BYTES, "somebody who cannot be seen from here uses it (try fuser -vm)");
}

void busy_find_device(dev_t device, char words[static BUSY_WORDS_BYTES])
{
    if (!find_process_by((struct search){.device = device}, words))
        snprintf(words, BUSY_WORDS_BYTES, "somebody who cannot be seen from here uses it (try fuser -v and lsblk)");
}
