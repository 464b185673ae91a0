#include "filesystem/filesystem.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "filesystem/device.h"
#include "filesystem/options.h"
#include "filesystem/path.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAKE_WORDS_MOST 8 /* of filesystem->make */

static const struct filesystem *const table[] = {&ext4_filesystem, &xfs_filesystem};

const struct filesystem *filesystem_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

const char *filesystem_names(void)
{
    return "ext4, xfs";
}

const char *filesystem_name(const struct filesystem *filesystem)
{
    return filesystem->name;
}

int64_t filesystem_least_bytes(const struct filesystem *filesystem)
{
    return filesystem->least_bytes;
}

const char *filesystem_mount_options(const struct filesystem *filesystem, bool own_identity)
{
    return own_identity ? "" : filesystem->copy_mount_options;
}

bool filesystem_check_options(const struct filesystem *filesystem, const char *options, struct error *error)
{
    struct make_values values;
    return options_read_make(filesystem, options, &values, error);
}

bool filesystem_make(const struct filesystem *filesystem, const char *path, const char *options,
                     const struct child_options *child, struct error *error)
{
    struct make_values values;
    const char *argv[MAKE_WORDS_MOST + 2 * MAKE_OPTIONS_MOST + 2];
    size_t count = 0;
    if (!options_read_make(filesystem, options, &values, error))
        return false;
    for (const char *const *word = filesystem->make; *word != NULL; word++)
        argv[count++] = *word;
    for (int i = 0; filesystem->make_options[i].letter != NULL; i++)
        if (values.text[i][0] != '\0') {
            argv[count++] = filesystem->make_options[i].letter;
            argv[count++] = values.text[i];
        }
    argv[count++] = path;
    argv[count] = NULL;
    return fault("filesystem.make.before", error) && child_run(argv, child, NULL, error) &&
           fault("filesystem.make.after", error);
}

bool filesystem_new_identity(const struct filesystem *filesystem, const char *path, int lock, int64_t deadline,
                             bool *done, struct error *error)
{
    *done = false;
    return fault("filesystem.identity.before", error) && filesystem->new_identity(path, lock, deadline, done, error) &&
           fault("filesystem.identity.after", error);
}

bool filesystem_grow_unmounted(const struct filesystem *filesystem, const char *path, int lock, int64_t deadline,
                               struct error *error)
{
    if (filesystem->grow_unmounted == NULL)
        return true;
    return fault("filesystem.grow.before", error) && filesystem->grow_unmounted(path, lock, deadline, error) &&
           fault("filesystem.grow.after", error);
}

bool filesystem_grow_mounted(const struct filesystem *filesystem, const char *mount_point, struct error *error)
{
    cleanup_close int directory = -1, device = -1;
    struct stat status;
    int64_t bytes;
    if (!path_open(mount_point, O_RDONLY | O_NONBLOCK, &directory, error))
        return false;
    if (directory < 0 || fstat(directory, &status) != 0)
        return fail_errno(error, errno, "cannot open %s", mount_point);
    return device_open_number(status.st_dev, &device, &bytes, error) &&
           fault("filesystem.grow_mounted.before", error) &&
           filesystem->grow_mounted(directory, device, bytes, error) && fault("filesystem.grow_mounted.after", error);
}

int64_t filesystem_error_count(const struct filesystem *filesystem, const char *device)
{
    char link[64], target[512], path[1024];
    struct stat status;
    long long count = 0;
    if (stat(device, &status) != 0 || !S_ISBLK(status.st_mode))
        return 0;
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(status.st_rdev), minor(status.st_rdev));
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0)
        return 0;
    target[length] = '\0';
    snprintf(path, sizeof path, "/sys/fs/%s/%s/errors_count", filesystem->name, basename(target));
    cleanup_file FILE *file = fopen(path, "re");
    return file != NULL && fscanf(file, "%lld", &count) == 1 ? count : 0;
}
