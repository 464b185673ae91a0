"""What a disk can do by itself is left to it, and what it cannot do is done by hand: discards and writing zeros.  The disks are
the kernel's own for tests (scsi_debug): they are in memory, and can what the test says."""
import pathlib

import pytest

import groups
import machine
from client import block
from content import get, places_of, put, zeros
from kinds import KINDS
from machine import MiB

LINEAR = KINDS["linear"]


class ScsiDisk:
    def __init__(self, size, **abilities):
        groups.run("modprobe", "sd_mod")
        groups.run("modprobe", "scsi_debug", "delay=0", f"dev_size_mb={size // MiB}", *(f"{name}={value}" for name, value in abilities.items()))
        self.system = machine.eventually(self.find)
        self.path = f"/dev/{self.system.name}"
        assert machine.eventually(pathlib.Path(self.path).exists)

    @staticmethod
    def find():
        return next(pathlib.Path("/sys/bus/pseudo/drivers/scsi_debug").glob("adapter*/host*/target*/*/block/*"), None)

    def most(self, what):
        return int((self.system / f"queue/{what}_max_bytes").read_text())

    def forget_write_same(self):
        """As a disk that has no such command."""
        next((self.system / "device/scsi_disk").iterdir()).joinpath("max_write_same_blocks").write_text("0")

    def writes(self):
        """How many requests to write it has had (Documentation/block/stat.rst)."""
        return int((self.system / "stat").read_text().split()[4])

    def remove(self):
        assert machine.eventually(lambda: groups.succeeds("modprobe", "-r", "scsi_debug"), 5), "somebody has the disk open"


@pytest.fixture
def new_scsi_disk():
    """new_scsi_disk(256 * MiB, lbpu=1): there is one at a time."""
    made = []

    def make(size, **abilities):
        made.append(ScsiDisk(size, **abilities))
        return made[-1]
    yield make
    for disk in made:
        disk.remove()


def test_what_is_to_be_discarded_on_a_disk_without_discard_is_overwritten_with_zeros(new_scsi_disk, new_group, new_driver):
    disk = new_scsi_disk(64 * MiB, lbpu=0, lbpws=0, lbpws10=0)
    assert disk.most("discard") == 0, "the scenario is wrong"
    group = new_group("plain", [disk.path])
    driver = new_driver({"plain": (group, "")}).start()
    marker = b"secret on a disk without discard" * 128
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={**LINEAR, "wipe": "discard"}).volume_id
    put(driver, volume, marker * 4096)
    assert places_of(marker, group), "the test is wrong: it was never on the disk"
    driver.csi.delete(volume)
    assert group.names() == set() and places_of(marker, group) == []
    told = [record for record in driver.log_records() if "overwritten with zeros" in record["message"]]
    assert [record["volume_id"] for record in told] == [volume]


def test_zeros_are_written_by_the_disks_own_command_where_it_has_one(new_scsi_disk, new_group, new_driver):
    """Then 64 MiB are a few requests, and else many, as each carries zeros from memory."""
    disk = new_scsi_disk(320 * MiB)
    assert disk.most("write_zeroes") > 0, "the scenario is wrong"
    group = new_group("zeroed", [disk.path])
    groups.fill(group.add("dirt", group.free()))
    group.drop("dirt")
    driver = new_driver({"zeroed": (group, "")}).start()

    def requests(act):
        before = disk.writes()
        act()
        return disk.writes() - before

    def make_and_grow():
        made = []
        counts = (requests(lambda: made.append(driver.csi.create("a", 64 * MiB, block(), parameters=LINEAR).volume_id)),
                  requests(lambda: driver.csi.expand(made[0], 128 * MiB)))
        zeros(get(driver, made[0]))
        driver.csi.delete(made[0])
        return counts
    by_command = make_and_grow()
    groups.fill(group.add("dirt", group.free()))
    group.drop("dirt")
    disk.forget_write_same()
    assert disk.most("write_zeroes") == 0, "the scenario is wrong"
    by_hand = make_and_grow()
    assert [most * 4 < least for most, least in zip(by_command, by_hand)] == [True, True], (by_command, by_hand)
