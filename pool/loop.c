#include "pool/loop.h"

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"
#include "filesystem/busy.h"
#include "pool/loop_device.h"

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

#define TRIES 64 /* somebody else may take the free device we were told of */

/* What we believe of loop devices, by number; every use is checked with the kernel. */
static struct {
    pthread_mutex_t mutex; /* not held while the kernel binds and unbinds, which takes milliseconds */
    struct loop_binding *numbers;
    size_t count;
} known = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void remember(int number, const struct loop_binding *binding)
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
    known.numbers[number] = *binding;
    pthread_mutex_unlock(&known.mutex);
}

void loop_load(void)
{
    cleanup_directory DIR *directory = opendir("/sys/block");
    if (directory == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int number, end = 0;
        struct loop_binding found;
        struct error ignored;
        if (sscanf(entry->d_name, "loop%d%n", &number, &end) != 1 || entry->d_name[end] != '\0' || number < 0)
            continue;
        if (!loop_device_may_be_ours(number))
            continue;
        cleanup_close int descriptor = loop_device_open(number, O_RDONLY);
        if (loop_device_identify(number, descriptor, &found, &ignored) && found.id[0] != '\0')
            remember(number, &found);
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

/* Opens the volume's device in a mode, sure that it is his; *device is -1 if there is none.  False: that cannot be
 * told, or it cannot be opened. */
static bool open_known(const char *id, bool read_only, int *number, int *device, struct error *error)
{
    *device = -1;
    for (*number = find_known(id, read_only, -1); *number >= 0; *number = find_known(id, read_only, *number)) {
        struct loop_binding found;
        cleanup_close int opened = loop_device_open(*number, read_only ? O_RDONLY : O_RDWR);
        int why = errno;
        if (!loop_device_identify(*number, opened, &found, error))
            return fail_context(error, "volume %s", id);
        if (strcmp(found.id, id) != 0 || found.read_only != read_only)
            continue;
        if (opened < 0)
            return fail_errno(error, why, "cannot open /dev/loop%d of volume %s", *number, id);
        *device = steal_descriptor(&opened);
        return true;
    }
    return true;
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
    snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, LOOP_MARK "%s", record->id);
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
        *device = loop_device_open(*number, mode == ATTACH_READONLY ? O_RDONLY : O_RDWR);
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
    struct loop_binding binding = {.read_only = mode == ATTACH_READONLY};
    int number, device;
    if (!open_known(record->id, binding.read_only, &number, &device, error))
        return false;
    bool good = device >= 0 ? reuse(device, image, record->id, mode == ATTACH_MOUNT, error)
                            : bind_free(image, record, mode, &device, &number, error);
    text_copy(binding.id, sizeof binding.id, record->id);
    if (good)
        remember(number, &binding);
    if (!good || !fault("pool.loop.attached", error)) {
        if (device >= 0)
            close(device);
        return false;
    }
    attachment->device = makedev(LOOP_MAJOR, (unsigned)number);
    attachment->descriptor = device;
    loop_device_path(number, attachment->path);
    return true;
}

bool loop_attached(const char *id, enum attach_mode mode, dev_t *device)
{
    int number, descriptor;
    struct error ignored;
    bool told = open_known(id, mode == ATTACH_READONLY, &number, &descriptor, &ignored);
    *device = makedev(LOOP_MAJOR, (unsigned)number);
    if (descriptor >= 0)
        close(descriptor);
    return !told || descriptor >= 0;
}

bool loop_resize(const char *id, struct error *error)
{
    for (int read_only = 0; read_only <= 1; read_only++) {
        int number;
        cleanup_close int device = -1;
        if (!open_known(id, read_only, &number, &device, error))
            return false;
        if (device >= 0 && ioctl(device, LOOP_SET_CAPACITY, 0) != 0)
            return fail_errno(error, errno, "cannot grow /dev/loop%d of volume %s", number, id);
    }
    return true;
}

/* Of a device in use the kernel only takes a note, to unbind it with its last user: so look again. */
static bool check_unbound(const char *id, bool read_only, struct error *error)
{
    int number;
    cleanup_close int device = -1;
    if (!open_known(id, read_only, &number, &device, error))
        return false;
    if (device < 0)
        return true;
    char words[BUSY_WORDS_BYTES];
    busy_find_device(makedev(LOOP_MAJOR, (unsigned)number), words);
    return fail(error, FAILED_PRECONDITION,
                "/dev/loop%d of volume %s is in use: %s; it goes when that ends, then try again", number, id, words);
}

static bool detach(const char *id, bool read_only, struct error *error)
{
    int number, device;
    if (!open_known(id, read_only, &number, &device, error))
        return false;
    if (device < 0)
        return true;
    bool good = ioctl(device, LOOP_CLR_FD, 0) == 0 || errno == ENXIO ||
                fail_errno(error, errno, "cannot unbind /dev/loop%d of volume %s", number, id);
    close(device);
    return good && check_unbound(id, read_only, error) && fault("pool.loop.detached", error);
}

bool loop_detach(const char *id, struct error *error)
{
    return detach(id, false, error) && detach(id, true, error);
}

bool loop_identify(dev_t device, char id[static ID_BYTES])
{
    struct loop_binding found;
    struct error ignored;
    if (major(device) != LOOP_MAJOR)
        return false;
    int number = (int)minor(device);
    cleanup_close int descriptor = loop_device_open(number, O_RDONLY);
    if (!loop_device_identify(number, descriptor, &found, &ignored) || found.id[0] == '\0')
        return false;
    text_copy(id, ID_BYTES, found.id);
    return true;
}

bool loop_is_a_volume(dev_t device)
{
    struct loop_info64 info;
    char id[ID_BYTES];
    if (major(device) != LOOP_MAJOR)
        return false;
    cleanup_close int descriptor = loop_device_open((int)minor(device), O_RDONLY);
    if (descriptor < 0)
        return false;
    /* Of a file it is 0, or what lo_device is: kernels differ. */
    bool on_a_device =
        ioctl(descriptor, LOOP_GET_STATUS64, &info) == 0 && info.lo_rdevice != 0 && info.lo_rdevice != info.lo_device;
    return on_a_device || loop_identify(device, id);
}
