#include "cli/demo_scene.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "filesystem/mountinfo.h"
#include "pool/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define IMAGE_BYTES (INT64_C(4) << 30) /* sparse */
#define TOOL_MOST (60 * NANOSECONDS_PER_SECOND)
#define CLEAR_MOST (2 * NANOSECONDS_PER_SECOND) /* for the kernel to free a loop device after the last unmount */
#define MOMENT 2000                             /* microseconds */
#define NAME "plinth-demo.XXXXXX"

/* --- signals --- */

static volatile sig_atomic_t interrupted;

bool scene_interrupted(void)
{
    return interrupted != 0;
}

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

void scene_catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = interrupt};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* --- making it --- */

static bool is_installed(const char *tool)
{
    char path[PATH_MAX];
    cleanup_free char *directories = strdup(getenv("PATH") != NULL ? getenv("PATH") : "");
    char *rest = directories;
    for (const char *directory; (directory = strsep(&rest, ":")) != NULL;)
        if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, tool) < sizeof path && access(path, X_OK) == 0)
            return true;
    return false;
}

static bool check_machine(struct error *error)
{
    if (geteuid() != 0)
        return fail(error, FAILED_PRECONDITION, "the demo makes and mounts file systems: run it as root");
    return is_installed("mkfs.xfs") ||
           fail(error, FAILED_PRECONDITION, "mkfs.xfs is not installed (or not in PATH): apt-get install xfsprogs");
}

/* What we mount stays here; what others unmount outside, goes here too, so that we hold nothing of theirs. */
static bool leave_namespace(struct error *error)
{
    return (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) == 0) ||
           fail_errno(error, errno, "cannot make a mount namespace for the demo");
}

static bool make_directories(struct scene *scene, const char *parent, struct error *error)
{
    static const char *const names[] = {"pool", "state", "kubelet", "staging", "targets"};
    char resolved[PATH_MAX], path[PATH_MAX + 16];
    if (realpath(parent, resolved) == NULL)
        return fail_errno(error, errno, "the directory %s cannot be found", parent);
    if ((size_t)snprintf(path, sizeof path, "%s/" NAME, resolved) >= PATH_MAX || mkdtemp(path) == NULL)
        return fail_errno(error, errno, "cannot make a scratch directory in %s", parent);
    memcpy(scene->directory, path, sizeof scene->directory);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (snprintf(path, sizeof path, "%s/%s", scene->directory, names[i]) < 0 || mkdir(path, 0700) != 0)
            return fail_errno(error, errno, "cannot make %s", path);
    return true;
}

static bool mount_image(const struct scene *scene, struct error *error)
{
    char image[PATH_MAX + 16], pool[PATH_MAX + 16];
    const char *const make[] = {"mkfs.xfs", "-q", "-m", "reflink=1", image, NULL};
    const char *const attach[] = {"mount", "-t", "xfs", "-o", "loop", image, pool, NULL};
    struct child_options options = {.deadline = monotonic_now() + TOOL_MOST, .inherit = -1};
    snprintf(image, sizeof image, "%s/pool.img", scene->directory);
    snprintf(pool, sizeof pool, "%s/pool", scene->directory);
    cleanup_close int file = open(image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, IMAGE_BYTES) != 0)
        return fail_errno(error, errno, "cannot make %s", image);
    return child_run(make, &options, NULL, error) && child_run(attach, &options, NULL, error);
}

bool scene_begin(struct scene *scene, const char *parent, struct error *error)
{
    char pool[PATH_MAX + 16];
    *scene = (struct scene){.directory = ""};
    if (!check_machine(error) || !leave_namespace(error) || !make_directories(scene, parent, error))
        return false;
    snprintf(pool, sizeof pool, "%s/pool", scene->directory);
    cleanup_close int directory = open(pool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    scene->image = !file_can_reflink(directory);
    return !scene->image || mount_image(scene, error);
}

/* --- what is in it --- */

static bool is_inside(const struct scene *scene, const char *path)
{
    size_t length = strlen(scene->directory);
    return strncmp(path, scene->directory, length) == 0 && path[length] == '/';
}

/* The last mount in the scratch directory, but (if `keep`) for the pool's own.  False: there is none. */
static bool find_mount(const struct scene *scene, bool keep, char found[static PATH_MAX])
{
    char pool[PATH_MAX + 16];
    cleanup_mountinfo struct mountinfo mounts = mountinfo_open();
    struct mountinfo_entry entry;
    snprintf(pool, sizeof pool, "%s/pool", scene->directory);
    found[0] = '\0';
    while (mountinfo_next(&mounts, &entry))
        if (is_inside(scene, entry.target) && !(keep && strcmp(entry.target, pool) == 0) &&
            strlen(entry.target) < PATH_MAX)
            text_copy(found, PATH_MAX, entry.target);
    return found[0] != '\0';
}

/* A loop device on a file of the scratch directory, but for the pool's own image.  False: there is none. */
static bool find_loop(const struct scene *scene, char found[static PATH_MAX])
{
    char image[PATH_MAX + 16], line[PATH_MAX];
    glob_t names;
    bool any = false;
    snprintf(image, sizeof image, "%s/pool.img", scene->directory);
    if (glob("/sys/block/loop*/loop/backing_file", 0, NULL, &names) != 0)
        return false;
    for (size_t i = 0; !any && i < names.gl_pathc; i++) {
        cleanup_file FILE *file = fopen(names.gl_pathv[i], "re");
        if (file == NULL || fgets(line, sizeof line, file) == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        any = is_inside(scene, line) && strcmp(line, image) != 0;
    }
    globfree(&names);
    if (any)
        text_copy(found, PATH_MAX, line);
    return any;
}

static bool find_file(const struct scene *scene, char found[static PATH_MAX])
{
    static const char *const names[] = {"pool/volumes", "pool/snapshots", "targets", "staging"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX + 32];
        snprintf(path, sizeof path, "%s/%s", scene->directory, names[i]);
        cleanup_directory DIR *entries = opendir(path);
        for (const struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;)
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                snprintf(found, PATH_MAX, "%.3000s/%s", path, entry->d_name);
                return true;
            }
    }
    return false;
}

bool scene_is_clean(const struct scene *scene, struct error *error)
{
    char found[PATH_MAX];
    if (find_mount(scene, true, found))
        return fail(error, INTERNAL, "there is still a mount at %s", found);
    if (find_file(scene, found))
        return fail(error, INTERNAL, "there is still %s", found);
    for (int64_t end = monotonic_now() + CLEAR_MOST; find_loop(scene, found); usleep(MOMENT))
        if (monotonic_now() > end)
            return fail(error, INTERNAL, "there is still a loop device on %s", found);
    return true;
}

/* --- taking it down --- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

bool scene_end(struct scene *scene, struct error *error)
{
    char found[PATH_MAX];
    if (scene->directory[0] == '\0')
        return true;
    for (int i = 0; i < 1000 && find_mount(scene, false, found); i++)
        if (umount2(found, UMOUNT_NOFOLLOW) != 0 && umount2(found, UMOUNT_NOFOLLOW | MNT_DETACH) != 0)
            return fail_errno(error, errno, "cannot unmount %s", found);
    if (nftw(scene->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        return fail_errno(error, errno, "cannot remove %s", scene->directory);
    return true;
}
