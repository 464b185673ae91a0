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

#define SEARCH_MOST (200 * NANOSECONDS_PER_MILLISECOND)

/* What below /proc/<process> leads to files it uses; a name with a slash at its end is a directory of such links. */
static const struct {
    const char *name, *words;
} uses[] = {
    {"cwd", "has its working directory there"}, {"root", "has its root directory there"},
    {"exe", "runs a program from there"},       {"fd/", "has files open"},
    {"map_files/", "has files mapped"},
};

/* The link itself need not be read: statx() goes through it to the file and tells the mount it was opened on. */
static bool is_on(int directory, const char *name, uint64_t mount)
{
    struct statx status;
    return statx(directory, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID, &status) == 0 &&
           (status.stx_mask & STATX_MNT_ID) != 0 && status.stx_mnt_id == mount;
}

static bool any_is_on(int process, const char *name, uint64_t mount, int64_t end)
{
    int opened = openat(process, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_directory DIR *links = opened >= 0 ? fdopendir(opened) : NULL;
    if (links == NULL && opened >= 0)
        close(opened);
    for (struct dirent *entry; links != NULL && monotonic_now() < end && (entry = readdir(links)) != NULL;)
        if (entry->d_name[0] != '.' && is_on(dirfd(links), entry->d_name, mount))
            return true;
    return false;
}

static const char *use_by(int process, uint64_t mount, int64_t end)
{
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        bool many = strchr(uses[i].name, '/') != NULL;
        if (many ? any_is_on(process, uses[i].name, mount, end) : is_on(process, uses[i].name, mount))
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

static bool find_process(uint64_t mount, int64_t end, char *words)
{
    cleanup_directory DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes != NULL && monotonic_now() < end && (entry = readdir(processes)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        cleanup_close int process = openat(dirfd(processes), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        const char *use = process >= 0 ? use_by(process, mount, end) : NULL;
        if (use != NULL) {
            char name[64];
            read_name(process, name, sizeof name);
            snprintf(words, BUSY_WORDS_BYTES, "%s (process %s) %s", name, entry->d_name, use);
            return true;
        }
    }
    return false;
}

static bool find_mount_below(uint64_t mount, char *words)
{
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    while (mountinfo_next(&mounts, &entry))
        if ((uint64_t)entry.parent == mount) {
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

void busy_find(uint64_t mount, const char *path, char words[static BUSY_WORDS_BYTES])
{
    int64_t end = monotonic_now() + SEARCH_MOST;
    if (!find_mount_below(mount, words) && !find_process(mount, end, words) && !find_loop_device(path, words))
        snprintf(words, BUSY_WORDS_BYTES, "somebody who cannot be seen from here uses it (try fuser -vm)");
}
