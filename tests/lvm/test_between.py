"""Copies from one kind of volume to another and from one pool to another, and copies that are disturbed: the copy has the
bytes of its moment, or there is none."""
import contextlib
import itertools
import os
import threading
import time

import pytest

import groups
import machine
from client import Client, block, from_snapshot, from_volume, refused, until_ok
from content import get, new, put, same, write, write_file
from kinds import KINDS
from lvm_driver import eventually_ok
from machine import KiB, MiB


SIZE = 64 * MiB
HALF_WAY = "transfer.copy.piece=sleep:4"  # of 32 MiB; for ten seconds


def until_copied_half_way(driver, call):
    """Repeats an impatient client's call until it is told that the copy is under way."""
    impatient, told = Client(driver.socket, 3), []

    def ask():
        try:
            with refused("ABORTED", match=r"is being copied: [1-9]\d? % of \d+ bytes; it goes on, ask again"):
                call(impatient)
            return True
        except AssertionError as error:
            told.append(str(error))
            return False
    try:
        assert machine.eventually(ask, 30), told
    finally:
        impatient.close()


def counted(driver, parameters):
    """A volume full of data, with the number 0 at its start and end."""
    volume = new(driver, "a", SIZE, parameters)
    put(driver, volume, bytes(4 * KiB) + os.urandom(SIZE - 8 * KiB) + bytes(4 * KiB))
    return volume


def clone(driver, name, volume, bytes, parameters):
    return driver.csi.create(name, bytes, block(), source=from_volume(volume), parameters=parameters).volume_id


@pytest.fixture
def slow(new_disk, new_group):
    """A pool on a disk of its own, which can be slowed down."""
    disk = new_disk(512 * MiB)
    group = new_group("slow", [disk.path], thin=192 * MiB)
    group.disk = disk
    return group


def written_meanwhile(driver, volume, act):
    """What `act` gives, while somebody counts on the volume: each number is written at its end, then at its start."""
    path, ended = driver.use_block(volume), threading.Event()

    def count():
        for number in itertools.count(1):
            for place in (SIZE - 4 * KiB, 0):
                if ended.is_set():
                    return
                write(path, number.to_bytes(8, "big") * 512, place)
    writer = threading.Thread(target=count)
    writer.start()
    try:
        return act()
    finally:
        ended.set()
        writer.join(30)
        driver.release(volume)


def check_one_moment(content):
    first, last = int.from_bytes(content[:8], "big"), int.from_bytes(content[-8:], "big")
    assert 0 <= last - first <= 1, f"its start is of the moment {first}, its end of {last}"


@pytest.mark.parametrize("to", ["linear", "raid1"])
def test_a_thin_volume_in_use_becomes_a_thick_one_of_one_moment(driver, to):
    volume = counted(driver, KINDS["thin"])
    copy = written_meanwhile(driver, volume, lambda: clone(driver, "copy", volume, SIZE, KINDS[to]))
    check_one_moment(get(driver, copy))


@pytest.mark.parametrize("what", ["snapshot", "volume"])
def test_a_thin_one_becomes_a_thick_one_which_is_not_there_before_it_is_copied(slow, new_driver, what):
    """Of the same size; the driver is killed while it copies."""
    driver = new_driver({"slow": (slow, "thinpool=thin")}).start()
    volume = new(driver, "a", 32 * MiB, KINDS["thin"])
    put(driver, volume, os.urandom(32 * MiB))
    before = get(driver, volume)
    source = from_volume(volume) if what == "volume" else from_snapshot(driver.csi.snapshot("s", volume).snapshot_id)
    driver.restart(fault=HALF_WAY)
    until_copied_half_way(driver, lambda client: client.create("copy", 32 * MiB, block(), source=source, parameters=KINDS["linear"]))
    driver.kill()
    driver.start()
    copy = driver.csi.create("copy", 32 * MiB, block(), source=source, parameters=KINDS["linear"]).volume_id
    same(get(driver, copy), before)


@pytest.mark.parametrize("kind", ["thin", "linear"])
def test_a_clone_into_another_pool_keeps_its_moment(slow, main, new_driver, kind):
    """Others change the volume group meanwhile, so that all is looked at again."""
    driver = new_driver({"slow": (slow, "thinpool=thin"), "main": (main, "thinpool=thin")}).start()
    volume = counted(driver, {"pool": "slow", **KINDS[kind]})
    driver.restart(fault=HALF_WAY)

    def act():
        until_copied_half_way(driver, lambda client: client.create("copy", SIZE, block(), source=from_volume(volume), parameters={"pool": "main"}))
        slow.add("other", 4 * MiB)
        driver.csi.GetCapacity()
        return clone(driver, "copy", volume, SIZE, {"pool": "main"})
    copy = written_meanwhile(driver, volume, act)
    check_one_moment(get(driver, copy))
    slow.drop("other")
    assert slow.parts() - driver.before["slow"] == {volume}


@pytest.mark.parametrize("kind", ["thin", "linear"])
def test_a_clone_into_another_pool_that_was_killed_is_made_anew(slow, main, new_driver, kind):
    driver = new_driver({"slow": (slow, "thinpool=thin"), "main": (main, "thinpool=thin")}).start()
    volume = new(driver, "a", 32 * MiB, {"pool": "slow", **KINDS[kind]})
    put(driver, volume, os.urandom(32 * MiB))
    before = get(driver, volume)
    driver.restart(fault=HALF_WAY)
    until_copied_half_way(driver, lambda client: client.create("copy", 32 * MiB, block(), source=from_volume(volume), parameters={"pool": "main"}))
    driver.kill()
    driver.start()
    copy = clone(driver, "copy", volume, 32 * MiB, {"pool": "main"})
    same(get(driver, copy), before)
    assert slow.parts() - driver.before["slow"] == {volume}, "the cut is left"
    driver.csi.delete(volume)


def test_several_restores_of_one_snapshot_at_once(driver):
    volume = new(driver, "a", 16 * MiB, KINDS["linear"])
    put(driver, volume, os.urandom(16 * MiB))
    before = get(driver, volume)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    copies, threads = {}, []

    def restore(number):
        for turn in range(3):
            name = f"c{number}-{turn}"
            parameters = KINDS["thin" if number % 2 else "linear"]
            copies[name] = until_ok(lambda: driver.csi.create(name, 16 * MiB, block(), source=from_snapshot(snapshot),
                                                              parameters=parameters), 120).volume_id
    for number in range(4):
        threads.append(threading.Thread(target=restore, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(copies) == 12
    for copy in copies.values():
        same(get(driver, copy), before)


# --- a thin pool that fills up meanwhile


def write_on(path, size, start):
    """Bytes that no thin pool leaves out, until all is written or the pool is full."""
    with contextlib.suppress(OSError):
        for offset in range(start, size, MiB):
            write(path, groups.PATTERN, offset)


def test_a_thin_pool_that_others_fill_half_way_through_a_copy_says_what_to_do_and_keeps_nothing(slow, new_driver):
    """And the volume group, so that the thin pool cannot grow."""
    driver = new_driver({"slow": (slow, "thinpool=thin,when-full=error,overprovision=3")}).start()
    volume = counted(driver, KINDS["linear"])
    before = get(driver, volume)
    slow.add("rest", slow.free() - SIZE - 8 * MiB)  # the cut has room
    groups.run("lvcreate", "-qq", "-y", "-V", "192m", "--thinpool", "thin", "-n", "others", "slow")
    write_on(slow.path("others"), 132 * MiB, 0)  # still below 80 %, with what is copied before it waits
    driver.restart(fault=HALF_WAY)

    def copy():
        return clone(driver, "copy", volume, SIZE, KINDS["thin"])
    until_copied_half_way(driver, lambda client: client.create("copy", SIZE, block(), source=from_volume(volume), parameters=KINDS["thin"]))
    slow.add("more", slow.free())
    write_on(slow.path("others"), 192 * MiB, 132 * MiB)
    for _ in range(2):  # the retry, too
        with refused("RESOURCE_EXHAUSTED", match="pool slow is full.*delete"):
            copy()
    assert slow.parts() - driver.before["slow"] == {volume, "rest", "others", "more"}
    same(get(driver, volume), before)
    slow.drop("others")
    slow.drop("more")
    same(get(driver, eventually_ok(copy, codes=("RESOURCE_EXHAUSTED",))), before)
    slow.drop("rest")


# --- what was left


def leave_cut(main, copy, volume):
    """As of an attempt that was given up while LVM could not be reached."""
    groups.run("lvcreate", "-qq", "-y", "--snapshot", "-n", f"{copy}.cut", "--addtag", "plinth.1:cut", "-l", "100%ORIGIN", f"main/{volume}")


def test_a_cut_of_an_earlier_attempt_is_not_used_for_another_moment(driver, main):
    volume = new(driver, "a", 16 * MiB, KINDS["linear"])
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    driver.csi.delete_snapshot(snapshot)
    leave_cut(main, snapshot, volume)
    put(driver, volume, os.urandom(16 * MiB))
    now = get(driver, volume)
    assert driver.csi.snapshot("s", volume).snapshot_id == snapshot
    copy = driver.csi.create("copy", 16 * MiB, block(), source=from_snapshot(snapshot)).volume_id
    same(get(driver, copy), now)
    assert main.parts() - driver.before["main"] == {volume, snapshot, copy}


def test_what_a_copy_took_for_a_while_is_counted_as_free_again(slow, new_driver):
    """Somebody looks at the volume group meanwhile."""
    driver = new_driver({"slow": (slow, "")}).start()

    def free():
        return driver.csi.GetCapacity().available_capacity
    volume = counted(driver, KINDS["linear"])
    before = free()
    slow.disk.delay(100)
    impatient = Client(driver.socket, 3)
    try:
        assert not until_ok(lambda: impatient.snapshot("s", volume), 60, ("ABORTED", "DEADLINE_EXCEEDED")).ready_to_use
        groups.run("vgchange", "-qq", "--addtag", "somebody", "slow")
        assert machine.eventually(lambda: free() < before - SIZE, 10), "the scenario is wrong"
    finally:
        slow.disk.mend()
        impatient.close()
    assert eventually_ok(lambda: driver.csi.snapshot("s", volume)).ready_to_use
    assert machine.eventually(lambda: free() == before - SIZE, 5)


def test_a_cut_that_nobody_copies_from_hinders_nothing(driver, main):
    volume = new(driver, "a", 16 * MiB, KINDS["linear"])
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    driver.csi.delete_snapshot(snapshot)
    for act in (lambda: driver.csi.expand(volume, 32 * MiB), lambda: driver.csi.delete(volume)):
        leave_cut(main, snapshot, volume)
        time.sleep(2)  # until it is seen
        act()
        assert f"{snapshot}.cut" not in main.parts()
    assert main.parts() - driver.before["main"] == set()


def test_a_snapshot_whose_deletion_failed_is_not_ready_before_it_is_copied(slow, new_driver):
    driver = new_driver({"slow": (slow, "")}).use_tools().start()
    volume = counted(driver, KINDS["linear"])
    before = get(driver, volume)
    impatient = Client(driver.socket, 3)
    slow.disk.delay(100)
    try:
        made = until_ok(lambda: impatient.snapshot("s", volume), 60, ("ABORTED", "DEADLINE_EXCEEDED"))
        assert not made.ready_to_use
        with driver.stuck():
            with refused("DEADLINE_EXCEEDED", "ABORTED"):
                impatient.create("other", 4 * MiB, block())
            with refused("DEADLINE_EXCEEDED", "ABORTED"):
                impatient.delete_snapshot(made.snapshot_id)
    finally:
        slow.disk.mend()
        impatient.close()
    snapshot = eventually_ok(lambda: driver.csi.snapshot("s", volume)).snapshot_id
    copy = eventually_ok(lambda: driver.csi.create("copy", SIZE, block(), source=from_snapshot(snapshot))).volume_id
    same(get(driver, copy), before)
    eventually_ok(lambda: driver.csi.create("other", 4 * MiB, block()))


@pytest.mark.parametrize("kind", ["thin", "linear"])
def test_a_mkfs_that_takes_longer_than_the_caller_waits_is_not_begun_for_ever(new_driver, main, kind):
    driver = new_driver({"main": (main, "thinpool=thin")}).use_tools()
    script = driver.tools / "mkfs.ext4"
    script.write_text('#!/bin/sh\nsleep 4\nexec /sbin/mkfs.ext4 "$@"\n')
    script.chmod(0o755)
    driver.start()
    impatient = Client(driver.socket, 3)
    volume = until_ok(lambda: impatient.create("a", 48 * MiB, parameters=KINDS[kind]), 30, ("ABORTED", "DEADLINE_EXCEEDED")).volume_id
    impatient.close()
    write_file(driver.use(volume))
