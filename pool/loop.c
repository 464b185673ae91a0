#include "pool/loop.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MARK "plinth:"
#define TRIES 64 /* somebody else may take the free device we were told of */

/* What we believe of loop devices, by number; every use is checked with the kernel. */
static struct {
    pthread_mutex_t mutex; /* not held while the kernel binds and unbinds, which takes milliseconds */
    struct known {
        char id[ID_BYTES];
        bool read_only;
    } * numbers;
    size_t count;
} known = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void device_path(int number, char path[static 32])
{
    snprintf(path, 32, LOOP_PATH "%d", number);
}

static int open_device(int number, int flags)
{
    char path[32];
    device_path(number, path);
    int descriptor = open(path, flags | O_CLOEXEC);
    /* In a container /dev may have been filled before the kernel made this device. */
    if (descriptor < 0 && errno == ENOENT && mknod(path, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)number)) == 0)
        descriptor = open(path, flags | O_CLOEXEC);
    return descriptor;
}

/* Asks the kernel whose device this is.  False: not bound, or not ours. */
static bool identify(int descriptor, char id[static ID_BYTES], bool *read_only)
{
    struct loop_info64 info;
    if (ioctl(descriptor, LOOP_GET_STATUS64, &info) != 0)
        return false;
    const char *name = (const char *)info.lo_file_name;
    size_t mark = strlen(MARK), length = strnlen(name, LO_NAME_SIZE);
    if (length <= mark || length - mark >= ID_BYTES || memcmp(name, MARK, mark) != 0)
        return false;
    memcpy(id, name + mark, length - mark);
    id[length - mark] = '\0';
    *read_only = (info.lo_flags & LO_FLAGS_READ_ONLY) != 0;
    return true;
}

static void remember(int number, const char *id, bool read_only)
{
    pthread_mutex_lock(&known.mutex);
    if ((size_t)number >= known.count) {
        size_t count = (size_t)number + 64;
        known.numbers = realloc(known.numbers, count * sizeof *known.numbers);
        if (known.numbers == NULL)
            abort();
        memset(known.numbers + known.count, 0, (count - known.count) * sizeof *known.numbers);
        known.count = count;
    }
    text_copy(known.numbers[number].id, ID_BYTES, id);
    known.numbers[number].read_only = read_only;
    pthread_mutex_unlock(&known.mutex);
}

void loop_load(void)
{
    cleanup_directory DIR *directory = opendir("/sys/block");
    if (directory == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int number, end = 0;
        char bound[64], id[ID_BYTES];
        bool read_only;
        if (sscanf(entry->d_name, "loop%d%n", &number, &end) != 1 || entry->d_name[end] != '\0' || number < 0)
            continue;
        snprintf(bound, sizeof bound, "/sys/block/loop%d/loop", number);
        cleanup_close int descriptor = access(bound, F_OK) == 0 ? open_device(number, O_RDONLY) : -1;
        if (descriptor >= 0 && identify(descriptor, id, &read_only))
            remember(number, id, read_only);
    }
}

static int find_known(const char *id, bool read_only, int after)
{
    int found = -1;
    pthread_mutex_lock(&known.mutex);
    for (size_t i = (size_t)(after + 1); found < 0 && i < known.count; i++)
        if (strcmp(known.numbers[i].id, id) == 0 && known.numbers[i].read_only == read_only)
            found = (int)i;
    pthread_mutex_unlock(&known.mutex);
    return found;
}

/* Opens the volume's device in a mode, sure that it is his.  -1: there is none. */
static int open_known(const char *id, bool read_only, int *number)
{
    for (*number = find_known(id, read_only, -1); *number >= 0; *number = find_known(id, read_only, *number)) {
        char found[ID_BYTES];
        bool found_read_only;
        int descriptor = open_device(*number, read_only ? O_RDONLY : O_RDWR);
        if (descriptor >= 0 && identify(descriptor, found, &found_read_only) && strcmp(found, id) == 0 &&
            found_read_only == read_only)
            return descriptor;
        if (descriptor >= 0)
            close(descriptor);
    }
    return -1;
}

/* Where the kernel only asks whether it can, an overlay says yes, and then every read fails if the layer beneath it
 * cannot. */
static bool takes_direct_io(int image)
{
    struct statfs status;
    return fstatfs(image, &status) != 0 || status.f_type != OVERLAYFS_SUPER_MAGIC;
}

static bool configure(int device, int image, const struct record *record, enum attach_mode mode)
{
    struct loop_config config = {.fd = (unsigned)image, .block_size = (unsigned)record->sector_bytes};
    config.info.lo_flags = takes_direct_io(image) ? LO_FLAGS_DIRECT_IO : 0;
    if (mode == ATTACH_MOUNT)
        config.info.lo_flags |= LO_FLAGS_AUTOCLEAR;
    if (mode == ATTACH_READONLY)
        config.info.lo_flags |= LO_FLAGS_READ_ONLY;
    snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, MARK "%s", record->id);
    if (ioctl(device, LOOP_CONFIGURE, &config) != 0)
        return false;
    /* A device that was set read-only once (blockdev --setro) stays so after it was unbound: others must not inherit it
     * from us, nor we from them. */
    int writable = 0;
    return mode == ATTACH_READONLY || ioctl(device, BLKROSET, &writable) == 0;
}

static bool bind_free(int image, const struct record *record, enum attach_mode mode, int *device, int *number,
                      struct error *error)
{
    const char *id = record->id;
    cleanup_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return fail_errno(error, errno, "no loop device for volume %s: cannot open /dev/loop-control", id);
    for (int try = 0; try < TRIES; try++) {
        *number = ioctl(control, LOOP_CTL_GET_FREE);
        if (*number < 0) {
            fail_errno(error, errno, "no loop device for volume %s: the kernel has no free one (losetup -a lists them)",
                       id);
            error->code = RESOURCE_EXHAUSTED;
            return false;
        }
        *device = open_device(*number, mode == ATTACH_READONLY ? O_RDONLY : O_RDWR);
        if (*device >= 0 && configure(*device, image, record, mode))
            return true;
        int failed = errno;
        if (*device >= 0)
            close(*device);
        *device = -1;
        if (failed != EBUSY)
            return fail_errno(error, failed, "cannot bind volume %s to /dev/loop%d", id, *number);
    }
    return fail(error, RESOURCE_EXHAUSTED, "no loop device for volume %s: others took %d free ones; try again", id,
                TRIES);
}

/*
 * Takes over a device that the volume has already.  It may show the image of a removed volume of the same name, and it
 * may have been made in the other writable mode: then what keeps it is set anew.
 */
static bool reuse(int device, int image, const char *id, bool autoclear, struct error *error)
{
    struct loop_info64 info;
    struct stat status;
    if (ioctl(device, LOOP_GET_STATUS64, &info) != 0 || fstat(image, &status) != 0)
        return fail_errno(error, errno, "cannot read the status of the loop device of volume %s", id);
    if (info.lo_inode != status.st_ino || info.lo_device != status.st_dev)
        return fail(error, FAILED_PRECONDITION,
                    "a loop device still shows an older image of volume %s; see losetup -a, end what uses it, then "
                    "try again",
                    id);
    if (info.lo_flags & LO_FLAGS_READ_ONLY)
        return true;
    uint32_t flags = autoclear ? info.lo_flags | LO_FLAGS_AUTOCLEAR : info.lo_flags & ~(uint32_t)LO_FLAGS_AUTOCLEAR;
    if (flags == info.lo_flags)
        return true;
    info.lo_flags = flags;
    return ioctl(device, LOOP_SET_STATUS64, &info) == 0 ||
           fail_errno(error, errno, "cannot set the status of the loop device of volume %s", id);
}

bool loop_attach(int image, const struct record *record, enum attach_mode mode, struct attachment *attachment,
                 struct error *error)
{
    const char *id = record->id;
    bool read_only = mode == ATTACH_READONLY, good = true;
    int number = -1;
    int device = open_known(id, read_only, &number);
    if (device >= 0)
        good = reuse(device, image, id, mode == ATTACH_MOUNT, error);
    else
        good = bind_free(image, record, mode, &device, &number, error);
    if (good)
        remember(number, id, read_only);
    if (!good || !fault("pool.loop.attached", error)) {
        if (device >= 0)
            close(device);
        return false;
    }
    attachment->device = makedev(LOOP_MAJOR, (unsigned)number);
    attachment->descriptor = device;
    device_path(number, attachment->path);
    return true;
}

bool loop_attached(const char *id, enum attach_mode mode, dev_t *device)
{
    int number = -1;
    cleanup_close int descriptor = open_known(id, mode == ATTACH_READONLY, &number);
    *device = makedev(LOOP_MAJOR, (unsigned)number);
    return descriptor >= 0;
}

bool loop_resize(const char *id, struct error *error)
{
    for (int read_only = 0; read_only <= 1; read_only++) {
        int number;
        cleanup_close int device = open_known(id, read_only, &number);
        if (device >= 0 && ioctl(device, LOOP_SET_CAPACITY, 0) != 0)
            return fail_errno(error, errno, "cannot grow /dev/loop%d of volume %s", number, id);
    }
    return true;
}

bool loop_detach(const char *id, struct error *error)
{
    for (int read_only = 0; read_only <= 1; read_only++) {
        int number = -1;
        int device = open_known(id, read_only, &number);
        bool good = device < 0 || ioctl(device, LOOP_CLR_FD, 0) == 0 || errno == ENXIO ||
                    fail_errno(error, errno, "cannot unbind /dev/loop%d of volume %s", number, id);
        if (device >= 0)
            close(device);
        /* Of a device in use the kernel only takes a note, to unbind it with its last user: so look again. */
        int again = good && device >= 0 ? open_known(id, read_only, &number) : -1;
        if (again >= 0)
            close(again);
        if (again >= 0)
            return fail(error, FAILED_PRECONDITION,
                        "/dev/loop%d of volume %s is open in some process; it goes when that ends, then try again",
                        number, id);
        if (!good || (device >= 0 && !fault("pool.loop.detached", error)))
            return false;
    }
    return true;
}

bool loop_identify(dev_t device, char id[static ID_BYTES])
{
    bool read_only;
    if (major(device) != LOOP_MAJOR)
        return false;
    cleanup_close int descriptor = open_device((int)minor(device), O_RDONLY);
    return descriptor >= 0 && identify(descriptor, id, &read_only);
}

bool loop_is_a_volume(dev_t device)
{
    struct loop_info64 info;
    char id[ID_BYTES];
    bool read_only;
    if (major(device) != LOOP_MAJOR)
        return false;
    cleanup_close int descriptor = open_device((int)minor(device), O_RDONLY);
    if (descriptor < 0 || ioctl(descriptor, LOOP_GET_STATUS64, &info) != 0)
        return false;
    /* Of a file it is 0, or what lo_device is: kernels differ. */
    bool on_a_device = info.lo_rdevice != 0 && info.lo_rdevice != info.lo_device;
    return on_a_device || identify(descriptor, id, &read_only);
}
