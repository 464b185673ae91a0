"""What a client can do (tests/behaviour/operations.py), on thin and on thick volumes; cut off by a kill, too."""
import pytest

import operations
from client import block, from_snapshot, from_volume
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
