"""Disks for disk pools, each behind device-mapper so that it can be renamed, become larger and be gone, and a driver with
such pools."""
import contextlib
import os
import pathlib

import pytest

import driver as drivers
import endings
import groups
import machine
from conftest import WORK, clean_up, numbers, tear_down
from groups import Mapped, report, run, succeeds
from lvm_driver import LvmDriver
from machine import MiB


drivers.PATIENCE = max(drivers.PATIENCE, 4)  # at its first start it takes each disk by two commands


SIZES = {"small": 48 * MiB, "middle": 80 * MiB, "large": 128 * MiB}
USABLE = {name: size - 4 * MiB for name, size in SIZES.items()}  # LVM's label and metadata take one extent
FREE_DISKS = [disk for disk in groups.DISKS if disk != groups.DISKS[4]]  # that one is cut up for the shelf


class Shelf:
    """Disks of a test, cut out of one of the machine's."""

    def __init__(self, disk=groups.DISKS[4]):
        self.disk, self.place, self.disks = disk, MiB, []

    def add(self, name, size, room=0, filled=False):
        """A disk that is empty, or `filled` with something that is no signature.  It may grow by `room`.  Pieces of the
        machine's disk are used again, so one that is empty is emptied."""
        disk = Mapped(name, self.disk, size, self.place)
        self.place += size + room
        self.disks.append(disk)
        if filled:
            groups.fill(disk.path)
        else:
            groups.empty(disk.path)
        return disk

    def remove(self):
        for disk in self.disks:
            if disk.name in groups.devices():
                disk.mend()
        for name in volume_groups():
            for device in groups.devices():
                if device.startswith(groups.device_name(name, "")):
                    succeeds("dmsetup", "remove", "--retry", "--force", device)
            succeeds("vgremove", "-qq", "-y", "-f", "-f", name)
        for disk in self.disks:
            succeeds("wipefs", "-aqf", disk.path)
            succeeds("dmsetup", "remove", "--retry", "--force", disk.name)


def named(*disks):
    """The option that means these disks and no others."""
    return "devices=" + "+".join(disk.path for disk in disks)


def grow(disk, more):
    """As a disk of a hypervisor or a RAID does."""
    disk.sectors += more // 512
    disk.set(disk.whole())


def rename(disks, names):
    """The same disks, as after a restart of the machine that found them in another order."""
    for disk in disks:
        disk.remove()
    for disk, name in zip(disks, names):
        disk.name, disk.path = name, f"/dev/mapper/{name}"
        run("dmsetup", "create", disk.name, "--table", disk.whole())


def volume_groups():
    """{name: row} of the disks of pools."""
    rows = report("vgs", "-o", "vg_name,vg_tags,vg_size,vg_free,vg_uuid,vg_autoactivation")
    return {row["vg_name"]: row for row in rows if row["vg_name"].startswith("plinth-")}


def kernel_path(path):
    """As the kernel calls a device now, whatever leads there."""
    number = os.stat(path).st_rdev
    return "/dev/" + os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))


def taken():
    """The devices that are disks of pools, as the kernel calls them."""
    return {kernel_path(row["pv_name"]) for row in report("pvs", "-o", "pv_name,vg_name") if row["vg_name"].startswith("plinth-")}


def places():
    """{logical volume: volume group} of the disks."""
    return {row["lv_name"]: row["vg_name"] for row in report("lvs", "-o", "lv_name,vg_name") if row["vg_name"].startswith("plinth-")}


def disk_of(volume_id):
    """The device a volume is on."""
    rows = report("lvs", "-o", "lv_name,devices")
    return next(row["devices"].split("(")[0] for row in rows if row["lv_name"] == volume_id)


class DiskDriver(LvmDriver):
    """`pools` is {name: (options as text, "")}."""

    @staticmethod
    def pool_text(group, more):
        return f"disk:{group}" + (f",{more}" if more else "")

    def groups(self):
        return []

    @contextlib.contextmanager
    def opened(self, volume_id, kind="volumes"):
        name = groups.device_name(places()[volume_id], volume_id)
        was_active = name in groups.devices()
        if not was_active:
            run("lvchange", "-qq", "-y", "-ay", "-K", f"{places()[volume_id]}/{volume_id}")
        try:
            yield f"/dev/mapper/{name}"
        finally:
            if not was_active:
                run("lvchange", "-qq", "-y", "-an", f"{places()[volume_id]}/{volume_id}")

    def in_use(self, volume_id):
        group = places().get(volume_id)
        return int(group is not None and groups.device_name(group, volume_id) in groups.devices())

    def left_in_pools(self):
        machine.eventually(lambda: not places(), 1)
        found = [f"suspended: {name}" for name in groups.suspended()]
        found += [f"in the pool: {name}" for name in places()]
        left = [name for name in set(groups.devices()) - self.devices_before if not name.startswith("pv")]
        return found + [f"device: {name}" for name in sorted(left)]


# --- fixtures: to be imported by the tests


@pytest.fixture
def shelf():
    made = Shelf()
    yield made
    made.remove()


@pytest.fixture
def whole_disks(shelf):  # which goes after it
    """The machine's own, empty."""
    for path in FREE_DISKS:
        groups.empty(path)
    yield FREE_DISKS
    for name in volume_groups():
        succeeds("vgremove", "-qq", "-y", "-f", "-f", name)
    for path in FREE_DISKS:
        groups.empty(path)


@pytest.fixture
def link():
    """link("name", device): the path of a link as udev makes them; it leads there from now on."""
    made = set()

    def lead(name, device):
        path = pathlib.Path("/dev/disk/by-id", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(kernel_path(device))
        made.add(path)
        return str(path)
    yield lead
    for path in made:
        path.unlink(missing_ok=True)


@pytest.fixture
def new_pool(request, shelf):
    """new_pool("devices=..."): a driver with the disk pool `whole`, not started yet."""
    made = []

    def make(text, **more):
        more.setdefault("pools", {"whole": (text, "")})
        made.append(DiskDriver(WORK / f"t{next(numbers)}", **more))
        return made[-1]
    yield make
    endings.end_all(made, request, tear_down, clean_up)


@pytest.fixture
def disks(shelf):
    """A small, a middle and a large one, full of what somebody wrote there before."""
    return {name: shelf.add(name, size, room=64 * MiB, filled=True) for name, size in SIZES.items()}


@pytest.fixture
def driver(new_pool, disks):
    return new_pool(named(*disks.values())).use_tools().start()


def capacity(driver):
    answer = driver.csi.GetCapacity()
    return answer.available_capacity, answer.maximum_volume_size.value


def storage_health(driver):
    return [(entry.reason, entry.message) for entry in driver.csi.NodeGetStorageHealth().backend_health]


def write_gpt(path):
    """Only what makes it one: the protective record and the header."""
    with open(path, "r+b") as device:
        device.seek(446)
        device.write(bytes([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))
        device.seek(510)
        device.write(b"\x55\xaa")
