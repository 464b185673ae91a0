"""Loop devices, and who has a block device open."""
import contextlib
import fcntl
import glob
import os
import stat
import struct

LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LOOP_CLR_FD, LOOP_SET_CAPACITY = 0x4C82, 0x4C0A, 0x4C01, 0x4C07
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
READ_ONLY = 1
EXTENDED = 0o2000000  # O_CLOEXEC


def node(number, name):
    path = f"/dev/{name}"
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, number))
    return path


def bind(path, read_only):
    """A loop device on a file; its number.  It is at /dev/loopN and /dev/dm-N."""
    control = os.open("/dev/loop-control", os.O_RDWR | EXTENDED)
    file = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | EXTENDED)
    try:
        while True:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(node(number, f"loop{number}"), os.O_RDWR | EXTENDED)
            info = struct.pack("=QQQQQIIII64s64s32sQQ", 0, 0, 0, 0, 0, 0, 0, 0, READ_ONLY if read_only else 0, b"pretended", b"", b"", 0, 0)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, struct.pack("=II", file, 512) + info + bytes(64))
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno != 16:  # EBUSY: somebody else took it
                    raise
                continue
            finally:
                os.close(device)
            node(number, f"dm-{number}")
            return number
    finally:
        os.close(file)
        os.close(control)


def on_device(number, order):
    device = os.open(f"/dev/loop{number}", os.O_RDONLY | EXTENDED)
    try:
        os.fsync(device)
        fcntl.ioctl(device, order, 0)
    finally:
        os.close(device)


def unbind(number):
    on_device(number, LOOP_CLR_FD)
    os.unlink(f"/dev/dm-{number}")


def notice_size(number):
    on_device(number, LOOP_SET_CAPACITY)


def mount_of(number):
    """Where a file system on the device is mounted first, or None."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            words = line.split()
            if words[2] == f"7:{number}":
                return words[4].replace("\\040", " ")
    return None


def opens(number):
    device, count = os.makedev(7, number), 0
    for descriptor in glob.iglob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            status = os.stat(descriptor)
            count += stat.S_ISBLK(status.st_mode) and status.st_rdev == device
    for backing in glob.iglob("/sys/block/loop*/loop/backing_file"):
        with contextlib.suppress(OSError), open(backing, encoding="utf-8") as file:
            count += file.read().strip() == f"/dev/dm-{number}"
    return count


@contextlib.contextmanager
def still(number):
    """What has been written to the device is in its file, and nothing is written meanwhile."""
    where = mount_of(number) if number is not None else None
    directory = None
    if number is not None:
        device = os.open(f"/dev/loop{number}", os.O_RDONLY | EXTENDED)
        os.fsync(device)
        os.close(device)
    if where is not None:
        directory = os.open(where, os.O_RDONLY | EXTENDED)
        try:
            fcntl.ioctl(directory, FIFREEZE, 0)
        except OSError:  # it is frozen already
            os.close(directory)
            directory = None
    try:
        yield
    finally:
        if directory is not None:
            fcntl.ioctl(directory, FITHAW, 0)
            os.close(directory)
