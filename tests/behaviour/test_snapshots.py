"""Snapshots, restores and clones, where files can share blocks and where they must be copied."""
import concurrent.futures
import os
import time

import pytest

import machine
from client import block, from_snapshot, from_volume, mount, refused
from driver import TOPOLOGY_KEY
from machine import KiB, MiB
from marks import on_both_pools, on_plain

XFS = 300 * MiB


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def block_volume(driver, name, content):
    volume = driver.csi.create(name, len(content), block())
    driver.image(volume.volume_id).write_bytes(content)
    return volume


# --- CreateSnapshot


@on_both_pools
def test_a_snapshot_says_what_it_is(driver):
    volume = driver.csi.create("a", 16 * MiB)
    before = time.time()
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    assert snapshot.size_bytes == 16 * MiB and snapshot.ready_to_use
    assert snapshot.source_volume_id == volume.volume_id and snapshot.group_snapshot_id == ""
    assert before - 1 <= snapshot.creation_time.seconds <= time.time() + 1
    assert driver.csi.GetSnapshot(snapshot_id=snapshot.snapshot_id).snapshot == snapshot
    assert driver.csi.snapshots() == [snapshot]


@on_both_pools
def test_the_same_name_and_source_give_the_same_snapshot(driver):
    volume, other = driver.csi.create("a"), driver.csi.create("b")
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    for _ in range(3):
        assert driver.csi.snapshot("s", volume.volume_id) == snapshot
    with refused("ALREADY_EXISTS"):
        driver.csi.snapshot("s", other.volume_id)
    assert driver.csi.snapshots() == [snapshot]


def test_a_snapshot_is_found_by_its_name_although_its_volume_is_gone(csi):
    volume = csi.create("a")
    snapshot = csi.snapshot("s", volume.volume_id)
    csi.delete(volume.volume_id)
    assert csi.snapshot("s", volume.volume_id) == snapshot


def test_a_snapshot_of_nothing_is_not_found(csi):
    for volume_id in ("nonsense", csi.create("a").volume_id[:-1] + "g"):
        with refused("NOT_FOUND"):
            csi.snapshot("s", volume_id)


def test_parameters_of_snapshots_are_refused_as_there_are_none(csi):
    volume = csi.create("a")
    with refused("INVALID_ARGUMENT", match="parameter"):
        csi.snapshot("s", volume.volume_id, parameters={"quick": "yes"})
    csi.snapshot("s", volume.volume_id, parameters={"csi.storage.k8s.io/volumesnapshot/name": "x"})


def test_a_snapshot_for_another_node_is_exhausted(csi):
    volume = csi.create("a")
    with refused("RESOURCE_EXHAUSTED"):
        csi.snapshot("s", volume.volume_id, accessibility_requirements={
            "requisite": [{"segments": {TOPOLOGY_KEY: "node-b"}}]})
    csi.snapshot("s", volume.volume_id, accessibility_requirements={"requisite": [{"segments": {TOPOLOGY_KEY: "node-a"}}]})


@on_both_pools
def test_a_deleted_snapshot_is_gone_and_can_be_deleted_again(driver):
    volume = driver.csi.create("a")
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    for _ in range(3):
        driver.csi.delete_snapshot(snapshot.snapshot_id)
        assert driver.csi.snapshots() == []
        assert machine.tree(driver.pool_path() / "snapshots") == []
    with refused("NOT_FOUND"):
        driver.csi.GetSnapshot(snapshot_id=snapshot.snapshot_id)
    with refused("NOT_FOUND"):
        driver.csi.create("b", source=from_snapshot(snapshot.snapshot_id))


def test_ids_of_volumes_and_snapshots_are_not_mixed_up(csi):
    volume = csi.create("same")
    snapshot = csi.snapshot("same", volume.volume_id)
    csi.delete(snapshot.snapshot_id)
    csi.delete_snapshot(volume.volume_id)
    assert len(csi.volumes()) == len(csi.snapshots()) == 1


# --- what is in them


@on_both_pools
def test_a_snapshot_keeps_what_was_there(driver):
    old, new = os.urandom(4 * MiB), os.urandom(4 * MiB)
    volume = block_volume(driver, "a", old)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    driver.image(volume.volume_id).write_bytes(new)
    restored = driver.csi.create("b", 4 * MiB, block(), source=from_snapshot(snapshot.snapshot_id))
    assert restored.content_source == from_snapshot(snapshot.snapshot_id)
    assert driver.image(restored.volume_id).read_bytes() == old
    assert driver.image(volume.volume_id).read_bytes() == new
    driver.image(restored.volume_id).write_bytes(bytes(4 * MiB))
    again = driver.csi.create("c", 4 * MiB, block(), source=from_snapshot(snapshot.snapshot_id))
    assert driver.image(again.volume_id).read_bytes() == old


def test_snapshots_and_clones_share_blocks_where_files_can(driver):
    volume = block_volume(driver, "a", os.urandom(32 * MiB))
    os.sync()
    free = os.statvfs(driver.pool_path()).f_bfree
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    driver.csi.create("b", 32 * MiB, block(), source=from_snapshot(snapshot.snapshot_id))
    driver.csi.create("c", 32 * MiB, block(), source=from_volume(volume.volume_id))
    os.sync()
    status = os.statvfs(driver.pool_path())
    assert (free - status.f_bfree) * status.f_frsize < 8 * MiB


@on_plain
def test_copies_are_sparse_where_the_source_is(driver):
    volume = driver.csi.create("a", 256 * MiB, block())
    content = os.urandom(64 * KiB)
    with open(driver.image(volume.volume_id), "r+b") as image:
        for offset in (0, 100 * MiB, 256 * MiB - 64 * KiB):
            image.seek(offset)
            image.write(content)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    restored = driver.csi.create("b", 256 * MiB, block(), source=from_snapshot(snapshot.snapshot_id))
    clone = driver.csi.create("c", 256 * MiB, block(), source=from_volume(volume.volume_id))
    expected = machine.checksum(driver.image(volume.volume_id))
    for image in (driver.image(snapshot.snapshot_id, "snapshots"), driver.image(restored.volume_id), driver.image(clone.volume_id)):
        assert machine.checksum(image) == expected
        assert machine.allocated(image) < MiB


@on_both_pools
@pytest.mark.parametrize("fstype, bytes", [("ext4", 16 * MiB), ("xfs", XFS)])
@pytest.mark.parametrize("mounted", [True, False])
def test_files_are_in_the_snapshot_as_they_were(driver, fstype, bytes, mounted):
    volume = driver.csi.create("a", bytes, mount(fstype))
    path = driver.use(volume.volume_id)
    write(f"{path}/file", b"old")
    with open(f"{path}/unsynced", "wb") as file:
        file.write(b"x" * 100 * KiB)
    if not mounted:
        driver.release(volume.volume_id)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    path = path if mounted else driver.use(volume.volume_id)
    write(f"{path}/file", b"new")
    restored = driver.csi.create("b", bytes, mount(fstype), source=from_snapshot(snapshot.snapshot_id))
    other = driver.use(restored.volume_id, pod="other")
    assert read(f"{other}/file") == b"old"
    assert read(f"{other}/unsynced") == b"x" * 100 * KiB
    assert read(f"{path}/file") == b"new"


@on_both_pools
@pytest.mark.parametrize("fstype, bytes", [("ext4", 16 * MiB), ("xfs", XFS)])
def test_a_clone_of_a_mounted_volume_is_mounted_beside_it(driver, fstype, bytes):
    volume = driver.csi.create("a", bytes, mount(fstype))
    path = driver.use(volume.volume_id)
    write(f"{path}/file", b"origin")
    clone = driver.csi.create("b", bytes, mount(fstype), source=from_volume(volume.volume_id))
    assert clone.content_source == from_volume(volume.volume_id)
    other = driver.use(clone.volume_id)
    assert read(f"{other}/file") == b"origin"
    write(f"{other}/file", b"clone")
    assert read(f"{path}/file") == b"origin"


@pytest.mark.parametrize("fstype, bytes", [("ext4", 16 * MiB), ("xfs", XFS)])
def test_a_clone_gets_an_identity_of_its_own(driver, fstype, bytes):
    volume = driver.csi.create("a", bytes, mount(fstype))
    clone = driver.csi.create("b", bytes, mount(fstype), source=from_volume(volume.volume_id))
    driver.use(clone.volume_id)
    driver.release(clone.volume_id)
    uuids = {machine.run("blkid", "-p", "-s", "UUID", "-o", "value", driver.image(entry.volume_id)).strip()
             for entry in (volume, clone)}
    assert len(uuids) == 2


def test_an_xfs_whose_log_is_not_clean_gets_its_identity_as_soon_as_it_can(driver):
    volume = driver.csi.create("a", XFS, mount("xfs"))
    path = driver.use(volume.volume_id)
    write(f"{path}/file", b"x" * MiB)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    restored = driver.csi.create("b", XFS, mount("xfs"), source=from_snapshot(snapshot.snapshot_id))
    for _ in range(2):
        other = driver.use(restored.volume_id)
        assert read(f"{other}/file") == b"x" * MiB
        driver.release(restored.volume_id)
    uuids = {machine.run("blkid", "-p", "-s", "UUID", "-o", "value", driver.image(entry.volume_id)).strip()
             for entry in (volume, restored)}
    assert len(uuids) == 2


# --- sizes


@on_both_pools
@pytest.mark.parametrize("source", ["snapshot", "volume"])
@pytest.mark.parametrize("fstype, bytes, larger", [("ext4", 16 * MiB, 64 * MiB), ("xfs", XFS, 400 * MiB)])
def test_a_copy_can_be_larger_and_so_is_its_file_system(driver, source, fstype, bytes, larger):
    volume = driver.csi.create("a", bytes, mount(fstype))
    path = driver.use(volume.volume_id)
    write(f"{path}/file", b"old")
    was = machine.size_of_filesystem(path)
    made_from = from_volume(volume.volume_id) if source == "volume" else \
        from_snapshot(driver.csi.snapshot("s", volume.volume_id).snapshot_id)
    copy = driver.csi.create("b", larger, mount(fstype), source=made_from)
    assert copy.capacity_bytes == larger
    other = driver.use(copy.volume_id)
    assert read(f"{other}/file") == b"old"
    assert machine.size_of_filesystem(other) > was + (larger - bytes) * 3 // 4


@on_both_pools
def test_a_larger_block_copy_ends_in_zeros(driver):
    content = os.urandom(4 * MiB)
    volume = block_volume(driver, "a", content)
    clone = driver.csi.create("b", 8 * MiB, block(), source=from_volume(volume.volume_id))
    assert driver.image(clone.volume_id).read_bytes() == content + bytes(4 * MiB)


@on_both_pools
def test_a_thick_copy_is_allocated(driver):
    volume = block_volume(driver, "a", bytes(8 * MiB))
    clone = driver.csi.create("b", 8 * MiB, block(), source=from_volume(volume.volume_id), parameters={"provisioning": "thick"})
    assert machine.allocated(driver.image(clone.volume_id)) >= 8 * MiB


def test_a_copy_without_a_size_has_its_sources(csi):
    volume = csi.create("a", 24 * MiB, block())
    assert csi.create("b", 0, block(), source=from_volume(volume.volume_id)).capacity_bytes == 24 * MiB


def test_a_copy_smaller_than_its_source_is_out_of_range(driver):
    volume = driver.csi.create("a", 24 * MiB)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    for source in (from_volume(volume.volume_id), from_snapshot(snapshot.snapshot_id)):
        with refused("OUT_OF_RANGE"):
            driver.csi.create("b", 16 * MiB, source=source)
        with refused("OUT_OF_RANGE"):
            driver.csi.create("b", 0, source=source, limit=16 * MiB)
    assert len(driver.csi.volumes()) == 1


def test_a_snapshot_of_a_volume_that_has_grown_since_keeps_its_size(driver):
    volume = driver.csi.create("a", 16 * MiB)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    driver.csi.expand(volume.volume_id, 32 * MiB)
    assert driver.csi.GetSnapshot(snapshot_id=snapshot.snapshot_id).snapshot.size_bytes == 16 * MiB
    assert driver.csi.create("b", 0, source=from_snapshot(snapshot.snapshot_id)).capacity_bytes == 16 * MiB


# --- what fits


def test_another_file_system_than_the_sources_is_invalid(driver):
    volume = driver.csi.create("a", 16 * MiB)
    with refused("INVALID_ARGUMENT", match="ext4"):
        driver.csi.create("b", XFS, mount("xfs"), source=from_volume(volume.volume_id))


def test_a_block_volume_with_a_file_system_on_it_can_become_a_mounted_one(driver):
    volume = driver.csi.create("a", 16 * MiB, block())
    path = driver.use_block(volume.volume_id)
    machine.run("mkfs.ext4", "-q", path)
    machine.run("sync")
    driver.release(volume.volume_id)
    with refused("INVALID_ARGUMENT", match="ext4"):
        driver.csi.create("b", XFS, mount("xfs"), source=from_volume(volume.volume_id))
    copy = driver.csi.create("c", 16 * MiB, mount("ext4"), source=from_volume(volume.volume_id))
    write(f"{driver.use(copy.volume_id)}/file", b"x")


def test_a_block_volume_without_a_file_system_cannot_become_a_mounted_one(driver):
    volume = driver.csi.create("a", 16 * MiB, block())
    with refused("INVALID_ARGUMENT", match="no file system|nothing"):
        driver.csi.create("b", 16 * MiB, mount("ext4"), source=from_volume(volume.volume_id))


def sector_size(path):
    return int(machine.run("blockdev", "--getss", path))


@on_both_pools
def test_the_sector_size_of_a_volume_never_changes(driver):
    """A partition table or a file system made for one size cannot be read with another."""
    volume = driver.csi.create("a", 4 * MiB, block())
    path = driver.use_block(volume.volume_id)
    with open(path, "r+b") as device:
        device.write(os.urandom(4 * MiB))
        os.fsync(device.fileno())
    before = sector_size(path)
    driver.release(volume.volume_id)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    restored = driver.csi.create("b", 4 * MiB, block(), source=from_snapshot(snapshot.snapshot_id))
    clone = driver.csi.create("c", 4 * MiB, block(), source=from_volume(volume.volume_id))
    for entry in (volume, restored, clone):
        assert sector_size(driver.use_block(entry.volume_id)) == before


def test_a_mounted_volume_can_become_a_block_one(driver):
    volume = driver.csi.create("a", 16 * MiB)
    copy = driver.csi.create("b", 16 * MiB, block(), source=from_volume(volume.volume_id))
    assert driver.image(copy.volume_id).read_bytes() == driver.image(volume.volume_id).read_bytes()


def test_copies_go_from_pool_to_pool(new_driver, disks):
    paths = {"one": disks["reflink"].path / "pool-one", "two": disks["plain"].path / "pool-two"}
    for path in paths.values():
        path.mkdir()
    driver = new_driver(pools={name: (path, "") for name, path in paths.items()}).start()
    content = os.urandom(4 * MiB)
    volume = block_volume(driver, "a", content)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    for number, source in enumerate((from_volume(volume.volume_id), from_snapshot(snapshot.snapshot_id))):
        copy = driver.csi.create(f"b{number}", 8 * MiB, block(), source=source, parameters={"pool": "two"})
        assert str(driver.image(copy.volume_id)).startswith(str(paths["two"]))
        assert driver.image(copy.volume_id).read_bytes() == content + bytes(4 * MiB)
        # Without a pool it is made where its source is.
        same = driver.csi.create(f"c{number}", 8 * MiB, block(), source=from_volume(copy.volume_id))
        assert str(driver.image(same.volume_id)).startswith(str(paths["two"]))


def grows_meanwhile(driver, point, volume, call):
    """The source grows after a call has looked at it and before it has its lock."""
    driver.restart(PLINTH_FAULT=f"{point}=sleep")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made = pool.submit(call)
        time.sleep(2)
        driver.csi.expand(volume, 8 * MiB)
        with open(driver.image(volume), "r+b") as image:
            image.seek(4 * MiB)
            image.write(b"grown" * 1000)
        return made.result()


@on_both_pools
def test_a_snapshot_of_a_volume_that_grows_meanwhile_is_whole(driver):
    volume = block_volume(driver, "a", os.urandom(4 * MiB)).volume_id
    snapshot = grows_meanwhile(driver, "snapshot.create.planned", volume, lambda: driver.csi.snapshot("s", volume, timeout=30))
    assert snapshot.size_bytes == 8 * MiB
    assert machine.checksum(driver.image(snapshot.snapshot_id, "snapshots")) == machine.checksum(driver.image(volume))


@on_both_pools
def test_a_clone_of_a_volume_that_grows_meanwhile_is_refused(driver):
    volume = block_volume(driver, "a", os.urandom(4 * MiB)).volume_id
    clone = {"capability": block(), "source": from_volume(volume)}
    with refused("ABORTED", match="grown"):
        grows_meanwhile(driver, "controller.create.planned", volume, lambda: driver.csi.create("b", 4 * MiB, **clone, timeout=30))
    with refused("OUT_OF_RANGE"):
        driver.csi.create("b", 4 * MiB, **clone)
    copy = driver.csi.create("b", 8 * MiB, **clone).volume_id
    assert machine.checksum(driver.image(copy)) == machine.checksum(driver.image(volume))


# --- what is in use


def test_a_used_block_volume_is_cut_with_all_that_was_written(driver):
    volume = driver.csi.create("a", 4 * MiB, block())
    path = driver.use_block(volume.volume_id)
    content = os.urandom(4 * MiB)
    with open(path, "r+b") as device:  # not synced: it is in the page cache of the device
        device.write(content)
        device.flush()
        snapshot = driver.csi.snapshot("s", volume.volume_id)
    assert driver.image(snapshot.snapshot_id, "snapshots").read_bytes() == content


@on_plain
def test_a_used_block_volume_cannot_be_cut_without_shared_blocks(driver):
    volume = driver.csi.create("a", 4 * MiB, block())
    driver.use_block(volume.volume_id)
    with refused("FAILED_PRECONDITION", match="reflink"):
        driver.csi.snapshot("s", volume.volume_id)
    with refused("FAILED_PRECONDITION", match="reflink"):
        driver.csi.create("b", 4 * MiB, block(), source=from_volume(volume.volume_id))
    assert driver.csi.snapshots() == []
    driver.release(volume.volume_id)
    driver.csi.snapshot("s", volume.volume_id)


@on_plain
@pytest.mark.options("--frozen-copy-most", "1Mi")
def test_a_mounted_volume_with_too_much_data_is_not_frozen_for_a_copy(driver):
    volume = driver.csi.create("a", 64 * MiB)
    path = driver.use(volume.volume_id)
    write(f"{path}/file", os.urandom(8 * MiB))
    for call in (lambda: driver.csi.snapshot("s", volume.volume_id),
                 lambda: driver.csi.group("g", [volume.volume_id]),
                 lambda: driver.csi.create("b", 64 * MiB, source=from_volume(volume.volume_id))):
        with refused("FAILED_PRECONDITION", match="frozen-copy-most"):
            call()
    write(f"{path}/still-writable", b"x")
    assert driver.csi.snapshots() == [] and machine.tree(driver.pool_path() / "snapshots") == []
    driver.release(volume.volume_id)
    driver.csi.snapshot("s", volume.volume_id)


@pytest.mark.options("--frozen-copy-most", "1Mi")
def test_the_limit_is_not_for_where_blocks_are_shared(driver):
    volume = driver.csi.create("a", 64 * MiB)
    write(f"{driver.use(volume.volume_id)}/file", os.urandom(8 * MiB))
    driver.csi.snapshot("s", volume.volume_id)
