"""Growing volumes: while they are mounted, while nobody uses them, and what is refused."""
import os

import pytest

import machine
from client import block, mount, refused, size
from machine import MiB
from marks import needs_sys_resource, on_both_pools, without_sys_resource

XFS = 300 * MiB


def fill(path):
    with open(f"{path}/file", "wb") as file:
        file.write(b"x" * MiB)
        os.fsync(file.fileno())


def node_expand(driver, volume_id, path, required=0, limit=0, capability=None):
    return driver.csi.NodeExpandVolume(volume_id=volume_id, volume_path=path, capacity_range=size(required, limit),
                                       staging_target_path=driver.staging_path(volume_id),
                                       volume_capability=capability or mount("")).capacity_bytes


def grow_mounted(driver, fstype, before, after):
    volume = driver.csi.create("a", before, mount(fstype))
    path = driver.use(volume.volume_id, mount(fstype))
    fill(path)
    was = machine.size_of_filesystem(path)
    answer = driver.csi.expand(volume.volume_id, after, volume_capability=mount(fstype))
    assert answer.capacity_bytes == after
    assert node_expand(driver, volume.volume_id, path, after, capability=mount(fstype)) == after
    assert machine.size_of_filesystem(path) > was + (after - before) * 3 // 4
    fill(path)
    assert driver.csi.ControllerGetVolume(volume_id=volume.volume_id).volume.capacity_bytes == after
    assert driver.record(volume.volume_id)["bytes"] == after == driver.image(volume.volume_id).stat().st_size
    return volume


@on_both_pools
def test_a_mounted_xfs_grows(driver):
    grow_mounted(driver, "xfs", XFS, 400 * MiB)


@needs_sys_resource
def test_a_mounted_ext4_grows(driver):
    grow_mounted(driver, "ext4", 16 * MiB, 64 * MiB)


@without_sys_resource
def test_a_mounted_ext4_that_the_kernel_does_not_let_grow_does_so_when_it_is_staged_again(driver):
    volume = driver.csi.create("a", 16 * MiB)
    path = driver.use(volume.volume_id)
    fill(path)
    with refused("FAILED_PRECONDITION", match="CAP_SYS_RESOURCE"):
        driver.csi.expand(volume.volume_id, 64 * MiB)
        node_expand(driver, volume.volume_id, path, 64 * MiB)
    driver.release(volume.volume_id)
    path = driver.use(volume.volume_id)
    assert machine.size_of_filesystem(path) > 48 * MiB
    assert os.path.getsize(f"{path}/file") == MiB


@on_both_pools
@pytest.mark.parametrize("fstype, before, after", [("ext4", 16 * MiB, 64 * MiB), ("ext4", 10 * MiB, 512 * MiB), ("xfs", XFS, 400 * MiB)])
def test_a_volume_that_nobody_uses_grows_and_its_file_system_by_the_next_mount(driver, fstype, before, after):
    volume = driver.csi.create("a", before, mount(fstype))
    path = driver.use(volume.volume_id)
    fill(path)
    was = machine.size_of_filesystem(path)
    driver.release(volume.volume_id)
    assert driver.csi.expand(volume.volume_id, after).capacity_bytes == after
    path = driver.use(volume.volume_id)
    assert machine.size_of_filesystem(path) > was + (after - before) * 3 // 4
    assert os.path.getsize(f"{path}/file") == MiB


def test_a_volume_that_was_never_used_grows(driver):
    volume = driver.csi.create("a", 16 * MiB)
    driver.csi.expand(volume.volume_id, 64 * MiB)
    assert machine.size_of_filesystem(driver.use(volume.volume_id)) > 48 * MiB


@on_both_pools
def test_a_block_volume_grows_while_it_is_used_and_the_new_part_is_zero(driver):
    volume = driver.csi.create("a", 8 * MiB, block())
    path = driver.use_block(volume.volume_id)
    content = os.urandom(8 * MiB)
    with open(path, "r+b") as device:
        device.write(content)
        os.fsync(device.fileno())
        assert driver.csi.expand(volume.volume_id, 16 * MiB, volume_capability=block()).capacity_bytes == 16 * MiB
        assert node_expand(driver, volume.volume_id, path, 16 * MiB, capability=block()) == 16 * MiB
    assert machine.size_of_device(path) == 16 * MiB
    assert open(path, "rb").read() == content + bytes(8 * MiB)


def test_a_thick_volume_stays_thick(driver):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={"provisioning": "thick"})
    driver.csi.expand(volume.volume_id, 32 * MiB)
    assert machine.allocated(driver.image(volume.volume_id)) >= 32 * MiB


def test_growth_survives_a_restart_while_it_is_mounted(driver):
    volume = driver.csi.create("a", XFS, mount("xfs"))
    path = driver.use(volume.volume_id, mount("xfs"))
    was = machine.size_of_filesystem(path)
    driver.restart()
    driver.csi.expand(volume.volume_id, 400 * MiB)
    assert machine.size_of_filesystem(path) > was + 75 * MiB


def test_a_size_that_it_has_already_changes_nothing(driver):
    volume = driver.csi.create("a", 16 * MiB)
    path = driver.use(volume.volume_id)
    for required in (0, 1, 8 * MiB, 16 * MiB):
        assert driver.csi.expand(volume.volume_id, required).capacity_bytes == 16 * MiB
        assert node_expand(driver, volume.volume_id, path, required) == 16 * MiB
    assert driver.image(volume.volume_id).stat().st_size == 16 * MiB


def test_the_node_expands_without_being_told_a_size(driver):
    volume = driver.csi.create("a", 16 * MiB)
    path = driver.use(volume.volume_id)
    answer = driver.csi.NodeExpandVolume(volume_id=volume.volume_id, volume_path=path)
    assert answer.capacity_bytes in (0, 16 * MiB)


def test_sizes_are_rounded_up_but_not_above_the_limit(csi):
    volume = csi.create("a", 16 * MiB)
    with refused("OUT_OF_RANGE", match="limit"):
        csi.expand(volume.volume_id, 17 * MiB + 1, 17 * MiB + 2)
    assert csi.expand(volume.volume_id, 17 * MiB + 1).capacity_bytes == 17 * MiB + 4096


def test_a_limit_below_its_size_is_out_of_range(csi):
    volume = csi.create("a", 16 * MiB)
    with refused("OUT_OF_RANGE"):
        csi.expand(volume.volume_id, 4 * MiB, 8 * MiB)


@pytest.mark.parametrize("required, limit", [(-1, 0), (0, -1), (-2**63, 0), (32 * MiB, 24 * MiB)])
def test_sizes_that_make_no_sense_are_invalid(csi, required, limit):
    volume = csi.create("a", 16 * MiB)
    with refused("INVALID_ARGUMENT"):
        csi.expand(volume.volume_id, required, limit)


@pytest.mark.parametrize("required", [2**63 - 1, 2**62 + 1, 2**62, 2**50])
def test_more_than_there_is_changes_nothing(driver, required):
    volume = driver.csi.create("a", 16 * MiB)
    path = driver.use(volume.volume_id)
    with refused("OUT_OF_RANGE", "RESOURCE_EXHAUSTED"):
        driver.csi.expand(volume.volume_id, required)
    with refused("OUT_OF_RANGE", "RESOURCE_EXHAUSTED"):
        node_expand(driver, volume.volume_id, path, required)
    assert driver.record(volume.volume_id)["bytes"] == 16 * MiB == driver.image(volume.volume_id).stat().st_size
    fill(path)


def test_a_capability_that_the_volume_does_not_have_is_invalid(csi):
    volume = csi.create("a", 16 * MiB)
    for capability in (block(), mount("xfs"), mount(mode="MULTI_NODE_MULTI_WRITER")):
        with refused("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
            csi.expand(volume.volume_id, 32 * MiB, volume_capability=capability)


def test_a_volume_that_is_not_there_is_not_found(csi):
    for volume_id in ("nonsense", csi.create("a").volume_id[:-1] + "0" * 1):
        with refused("NOT_FOUND"):
            csi.expand(volume_id + "x", 32 * MiB)


def test_the_node_expands_only_where_the_volume_is(driver):
    volume, other = driver.csi.create("a", 16 * MiB), driver.csi.create("b", 16 * MiB)
    elsewhere = driver.use(other.volume_id)
    for path in (elsewhere, str(driver.kubelet), "/nowhere"):
        with refused("NOT_FOUND", "FAILED_PRECONDITION"):
            node_expand(driver, volume.volume_id, path, 16 * MiB)
