"""The disk pool: which devices are its disks, by rules, as partitions, by links that udev makes; and disks of other pools."""
import os
import re

import pytest

import groups
import machine
from client import block, mount, refused
from content import get, put, read, read_file, same, SOME, write_file, zeros
from disks import USABLE, SIZES, capacity, disk_of, kernel_path, link, named, new_pool, places, rename, shelf, storage_health, taken, volume_groups, whole_disks  # pylint: disable=unused-import
from groups import run
from lvm_driver import eventually_ok
from machine import MiB
from scsi import new_scsi_disk  # pylint: disable=unused-import

PARTITION = 28 * MiB
IN_PARTITION = 24 * MiB


def not_taken(driver):
    """What health says of devices that are chosen and not used, as one text."""
    capacity(driver)  # a call with more patience than health has
    return "".join(message for reason, message in storage_health(driver) if reason == "DiskNotTaken")


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


@pytest.mark.parametrize("table", [True, False])
def test_a_disk_with_partitions_is_refused_by_name(new_scsi_disk, new_pool, link, table):
    disk = new_scsi_disk("Cut disk")
    disk.add_partitions(PARTITION)
    if not table:  # only the kernel still has them, and whoever uses one
        groups.empty(disk.path)
    before, name = machine.checksum(disk.path), link("cut-disk", disk.path)
    driver = new_pool(f"devices={name}").start()
    for _ in range(2):
        assert capacity(driver) == (0, 0) and taken() == set()
        assert re.search(f"{disk.path} .*{name}.* not empty, it has {'dos' if table else 'partitions'}", not_taken(driver))
        driver.restart()
    assert machine.checksum(disk.path) == before


# --- links


def test_disks_that_are_named_by_links_are_found_under_other_names_of_the_kernel(new_pool, shelf, link):
    disks = [shelf.add(name, SIZES[name]) for name in ("small", "middle")]
    links = [link(disk.name, disk.path) for disk in disks]
    driver = new_pool(f"devices={'+'.join(links)}").start()
    small = driver.csi.create("small", 16 * MiB, block()).volume_id
    middle = driver.csi.create("middle", 60 * MiB).volume_id
    put(driver, small)
    write_file(driver.use(middle))
    driver.release(middle)
    was, names = places(), [kernel_path(disk.path) for disk in disks]
    driver.stop()
    rename(disks[::-1], [disk.name for disk in disks[::-1]])
    assert [kernel_path(disk.path) for disk in disks] == names[::-1], "the test is wrong: the kernel calls them as before"
    for disk in disks:
        link(disk.name, disk.path)
    driver.start()
    assert set(driver.csi.volume_ids()) == {small, middle} and places() == was and storage_health(driver) == []
    same(get(driver, small)[:len(SOME)], SOME)
    assert read_file(driver.use(middle)) == b"content"
    assert [kernel_path(disk_of(volume)) for volume in (small, middle)] == names[::-1]


@pytest.mark.parametrize("there", [True, False])
def test_another_disk_that_a_link_leads_to_is_left_as_it_is(new_pool, shelf, link, there):
    """Whether the pool's own is elsewhere, or gone: then nothing counts as deleted."""
    ours, theirs = shelf.add("ours", SIZES["small"]), shelf.add("theirs", SIZES["middle"])
    run("mkfs.ext4", "-q", theirs.path)
    before = machine.checksum(theirs.path)
    name = link("disk", ours.path)
    driver = new_pool(f"devices={name}").start()
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    driver.stop()
    link("disk", theirs.path)
    if not there:
        ours.remove()
    try:
        driver.start()
        assert re.search(f"{kernel_path(theirs.path)} .*{name}.* not empty, it has ext4", not_taken(driver))
        if there:
            same(get(driver, volume)[:len(SOME)], SOME)
        else:
            for call in (lambda: driver.csi.delete(volume), lambda: driver.stage(volume, block())):
                with refused("UNAVAILABLE", match=f"cannot tell whether.*{name}.*has ext4"):
                    call()
        with refused("RESOURCE_EXHAUSTED"):
            driver.csi.create("b", 16 * MiB)
        assert machine.checksum(theirs.path) == before
    finally:
        if not there:
            run("dmsetup", "create", ours.name, "--table", ours.whole())
    link("disk", ours.path)
    driver.restart()
    same(get(driver, volume)[:len(SOME)], SOME)
    assert not_taken(driver) == ""
    driver.csi.delete(volume)
    driver.csi.delete(volume)


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


# --- disks of other pools


def made_elsewhere(driver, node, disk):
    """A volume on a disk of the pool of another node; then the disk is taken out."""
    driver.node, driver.pools = node, {"whole": (named(disk), "")}
    driver.start()
    volume = driver.csi.create(node, 16 * MiB, block()).volume_id
    put(driver, volume)
    driver.stop()
    disk.remove()
    return volume


def put_in(disk):
    run("dmsetup", "create", disk.name, "--table", disk.whole())


def test_a_disk_of_another_nodes_pool_of_that_name_is_told_and_left_until_it_is_a_pool_of_its_own(new_pool, shelf):
    ours, theirs = shelf.add("ours", SIZES["small"]), shelf.add("theirs", SIZES["middle"])
    driver = new_pool("")
    other = made_elsewhere(driver, "node-b", theirs)
    volume = made_elsewhere(driver, "node-a", ours)
    put_in(ours)
    driver.start()
    put_in(theirs)
    before = machine.checksum(theirs.path)
    for _ in range(2):
        assert machine.eventually(lambda: "another pool that is called whole too" in not_taken(driver), 20)
        assert driver.csi.volume_ids() == [volume] and capacity(driver) == (0, 0)
        with refused("UNAVAILABLE", match="cannot tell whether.*is a disk of another pool"):
            driver.csi.delete(other)
        driver.restart()
    driver.csi.delete(volume)
    driver.csi.delete(volume)  # an id of this pool is not on that disk
    assert machine.checksum(theirs.path) == before
    command, option = re.search("(vgchange .*), and --pool (.*)$", not_taken(driver)).groups()
    driver.stop()
    run(*command.replace("NAME", "second").split())
    driver.pools["second"] = (option.removeprefix("NAME=disk:"), "")
    driver.start()
    assert driver.csi.volume_ids() == [other] and storage_health(driver) == []
    same(get(driver, other)[:len(SOME)], SOME)


def test_a_pool_is_not_opened_while_disks_of_two_other_nodes_are_there(new_pool, shelf):
    first, second = shelf.add("first", SIZES["small"]), shelf.add("second", SIZES["small"])
    driver = new_pool("")
    made_elsewhere(driver, "node-b", first)
    volume = made_elsewhere(driver, "node-c", second)
    put_in(first)
    put_in(second)
    before = [machine.checksum(disk.path) for disk in (first, second)]
    driver.node, driver.pools = "node-a", {"whole": (named(first, second), "")}
    driver.start()
    for _ in range(2):
        with refused("FAILED_PRECONDITION", match="different pools that are both called whole.*take out"):
            driver.csi.create("a", 16 * MiB)
        driver.restart()
    assert [machine.checksum(disk.path) for disk in (first, second)] == before
    first.remove()
    eventually_ok(lambda: driver.stage(volume, block()), codes=("FAILED_PRECONDITION", "UNAVAILABLE"))
    driver.release(volume)
    same(get(driver, volume)[:len(SOME)], SOME)
    driver.csi.delete(volume)


def test_a_volume_of_a_renamed_node_whose_disk_is_back_after_the_start_is_not_deleted(new_pool, shelf):
    """Until then the pool had the id that one without disks has."""
    disk = shelf.add("one", SIZES["small"])
    driver = new_pool("")
    volume = made_elsewhere(driver, "node-a", disk)
    driver.node = "node-b"
    driver.start()
    put_in(disk)
    assert machine.eventually(lambda: "another pool that is called whole too" in not_taken(driver), 20)
    with refused("UNAVAILABLE", match="cannot tell whether.*is a disk of another pool"):
        driver.csi.delete(volume)
    driver.restart()
    same(get(driver, volume)[:len(SOME)], SOME)
    driver.csi.delete(volume)
