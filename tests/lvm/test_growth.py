"""Growth of every kind: unused, mounted, raw, with snapshots present."""
import grpc
import pytest

import machine
from client import Client, block, from_snapshot, mount, refused, size, until_ok
from content import SOME, get, new, put, read, read_file, same, write, write_file, zeros
from driver import Died
from kinds import KINDS, of_every_kind, of_main_kinds, thick, thin_and_thick
from machine import GiB, MiB


def node_expand(driver, volume_id, path, required, capability):
    return driver.csi.NodeExpandVolume(volume_id=volume_id, volume_path=path, capacity_range=size(required),
                                       staging_target_path=driver.staging_path(volume_id),
                                       volume_capability=capability).capacity_bytes


def grow(driver, volume_id, required, path=None, capability=None):
    """As Kubernetes does: the controller, then the node."""
    capacity = driver.csi.expand(volume_id, required).capacity_bytes
    if path:
        assert node_expand(driver, volume_id, path, required, capability or mount("")) == capacity
    assert capacity >= required and driver.record(volume_id)["bytes"] == capacity
    return capacity


@pytest.mark.parametrize("fstype, before, after", [("ext4", 48 * MiB, 96 * MiB), ("xfs", 320 * MiB, 416 * MiB)])
@of_every_kind
def test_a_mounted_file_system_grows(driver, kind, parameters, fstype, before, after):
    volume = driver.csi.create("a", before, mount(fstype), parameters=parameters).volume_id
    path = driver.use(volume, mount(fstype))
    write_file(path, SOME)
    was = machine.size_of_filesystem(path)
    grow(driver, volume, after, path)
    assert machine.size_of_filesystem(path) > was + (after - before) * 3 // 4
    write_file(path, SOME * 2, "another")
    driver.release(volume)
    path = driver.use(volume, mount(fstype))
    assert read_file(path) == SOME and read_file(path, "another") == SOME * 2


@pytest.mark.parametrize("fstype, before, after", [("ext4", 48 * MiB, 96 * MiB), ("xfs", 320 * MiB, 416 * MiB)])
@of_main_kinds
def test_a_file_system_that_nobody_uses_grows_when_it_is_staged(driver, kind, parameters, fstype, before, after):
    volume = driver.csi.create("a", before, mount(fstype), parameters=parameters).volume_id
    path = driver.use(volume, mount(fstype))
    write_file(path, SOME)
    was = machine.size_of_filesystem(path)
    driver.release(volume)
    grow(driver, volume, after)
    path = driver.use(volume, mount(fstype))
    assert machine.size_of_filesystem(path) > was + (after - before) * 3 // 4
    assert read_file(path) == SOME


@of_every_kind
def test_a_raw_volume_grows_while_it_is_used(driver, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    path = driver.use_block(volume)
    before = read(path)
    with open(path, "rb"):
        capacity = grow(driver, volume, 40 * MiB, path, block())
    assert machine.size_of_device(path) == capacity
    same(read(path), before + bytes(capacity - len(before)))
    write(path, SOME, capacity - len(SOME))


@of_every_kind
def test_a_raw_volume_that_nobody_uses_grows(driver, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    before = get(driver, volume)
    capacity = grow(driver, volume, 40 * MiB)
    same(get(driver, volume), before + bytes(capacity - len(before)))
    assert not driver.in_use(volume)


@of_every_kind
def test_a_volume_with_snapshots_grows_and_they_do_not(driver, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    before = get(driver, volume)
    first = driver.csi.snapshot("first", volume)
    path = driver.use_block(volume)
    driver.csi.snapshot("second", volume)
    capacity = grow(driver, volume, 40 * MiB, path, block())
    write(path, SOME[::-1])
    third = driver.csi.snapshot("third", volume)
    driver.release(volume)
    assert (first.size_bytes, third.size_bytes) == (len(before), capacity)
    copy = driver.csi.create("copy", first.size_bytes, block(), source=from_snapshot(first.snapshot_id)).volume_id
    same(get(driver, copy), before)
    copy = driver.csi.create("copy-3", capacity, block(), source=from_snapshot(third.snapshot_id)).volume_id
    same(get(driver, copy)[:len(SOME)], SOME[::-1])


@of_main_kinds
def test_a_mounted_volume_grows_again_and_again_while_files_are_written(driver, kind, parameters):
    volume = driver.csi.create("a", 32 * MiB, parameters=parameters).volume_id
    path = driver.use(volume)
    for number in range(1, 5):
        write_file(path, SOME, f"file-{number}")
        grow(driver, volume, (32 + number * 12) * MiB, path)
    driver.release(volume)
    path = driver.use(volume)
    assert all(read_file(path, f"file-{number}") == SOME for number in range(1, 5))
    driver.release(volume)
    with driver.opened(volume) as device:
        machine.run("e2fsck", "-f", "-n", device)


@of_main_kinds
def test_growth_survives_a_restart(driver, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    capacity = grow(driver, volume, 40 * MiB)
    driver.kill()
    driver.start()
    assert driver.csi.ControllerGetVolume(volume_id=volume).volume.capacity_bytes == capacity
    assert driver.csi.expand(volume, 40 * MiB).capacity_bytes == capacity
    zeros(get(driver, volume)[len(SOME):])


@pytest.fixture
def growing(driver, kind):
    """(a volume whose growth to 40 MiB takes ten seconds longer, the client that has asked for it and was told to ask again)"""
    volume = new(driver, "a", 16 * MiB, KINDS[kind])
    driver.kill()
    driver.start(fault="pool.lvm.grow.scratch=sleep")
    impatient = Client(driver.socket, 3)
    with refused("ABORTED", match="zeroed where it grows.* ask again"):
        impatient.expand(volume, 40 * MiB)
    yield volume, impatient
    impatient.close()


@pytest.mark.parametrize("kind", ["linear", "raid1"])
def test_growth_that_takes_longer_than_the_caller_waits_goes_on(driver, growing, kind):
    volume, impatient = growing
    new(driver, "b", 16 * MiB, KINDS["thin"])
    same(read(driver.use_block(volume))[:len(SOME)], SOME)  # it can be used meanwhile
    capacity = until_ok(lambda: impatient.expand(volume, 40 * MiB), 60).capacity_bytes
    same(get(driver, volume)[:len(SOME)], SOME)
    zeros(get(driver, volume)[len(SOME):])
    assert len(get(driver, volume)) == capacity


@pytest.mark.parametrize("kind", ["linear"])
def test_a_volume_that_is_to_be_deleted_does_not_grow_on(driver, growing, kind):
    driver.csi.delete(growing[0])


@pytest.mark.parametrize("point", ["pool.lvm.open.leftover.before", "pool.lvm.open.leftover.after"])
def test_what_a_killed_growth_left_is_cleared_by_the_start_after_the_next(driver, main, point):
    """The next one is killed while it does so."""
    volume = new(driver, "a", 16 * MiB, KINDS["linear"])
    free = driver.csi.GetCapacity(parameters=KINDS["linear"]).available_capacity
    driver.kill()
    driver.start(fault="pool.lvm.grow.zeroed=kill")
    with pytest.raises((Died, grpc.RpcError)):
        driver.csi.expand(volume, 40 * MiB)
    assert driver.ended_by_kill() and f"{volume}.grow" in main.parts()
    with pytest.raises(Died):
        driver.start(fault=f"{point}=kill")
    driver.start()
    assert f"{volume}.grow" not in main.parts()
    assert machine.eventually(lambda: driver.csi.GetCapacity(parameters=KINDS["linear"]).available_capacity == free, 5)
    assert grow(driver, volume, 40 * MiB) == 40 * MiB
    same(get(driver, volume)[:len(SOME)], SOME)
    zeros(get(driver, volume)[len(SOME):])


@thin_and_thick
def test_more_than_there_is_changes_nothing(driver, main, kind, parameters):
    volume = new(driver, "a", 16 * MiB, parameters)
    for required in (64 * GiB, 2**62, 2**63 - 1):
        with refused("OUT_OF_RANGE", "RESOURCE_EXHAUSTED"):
            driver.csi.expand(volume, required)
    assert main.size(volume) == 16 * MiB
    assert main.parts() - driver.before["main"] - {"lvol0_pmspare"} == {volume}
    same(get(driver, volume)[:len(SOME)], SOME)


@thin_and_thick
def test_growth_is_rounded_up_but_not_above_the_limit(driver, main, kind, parameters):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=parameters).volume_id
    with refused("OUT_OF_RANGE"):
        driver.csi.expand(volume, 17 * MiB, 18 * MiB)
    assert driver.csi.expand(volume, 17 * MiB).capacity_bytes == 20 * MiB == main.size(volume)
    assert driver.csi.expand(volume, 18 * MiB).capacity_bytes == 20 * MiB == main.size(volume)


@thick
def test_a_volume_grows_where_its_layout_needs_several_pieces(driver, main, kind, parameters):
    """With others between, it cannot grow in place."""
    volume = new(driver, "a", 16 * MiB, parameters)
    for number in range(3):
        other = driver.csi.create(f"between-{number}", 8 * MiB, block(), parameters=parameters).volume_id
        put(driver, other, b"\xff" * 8 * MiB)
        before = get(driver, volume)
        capacity = grow(driver, volume, len(before) + 8 * MiB)
        same(get(driver, volume), before + bytes(capacity - len(before)))
        zeros(b"" if get(driver, other) == b"\xff" * 8 * MiB else b"x", "the neighbour's change")
