#include "filesystem/path.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char root[PATH_MAX];

static bool check_component(const char *path, const char *at, size_t size, struct error *error)
{
    if ((size == 1 && at[0] == '.') || (size == 2 && at[0] == '.' && at[1] == '.'))
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" has a component \"%.*s\"", path, (int)size, at);
    if (size > NAME_MAX)
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" has a component longer than %d bytes", path, NAME_MAX);
    return true;
}

/* Copies the path without slashes that are too many; every component must be a name. */
static bool check(const char *path, char clean[static PATH_MAX], struct error *error)
{
    char *end = clean;
    if (path[0] != '/')
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" is not absolute", path);
    if (strnlen(path, PATH_MAX) >= PATH_MAX)
        return fail(error, INVALID_ARGUMENT, "a path is longer than %d bytes: \"%s\"", PATH_MAX - 1, path);
    for (const char *at = path + strspn(path, "/"); *at != '\0'; at += strspn(at, "/")) {
        size_t size = strcspn(at, "/");
        if (!check_component(path, at, size, error))
            return false;
        *end++ = '/';
        end = mempcpy(end, at, size);
        at += size;
    }
    *end = '\0';
    return end != clean || fail(error, INVALID_ARGUMENT, "the path \"%s\" is the root directory", path);
}

void path_set_root(const char *directory)
{
    struct error ignored;
    if (!check(directory, root, &ignored))
        root[0] = '\0';
}

static int open_without_links(int base, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)flags | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, base, path, &how, sizeof how);
}

/* Follows links up to the kubelet's directory and none below it. */
static int open_clean(const char *path, int flags)
{
    size_t length = strlen(root);
    if (length == 0 || strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
        return open_without_links(AT_FDCWD, path, flags);
    if (path[length] == '\0')
        return open(root, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
    cleanup_close int base = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return base < 0 ? -1 : open_without_links(base, path + length + 1, flags);
}

static bool judge(const char *path, int descriptor, struct error *error)
{
    if (descriptor >= 0 || errno == ENOENT || errno == ENOTDIR)
        return true;
    if (errno == ELOOP)
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" goes through a symbolic link", path);
    if (errno == ENOSYS)
        return fail(error, FAILED_PRECONDITION, "the kernel has no openat2(2): Linux 5.12 or later is needed");
    return fail_errno(error, errno, "cannot open \"%s\"", path);
}

bool path_open(const char *path, int flags, int *descriptor, struct error *error)
{
    char clean[PATH_MAX];
    struct stat status;
    *descriptor = -1;
    if (!check(path, clean, error))
        return false;
    cleanup_close int opened = open_clean(clean, flags | O_NOFOLLOW);
    if (opened >= 0 && fstat(opened, &status) == 0 && S_ISLNK(status.st_mode))
        return fail(error, INVALID_ARGUMENT, "the path \"%s\" is a symbolic link", path);
    if (!judge(path, opened, error))
        return false;
    *descriptor = steal_descriptor(&opened);
    return true;
}

bool path_open_parent(const char *path, struct path *opened, struct error *error)
{
    char clean[PATH_MAX];
    opened->parent = -1;
    if (!check(path, clean, error))
        return false;
    char *slash = strrchr(clean, '/');
    text_copy(opened->name, sizeof opened->name, slash + 1);
    slash[slash == clean] = '\0'; /* the parent of "/a" is "/" */
    opened->parent = open_clean(clean, O_PATH | O_DIRECTORY);
    return judge(path, opened->parent, error);
}

void path_close(struct path *opened)
{
    cleanup_close_descriptor(&opened->parent);
    opened->parent = -1;
}

int path_open_name(const struct path *path)
{
    return openat(path->parent, path->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

const char *path_of_name(const struct path *path, char buffer[static PATH_OF_NAME_BYTES])
{
    snprintf(buffer, PATH_OF_NAME_BYTES, "/proc/self/fd/%d/%s", path->parent, path->name);
    return buffer;
}
