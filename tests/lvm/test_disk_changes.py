"""The disk pool: growth and copies; disks that fail, come and go and change their names; disks that are adopted."""
import contextlib
import os
import re
import subprocess
import threading

import grpc
import pytest

import groups
import machine
from client import block, from_volume, refused
from content import get, put, read, read_file, same, SOME, write, write_file, zeros
from disks import SIZES, USABLE, capacity, disks, driver, grow, named, new_pool, places, rename, shelf, storage_health, volume_groups, write_gpt  # pylint: disable=unused-import
from groups import run
from lvm_driver import eventually_ok
from machine import MiB

PLINTH = os.environ["PLINTH"]


def adopt(*words, answer="", **variables):
    """(status, output) of plinth pool adopt."""
    done = subprocess.run([PLINTH, "pool", "adopt", *map(str, words)], input=answer, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "NODE_NAME": "node-a", **variables})
    return done.returncode, done.stdout


@contextlib.contextmanager
def asked(*words):
    """plinth pool adopt as it asks: the process, whose answer is still to come."""
    with subprocess.Popen([PLINTH, "pool", "adopt", *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "NODE_NAME": "node-a"}) as process:
        shown = b""
        while not shown.endswith(b": ") or b"type its" not in shown:
            byte = process.stdout.read(1)
            assert byte, shown
            shown += byte
        yield process


def answered(process, answer):
    said = process.communicate(f"{answer}\n".encode())[0].decode()
    return process.returncode, said


# --- growth


def test_a_volume_does_not_grow_beyond_its_disk(driver):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    with refused("OUT_OF_RANGE", match="whole disk"):
        driver.csi.expand(volume, 60 * MiB)
    assert driver.csi.expand(volume, USABLE["small"]).capacity_bytes == USABLE["small"]


def test_a_volume_grows_with_its_disk_while_it_is_mounted(driver, disks):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    path = driver.use(volume)
    write_file(path)
    was = os.statvfs(path).f_blocks
    grow(disks["small"], 64 * MiB)
    answer = driver.csi.expand(volume, 60 * MiB)
    assert answer.capacity_bytes == USABLE["small"] + 64 * MiB
    assert os.statvfs(path).f_blocks > was * 1.4 and read_file(path) == b"content"


def test_what_a_raw_volume_grows_by_reads_as_zeros(driver, disks):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    grow(disks["small"], 32 * MiB)
    with open(disks["small"].path, "r+b") as device:
        device.seek(SIZES["small"])
        device.write(groups.PATTERN * 32)
    assert driver.csi.expand(volume, 60 * MiB).capacity_bytes == USABLE["small"] + 32 * MiB
    found = get(driver, volume)
    same(found[:len(SOME)], SOME)
    zeros(found[USABLE["small"]:])


# --- copies


def test_there_are_no_snapshots_and_the_sentence_says_why(driver):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    with refused("UNIMPLEMENTED", match="clone"):
        driver.csi.snapshot("s", volume)
    with refused("UNIMPLEMENTED", match="clone"):
        driver.csi.group("g", [volume])
    assert len(places()) == 1


@pytest.mark.parametrize("used", [False, True])
def test_a_clone_is_copied_to_another_disk(driver, used):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    path = driver.use(volume)
    write_file(path)
    if not used:
        driver.release(volume)
    clone = driver.csi.create("b", 16 * MiB, source=from_volume(volume))
    assert clone.capacity_bytes == USABLE["middle"] and len(set(places().values())) == 2
    assert read_file(driver.use(clone.volume_id)) == b"content"


def test_a_raw_clone_has_the_bytes_of_its_source_and_zeros(driver):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    clone = driver.csi.create("b", 16 * MiB, block(), source=from_volume(volume)).volume_id
    found = get(driver, clone)
    same(found[:len(SOME)], SOME)
    zeros(found[len(SOME):])


# --- disks that change


def test_disks_are_found_whatever_their_names_are_now(driver, disks):
    raw = driver.csi.create("raw", 16 * MiB, block()).volume_id
    other = driver.csi.create("other", 60 * MiB, block()).volume_id
    put(driver, raw)
    was = places()
    driver.stop()
    run("vgchange", "-qq", "-an")  # a reboot
    rename([disks["small"], disks["middle"], disks["large"]], ["pvmiddle", "pvlarge", "pvsmall"])
    driver.start()
    assert set(driver.csi.volume_ids()) == {raw, other} and places() == was
    path = driver.use_block(raw)
    same(read(path, len(SOME)), SOME)
    assert driver.csi.health(raw) == {} and storage_health(driver) == []
    assert capacity(driver) == (USABLE["large"], USABLE["large"])


def test_a_disk_that_fails_hinders_only_its_volume(driver, disks):
    bad = driver.csi.create("bad", 16 * MiB, block()).volume_id
    put(driver, bad)
    good = driver.csi.create("good", 60 * MiB).volume_id
    disks["small"].fail()
    try:
        assert driver.csi.health(bad) == {"DiskMissing": "INACCESSIBLE"}
        assert [reason for reason, _ in storage_health(driver)] == ["DiskMissing"]
        assert driver.csi.health(good) == {}
        write_file(driver.use(good))
        with refused("UNAVAILABLE", "INTERNAL", match=bad):
            driver.stage(bad, block())
        driver.csi.delete(driver.csi.create("more", 16 * MiB).volume_id)
        assert capacity(driver) == (USABLE["large"], USABLE["large"])
    finally:
        disks["small"].mend()
    assert machine.eventually(lambda: driver.csi.volumes() and driver.csi.health(bad) == {}, 20)
    same(get(driver, bad)[:len(SOME)], SOME)
    eventually_ok(lambda: driver.use_block(bad))


def test_a_disk_whose_volume_group_cannot_be_read_does_not_hold_up_the_others(driver, disks):
    back = driver.csi.create("back", 16 * MiB, block()).volume_id
    put(driver, back)
    good = driver.csi.create("good", 60 * MiB, block()).volume_id
    disk, read = disks["small"], driver.tools / "read"
    disk.remove()
    assert machine.eventually(lambda: driver.csi.volumes() and driver.csi.health(back), 20)
    with driver.instead_of_lvm(f'[ "$1" != fullreport ] || {{ sleep 4; touch {read}; }}; exec /sbin/lvm "$@"'):
        driver.commands()
        run("dmsetup", "create", disk.name, "--table", disk.whole())
        looker = threading.Thread(target=machine.eventually, args=(lambda: driver.csi.GetCapacity() and read.exists(), 20))
        looker.start()
        assert machine.eventually(lambda: "fullreport" in (driver.tools / "commands").read_text(), 20)
        assert driver.csi.health(good) == {} and not read.exists()
        looker.join()
    assert machine.eventually(lambda: driver.csi.volumes() and driver.csi.health(back) == {}, 20)


def test_a_disk_that_is_missing_at_the_start_comes_back_under_another_name(driver, disks):
    away = driver.csi.create("away", 16 * MiB, block()).volume_id
    put(driver, away)
    stays = driver.csi.create("stays", 60 * MiB, block()).volume_id
    driver.stop()
    disk = disks["small"]
    disk.remove()
    driver.pools = {"whole": ("devices=/dev/mapper/pv*", "")}
    driver.start()
    assert driver.csi.volume_ids() == [stays]
    driver.use_block(stays)
    disk.name, disk.path = "elsewhere", "/dev/mapper/elsewhere"
    run("dmsetup", "create", disk.name, "--table", disk.whole())
    try:
        driver.restart()
        assert set(driver.csi.volume_ids()) == {away, stays}
        same(get(driver, away)[:len(SOME)], SOME)
        driver.csi.delete(away)
    finally:
        driver.stop()
        rename([disk], ["pvsmall"])
        driver.start()


def test_a_volume_whose_disk_is_missing_at_the_start_is_neither_deleted_nor_not_found(driver, disks):
    away = driver.csi.create("away", 16 * MiB, block()).volume_id
    put(driver, away)
    driver.stop()
    disks["small"].remove()
    driver.start()
    try:
        for call in (lambda: driver.csi.delete(away), lambda: driver.stage(away, block()), lambda: driver.csi.expand(away, 60 * MiB)):
            with refused("UNAVAILABLE", match="/dev/mapper/pvsmall.*is missing"):
                call()
        assert [reason for reason, _ in storage_health(driver)] == ["DiskMissing"]
        driver.csi.delete(driver.csi.create("other", 16 * MiB).volume_id)  # the others go on
        driver.stop()
        driver.pools = {"whole": (named(disks["middle"], disks["large"]), "")}
        driver.start()
        driver.csi.delete(away)  # the operator has said that it will not come back
    finally:
        run("dmsetup", "create", disks["small"].name, "--table", disks["small"].whole())
    driver.restart()
    same(get(driver, away)[:len(SOME)], SOME)
    driver.csi.delete(away)
    assert places() == {}


def test_a_volume_of_a_renamed_node_whose_disks_are_missing_is_not_deleted(new_pool, disks):
    """Without any disk that tells it, the pool has another id than the volume."""
    driver = new_pool(named(disks["small"])).start()
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    driver.stop()
    disks["small"].remove()
    driver.node = "node-b"
    driver.start()
    try:
        with refused("UNAVAILABLE", match="cannot tell whether.*pvsmall.*is missing"):
            driver.csi.delete(volume)
    finally:
        run("dmsetup", "create", disks["small"].name, "--table", disks["small"].whole())
    driver.restart()
    driver.csi.delete(volume)
    assert places() == {}


@pytest.mark.parametrize("used", [False, True])
def test_a_volume_whose_disk_cannot_be_read_at_the_start_is_neither_deleted_nor_not_found(driver, disks, used):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    if used:
        driver.use_block(volume)  # so that the disk is in use, by a device that LVM does not know any more
    driver.stop()
    disks["small"].fail()
    try:
        driver.start()
        for _ in range(2):
            with refused("UNAVAILABLE", match="cannot tell whether.*pvsmall|cannot tell whether.*dm-"):
                driver.csi.delete(volume)
            driver.csi.delete(driver.csi.create("other", 16 * MiB).volume_id)  # the others go on
        assert [reason for reason, _ in storage_health(driver)] == ["DiskNotTaken"]
    finally:
        disks["small"].mend()
    assert machine.eventually(lambda: driver.csi.volume_ids() == [volume], 20)
    same(get(driver, volume)[:len(SOME)], SOME)
    driver.release(volume)
    driver.csi.delete(volume)


def test_a_volume_whose_disk_was_never_read_is_neither_deleted_nor_not_found(driver):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    driver.stop()
    driver.pools = {"whole": ("devices=/dev/mapper/pv*", "")}
    with driver.instead_of_lvm('[ "$1" != fullreport ] || exit 5\nexec /sbin/lvm "$@"'):
        driver.start()
        with refused("UNAVAILABLE", match="cannot tell whether.*could not be read yet"):
            driver.csi.delete(volume)
    assert machine.eventually(lambda: driver.csi.volume_ids() == [volume], 20)
    driver.csi.delete(volume)
    driver.csi.delete(volume)


@pytest.mark.parametrize("killed", [None, "snapshot.making.made"])
def test_a_volume_that_was_made_anew_while_its_disk_was_away_stays_where_it_is(driver, disks, killed):
    driver.restart(fault=f"{killed}=kill" if killed else None)
    with contextlib.suppress(grpc.RpcError):
        driver.csi.create("a", 16 * MiB, block())
    driver.kill()
    run("vgchange", "-qq", "-an")
    disks["small"].remove()
    driver.pools = {"whole": ("devices=/dev/mapper/pv*", "")}
    driver.start()
    volume = driver.csi.create("a", 16 * MiB, block())
    path = driver.use_block(volume.volume_id)
    write(path, SOME)
    run("dmsetup", "create", disks["small"].name, "--table", disks["small"].whole())

    def is_told():
        capacity(driver)  # a call with more patience than health has
        found = [message for reason, message in storage_health(driver) if reason == "VolumeOnTwoDisks"]
        return len(found) == 1 and volume.volume_id in found[0] and "lvremove plinth-" in found[0]
    try:
        assert machine.eventually(is_told, 20)
        for _ in range(2):
            assert driver.csi.volumes() == [volume] and capacity(driver) == (USABLE["large"], USABLE["large"])
            same(read(path, len(SOME)), SOME)
            driver.release(volume.volume_id)
            driver.restart()  # now both are there from the beginning
            path = driver.use_block(volume.volume_id)
            assert is_told() and driver.csi.health(volume.volume_id) == {}
        (_, message), = storage_health(driver)
        run("lvremove", "-qq", "-y", re.search(r"lvremove (\S+)", message).group(1))
        assert machine.eventually(lambda: capacity(driver)[0] == USABLE["large"] + USABLE["small"], 20)
        assert storage_health(driver) == []
        same(read(path, len(SOME)), SOME)
    finally:
        driver.release(volume.volume_id)


def copy(disk, other):
    """As ddrescue, or a snapshot of a hypervisor, does."""
    run("dd", f"if={disk.path}", f"of={other.path}", "bs=1M", "oflag=direct")


def is_told_of_both(driver, *disks):
    found = [message for _, message in storage_health(driver) if "copies of each other" in message]
    devices = {os.stat(path).st_rdev for path in re.findall(r"/dev/[a-z0-9/-]+", "".join(found))}
    return len(found) == 1 and devices == {os.stat(disk.path).st_rdev for disk in disks}


def test_neither_a_disk_nor_its_copy_is_used(driver, disks, shelf):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    driver.pools = {"whole": ("devices=/dev/mapper/pv*", "")}
    driver.restart()
    twin = shelf.add("twin", SIZES["small"])
    copy(disks["small"], twin)
    assert machine.eventually(lambda: is_told_of_both(driver, disks["small"], twin), 20)
    assert driver.csi.health(volume) == {"DiskMissing": "INACCESSIBLE"}
    for _ in range(2):
        for call in (lambda: driver.csi.delete(volume), lambda: driver.stage(volume, block())):
            with refused("UNAVAILABLE", match="copies of each other"):
                call()
        assert capacity(driver)[0] == USABLE["middle"] + USABLE["large"]
        driver.restart()  # now both are there from the beginning
        assert is_told_of_both(driver, disks["small"], twin)
    run("wipefs", "-aqf", twin.path)
    assert machine.eventually(lambda: driver.csi.volume_ids() == [volume], 20)
    same(get(driver, volume)[:len(SOME)], SOME)
    driver.csi.delete(volume)


def test_a_disk_that_has_lost_its_label_is_not_taken_for_an_empty_one(driver, disks):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    driver.stop()
    run("vgchange", "-qq", "-an")
    with open(disks["small"].path, "r+b", buffering=0) as device:
        label = device.read(4096)
        device.seek(0)
        device.write(bytes(4096))
    driver.start()
    assert driver.csi.volume_ids() == []
    (reason, message), = storage_health(driver)
    assert reason == "DiskNotTaken" and "LVM's metadata" in message
    with refused("UNAVAILABLE", match="LVM's metadata"):
        driver.csi.delete(volume)
    driver.stop()
    with open(disks["small"].path, "r+b", buffering=0) as device:
        device.write(label)
    driver.start()
    same(get(driver, volume)[:len(SOME)], SOME)


def test_a_new_disk_is_taken_while_the_driver_runs(new_pool, shelf):
    shelf.add("first", 64 * MiB)
    driver = new_pool("devices=/dev/mapper/pv*").start()
    assert capacity(driver)[0] == 60 * MiB
    shelf.add("new", 128 * MiB)
    assert machine.eventually(lambda: capacity(driver)[0] == 184 * MiB, 20)


# --- adopting


def test_a_disk_with_something_on_it_is_adopted_while_the_driver_runs(new_pool, shelf):
    disk = shelf.add("theirs", 128 * MiB)
    run("mkfs.ext4", "-q", "-L", "holiday", disk.path)
    driver = new_pool(f"devices={disk.path}").start()
    assert capacity(driver) == (0, 0)
    before = machine.checksum(disk.path)
    status, said = adopt("--pool", "whole", disk.path, answer="no\n")
    assert status == 1 and "nothing was changed" in said and machine.checksum(disk.path) == before
    status, said = adopt("--pool", "whole", disk.path, answer=f"{128 * MiB}\n")
    assert status == 0 and "ext4" in said and "holiday" in said and str(128 * MiB) in said
    assert machine.eventually(lambda: capacity(driver)[0] == 124 * MiB, 20)
    assert storage_health(driver) == []
    zeros(get(driver, driver.csi.create("a", 16 * MiB, block()).volume_id))


def test_a_disk_is_adopted_before_the_driver_is_started(new_pool, shelf):
    disk = shelf.add("theirs", 128 * MiB)
    write_gpt(disk.path)
    status, said = adopt("--pool", "whole", "--yes", disk.path)
    assert status == 0, said
    driver = new_pool("devices=/dev/mapper/nothing*").start()
    assert capacity(driver) == (124 * MiB, 124 * MiB)
    driver.csi.create("a", 16 * MiB)


def test_what_is_in_use_or_ours_is_not_adopted(new_pool, shelf, tmp_path):
    used, ours = shelf.add("used", 64 * MiB), shelf.add("ours", 64 * MiB)
    run("mkfs.ext4", "-q", used.path)
    run("mount", used.path, tmp_path)
    try:
        driver = new_pool("devices=/dev/mapper/pvours").start()
        volume = driver.csi.create("a", 16 * MiB).volume_id
        with driver.opened(volume) as path:
            for what, words in ((used.path, "in use"), (ours.path, "already|in use"), (path, "volume"), (tmp_path, "block device"),
                                ("/dev/nothing", "cannot find")):
                status, said = adopt("--pool", "whole", "--yes", what)
                assert status == 1 and re.search(words, said), said
        driver.csi.delete(volume)
        status, said = adopt("--pool", "other", "--yes", ours.path)
        assert status == 1 and "already" in said
    finally:
        run("umount", tmp_path)


def test_another_disk_that_has_got_the_name_meanwhile_is_not_adopted(shelf):
    shown, other = shelf.add("shown", 64 * MiB), shelf.add("other", 64 * MiB)
    run("mkfs.ext4", "-q", other.path)
    before = machine.checksum(other.path)
    with asked("--pool", "whole", shown.path) as process:
        rename([shown, other], ["pvother", "pvshown"])
        status, said = answered(process, 64 * MiB)
    assert status == 1 and "not the device any more" in said and "nothing was changed" in said
    assert machine.checksum(other.path) == before


def test_a_disk_that_has_become_somebodys_meanwhile_is_not_adopted(shelf):
    disk = shelf.add("theirs", 64 * MiB)
    with asked("--pool", "whole", disk.path) as process:
        assert adopt("--pool", "other", "--yes", disk.path)[0] == 0
        status, said = answered(process, 64 * MiB)
    assert status == 1 and re.search("is a disk of pool other .* already; nothing was changed", said), said
    run("vgremove", "-qq", "-y", next(iter(volume_groups())))
    with asked("--pool", "whole", disk.path) as process:
        run("vgcreate", "-qq", "-y", "theirs", disk.path)
        status, said = answered(process, 64 * MiB)
    assert status == 1 and re.search("theirs.*nothing was changed", said), said
    run("vgremove", "-qq", "-y", "theirs")


@pytest.mark.parametrize("tag", ["plinth.pool.0123456789ab", "theirs"])
def test_what_is_on_a_partition_of_a_disk_is_seen(tag):
    disk, partition = groups.DISKS[0], f"{groups.DISKS[0]}1"
    groups.empty(disk)
    run("addpart", disk, 1, 2048, 128 * 2048)
    try:
        groups.make_guest(partition, "inside", tag)
        status, said = adopt("--pool", "whole", disk, answer="no\n")
        assert status == 1 and "inside" in said and "nothing was changed" in said
        assert ("which is pool 0123456789ab" in said) == (tag != "theirs")
    finally:
        groups.empty(partition)
        run("delpart", disk, 1)
        groups.empty(disk)
