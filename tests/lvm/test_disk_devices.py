"""The disk pool: which devices are its disks, by rules, and as partitions; and discard."""
import os

import pytest

import groups
import machine
from client import block, mount
from content import get, put, read, read_file, same, write_file, zeros
from disks import capacity, disk_of, kernel_path, link, new_pool, places, shelf, taken, volume_groups, whole_disks  # pylint: disable=unused-import
from groups import run
from machine import MiB
from scsi import new_scsi_disk  # pylint: disable=unused-import

PARTITION = 28 * MiB
IN_PARTITION = 24 * MiB


# --- rules


@pytest.fixture
def hardware(new_scsi_disk, whole_disks):
    """Those of scsi_debug have 64 MiB and a model; the machine's own have 3 GiB, no model, and do not turn."""
    fast, slow, cut_up = new_scsi_disk("Fast flash"), new_scsi_disk("Slow disk"), new_scsi_disk("Cut disk")
    slow.set_rotational(1)
    cut_up.set_rotational(1)
    cut_up.add_partitions(PARTITION)
    return {"fast": {fast.path}, "slow": {slow.path}, "own": set(whole_disks)}


@pytest.mark.parametrize("rule,expected", [
    ("model=Fast*", ["fast"]), ("model=*disk", ["slow"]), ("model=fast*", []), ("model=?*,max-size=64Mi", ["fast", "slow"]),
    ("model=?*,min-size=1Gi", []), ("model=?*,rotational=0", ["fast"]), ("model=Fast*,rotational=1", []),
    ("rotational=1", ["slow"]), ("rotational=0", ["fast", "own"])])
def test_a_rule_takes_the_disks_that_it_means_and_no_others(hardware, new_pool, shelf, rule, expected):
    shelf.add("holder", 64 * MiB)  # so the disk of the shelf is in use
    driver = new_pool(rule).start()
    meant = set().union(*(hardware[name] for name in expected))

    def has_taken_them():
        capacity(driver)  # what could not be taken before its deadline is taken now
        return taken() >= meant
    assert machine.eventually(has_taken_them, 30), taken()
    assert taken() == meant


# --- partitions


def test_a_partition_is_a_volume_and_the_rest_of_its_disk_stays_as_it_is(new_scsi_disk, new_pool, link, tmp_path):
    disk = new_scsi_disk("Cut disk")
    ours, theirs = disk.add_partitions(PARTITION, PARTITION)
    groups.fill(ours)
    run("mkfs.ext4", "-q", theirs)
    table, before = read(disk.path, MiB), machine.checksum(theirs)
    run("mount", "-o", "ro,noload", theirs, tmp_path)  # in use, and not written to
    try:
        driver = new_pool(f"devices={link('cut-disk-part1', ours)}").start()
        assert capacity(driver) == (IN_PARTITION, IN_PARTITION) and taken() == {ours}
        volume = driver.csi.create("a", 16 * MiB, mount(), parameters={"wipe": "zero"}).volume_id
        secret = os.urandom(4096)
        write_file(driver.use(volume), secret)
        driver.restart()
        assert read_file(driver.target_path(volume)) == secret and kernel_path(disk_of(volume)) == ours
        driver.release(volume)
        assert secret in read(ours)
        driver.csi.delete(volume)
        assert secret not in read(ours)
        volume = driver.csi.create("b", 16 * MiB, block()).volume_id
        zeros(get(driver, volume))
        put(driver, volume, groups.PATTERN * (IN_PARTITION // MiB))
        driver.csi.delete(volume)
    finally:
        run("umount", tmp_path)
    same(read(disk.path, MiB), table)
    assert machine.checksum(theirs) == before


# --- discard


def test_a_volume_that_is_wiped_by_discard_is_given_back_to_the_disk(new_scsi_disk, new_pool):
    disk = new_scsi_disk("Flash")
    driver = new_pool(f"devices={disk.path}").start()
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={"wipe": "discard"})
    mark = os.urandom(64)
    put(driver, volume.volume_id, mark * (MiB // 64), 20 * MiB)
    assert mark in read(disk.path)
    before = disk.discarded()
    driver.csi.delete(volume.volume_id)
    assert disk.discarded() - before == volume.capacity_bytes
    assert mark not in read(disk.path) and places() == {}
