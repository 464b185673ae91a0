"""What a client can do (tests/behaviour/operations.py), on thin and on thick volumes; cut off by a kill, too."""
import time

import grpc
import pytest

import operations
from client import block, from_snapshot, from_volume, refused
from driver import PATIENCE
from machine import MiB
from operations import (CloneMounted, CreateMount, DeleteGroup, ExpandBlockInUse, ExpandMounted, ExpandUnused, GroupSnapshot, PublishBlockReadonly,
                        RecoverCreate, RecoverRestore, RecoverSnapshot, RestoreLarger, SnapshotBlockInUse, SnapshotMounted, StageClonedXfs, UnstageBlockReaders)
from pretend_driver import KINDS
from world import Driven

OPERATIONS = [CreateMount, CloneMounted, RestoreLarger, SnapshotMounted, SnapshotBlockInUse, GroupSnapshot, DeleteGroup, ExpandUnused, ExpandBlockInUse,
              PublishBlockReadonly, UnstageBlockReaders, RecoverCreate, RecoverRestore, RecoverSnapshot]
OF_ONE_KIND = {"thin": [StageClonedXfs], "thick": [ExpandMounted]}


@pytest.mark.parametrize("kind", ["thin", "thick"])
def test_every_operation(new_driver, group, kind):
    world = Driven(new_driver({"main": (group, "thinpool=thin,provisioning=" + kind)}).start())
    for operation in OPERATIONS + OF_ONE_KIND[kind]:
        doing = operation()
        doing.prepare(world)
        doing.before(world)
        if not world.driver.runs():
            world.start()
        doing.call(world)
        doing.check(world)
        world.driver.release_everything()
        world.csi.delete_everything()


def test_every_layout(driver, csi):
    """Made, filled, copied, grown, looked at."""
    for kind, parameters in KINDS.items():
        volume = csi.create(f"v-{kind}", 8 * MiB, block(), parameters=parameters).volume_id
        operations.fill(Driven(driver), volume)
        snapshot = csi.snapshot(f"s-{kind}", volume).snapshot_id
        for name, source in (("restored", from_snapshot(snapshot)), ("cloned", from_volume(volume))):
            copy = csi.create(f"{name}-{kind}", 12 * MiB, block(), source=source, parameters=parameters).volume_id
            assert operations.starts_with(Driven(driver), copy)
        assert csi.expand(volume, 20 * MiB).capacity_bytes >= 20 * MiB
        path = driver.use_block(volume)
        csi.NodeGetVolumeStats(volume_id=volume, volume_path=path)
        assert csi.health(volume) == {}
        driver.release(volume)
    assert csi.GetCapacity(parameters=KINDS["thin"]).available_capacity and csi.GetCapacity(parameters=KINDS["raid1"]).available_capacity
    assert not csi.ControllerListVolumeHealth().entries and not csi.NodeGetStorageHealth().backend_health


@pytest.mark.parametrize("wipe", ["zero", "discard"])
def test_wiping_goes_on_after_a_kill(driver, csi, group, wipe):
    parameters = {**KINDS["linear"], "wipe": wipe}
    volume = csi.create("a", 32 * MiB, block(), parameters=parameters).volume_id
    csi.delete(volume)
    volume = csi.create("b", 32 * MiB, block(), parameters=parameters).volume_id
    driver.restart(PLINTH_FAULT="pool.lvm.remove.before=kill")
    try:
        driver.csi.delete(volume)
    except Exception:  # pylint: disable=broad-except
        assert driver.ended_by_kill(5)
    driver.restart() if driver.runs() else driver.start()
    driver.csi.delete(volume)
    assert group.names() == set()


def test_a_half_made_group_is_wiped_while_the_driver_serves(driver, csi, group):
    volumes = [csi.create(name, 8 * MiB, block(), parameters={**KINDS["thin"], "wipe": "zero"}).volume_id for name in "abc"]
    driver.restart(PLINTH_FAULT="snapshot.making.ready=kill:2")
    with pytest.raises(grpc.RpcError):
        driver.csi.group("g", volumes)
    assert driver.ended_by_kill(5)
    began = time.monotonic()
    driver.start(fault="snapshot.removal.opened=sleep")
    assert driver.csi.snapshots() == [] and group.names() > set(volumes), "it is wiped before anybody is served"
    with refused("ABORTED", match="wiped"):
        driver.csi.CreateVolumeGroupSnapshot(name="g", source_volume_ids=volumes, timeout=2)
    assert time.monotonic() - began < 8 * PATIENCE
    made = driver.csi.group("g", volumes)
    assert made.ready_to_use and len(made.snapshots) == 3


def test_deleting_a_group_tells_how_far_its_wipe_is(driver, csi, group):
    volumes = [csi.create(name, 8 * MiB, block(), parameters={**KINDS["linear"], "wipe": "zero"}).volume_id for name in "ab"]
    made = csi.group("g", volumes)
    driver.restart(PLINTH_FAULT="snapshot.removal.opened=sleep")
    for _ in range(2):
        with refused("ABORTED", match="wiped"):
            driver.csi.DeleteVolumeGroupSnapshot(group_snapshot_id=made.group_snapshot_id, timeout=2)
    driver.csi.delete_group(made)
    assert group.names() == set(volumes)


def test_a_volume_whose_deletion_could_not_begin_can_be_used(driver, csi):
    volume = csi.create("a", 8 * MiB, block(), parameters=KINDS["linear"]).volume_id
    driver.restart(PLINTH_FAULT="transfer.copy.piece=sleep")
    assert not driver.csi.CreateSnapshot(name="s", source_volume_id=volume).snapshot.ready_to_use
    with refused("ABORTED", match="being copied"):
        driver.csi.DeleteVolume(volume_id=volume)
    driver.use_block(volume)
    driver.release(volume)
    assert driver.csi.snapshot("s", volume).ready_to_use
