"""What is told of volumes and pools that are not well, and that nothing is made worse."""
import json
import os
import shutil

import pytest

import machine
from client import block, csi_pb2, from_snapshot, from_volume, mount, refused
from machine import KiB, MiB
from marks import on_both_pools


def storage_health(driver):
    return {entry.reason: csi_pb2.StorageHealthErrorType.Name(entry.status)
            for entry in driver.csi.NodeGetStorageHealth().backend_health}


def node_health(driver, volume_id):
    health = driver.csi.NodeGetVolumeHealth(volume_id=volume_id).volume_health
    assert health.volume_id == volume_id
    return {entry.reason: csi_pb2.VolumeHealthErrorType.Name(entry.status) for entry in health.health_statuses}


def listed(driver):
    return sorted(entry.volume_id for entry in driver.csi.ControllerListVolumeHealth().entries)


def check_form(driver):
    """CSI: a reason in CamelCase and a message for each status, every pair once."""
    for entry in driver.csi.ControllerListVolumeHealth().entries:
        pairs = [(status.status, status.reason) for status in entry.health_statuses]
        assert pairs and len(pairs) == len(set(pairs))
        for status in entry.health_statuses:
            assert status.reason.isalnum() and status.reason[0].isupper() and len(status.reason) <= 256
            assert status.message and len(status.message) <= 1024


def test_healthy_is_an_empty_list(driver):
    volume, device = driver.csi.create("a"), driver.csi.create("b", capability=block())
    for entry in (volume, device):
        assert driver.csi.health(entry.volume_id) == {} == node_health(driver, entry.volume_id)
    driver.use(volume.volume_id)
    driver.use_block(device.volume_id)
    for entry in (volume, device):
        assert driver.csi.health(entry.volume_id) == {} == node_health(driver, entry.volume_id)
    assert listed(driver) == [] and storage_health(driver) == {}


def test_a_volume_that_is_not_there_is_not_found(driver):
    for method in ("ControllerGetVolumeHealth", "NodeGetVolumeHealth"):
        with refused("NOT_FOUND"):
            getattr(driver.csi, method)(volume_id="nonsense")


@on_both_pools
def test_an_image_that_is_missing_is_lost_data_and_is_not_made_anew(driver):
    volume, other = driver.csi.create("a"), driver.csi.create("b")
    kept = shutil.move(driver.image(volume.volume_id), driver.directory / "kept")
    assert driver.csi.health(volume.volume_id) == {"ImageMissing": "DATA_LOSS"} == node_health(driver, volume.volume_id)
    assert listed(driver) == [volume.volume_id]
    check_form(driver)
    with refused("DATA_LOSS", match=volume.volume_id):
        driver.stage(volume.volume_id)
    with refused("DATA_LOSS", "FAILED_PRECONDITION"):
        driver.csi.snapshot("s", volume.volume_id)
    with refused("DATA_LOSS", "FAILED_PRECONDITION"):
        driver.csi.create("c", source=from_volume(volume.volume_id))
    with refused("DATA_LOSS", "FAILED_PRECONDITION"):
        driver.csi.expand(volume.volume_id, 32 * MiB)
    assert not driver.image(volume.volume_id).exists()
    driver.restart()
    assert driver.csi.health(volume.volume_id) == {"ImageMissing": "DATA_LOSS"}
    assert not driver.image(volume.volume_id).exists()
    driver.use(other.volume_id)
    # What was put back is as it was.
    shutil.copy(kept, driver.image(volume.volume_id))
    assert driver.csi.health(volume.volume_id) == {} and listed(driver) == []
    driver.use(volume.volume_id)


def test_a_volume_without_its_image_can_be_deleted(driver):
    volume = driver.csi.create("a")
    driver.image(volume.volume_id).unlink()
    driver.csi.delete(volume.volume_id)


def test_an_image_that_is_cut_short_is_lost_data(driver):
    volume = driver.csi.create("a")
    os.truncate(driver.image(volume.volume_id), 8 * MiB)
    assert set(driver.csi.health(volume.volume_id).values()) == {"DATA_LOSS"}
    with refused("DATA_LOSS"):
        driver.stage(volume.volume_id)
    assert driver.image(volume.volume_id).stat().st_size == 8 * MiB
    assert machine.mounts(driver.kubelet) == [] and machine.loops(driver.pool_path()) == {}


def test_lists_of_unhealthy_volumes_come_in_pages(driver):
    volumes = [driver.csi.create(f"v{number}", MiB, block()).volume_id for number in range(8)]
    for volume_id in volumes[::2]:
        driver.image(volume_id).unlink()
    found, token = [], ""
    for _ in range(9):
        answer = driver.csi.ControllerListVolumeHealth(max_entries=1, starting_token=token)
        found += [entry.volume_id for entry in answer.entries]
        token = answer.next_token
        if not token:
            break
    assert sorted(found) == sorted(volumes[::2]) == listed(driver)
    check_form(driver)


def test_errors_that_ext4_has_counted_are_told(driver):
    volume = driver.csi.create("a")
    driver.use(volume.volume_id, mount("ext4", flags=["errors=continue"]))
    (device,) = machine.loops(driver.pool_path())
    with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w") as trigger:
        trigger.write("test")
    assert node_health(driver, volume.volume_id) == {"FileSystemErrors": "DEGRADED"}


def test_a_file_system_that_has_become_read_only_is_told(driver):
    volume = driver.csi.create("a")
    path = driver.use(volume.volume_id, mount("ext4", flags=["errors=remount-ro"]))
    (device,) = machine.loops(driver.pool_path())
    with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w") as trigger:
        trigger.write("test")
    with pytest.raises(OSError, match="Read-only"):
        open(f"{path}/file", "w")
    found = node_health(driver, volume.volume_id)
    assert "FileSystemReadOnly" in found and "FileSystemErrors" in found


def test_an_xfs_that_has_shut_itself_down_is_told_and_can_be_unmounted(driver):
    volume = driver.csi.create("a", 300 * MiB, mount("xfs"))
    path = driver.use(volume.volume_id)
    machine.run("xfs_io", "-x", "-c", "shutdown", path)
    assert node_health(driver, volume.volume_id)
    driver.release(volume.volume_id)
    assert node_health(driver, volume.volume_id) == {}
    assert os.listdir(driver.use(volume.volume_id)) == []


def test_a_mount_that_is_gone_is_told(driver):
    volume = driver.csi.create("a")
    path = driver.stage(volume.volume_id)
    machine.run("umount", path)
    assert node_health(driver, volume.volume_id) == {"MountMissing": "INACCESSIBLE"}
    driver.stage(volume.volume_id)
    assert node_health(driver, volume.volume_id) == {}


# --- records that cannot be believed (meta.json truncated, corrupt or from a newer version)


def replace(record, **changes):
    return json.dumps({**json.loads(record), **changes}).encode()


DAMAGES = {
    "empty": lambda record: b"",
    "truncated": lambda record: record[:len(record) // 2],
    "without its last byte": lambda record: record.rstrip()[:-1],
    "garbage": lambda record: os.urandom(300),
    "zeros": lambda record: bytes(len(record)),
    "another JSON value": lambda record: b"[1, 2]",
    "no id": lambda record: replace(record, id=None),
    "a missing size": lambda record: replace(record, bytes=None),
    "another id": lambda record: replace(record, id=json.loads(record)["id"][:-1] + "0"),
    "another name": lambda record: replace(record, name="somebody-else"),
    "another kind": lambda record: replace(record, kind="snapshot" if b'"volume"' in record else "volume"),
    "a negative size": lambda record: replace(record, bytes=-1),
    "a size that is text": lambda record: replace(record, bytes="16Mi"),
    "a strange file system": lambda record: replace(record, filesystem="../../etc"),
    "huge": lambda record: b" " * (2 * MiB) + record,
    "duplicated keys": lambda record: record.rstrip()[:-1] + b', "bytes": 4096}',
    "deeply nested": lambda record: b"[" * 30000,
}
NEWER = {
    "a newer version": lambda record: replace(record, version=2),
    "an unknown incompatible feature": lambda record: replace(record, incompatible=1),
}


def damage_record(driver, entry_id, kind, change):
    path = driver.image(entry_id, kind).parent / "meta.json"
    path.write_bytes(change(path.read_bytes()))
    return {name: (path.parent / name).read_bytes() for name in ("meta.json", "data")}


@pytest.mark.damaged
@pytest.mark.parametrize("what", [*DAMAGES, *NEWER])
def test_a_volume_whose_record_is_damaged_or_newer_is_left_alone_and_all_others_work(driver, what):
    csi = driver.csi
    code = "DATA_LOSS" if what in DAMAGES else "FAILED_PRECONDITION"
    volume, other = csi.create("a", MiB, block()), csi.create("b")
    driver.image(volume.volume_id).write_bytes(os.urandom(MiB))
    driver.stop()
    kept = damage_record(driver, volume.volume_id, "volumes", {**DAMAGES, **NEWER}[what])
    csi = driver.start().csi

    assert csi.volume_ids() == [other.volume_id]
    assert set(csi.health(volume.volume_id).values()) == {"DATA_LOSS" if what in DAMAGES else "INACCESSIBLE"}
    assert listed(driver) == [volume.volume_id]
    check_form(driver)
    assert node_health(driver, volume.volume_id)
    for call in (lambda: csi.create("a", MiB, block()), lambda: csi.create("a", 2 * MiB, mount()), lambda: csi.delete(volume.volume_id),
                 lambda: csi.expand(volume.volume_id, 2 * MiB), lambda: csi.snapshot("s", volume.volume_id),
                 lambda: csi.create("c", MiB, block(), source=from_volume(volume.volume_id)),
                 lambda: driver.stage(volume.volume_id, block()), lambda: csi.ControllerGetVolume(volume_id=volume.volume_id),
                 lambda: csi.group("g", [other.volume_id, volume.volume_id])):
        with refused(code, match=volume.volume_id):
            call()
    # The other one lives its whole life.
    driver.use(other.volume_id)
    csi.snapshot("t", other.volume_id)
    driver.release(other.volume_id)
    csi.expand(other.volume_id, 32 * MiB)
    csi.delete_everything()
    # Unstaging and unpublishing what is not there works for it too.
    driver.unpublish(volume.volume_id)
    driver.unstage(volume.volume_id)
    driver.restart()
    directory = driver.image(volume.volume_id).parent
    assert {name: (directory / name).read_bytes() for name in sorted(os.listdir(directory))} == {**kept}


@pytest.mark.damaged
@pytest.mark.parametrize("what", ["truncated", "garbage", "a newer version"])
def test_a_snapshot_whose_record_is_damaged_or_newer_is_left_alone(driver, what):
    csi = driver.csi
    code = "DATA_LOSS" if what in DAMAGES else "FAILED_PRECONDITION"
    volume = csi.create("a", MiB, block())
    snapshot, other = csi.snapshot("s", volume.volume_id), csi.snapshot("t", volume.volume_id)
    driver.stop()
    kept = damage_record(driver, snapshot.snapshot_id, "snapshots", {**DAMAGES, **NEWER}[what])
    csi = driver.start().csi
    assert csi.snapshot_ids() == [other.snapshot_id]
    for call in (lambda: csi.snapshot("s", volume.volume_id), lambda: csi.delete_snapshot(snapshot.snapshot_id),
                 lambda: csi.GetSnapshot(snapshot_id=snapshot.snapshot_id),
                 lambda: csi.create("b", MiB, block(), source=from_snapshot(snapshot.snapshot_id))):
        with refused(code, match=snapshot.snapshot_id):
            call()
    directory = driver.image(snapshot.snapshot_id, "snapshots").parent
    assert {name: (directory / name).read_bytes() for name in os.listdir(directory)} == kept


def test_features_that_only_readers_must_know_do_not_hinder(driver):
    volume = driver.csi.create("a")
    driver.stop()
    path = driver.image(volume.volume_id).parent / "meta.json"
    path.write_bytes(replace(path.read_bytes(), somethingNew={"a": [1]}))
    driver.start()
    assert driver.csi.volume_ids() == [volume.volume_id]


def test_what_others_have_put_into_the_pool_is_left_alone(driver):
    driver.known = driver.csi.create("known").volume_id
    driver.stop()
    pool = driver.pool_path()
    others = [pool / "volumes" / "README", pool / "notes.txt", pool / "snapshots" / ("x" * 40)]
    for path in others:
        path.write_text("precious")
    foreign = pool / "volumes" / "000000000000-00000000-00000000000000000000"
    foreign.mkdir()
    (foreign / "data").write_text("precious")
    (pool / "volumes" / "loop").symlink_to("/etc")
    strange = pool / "volumes" / f"{driver.known}.dreaming"
    strange.mkdir()
    (strange / "data").write_text("precious")
    driver.start()
    driver.csi.delete(driver.csi.create("a").volume_id)
    driver.restart()
    for path in [*others, foreign / "data", strange / "data"]:
        assert path.read_text() == "precious"
        path.unlink()
    foreign.rmdir()
    strange.rmdir()
    (pool / "volumes" / "loop").unlink()


# --- what is on the device is not what the record says


def overwrite(image, offset, content):
    with open(image, "r+b") as file:
        file.seek(offset)
        file.write(content)


def wipe_and_run(image, *command):
    overwrite(image, 0, bytes(image.stat().st_size))
    machine.run(*command, image)


# An MBR with one Linux partition.
MBR = bytes(446) + bytes([0, 1, 1, 0, 0x83, 1, 1, 0]) + (2048).to_bytes(4, "little") * 2 + bytes(48) + b"\x55\xaa"

WRONG = {
    "nothing": (16 * MiB, "ext4", lambda image: overwrite(image, 0, bytes(16 * MiB)), "nothing"),
    "a file system of another kind": (300 * MiB, "ext4", lambda image: machine.run("mkfs.xfs", "-q", "-f", image), "xfs"),
    "ext2": (16 * MiB, "ext4", lambda image: machine.run("mkfs.ext2", "-q", "-F", image), "ext2"),
    "a partition table": (16 * MiB, "ext4", lambda image: overwrite(image, 0, MBR + bytes(16 * MiB - 512)), "dos"),
    "swap": (16 * MiB, "ext4", lambda image: wipe_and_run(image, "mkswap", "-q"), "swap"),
    "random bytes": (16 * MiB, "ext4", lambda image: overwrite(image, 0, os.urandom(16 * MiB)), ""),
    "an xfs without its super block": (300 * MiB, "xfs", lambda image: overwrite(image, 0, bytes(4 * KiB)), "nothing"),
    "two signatures": (300 * MiB, "xfs", lambda image: overwrite(image, 1024 + 56, b"\x53\xef"), ""),
}


@on_both_pools
@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("staged_before", [False, True])
def test_a_volume_that_holds_something_else_is_not_staged_and_nothing_is_changed(driver, what, staged_before):
    bytes, fstype, damage, said = WRONG[what]
    volume = driver.csi.create("a", bytes, mount(fstype))
    if staged_before:
        driver.use(volume.volume_id)
        driver.release(volume.volume_id)
    image = driver.image(volume.volume_id)
    damage(image)
    before = machine.checksum(image), (image.parent / "meta.json").read_bytes(), os.listdir(image.parent)
    for _ in range(2):
        with refused("DATA_LOSS", match=said):
            driver.stage(volume.volume_id)
        assert machine.mounts(driver.kubelet) == []
        assert machine.eventually(lambda: not machine.loops(driver.pool_path()))
        assert machine.tree(driver.state / "volumes") == []
    assert (machine.checksum(image), (image.parent / "meta.json").read_bytes(), os.listdir(image.parent)) == before
    driver.csi.delete(volume.volume_id)
