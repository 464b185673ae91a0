"""Snapshots, restores and clones: what they hold, in which order all can go, and that the source stays what it is."""
import itertools
import os
import threading

import pytest

import groups
import machine
from client import Client, block, from_snapshot, from_volume, mount, refused
from content import SOME, get, new, put, read, read_file, same, write, write_file, zeros
from kinds import KINDS, of_every_kind, of_main_kinds, thick, thin_and_thick
from machine import KiB, MiB

OTHER = os.urandom(len(SOME))
SIZE = 24 * MiB  # which needs no rounding in any kind


def restore(driver, name, snapshot, bytes, parameters=None):
    return driver.csi.create(name, bytes, block(), source=from_snapshot(snapshot), parameters=parameters or {}).volume_id


def clone(driver, name, volume, bytes, parameters=None):
    return driver.csi.create(name, bytes, block(), source=from_volume(volume), parameters=parameters or {}).volume_id


@of_every_kind
def test_a_snapshot_restores_what_was_there_at_its_time(driver, kind, parameters):
    volume = new(driver, "a", SIZE, parameters)
    before = get(driver, volume)
    snapshot = driver.csi.snapshot("s", volume)
    assert snapshot.ready_to_use and snapshot.size_bytes == SIZE and snapshot.source_volume_id == volume
    put(driver, volume, OTHER)
    copy = restore(driver, "same", snapshot.snapshot_id, SIZE, parameters)
    same(get(driver, copy), before)
    larger = restore(driver, "larger", snapshot.snapshot_id, 2 * SIZE, parameters)
    same(get(driver, larger), before + bytes(SIZE))
    same(get(driver, volume)[:len(OTHER)], OTHER)
    put(driver, copy, OTHER)  # what is written to one is not in another
    same(get(driver, larger), before + bytes(SIZE))
    again = restore(driver, "again", snapshot.snapshot_id, SIZE, parameters)
    same(get(driver, again), before)


@of_every_kind
def test_a_clone_is_its_source_and_then_its_own(driver, kind, parameters):
    volume = new(driver, "a", SIZE, parameters)
    before = get(driver, volume)
    copy = clone(driver, "copy", volume, SIZE, parameters)
    larger = clone(driver, "larger", volume, 2 * SIZE, parameters)
    same(get(driver, copy), before)
    same(get(driver, larger), before + bytes(SIZE))
    put(driver, volume, OTHER)
    put(driver, copy, OTHER[::-1])
    same(get(driver, larger), before + bytes(SIZE))
    same(get(driver, volume)[:len(OTHER)], OTHER)
    same(get(driver, copy)[:len(OTHER)], OTHER[::-1])


@pytest.mark.parametrize("to", ["thin", "linear", "raid1"])
@of_main_kinds
def test_a_snapshot_restores_to_another_kind(driver, main, kind, parameters, to):
    volume = new(driver, "a", 16 * MiB, parameters)
    before = get(driver, volume)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    copy = restore(driver, "copy", snapshot, 24 * MiB, KINDS[to])
    assert main.volumes()[copy]["segtype"] == {"thin": "thin"}.get(to, to)
    same(get(driver, copy), before + bytes(8 * MiB))


@pytest.mark.parametrize("fstype, bytes", [("ext4", 48 * MiB), ("xfs", 320 * MiB)])
@of_main_kinds
def test_a_mounted_file_system_is_snapshotted_while_files_are_written(driver, kind, parameters, fstype, bytes):
    volume = driver.csi.create("a", bytes, mount(fstype), parameters=parameters).volume_id
    path = driver.use(volume)
    write_file(path, SOME, "before")
    ended, written = threading.Event(), []

    def write_on():
        for number in itertools.count():
            if ended.is_set():
                return
            write_file(path, f"{number}".encode(), f"n{number % 50}")
            written.append(number)
    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        machine.eventually(lambda: len(written) > 5)
        at_least = len(written)
        snapshot = driver.csi.snapshot("s", volume).snapshot_id
        seen = len(written)
        assert machine.eventually(lambda: len(written) > seen + 5, 10), "writing did not go on after the snapshot"
    finally:
        ended.set()
        writer.join(20)
    assert not writer.is_alive(), "the writer hangs"
    copy = driver.csi.create("copy", bytes, mount(fstype), source=from_snapshot(snapshot)).volume_id
    copied = driver.use(copy, mount(fstype))  # beside its source
    assert read_file(copied, "before") == SOME
    numbers = [int(read_file(copied, name) or b"-1") for name in os.listdir(copied) if name.startswith("n") and name[1:].isdigit()]
    assert max(numbers) >= at_least - 1, "what was synced before the snapshot is not in it"
    write_file(copied, SOME, "more")


@of_main_kinds
def test_a_copy_of_a_file_system_grows_to_its_size(driver, kind, parameters):
    volume = driver.csi.create("a", 48 * MiB, parameters=parameters).volume_id
    write_file(driver.use(volume))
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    for name, source in (("restored", from_snapshot(snapshot)), ("cloned", from_volume(volume))):
        copy = driver.csi.create(name, 96 * MiB, source=source).volume_id
        path = driver.use(copy)
        assert read_file(path) == b"content" and machine.size_of_filesystem(path) > 80 * MiB


ORDERS = [("volume", "snapshot", "restored", "cloned"), ("snapshot", "volume", "cloned", "restored"),
          ("restored", "volume", "cloned", "snapshot"), ("cloned", "snapshot", "restored", "volume")]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@thin_and_thick
def test_all_can_be_deleted_in_any_order(driver, main, kind, parameters, order):
    delete_in_order(driver, main, order, parameters)


def delete_in_order(driver, main, order, parameters):
    ids = {"volume": new(driver, "a", 4 * MiB, parameters, SOME)}
    before = get(driver, ids["volume"])
    ids["snapshot"] = driver.csi.snapshot("s", ids["volume"]).snapshot_id
    ids["restored"] = restore(driver, "r", ids["snapshot"], 4 * MiB)
    ids["cloned"] = clone(driver, "c", ids["volume"], 4 * MiB)
    left = dict(ids)
    for what in order:
        (driver.csi.delete_snapshot if what == "snapshot" else driver.csi.delete)(left.pop(what))
        assert main.names() - {"thin"} == set(left.values())
    assert len(before) == 4 * MiB


@of_main_kinds
def test_what_is_left_is_whole_after_its_source_is_deleted(driver, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    before = get(driver, volume)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    cloned = clone(driver, "cloned", volume, 16 * MiB)
    driver.csi.delete(volume)
    restored = restore(driver, "restored", snapshot, 16 * MiB)
    driver.csi.delete_snapshot(snapshot)
    driver.restart()
    for copy in (cloned, restored):
        same(get(driver, copy), before)


@of_main_kinds
def test_the_same_requests_give_the_same_copies(driver, main, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    other = new(driver, "b", 16 * MiB, parameters)
    snapshot = driver.csi.snapshot("s", volume)
    assert driver.csi.snapshot("s", volume) == snapshot
    with refused("ALREADY_EXISTS"):
        driver.csi.snapshot("s", other)
    copy = restore(driver, "copy", snapshot.snapshot_id, 16 * MiB)
    assert restore(driver, "copy", snapshot.snapshot_id, 16 * MiB) == copy
    with refused("ALREADY_EXISTS"):
        clone(driver, "copy", volume, 16 * MiB)
    with refused("OUT_OF_RANGE"):
        restore(driver, "small", snapshot.snapshot_id, 8 * MiB)
    driver.restart()
    assert driver.csi.snapshot("s", volume) == snapshot
    assert main.names() - {"thin"} == {volume, other, copy, snapshot.snapshot_id}


@thick
def test_a_thick_snapshot_is_not_ready_before_it_is_copied_and_then_needs_no_cut(driver, main, kind, parameters):
    """It takes ten seconds longer than usual: the call comes back before it is done."""
    volume = new(driver, "a", SIZE, parameters)
    driver.restart(fault="transfer.copy.piece=sleep")
    impatient = Client(driver.socket)
    try:
        snapshot = impatient.snapshot("s", volume)
        assert not snapshot.ready_to_use
        assert main.parts() - driver.before["main"] > {volume, snapshot.snapshot_id}, "there is no cut"
        with refused("ABORTED", match="still being copied and not ready"):
            impatient.create("copy", SIZE, block(), source=from_snapshot(snapshot.snapshot_id))
    finally:
        impatient.close()
    ready = driver.csi.snapshot("s", volume)
    assert ready.creation_time == snapshot.creation_time and ready.ready_to_use
    names = main.parts() - driver.before["main"]
    assert names == {volume, ready.snapshot_id}, names
    row = main.volumes()
    assert row[volume]["segtype"] == row[ready.snapshot_id]["segtype"] == "linear" and not row[volume]["origin"]


@thick
def test_a_thick_copy_takes_only_what_is_written_by_its_source(driver, main, kind, parameters):
    """The volume is written on while it is copied: the snapshot has what was there at its time."""
    volume = new(driver, "a", 128 * MiB, parameters, os.urandom(MiB) * 128)
    before = get(driver, volume)
    path = driver.use_block(volume)
    ended = threading.Event()

    def scribble():
        for number in itertools.count():
            if ended.is_set():
                return
            write(path, os.urandom(64 * KiB), (number * 977 % 2048) * 64 * KiB)
    writer = threading.Thread(target=scribble)
    stopped = driver.csi.snapshot("still", volume).snapshot_id
    writer.start()
    try:
        running = driver.csi.snapshot("running", volume).snapshot_id
    finally:
        ended.set()
        writer.join(20)
    driver.release(volume)
    same(get(driver, restore(driver, "copy", stopped, 128 * MiB)), before)
    copies = [get(driver, restore(driver, f"running-{number}", running, 128 * MiB)) for number in range(2)]
    same(*copies)


@of_main_kinds
def test_several_snapshots_of_a_volume_in_use(driver, kind, parameters):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=parameters).volume_id
    path = driver.use_block(volume)
    made = []
    for number in range(4):
        write(path, bytes([number + 1]) * MiB, number * MiB)
        made.append((driver.csi.snapshot(f"s{number}", volume).snapshot_id, read(path)))
    for number, (snapshot, content) in enumerate(made):
        same(get(driver, restore(driver, f"r{number}", snapshot, 16 * MiB)), content)


@thin_and_thick
def test_a_chain_of_copies(driver, kind, parameters):
    """A snapshot of a restored snapshot of a clone; each source goes before the next is made."""
    volume = new(driver, "v0", 8 * MiB, parameters)
    content = get(driver, volume)
    for number in range(1, 4):
        snapshot = driver.csi.snapshot(f"s{number}", volume).snapshot_id
        driver.csi.delete(volume)
        restored = restore(driver, f"r{number}", snapshot, 8 * MiB)
        driver.csi.delete_snapshot(snapshot)
        volume = clone(driver, f"v{number}", restored, 8 * MiB)
        driver.csi.delete(restored)
        put(driver, volume, bytes([number]) * 4096, number * 4096)
        content = content[:number * 4096] + bytes([number]) * 4096 + content[(number + 1) * 4096:]
    same(get(driver, volume), content)
    zeros(content[len(SOME):])


@of_main_kinds
def test_a_snapshot_cannot_be_staged_or_grown_as_a_volume(driver, kind, parameters):
    volume = driver.csi.create("a", 8 * MiB, block(), parameters=parameters).volume_id
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        driver.stage(snapshot, block())
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        driver.csi.expand(snapshot, 16 * MiB)
    assert groups.suspended() == []
