"""Nothing that was on a disk before is ever handed out: the disks here are full of bytes that are not zero, and after each
test the volumes are filled and deleted, so that the next one gets what they leave."""
import threading

import grpc
import pytest

import groups
from client import block, from_snapshot, from_volume
from content import SOME, get, new, places_of, put, read, same, zeros
from kinds import KINDS, of_every_kind, of_main_kinds, thick, thin_and_thick
from machine import MiB, eventually

DIRT = b"\xde\xad" * 2048  # a page


@pytest.fixture(scope="module")
def dirty():
    """A volume group on five small disks that are full of dirt."""
    disks = [groups.physical(f"dirty{number}", 288 * MiB, groups.DISKS[5], number, filled=True) for number in range(5)]
    group = groups.Group("dirty", [disk.path for disk in disks], thin=192 * MiB, tags=["an.administrators.tag"])
    yield group
    group.remove()
    for disk in disks:
        disk.remove()


@pytest.fixture(autouse=True)
def no_mapped_disk_is_left():
    """Here they belong to the whole file."""
    yield
    assert groups.suspended() == []


@pytest.fixture
def driver(new_driver, dirty):
    driver = new_driver({"dirty": (dirty, "thinpool=thin")}).use_tools().start()
    yield driver
    for volume in driver.csi.volumes() if driver.runs() else ():
        driver.release(volume.volume_id)
        put(driver, volume.volume_id, groups.PATTERN * (volume.capacity_bytes // MiB))


def clean(driver, name, bytes, parameters):
    volume = driver.csi.create(name, bytes, block(), parameters=parameters).volume_id
    zeros(get(driver, volume), f"a new volume ({name})")
    return volume


@of_every_kind
def test_a_new_volume_is_zero(driver, kind, parameters):
    """More than once, as the space comes back."""
    for number in range(3):
        volume = clean(driver, f"a{number}", 48 * MiB, parameters)
        put(driver, volume, groups.PATTERN * 48)
        driver.csi.delete(volume)


@of_every_kind
def test_growth_is_zero(driver, kind, parameters):
    volume = clean(driver, "a", 8 * MiB, parameters)
    for number in range(1, 4):
        put(driver, volume, groups.PATTERN * (driver.group.size(volume) // MiB))
        before = get(driver, volume)
        driver.csi.expand(volume, (8 + number * 16) * MiB)
        after = get(driver, volume)
        same(after[:len(before)], before)
        zeros(after[len(before):], "growth")


@thin_and_thick
def test_growth_in_use_is_zero_at_every_moment(driver, kind, parameters):
    """A reader that sees the new size sees zeros."""
    volume = clean(driver, "a", 16 * MiB, parameters)
    path = driver.use_block(volume)
    for number in range(1, 5):
        size = (16 + number * 16) * MiB
        grower = threading.Thread(target=driver.csi.expand, args=(volume, size))
        grower.start()
        while grower.is_alive():
            zeros(read(path, -1, 16 * MiB), "growth")
        grower.join()
        zeros(read(path, -1, 16 * MiB), "growth")
        assert len(read(path)) == size


@of_main_kinds
def test_the_tail_of_a_copy_is_zero(driver, kind, parameters):
    volume = new(driver, "a", 12 * MiB, parameters, SOME)
    before = get(driver, volume)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    for name, source in (("restored", from_snapshot(snapshot)), ("cloned", from_volume(volume))):
        copy = driver.csi.create(name, 40 * MiB, block(), source=source, parameters=parameters).volume_id
        same(get(driver, copy), before + bytes(28 * MiB))


@pytest.mark.parametrize("to", ["thin", "linear"])
@thin_and_thick
def test_holes_of_a_source_are_zero_in_its_copy(driver, kind, parameters, to):
    """Of a thin volume little is allocated; what is skipped when it is copied must be zero all the same."""
    volume = driver.csi.create("a", 32 * MiB, block(), parameters=parameters).volume_id
    put(driver, volume, DIRT, 20 * MiB)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    copy = driver.csi.create("c", 32 * MiB, block(), source=from_snapshot(snapshot), parameters=KINDS[to]).volume_id
    content = get(driver, copy)
    zeros(content[:20 * MiB], "before the data")
    same(content[20 * MiB:20 * MiB + len(DIRT)], DIRT)
    zeros(content[20 * MiB + len(DIRT):], "behind the data")


@thick
def test_what_a_snapshots_cut_leaves_is_not_handed_out(driver, dirty, kind, parameters):
    """Chunks of the origin were copied into the cut; its extents are the next volume's."""
    volume = new(driver, "a", 48 * MiB, parameters, groups.PATTERN * 48)
    for number in range(2):
        snapshot = driver.csi.snapshot(f"s{number}", volume).snapshot_id
        driver.csi.delete_snapshot(snapshot)
        clean(driver, f"n{number}", 96 * MiB, parameters)
        driver.csi.expand(volume, (64 + number * 16) * MiB)
        zeros(get(driver, volume)[48 * MiB:], "growth")


@pytest.mark.parametrize("when", ["while it runs", "while it is stopped", "across a kill"])
@thick
def test_what_an_administrator_removed_by_hand_is_not_handed_out(driver, dirty, kind, parameters, when):
    first = clean(driver, "first", 16 * MiB, parameters)
    driver.csi.delete(first)  # its extents are known to be clean, or not
    if when == "while it is stopped":
        driver.stop()
    path = dirty.add("foreign", dirty.free() - 8 * MiB)
    groups.fill(path)
    if when == "across a kill":
        driver.kill()
    dirty.drop("foreign")
    if when != "while it runs":
        driver.start()
    for number in range(4):
        volume = clean(driver, f"a{number}", 64 * MiB, parameters)
        driver.csi.expand(volume, 96 * MiB)
        zeros(get(driver, volume), "after growth")


@thick
def test_our_own_volume_that_was_removed_by_hand_is_not_handed_out(driver, dirty, kind, parameters):
    volume = new(driver, "a", 96 * MiB, parameters, groups.PATTERN * 96)
    dirty.drop(volume)
    clean(driver, "b", 96 * MiB, parameters)
    clean(driver, "c", 96 * MiB, parameters)
    driver.csi.delete(volume)


@pytest.mark.parametrize("wipe", ["zero", "discard"])
@of_every_kind
def test_a_deleted_volume_is_wiped_when_the_class_says_so(driver, dirty, kind, parameters, wipe):
    if kind == "thin" and wipe == "discard":
        pytest.skip("discards do not pass a thin pool on the disks of user-mode Linux, which take 32 KiB at once")
    marker = f"secret-{kind}-{wipe}-".encode() * 200
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={**parameters, "wipe": wipe}).volume_id
    put(driver, volume, (marker + bytes(4096))[:4096] * 1024)
    assert places_of(marker[:1024], dirty), "the test is wrong: it was never on the disks"
    driver.csi.delete(volume)
    assert places_of(marker[:1024], dirty) == []


@pytest.mark.parametrize("wipe", ["zero", "discard"])
@thin_and_thick
def test_a_deleted_snapshot_is_wiped_when_the_class_says_so(driver, dirty, kind, parameters, wipe):
    """A thin snapshot is read-only until then."""
    marker = (f"snapshot-{kind}-{wipe}-".encode() * 400)[:4096]
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={**parameters, "wipe": wipe}).volume_id
    put(driver, volume, marker * 1024)
    single, group = driver.csi.snapshot("s", volume).snapshot_id, driver.csi.group("g", [volume])
    driver.csi.delete(volume)
    driver.csi.delete_snapshot(single)
    driver.csi.delete_group(group)
    assert driver.csi.snapshots() == []
    if kind != "thin":  # what a thin pool has shared, it does not write over: it zeroes blocks before it hands them out again
        assert places_of(marker[:1024], dirty) == []


@pytest.mark.parametrize("end", ["fail", "kill"])
def test_a_copy_that_did_not_come_to_its_end_is_wiped_when_the_class_says_so(driver, dirty, end):
    marker = (f"half-made-{end}-".encode() * 400)[:4096]
    wiped = {**KINDS["linear"], "wipe": "zero"}
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=wiped).volume_id
    put(driver, volume, marker * 4096)
    driver.restart(PLINTH_FAULT=f"transfer.copy.synced={end}")
    with pytest.raises(grpc.RpcError):
        driver.csi.create("b", 16 * MiB, block(), source=from_volume(volume), parameters=wiped)
    if end == "kill":
        assert driver.ended_by_kill(5)
        driver.start()
    driver.csi.delete(volume)
    assert eventually(lambda: dirty.names() == {"thin"}), "the copy goes when it is wiped"
    assert places_of(marker[:1024], dirty) == []


def test_a_volume_is_not_wiped_when_the_class_says_none(driver, dirty):
    driver.commands()
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={**KINDS["linear"], "wipe": "none"}).volume_id
    driver.csi.delete(volume)
    assert [command.split()[0] for command in driver.commands()][-1:] == ["lvremove"]
