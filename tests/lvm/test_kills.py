"""Every operation is killed (kill -9) at every step that changes something, on thin and on thick volumes.

Started again, the driver serves the same call; then everything is deleted, and nothing is left: no logical volume, no
device, nothing suspended.  What an operation passes is told by PLINTH_FAULT_TRACE (base/fault.h).  All of it takes half an
hour (run --all test_kills.py)."""
import os
import re
import shutil

import pytest

import groups
import machine
import operations
from client import block
from conftest import WORK, clean_up, numbers, tear_down
from driver import fault_points
from kinds import KINDS
from lvm_driver import LvmDriver
from machine import GiB, MiB
from operations import Operation
from world import World, killed, name_of

VOLUME = re.compile("[0-9a-f]{12}-[0-9a-f]{8}-[0-9a-f]{20}")
POINTS = fault_points()
ALL = "PLINTH_ALL" in os.environ  # else each point once on thin and once on thick, in the operations of SHORT
# No operation passes these: test_failing_disks.py, test_neighbours.py (and test_growth.py).
ELSEWHERE = ("pool.lvm.guard.", "pool.lvm.open.")
PASSES_MOST = 3 if ALL else 1
EXTENT = "1M"  # so that the operations' sizes need no rounding


@pytest.fixture(scope="module")
def fine():
    group = groups.Group("fine", groups.DISKS[:2], thin=GiB, extent=EXTENT)
    yield group
    group.remove()


@pytest.fixture(autouse=True)
def no_mapped_disk_is_left():
    """There are none here, and most of these tests are over at once."""


class LvmWorld(World):
    """A pool of LVM instead of a directory."""

    def __init__(self, operation, driver):
        self.group = driver.group
        super().__init__(operation, driver)

    def look(self):
        """All that must be as before, when all is undone.  The tags without what is another at each creation."""
        rows = self.group.volumes()
        # A volume may be active for its first stage; a snapshot or a cut that nobody copies may not.
        idle = {groups.device_name("fine", name) for name in rows if VOLUME.fullmatch(name)}
        devices = {name: count for name, (count, _) in groups.devices().items()
                   if not name.startswith(groups.device_name("fine", "thin")) and (count > 0 or name not in idle)}
        volumes = {name: (row["lv_size"], row["segtype"], [tag.split(":")[1] for tag in row["lv_tags"].split(",") if ":" in tag])
                   for name, row in rows.items()}
        return (sorted(volumes), volumes, sorted(machine.mounts(str(self.driver.kubelet))), sorted(devices), groups.suspended(),
                machine.tree(self.driver.state))

    def unfinished(self):
        return [name for name in machine.tree(self.driver.state) if name.endswith(".new")]


# --- what differs where a volume is a logical volume


class CreateThick(operations.CreateBlock):
    parameters = KINDS["linear"]


class CreateThickMirror(operations.CreateBlock):
    parameters = KINDS["raid1"]


class DeleteWiped(operations.DeleteVolume):
    def prepare(self, w):
        self.volume = w.csi.create("x", MiB, block(), parameters={"wipe": "zero"}).volume_id


class DeleteWipedSnapshot(operations.DeleteSnapshot):
    def prepare(self, w):
        self.volume = w.csi.create("origin", MiB, block(), parameters={"wipe": "zero"}).volume_id
        self.undo(w)


class DeleteWipedGroup(operations.DeleteGroup):
    def prepare(self, w):
        self.volumes = [w.csi.create(name, MiB, block(), parameters={"wipe": "zero"}).volume_id for name in ("origin", "other")]
        self.undo(w)


class RestoreThick(operations.Restore):
    def call(self, w):
        self.volume = w.csi.create("x", MiB, block(), source=self.source, parameters={"provisioning": "thick"}).volume_id


class RestoreThin(operations.Restore):
    def call(self, w):
        self.volume = w.csi.create("x", MiB, block(), source=self.source, parameters={"provisioning": "thin"}).volume_id


class Nothing(Operation):
    """Only started and stopped."""

    def prepare(self, w):
        self.volume = operations.block_volume(w, "x")

    def call(self, w):
        assert self.volume in w.csi.volume_ids()


BOTH = [operations.CreateMount, operations.CreateBlock, operations.CloneBlock, operations.CloneMounted, operations.Restore,
        operations.RestoreLarger, operations.SnapshotUnused, operations.SnapshotMounted, operations.SnapshotBlockInUse,
        operations.GroupSnapshot, operations.ExpandUnused, operations.ExpandBlockInUse, operations.ExpandMounted,
        operations.DeleteVolume, operations.DeleteSnapshot, operations.DeleteGroup, DeleteWiped, DeleteWipedSnapshot,
        DeleteWipedGroup, operations.StageMount, operations.StageGrown, operations.StageRestored, operations.StageBlock,
        operations.Unstage, operations.UnstageBlock]
ONCE = [operations.NodeExpand, operations.PublishMount, operations.PublishBlock, operations.PublishBlockReadonly,
        operations.Unpublish, operations.UnpublishBlock, Nothing]
SHORT = [operations.CreateMount, operations.CreateBlock, operations.RestoreLarger, operations.CloneMounted, operations.SnapshotMounted,
         operations.GroupSnapshot, operations.ExpandBlockInUse, operations.ExpandMounted, operations.DeleteVolume, DeleteWiped,
         operations.StageGrown, operations.StageBlock, operations.UnstageBlock, operations.PublishBlock]
MATRIX = ([(operation, kind) for operation in BOTH for kind in ("thin", "thick")] + [(operation, "thin") for operation in ONCE] +
          [(CreateThickMirror, "thick"), (RestoreThick, "thin"), (RestoreThin, "thick")])
if not ALL:
    MATRIX = [(operation, kind) for operation, kind in MATRIX if operation in SHORT]


@pytest.fixture(scope="module", params=MATRIX, ids=[f"{name_of(operation)}-{kind}" for operation, kind in MATRIX])
def get_world(request, fine):
    """get_world() is the world of an operation and a kind of volume.  After a failed test it is another one."""
    operation, kind = request.param
    worlds, broken, label = [], [], f"{name_of(operation)}-{kind}"

    def throw_away(driver):
        clean_up(driver, f"kills-{label}")

    def make():
        options = f"thinpool=thin,provisioning={kind}"
        driver = LvmDriver(WORK / f"t{next(numbers)}", {"fine": (fine, options)})
        try:
            worlds.append(LvmWorld(operation, driver))
        except BaseException:
            throw_away(driver)
            shutil.rmtree(driver.directory, ignore_errors=True)
            raise

    def get(spoilt=False):
        if spoilt:
            throw_away(worlds.pop().driver)
        elif not worlds and broken:
            pytest.skip("the operation does not work even without a fault; see its first failure")
        elif not worlds:
            broken.append(True)
            make()
            broken.clear()
        return worlds[-1] if worlds else None
    get.label, get.kind = label, kind
    yield get
    for world in worlds:
        try:
            tear_down(world.driver, False)
        finally:
            throw_away(world.driver)


@pytest.mark.parametrize("point", POINTS)
def test_an_operation_that_is_killed_can_be_repeated(request, get_world, point):
    world = get_world()
    was_killed = any(label.endswith(get_world.kind) for label in killed.get(point, ()))
    passes = 0 if was_killed and not ALL else min(world.passes[point], PASSES_MOST)
    try:
        for number in range(1, passes + 1):
            world.kill_at(point, number)
            killed.setdefault(point, {})[get_world.label] = number
    except BaseException:
        get_world(spoilt=True)
        raise
    if passes == 0:
        request.node.user_properties.append(("unreached", True))


def test_every_fault_point_of_the_pool_was_killed(request):
    tried = [item for item in request.session.items if item.name.startswith("test_an_operation_that_is_killed")]
    if len(tried) < len(MATRIX) * len(POINTS):
        pytest.skip("only a part of the operations or fault points was tried")
    ours = [point for point in POINTS if point.startswith("pool.lvm.") and not point.startswith(ELSEWHERE)]
    assert [point for point in ours if point not in killed] == []
