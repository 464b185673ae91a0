"""Every operation is cut off at every step that changes something, by kill -9, by a failure and by a full disk.

For each operation, pool and fault point, and for each time the operation passes the point:
    kill      the driver dies there.  Started again, it serves the same call; everything is deleted, and nothing is left.
    fail      the call fails with a sentence; things are as before, or the call's work is done; the same call, to the same
    nospace   process, then succeeds; everything is deleted, and nothing is left.  (One on each kind of disk.)
What an operation passes is told by PLINTH_FAULT_TRACE (base/fault.h).  One point: run test_faults.py -k pool.file.create.sized.  One operation:
-k create_mount.  The table of all kills is printed at the end."""
import shutil

import pytest

import operations
from conftest import WORK, clean_up, numbers, tear_down
from driver import Driver, fault_points
from world import World, killed, name_of

PASSES_MOST = 6
# What only LVM has, tests/lvm kills.
ELSEWHERE = ("pool.lvm.", "pool.disk.", "pool.import.", "transfer.wipe.", "snapshot.removal.opened", "snapshot.removal.wiped",
             "snapshot.hold.suspended", "snapshot.making.cut", "snapshot.making.marked")
# Clearing up after a copy that is whole: that it fails is logged, and the next start mends it.  The call succeeds.
ONLY_KILLED = ("snapshot.copying.closed",)
POINTS = [point for point in fault_points() if not point.startswith(ELSEWHERE)]
MATRIX = [(operation, disk) for operation in operations.OPERATIONS for disk in operation.disks]


@pytest.fixture(scope="module", params=MATRIX, ids=[f"{name_of(operation)}-{disk}" for operation, disk in MATRIX])
def get_world(request, disks):
    """get_world() is the world of an operation and a pool.  After a failed test it is another one."""
    operation, disk = request.param
    worlds, broken, label = [], [], f"{name_of(operation)}-{disk}"

    def throw_away(world):
        clean_up(world.driver, label)
        shutil.rmtree(world.driver.directory, ignore_errors=True)
        shutil.rmtree(world.pool, ignore_errors=True)

    def make():
        name = f"t{next(numbers)}"
        (disks[disk].path / name).mkdir()
        return World(operation, Driver(WORK / name, {"scratch": (disks[disk].path / name, "")}))

    def get(spoilt=False):
        if spoilt:
            throw_away(worlds.pop())
        elif not worlds and broken:
            pytest.skip("the operation does not work even without a fault; see its first failure")
        elif not worlds:
            broken.append(True)
            worlds.append(make())
            broken.clear()
        return worlds[-1] if worlds else None
    get.label, get.disk = label, disk
    yield get
    for world in worlds:
        try:
            tear_down(world.driver, False)
        finally:
            throw_away(world)


@pytest.mark.parametrize("point", POINTS)
def test_an_operation_that_is_cut_off_can_be_repeated(request, get_world, point):
    world = get_world()
    passes = min(world.passes[point], PASSES_MOST)
    # What goes wrong is the same on both disks; they share the two ways in which it does.
    actions = {"reflink": ["fail"], "plain": ["nospace"]}[get_world.disk] if len(world.operation.disks) == 2 else ["fail", "nospace"]
    try:
        for number in range(1, passes + 1):
            world.kill_at(point, number)
            killed.setdefault(point, {})[get_world.label] = number
            for action in () if point in ONLY_KILLED else actions:
                world.fail_at(point, action, number)
    except BaseException:
        get_world(spoilt=True)
        raise
    if passes == 0:
        request.node.user_properties.append(("unreached", True))


def test_every_fault_point_was_killed(request):
    tried = [item for item in request.session.items if item.name.startswith("test_an_operation_that_is_cut_off")]
    if len(tried) < len(MATRIX) * len(POINTS):
        pytest.skip("only a part of the operations or fault points was tried")
    assert [point for point in POINTS if point not in killed] == []
