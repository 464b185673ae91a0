"""The disk pool: whole disks, one volume on each."""
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import groups
import machine
from client import block, mount, refused, until_ok
from content import get, put, read, read_file, same, write_file, zeros
from disks import SIZES, USABLE, capacity, disk_of, disks, driver, named, new_pool, places, shelf, storage_health, taken, volume_groups, whole_disks, write_gpt  # pylint: disable=unused-import
from driver import Died
from groups import DISKS, run
from machine import MiB


def write_at(path, place):
    """A byte that is not zero, counted from the end if below zero."""
    with open(path, "r+b", buffering=0) as device:
        device.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
        device.write(b"x" + bytes(511))


# --- which disks


def test_empty_disks_named_by_path_are_taken(new_pool, shelf):
    disks = [shelf.add(name, size) for name, size in SIZES.items()]
    shelf.add("other", 64 * MiB)
    driver = new_pool(named(*disks)).start()
    assert capacity(driver) == (sum(USABLE.values()), USABLE["large"])
    found = volume_groups()
    pool_id = next(iter(found)).split("-")[1]
    assert len(found) == 3 and all(re.fullmatch(f"plinth-{pool_id}-[0-9a-f]{{8}}", name) for name in found)
    assert {row["vg_tags"] for row in found.values()} == {f"plinth.disk.whole,plinth.pool.{pool_id}"}
    assert {row["vg_autoactivation"] for row in found.values()} == {""}  # no start of the machine activates what is on them


def test_disks_are_chosen_by_a_pattern_and_a_rule(new_pool, shelf):
    for name, size in SIZES.items():
        shelf.add(name, size)
    driver = new_pool("devices=/dev/mapper/pv*,min-size=60Mi,max-size=100Mi").start()
    assert capacity(driver) == (USABLE["middle"], USABLE["middle"])


def test_a_rule_takes_disks_that_nobody_uses(new_pool, shelf, whole_disks, tmp_path):
    shelf.add("holder", 64 * MiB)  # so the disk of the shelf is in use
    run("mkfs.ext4", "-q", DISKS[0])
    run("mkfs.ext4", "-q", DISKS[1])
    write_at(DISKS[5], -MiB)
    run("mount", DISKS[1], tmp_path)
    before = read(DISKS[0], 64 * MiB)
    try:
        driver = new_pool("min-size=2Gi,rotational=0").start()

        def has_taken():
            capacity(driver)  # what could not be taken before its deadline is taken now
            return taken()
        assert machine.eventually(lambda: has_taken() == {DISKS[2], DISKS[3]}, 30), taken()
        same(read(DISKS[0], 64 * MiB), before)
        driver.stop()
        driver.pools = {"whole": ("model=nothing*", "")}
        driver.start()  # what is taken stays taken
        assert capacity(driver)[0] > 5 << 30
    finally:
        run("umount", tmp_path)


SIGNATURES = {"ext4": lambda path: run("mkfs.ext4", "-q", path), "xfs": lambda path: run("mkfs.xfs", "-q", "-f", path),
              "swap": lambda path: run("mkswap", path), "partitions": write_gpt,
              "physical-volume": lambda path: run("pvcreate", "-qq", "-y", path),
              "volume-group": lambda path: run("vgcreate", "-qq", "-y", "somebody", path)}


@pytest.mark.parametrize("what", SIGNATURES)
def test_a_disk_with_a_signature_is_left_as_it_is(new_pool, shelf, what):
    theirs, ours = shelf.add("theirs", 320 * MiB), shelf.add("ours", SIZES["small"])
    SIGNATURES[what](theirs.path)
    before = machine.checksum(theirs.path)
    driver = new_pool("devices=/dev/mapper/pv*").start()
    try:
        assert capacity(driver) == (USABLE["small"], USABLE["small"])
        driver.csi.create("a", 16 * MiB)
        driver.restart()
        assert machine.checksum(theirs.path) == before
        (reason, message), = storage_health(driver)
        assert reason == "DiskNotTaken" and "not empty" in message
        command = re.search(r"plinth pool adopt --pool whole (\S+)", message).group(1)
        assert os.stat(command).st_rdev == os.stat(theirs.path).st_rdev
        assert [record for record in driver.log_records() if record["message"] == "disk not taken"]
        assert ours.path
    finally:
        groups.succeeds("vgremove", "-qq", "-y", "-f", "somebody")


@pytest.mark.parametrize("place", [0, MiB - 512, -MiB, -512])
def test_data_without_a_signature_are_left_unless_the_very_disk_is_named(new_pool, shelf, place):
    disk = shelf.add("raw", 64 * MiB)
    write_at(disk.path, place)
    before = machine.checksum(disk.path)
    driver = new_pool("devices=/dev/mapper/pv*").start()
    assert capacity(driver) == (0, 0) and machine.checksum(disk.path) == before
    (reason, message), = storage_health(driver)
    assert reason == "DiskNotTaken" and "data without a signature" in message and "plinth pool adopt" in message
    driver.stop()
    driver.pools = {"whole": (named(disk), "")}
    driver.start()
    assert capacity(driver) == (60 * MiB, 60 * MiB)


def test_a_disk_in_use_is_not_taken(new_pool, shelf):
    disk = shelf.add("held", 64 * MiB)
    run("dmsetup", "create", "pvholder", "--table", f"0 2048 linear {disk.path} 0")
    try:
        driver = new_pool(f"devices={disk.path}").start()
        assert capacity(driver) == (0, 0)
    finally:
        run("dmsetup", "remove", "--retry", "pvholder")


def test_a_loop_device_is_taken_only_if_it_is_named_in_full(new_pool, shelf, tmp_path):
    shelf.add("other", 64 * MiB)
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(96 * MiB)
    with groups.looped(image) as loop:
        driver = new_pool("devices=/dev/mapper/pv*+/dev/loop*").start()
        assert capacity(driver)[0] == 60 * MiB
        driver.stop()
        driver.pools = {"whole": (f"devices=/dev/mapper/pv*+{loop}", "")}
        driver.start()
        driver.restart()
        assert capacity(driver) == (152 * MiB, 92 * MiB)
        driver.stop()
        run("wipefs", "-aqf", loop)


def test_a_disk_of_the_pool_that_a_tenant_has_made_in_his_volume_is_not_seen(driver):
    volume = driver.csi.create("a", 60 * MiB, block()).volume_id
    free, path = capacity(driver), driver.use_block(volume)
    name, group = next(iter(volume_groups().items()))
    with groups.looped(path) as loop:
        groups.make_guest(loop, f"{name[:-8]}00000000", *group["vg_tags"].split(","))
        for _ in range(2):
            driver.restart()
            assert capacity(driver) == free and storage_health(driver) == []
        driver.stop()
        driver.pools = {"whole": (driver.pools["whole"][0] + f"+{loop}", "")}
        driver.start()  # a number that was another's once
        assert capacity(driver) == free


def test_two_pools_do_not_take_each_others_disks(new_pool, shelf):
    first, second = shelf.add("first", 96 * MiB), shelf.add("second", 160 * MiB)
    driver = new_pool("", pools={"one": (f"devices={first.path}", ""), "two": (f"devices={second.path}", "")}).start()
    driver.stop()
    driver.pools = {"one": ("devices=/dev/mapper/pv*", ""), "two": ("devices=/dev/mapper/pv*", "")}
    driver.start()
    assert driver.csi.GetCapacity(parameters={"pool": "one"}).available_capacity == 92 * MiB
    assert driver.csi.GetCapacity(parameters={"pool": "two"}).available_capacity == 156 * MiB
    assert storage_health(driver) == []


@pytest.mark.parametrize("wrong", ["", "devices=sda", "rotational=yes", "min-size=big", "min-size=2Gi,max-size=1Gi", "reserve=5%,min-size=1",
                                   "vg=x,min-size=1"])
def test_options_that_make_no_sense_are_refused(new_pool, wrong):
    driver = new_pool(wrong)
    with pytest.raises(Died):
        driver.start()
    driver.process = None


# --- volumes


def test_a_volume_gets_the_smallest_disk_that_is_large_enough(driver):
    for size, name in ((60 * MiB, "middle"), (MiB, "small"), (60 * MiB, "large")):
        volume = driver.csi.create(name, max(size, 16 * MiB))
        assert volume.capacity_bytes == USABLE[name]
        assert os.stat(disk_of(volume.volume_id)).st_rdev == os.stat(f"/dev/mapper/pv{name}").st_rdev
    assert capacity(driver) == (0, 0)
    with refused("RESOURCE_EXHAUSTED", match="0 left"):
        driver.csi.create("more", 16 * MiB)


def test_what_no_disk_can_hold_is_refused_with_numbers(driver):
    with refused("RESOURCE_EXHAUSTED", match="largest free one has 124Mi"):
        driver.csi.create("a", 200 * MiB)
    with refused("OUT_OF_RANGE"):
        driver.csi.create("a", 16 * MiB, limit=32 * MiB)
    assert driver.csi.create("a", 16 * MiB, limit=USABLE["small"]).capacity_bytes == USABLE["small"]
    assert not [name for name in places() if name not in driver.csi.volume_ids()]


def test_other_shapes_are_refused(driver):
    for wrong in ({"provisioning": "thin"}, {"layout": "raid1"}, {"layout": "striped"}):
        with refused("INVALID_ARGUMENT"):
            driver.csi.create("a", 16 * MiB, block(), parameters=wrong)
    assert places() == {} and capacity(driver)[0] == sum(USABLE.values())


def test_volumes_made_at_once_get_disks_of_their_own(driver):
    with ThreadPoolExecutor(3) as clients:
        made = list(clients.map(lambda n: until_ok(lambda: driver.csi.create(f"v{n}", 16 * MiB), 60), range(3)))
    assert sorted(volume.capacity_bytes for volume in made) == sorted(USABLE.values())
    assert len(set(places().values())) == 3


def test_the_same_call_gives_the_same_volume(driver):
    first = driver.csi.create("a", 60 * MiB)
    assert driver.csi.create("a", 60 * MiB) == first
    with refused("ALREADY_EXISTS"):
        driver.csi.create("a", 90 * MiB)
    driver.csi.delete(first.volume_id)
    driver.csi.delete(first.volume_id)
    assert places() == {} and capacity(driver)[0] == sum(USABLE.values())


def test_a_raw_volume_reads_as_zeros_whatever_was_on_the_disk(driver):
    volume = driver.csi.create("a", 16 * MiB, block())
    zeros(get(driver, volume.volume_id))
    put(driver, volume.volume_id)
    driver.csi.delete(volume.volume_id)
    volume = driver.csi.create("b", 16 * MiB, block())
    zeros(get(driver, volume.volume_id))


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_volume_is_used_and_survives_a_restart_and_a_kill(new_pool, shelf, fstype):
    driver = new_pool(named(shelf.add("one", 384 * MiB, filled=True))).start()
    volume = driver.csi.create("a", 310 * MiB, mount(fstype))
    path = driver.use(volume.volume_id, mount(fstype))
    write_file(path)
    for end in (driver.stop, driver.kill):
        end()
        driver.start()
        assert driver.csi.volumes() == [volume] and read_file(path) == b"content"
    with refused("FAILED_PRECONDITION"):
        driver.csi.delete(volume.volume_id)
    driver.release(volume.volume_id)
    assert not driver.in_use(volume.volume_id)


def test_a_look_and_an_operation_take_few_commands(driver):
    driver.csi.create("warm", 16 * MiB, mount())
    machine.eventually(lambda: False, 2.5)
    driver.csi.volumes()
    driver.commands()
    volume = driver.csi.create("a", 60 * MiB).volume_id
    assert [command.split()[0] for command in driver.commands()] == ["lvcreate", "lvchange"]
    for _ in range(3):
        machine.eventually(lambda: False, 1.2)
        driver.csi.volumes(), driver.csi.GetCapacity(), driver.csi.Probe(), driver.csi.health(volume), driver.csi.NodeGetStorageHealth()
    assert driver.commands() == []
    driver.csi.delete(volume)
    assert [command.split()[0] for command in driver.commands()] in (["lvremove"], ["lvchange", "lvremove"])


@pytest.mark.parametrize("how", ["zero"])
def test_a_wiped_volume_leaves_nothing_on_the_disk(new_pool, shelf, how):
    disk = shelf.add("one", 64 * MiB)
    driver = new_pool(f"devices={disk.path}").start()
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={"wipe": how})
    mark = os.urandom(64)
    put(driver, volume.volume_id, mark * (MiB // 64), 20 * MiB)
    assert mark in read(disk.path)
    driver.csi.delete(volume.volume_id)
    assert mark not in read(disk.path) and places() == {}
    assert capacity(driver)[0] == volume.capacity_bytes
