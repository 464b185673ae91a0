"""What is on this machine: mounts, loop devices, processes, disks.  Nothing in here talks to the driver."""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import subprocess
import time

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
FITHAW = 0xC0045878  # linux/fs.h
CAP_SYS_RESOURCE = 24


def has_capability(number):
    status = pathlib.Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> number & 1)


def run(*command, **options):
    """Runs a tool and returns its output; its own words are in the error."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}"
    return done.stdout


# --- mounts


def unescape(path):
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(escaped, plain)
    return path


def mounts(below=""):
    """The paths of all mounts below a directory, the newest last."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        path = unescape(line.split()[4])
        if path.startswith(f"{below}/"):
            found.append(path)
    return found


def mount_options(path):
    """The options of the topmost mount at a path, of the mount and of the file system together."""
    options = None
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if unescape(words[4]) == str(path):
            options = set(words[5].split(",")) | set(words[-1].split(","))
    assert options is not None, f"nothing is mounted at {path}"
    return options


def is_mounted(path):
    return str(path) in mounts(os.path.dirname(str(path)))


def thaw_leftovers(below):
    """Thaws what is frozen below a directory and returns where that was."""
    found = []
    for path in mounts(below):
        if not os.path.isdir(path):
            continue
        directory = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):
            fcntl.ioctl(directory, FITHAW, 0)
            found.append(path)
        os.close(directory)
    return found


def unmount_all(below):
    for path in reversed(mounts(below)):
        subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)


# --- loop devices


def loops(below):
    """{"/dev/loop7": "/pool/volumes/.../data"} of the loop devices on files below a directory, deleted ones too."""
    found = {}
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            file = backing.read_text().rstrip("\n")
            if file.startswith(f"{below}/"):
                found[f"/dev/{backing.parts[3]}"] = file
    return found


def detach_all(below):
    for device in loops(below):
        subprocess.run(["losetup", "-d", device], stderr=subprocess.DEVNULL, check=False)


def eventually(condition, seconds=2):
    """Waits until the condition holds; its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return value


# --- processes: in a pid namespace of our own every process is ours


def strangers(known=()):
    """Command lines of all processes but the first one of the namespace, this one and those that are known."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (1, os.getpid(), *known):
            continue
        with contextlib.suppress(OSError):
            state = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state != "Z":
                found[int(entry)] = words
    return found


# --- disks and files


class Disk:
    """A file system on a sparse image, for pools: `reflink` is xfs, `plain` is ext4."""

    def __init__(self, work, name, kind, size):
        self.kind, self.image, self.path = kind, work / f"{name}.img", work / name
        with open(self.image, "wb") as image:
            image.truncate(size)
        make = {"reflink": ["mkfs.xfs", "-q", "-m", "reflink=1"], "plain": ["mkfs.ext4", "-q", "-m", "0"]}[kind]
        run(*make, self.image)
        self.path.mkdir()
        run("mount", "-o", "loop", self.image, self.path)

    @property
    def device(self):
        source = run("findmnt", "-no", "SOURCE", self.path).split()[-1]
        return source.removeprefix("/dev/")

    def remove(self):
        unmount_all(self.path)
        detach_all(self.path)
        run("umount", "-l", self.path)
        self.image.unlink()
        self.path.rmdir()


def tree(directory):
    """All names below a directory, relative to it."""
    directory = pathlib.Path(directory)
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def checksum(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(MiB):
            digest.update(piece)
    return digest.hexdigest()


def size_of_filesystem(path):
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize


def size_of_device(path):
    with open(path, "rb") as device:
        return device.seek(0, os.SEEK_END)


def allocated(path):
    return os.stat(path).st_blocks * 512


@contextlib.contextmanager
def covered(path, by="/dev/null"):
    """Something else at a path for a while."""
    run("mount", "--bind", by, path)
    try:
        yield
    finally:
        run("umount", path)
