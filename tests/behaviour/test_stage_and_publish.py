"""The life of a volume on the node: stage, publish, statistics, unpublish, unstage; each of them again and again."""
import os
import subprocess
import sys

import pytest

import machine
from client import block, csi_pb2, mount, refused
from machine import KiB, MiB
from marks import on_both_pools


def write(path, text="content"):
    with open(path, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read(path):
    with open(path) as file:
        return file.read()


@on_both_pools
@pytest.mark.parametrize("fstype, bytes", [("ext4", 16 * MiB), ("xfs", 300 * MiB)])
def test_what_is_written_is_there_again_in_the_next_pod(driver, fstype, bytes):
    volume = driver.csi.create("a", bytes, mount(fstype))
    path = driver.use(volume.volume_id, mount(fstype))
    write(f"{path}/file")
    driver.release(volume.volume_id)
    assert machine.loops(driver.pool_path()) == {}
    path = driver.use(volume.volume_id, mount(fstype), pod="pod-2")
    assert read(f"{path}/file") == "content"


def test_a_volume_is_a_loop_device_with_direct_io_without_partitions(driver):
    volume = driver.csi.create("a")
    driver.use(volume.volume_id)
    (device,) = machine.loops(driver.pool_path())
    shown = machine.run("losetup", "-nO", "DIO,AUTOCLEAR,PARTSCAN,RO", device).split()
    assert shown == ["1", "1", "0", "0"]


@on_both_pools
def test_discarded_blocks_go_back_to_the_pool(driver):
    volume = driver.csi.create("a", 64 * MiB)
    path = driver.use(volume.volume_id)
    with open(f"{path}/file", "wb") as file:
        file.write(os.urandom(32 * MiB))
        os.fsync(file.fileno())
    full = machine.allocated(driver.image(volume.volume_id))
    os.unlink(f"{path}/file")
    machine.run("sync", "-f", path)
    machine.run("fstrim", path)
    machine.run("sync", "-f", driver.pool_path())
    assert machine.allocated(driver.image(volume.volume_id)) < full - 30 * MiB


# --- again and again (csi.md 1.6)


def test_stage_publish_unpublish_and_unstage_can_be_repeated(driver):
    volume = driver.csi.create("a")
    for _ in range(2):
        for _ in range(3):
            path = driver.stage(volume.volume_id)
        for _ in range(3):
            target = driver.publish(volume.volume_id)
        assert machine.mounts(driver.kubelet).count(path) == 1
        assert machine.mounts(driver.kubelet).count(target) == 1
        write(f"{target}/file")
        for _ in range(3):
            driver.unpublish(volume.volume_id, target)
        for _ in range(3):
            driver.unstage(volume.volume_id, path)
        assert os.path.isdir(path)


def test_staging_again_with_another_capability_already_exists(driver):
    volume = driver.csi.create("a")
    driver.stage(volume.volume_id, mount("ext4", "SINGLE_NODE_MULTI_WRITER"))
    for other in (mount("ext4", "SINGLE_NODE_SINGLE_WRITER"), mount("ext4", flags=["noatime"])):
        with refused("ALREADY_EXISTS"):
            driver.stage(volume.volume_id, other)


def test_staging_at_a_second_path_is_refused(driver):
    volume = driver.csi.create("a")
    first = driver.stage(volume.volume_id)
    second = driver.kubelet / "second"
    second.mkdir()
    with refused("FAILED_PRECONDITION", match=first):
        driver.stage(volume.volume_id, path=str(second))


def test_publishing_again_with_other_arguments_already_exists(driver):
    volume = driver.csi.create("a")
    target = driver.use(volume.volume_id)
    with refused("ALREADY_EXISTS"):
        driver.publish(volume.volume_id, readonly=True)
    with refused("ALREADY_EXISTS"):
        driver.publish(volume.volume_id, mount("", "SINGLE_NODE_SINGLE_WRITER"))
    assert "rw" in machine.mount_options(target)


def test_publishing_two_volumes_at_one_target_is_refused(driver):
    first, second = driver.csi.create("a"), driver.csi.create("b")
    target = driver.use(first.volume_id)
    write(f"{target}/file")
    driver.stage(second.volume_id)
    with refused("ALREADY_EXISTS", "FAILED_PRECONDITION"):
        driver.publish(second.volume_id, target=target)
    assert read(f"{target}/file") == "content"


def test_publishing_before_staging_is_refused(driver):
    volume = driver.csi.create("a")
    with refused("FAILED_PRECONDITION", match="stag"):
        driver.publish(volume.volume_id)
    assert not os.path.exists(driver.target_path(volume.volume_id))


def test_publishing_without_a_staging_path_is_refused(driver):
    volume = driver.csi.create("a")
    driver.stage(volume.volume_id)
    with refused("FAILED_PRECONDITION"):
        driver.csi.NodePublishVolume(volume_id=volume.volume_id, target_path=driver.target_path(volume.volume_id),
                                     volume_capability=mount())


def test_publishing_from_another_staging_path_is_refused(driver):
    volume, other = driver.csi.create("a"), driver.csi.create("b")
    driver.stage(volume.volume_id)
    staging_of_other = driver.stage(other.volume_id)
    for staging in (staging_of_other, str(driver.kubelet)):
        with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
            driver.publish(volume.volume_id, staging=staging)


def test_publishing_to_a_second_pod_shows_the_same_files(driver):
    volume = driver.csi.create("a")
    first, second = driver.use(volume.volume_id, pod="one"), driver.publish(volume.volume_id, pod="two")
    write(f"{first}/file")
    assert read(f"{second}/file") == "content"
    driver.unpublish(volume.volume_id, first)
    assert read(f"{second}/file") == "content"


def test_a_read_only_publish_is_read_only_and_the_other_is_not(driver):
    volume = driver.csi.create("a")
    writable = driver.use(volume.volume_id, pod="one")
    read_only = driver.publish(volume.volume_id, pod="two", readonly=True)
    write(f"{writable}/file")
    assert read(f"{read_only}/file") == "content"
    with pytest.raises(OSError, match="Read-only"):
        write(f"{read_only}/other")
    assert "ro" in machine.mount_options(read_only)


def test_mount_flags_of_the_class_reach_the_mount(driver):
    volume = driver.csi.create("a")
    capability = mount("ext4", flags=["noatime", "nodev", "data=journal"])
    target = driver.use(volume.volume_id, capability)
    assert {"noatime", "nodev"} <= machine.mount_options(target)
    assert "data=journal" in machine.mount_options(driver.staging_path(volume.volume_id))


@pytest.mark.parametrize("flag", ["loop=/dev/loop0", "journal_path=/etc", "journal_dev=0x801", "X-mount.mkdir", "x-mount.subdir=a",
                                  "bind", "move", "remount", "helper=/bin/sh", "uhelper=x", "offset=4096", "user",
                                  "nonsense", "noatime,loop=/dev/loop0", "commit=abc"])
def test_mount_flags_that_name_files_or_mean_nothing_are_refused(driver, flag):
    volume = driver.csi.create("a")
    with refused("INVALID_ARGUMENT"):
        driver.stage(volume.volume_id, mount("ext4", flags=[flag]))
    assert machine.mounts(driver.kubelet) == []
    driver.stage(volume.volume_id)


def test_the_wrong_kind_of_capability_is_refused(driver):
    mounted, device = driver.csi.create("a"), driver.csi.create("b", capability=block())
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", match="file system"):
        driver.stage(mounted.volume_id, block())
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", match="ext4"):
        driver.stage(mounted.volume_id, mount("xfs"))
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", match="block"):
        driver.stage(device.volume_id, mount("ext4"))
    driver.stage(mounted.volume_id)
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", "ALREADY_EXISTS"):
        driver.publish(mounted.volume_id, block())


def test_a_volume_that_is_not_there_is_not_found(driver):
    gone = driver.csi.create("gone").volume_id
    driver.csi.delete(gone)
    for volume_id in (gone, "nonsense"):
        with refused("NOT_FOUND"):
            driver.stage(volume_id)
        with refused("NOT_FOUND"):
            driver.publish(volume_id)
        with refused("NOT_FOUND"):
            driver.csi.NodeGetVolumeStats(volume_id=volume_id, volume_path=str(driver.kubelet))
        with refused("NOT_FOUND"):
            driver.csi.NodeExpandVolume(volume_id=volume_id, volume_path=str(driver.kubelet))
        # What is to be undone is undone.
        driver.unpublish(volume_id)
        driver.unstage(volume_id)


def test_unpublish_removes_a_target_that_is_not_mounted(driver):
    volume = driver.csi.create("a")
    target = driver.target_path(volume.volume_id)
    os.mkdir(target)
    driver.unpublish(volume.volume_id)
    with open(target, "w"):
        pass
    driver.unpublish(volume.volume_id)


def test_unpublish_never_removes_what_is_not_empty(driver):
    volume = driver.csi.create("a")
    target = driver.target_path(volume.volume_id)
    os.mkdir(target)
    write(f"{target}/precious")
    with refused("FAILED_PRECONDITION"):
        driver.unpublish(volume.volume_id)
    assert read(f"{target}/precious") == "content"


def test_unpublish_and_unstage_leave_what_is_not_ours(driver):
    volume = driver.csi.create("a")
    target, staging = driver.target_path(volume.volume_id), driver.staging_path(volume.volume_id)
    os.mkdir(target)
    for path in (target, staging):
        machine.run("mount", "-t", "tmpfs", "tmpfs", path)
        write(f"{path}/precious")
    with refused("FAILED_PRECONDITION"):
        driver.unpublish(volume.volume_id)
    with refused("FAILED_PRECONDITION"):
        driver.unstage(volume.volume_id)
    with refused("FAILED_PRECONDITION"):
        driver.stage(volume.volume_id)
    for path in (target, staging):
        assert read(f"{path}/precious") == "content"
        machine.run("umount", path)
    os.rmdir(target)


def test_unstage_before_unpublish_is_refused(driver):
    for number, capability in enumerate((mount(), block())):
        volume = driver.csi.create(f"v{number}", capability=capability)
        target = driver.use(volume.volume_id, capability)
        with refused("FAILED_PRECONDITION", match=target):
            driver.unstage(volume.volume_id)
        assert machine.is_mounted(target)


@pytest.mark.parametrize("kind", [mount, block])
def test_a_busy_target_is_refused_and_the_holder_is_named(driver, kind):
    volume = driver.csi.create("a", capability=kind())
    target = driver.use(volume.volume_id, kind())
    path = target if kind is block else f"{target}/file"
    holder = subprocess.Popen([sys.executable, "-c", "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()", path],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with refused("FAILED_PRECONDITION", match=f"python.*{holder.pid}|{holder.pid}.*python"):
        driver.unpublish(volume.volume_id)
    assert machine.is_mounted(target)
    holder.communicate()
    driver.release(volume.volume_id)


def test_statistics_are_those_of_the_file_system(driver):
    volume = driver.csi.create("a", 64 * MiB)
    path = driver.use(volume.volume_id)
    with open(f"{path}/file", "wb") as file:
        file.write(b"x" * 8 * MiB)
        os.fsync(file.fileno())
    status = os.statvfs(path)
    for where in (path, driver.staging_path(volume.volume_id)):
        usage = {csi_pb2.VolumeUsage.Unit.Name(entry.unit): entry
                 for entry in driver.csi.NodeGetVolumeStats(volume_id=volume.volume_id, volume_path=where).usage}
        assert usage["BYTES"].total == status.f_blocks * status.f_frsize
        assert usage["BYTES"].available == status.f_bavail * status.f_frsize
        assert usage["BYTES"].used == (status.f_blocks - status.f_bfree) * status.f_frsize >= 8 * MiB
        assert usage["INODES"].total == status.f_files
        assert usage["INODES"].available == status.f_ffree
        assert usage["INODES"].used == status.f_files - status.f_ffree


def test_statistics_of_a_block_volume_are_its_size(driver):
    volume = driver.csi.create("a", capability=block())
    path = driver.use_block(volume.volume_id)
    (usage,) = driver.csi.NodeGetVolumeStats(volume_id=volume.volume_id, volume_path=path).usage
    assert usage.unit == csi_pb2.VolumeUsage.BYTES and usage.total == volume.capacity_bytes


def test_statistics_where_the_volume_is_not_are_not_found(driver):
    volume, other = driver.csi.create("a"), driver.csi.create("b")
    driver.use(volume.volume_id)
    elsewhere = driver.use(other.volume_id)
    for path in (elsewhere, str(driver.kubelet), "/", "/nowhere", driver.target_path(volume.volume_id, "pod-9")):
        with refused("NOT_FOUND"):
            driver.csi.NodeGetVolumeStats(volume_id=volume.volume_id, volume_path=path)


# --- raw block volumes


@on_both_pools
def test_a_block_volume_is_a_device_of_its_size_that_reads_as_zeros(driver):
    volume = driver.csi.create("a", 8 * MiB, block())
    path = driver.use_block(volume.volume_id)
    assert os.path.exists(path) and machine.size_of_device(path) == 8 * MiB
    assert machine.checksum(path) == machine.checksum(driver.image(volume.volume_id))
    assert open(path, "rb").read() == bytes(8 * MiB)


@on_both_pools
def test_what_is_written_to_a_block_volume_is_there_again(driver):
    volume = driver.csi.create("a", 8 * MiB, block())
    content = os.urandom(8 * MiB)
    path = driver.use_block(volume.volume_id)
    with open(path, "r+b") as device:
        device.write(content)
        os.fsync(device.fileno())
    driver.release(volume.volume_id)
    assert machine.loops(driver.pool_path()) == {}
    assert driver.image(volume.volume_id).read_bytes() == content
    path = driver.use_block(volume.volume_id, pod="two", readonly=True)
    assert open(path, "rb").read() == content
    with pytest.raises(OSError):
        with open(path, "r+b", buffering=0) as device:
            device.write(bytes(4 * KiB))


def test_a_block_volume_is_published_to_two_pods(driver):
    volume = driver.csi.create("a", 8 * MiB, block())
    first, second = driver.use_block(volume.volume_id, pod="one"), driver.publish(volume.volume_id, block(), pod="two")
    reader = driver.publish(volume.volume_id, block(), pod="three", readonly=True)
    with open(first, "r+b") as device:
        device.write(b"x" * 4 * KiB)
        os.fsync(device.fileno())
    for path in (second, reader):
        assert open(path, "rb").read(4 * KiB) == b"x" * 4 * KiB
    for path in (first, second):
        driver.unpublish(volume.volume_id, path)
    assert open(reader, "rb").read(4 * KiB) == b"x" * 4 * KiB


def test_the_smallest_block_volume_works(driver):
    volume = driver.csi.create("a", 1, block())
    assert volume.capacity_bytes == 4 * KiB
    assert machine.size_of_device(driver.use_block(volume.volume_id)) == 4 * KiB
