"""Volume groups, logical volumes and device-mapper, as an administrator sees them.  Nothing in here talks to the driver."""
import contextlib
import json
import os
import pathlib
import subprocess

import machine
from machine import MiB

DISKS = [f"/dev/ubd{letter}" for letter in "abcdef"]
PATTERN = bytes(range(1, 256)) * 4112 + b"\xa5" * (MiB - 255 * 4112)  # a MiB without a zero


def run(*command):
    return machine.run(*command)


def succeeds(*command):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


# --- device-mapper


def devices():
    """{name: (open count, state)} of all devices; state is ACTIVE or SUSPENDED."""
    text = run("dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,open,suspended")
    rows = [line.split() for line in text.splitlines() if "No devices found" not in line]
    return {name: (int(count), state.upper()) for name, count, state in rows}


def suspended():
    return [name for name, (_, state) in devices().items() if state.startswith("SUSPENDED")]


def status(name):
    return run("dmsetup", "status", name).strip()


class Mapped:
    """A disk behind device-mapper, so that it can fail, wait or be gone: /dev/mapper/pvNAME."""

    def __init__(self, name, disk, size, start=0):
        self.name, self.disk, self.sectors, self.start = f"pv{name}", disk, size // 512, start // 512
        self.path = f"/dev/mapper/{self.name}"
        run("dmsetup", "create", self.name, "--table", self.whole())

    def whole(self):
        return f"0 {self.sectors} linear {self.disk} {self.start}"

    def set(self, table):
        """Another table, at once; what is under way goes to the old one first."""
        run("dmsetup", "load", self.name, "--table", table)
        run("dmsetup", "suspend", "--nolockfs", "--noflush", self.name)
        run("dmsetup", "resume", self.name)

    def fail(self):
        self.set(f"0 {self.sectors} error")

    def delay(self, milliseconds):
        self.set(f"0 {self.sectors} delay {self.disk} {self.start} {milliseconds}")

    def flake(self, up, down, *features):
        """Works for `up` seconds, then fails (or does what the features say) for `down` seconds, and again."""
        more = f" {len(features)} {' '.join(features)}" if features else ""
        self.set(f"0 {self.sectors} flakey {self.disk} {self.start} {up} {down}{more}")

    def mend(self):
        self.set(self.whole())

    def remove(self):
        run("dmsetup", "remove", "--retry", "--force", self.name)


def fill(path, size=None):
    """Every byte of a device (or its beginning) becomes something that is not zero."""
    size = size or machine.size_of_device(path)
    with open(path, "r+b", buffering=0) as device:
        for _ in range(size // MiB):
            device.write(PATTERN)
        os.fsync(device.fileno())


def empty(path):
    """No signature is left, nor anything at the two ends, where a disk pool looks for data."""
    run("wipefs", "-aqf", path)
    with open(path, "r+b", buffering=0) as device:
        for end in (0, machine.size_of_device(path) - MiB):
            device.seek(end)
            device.write(bytes(MiB))


@contextlib.contextmanager
def looped(path):
    """A loop device on a file or device, with a link to it as udev makes them."""
    device = run("losetup", "-f", "--show", path).strip()
    link = pathlib.Path("/dev/disk/by-id", device.replace("/", "-"))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)
    try:
        yield device
    finally:
        link.unlink()
        run("losetup", "-d", device)


def make_guest(device, name, *tags):
    """A volume group as the user of a volume can make one in it, whatever names there are outside, and on any device."""
    only = f'devices {{ dir="/var/tmp" scan=["/dev"] global_filter=[ "a|^{device}$|", "r|.*|" ] }}'
    run("vgcreate", "-qq", "-y", "--config", only, *[word for tag in tags for word in ("--addtag", tag)], name, device)


# --- LVM


def report(command, *arguments):
    text = subprocess.run([command, "--reportformat", "json", "--units", "b", "--nosuffix", *arguments], text=True, check=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return json.loads(text)["report"][0][{"lvs": "lv", "vgs": "vg", "pvs": "pv"}[command]]


class Group:
    """A volume group, perhaps with a thin pool `thin`."""
    called = None  # what the driver's options say, if it is not the name

    def __init__(self, name, paths, thin=0, extent="4M", tags=(), metadata="1m", thin_metadata=0):
        self.name, self.paths = name, [str(path) for path in paths]
        run("wipefs", "-aq", *self.paths)
        run("vgcreate", "-qq", "-y", "-s", extent, "--metadatasize", metadata, "--dataalignment", metadata, *[word for tag in tags for word in ("--addtag", tag)], name, *self.paths)
        if thin:
            run("lvcreate", "-qq", "-y", "--type", "thin-pool", "-L", f"{thin}b", "-c", "64k", "-n", "thin",
                *(("--poolmetadatasize", f"{thin_metadata}b") if thin_metadata else ()), name)

    def get(self, fields):
        return report("vgs", "-o", fields, self.name)[0]

    def free(self):
        return int(self.get("vg_free")["vg_free"])

    def uuid(self):
        return self.get("vg_uuid")["vg_uuid"]

    def volumes(self):
        """{name: row} of all that is not a hidden part of another."""
        fields = "lv_name,lv_size,segtype,lv_tags,lv_active,pool_lv,origin,data_percent,lv_health_status,stripes,lv_uuid"
        rows = report("lvs", "-o", fields, self.name)
        return {row["lv_name"]: row for row in rows}

    def names(self):
        return set(self.volumes())

    def parts(self):
        """All names, hidden ones as well."""
        return {row["lv_name"].strip("[]") for row in report("lvs", "-a", "-o", "lv_name", self.name)}

    def layout(self, name):
        """(kind of segment, stripes, devices) of a logical volume."""
        row = report("lvs", "-o", "segtype,stripes,data_stripes,lv_size", f"{self.name}/{name}")[0]
        return row["segtype"], int(row["data_stripes"] or 1)

    def size(self, name):
        return int(self.volumes()[name]["lv_size"])

    def tags(self, name):
        return [tag for tag in self.volumes()[name]["lv_tags"].split(",") if tag]

    def has_device(self, name):
        return device_name(self.name, name) in devices()

    def path(self, name):
        return f"/dev/{self.name}/{name}"

    @contextlib.contextmanager
    def opened(self, name):
        """The device of a logical volume, active at least as long."""
        was_active = self.has_device(name)
        if not was_active:
            run("lvchange", "-qq", "-y", "-ay", "-K", f"{self.name}/{name}")
        try:
            yield f"/dev/mapper/{device_name(self.name, name)}"
        finally:
            if not was_active:
                run("lvchange", "-qq", "-y", "-an", f"{self.name}/{name}")

    def add(self, name, size, *more):
        """A logical volume of somebody else."""
        run("lvcreate", "-qq", "-y", "-Wn", "-Zn", "-L", f"{size}b", "-n", name, *more, self.name)
        return self.path(name)

    def add_thin(self, name, size):
        """A thin volume of somebody else, in the thin pool."""
        run("lvcreate", "-qq", "-y", "-V", f"{size}b", "-n", name, "--thinpool", "thin", self.name)
        return self.path(name)

    def drop(self, name):
        run("lvremove", "-qq", "-y", f"{self.name}/{name}")

    def back_up(self, path):
        run("vgcfgbackup", "-qq", "-f", path, self.name)
        return path

    def restore(self, path):
        """The metadata as it was; the thin pool's own is not touched."""
        run("vgcfgrestore", "-qq", "--force", "-y", "-f", path, self.name)

    def remove(self):
        """By force."""
        for device in sorted(devices(), key=len, reverse=True):
            if device.startswith(f"{self.name}-"):
                subprocess.run(["dmsetup", "resume", device], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["vgremove", "-qq", "-y", "-f", "-f", self.name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        for _ in range(3):
            for device in sorted(devices(), key=len, reverse=True):
                if device.startswith(f"{self.name}-"):
                    succeeds("dmsetup", "remove", "--force", device)
        for path in self.paths:
            succeeds("wipefs", "-aqf", path)


def device_name(group, volume):
    """As device-mapper has it."""
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def physical(name, size=512 * MiB, disk=DISKS[5], number=0, filled=False):
    """A device of its own for a physical volume: the `number`th of that size on a disk."""
    device = Mapped(name, disk, size, MiB + number * size)  # not at the start, or LVM would see it twice
    if filled:
        fill(device.path)
    else:
        empty(device.path)
    return device


