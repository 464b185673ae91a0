"""Every operation is cut off at every step that changes something, by kill -9, by a failure and by a full disk.

For each operation, pool and fault point, and for each time the operation passes the point:
    kill      the driver dies there.  Started again, it serves the same call; everything is deleted, and nothing is left.
    fail      the call fails with a sentence; things are as before, or the call's work is done; the same call, to the same
    nospace   process, then succeeds; everything is deleted, and nothing is left.  (One on each kind of disk.)
What an operation passes is told by PLINTH_FAULT_TRACE (base/fault.h).  One point: run test_faults.py -k pool.file.create.sized.  One operation:
-k create_mount.  The table of all kills is printed at the end."""
import collections
import json
import re
import shutil

import grpc
import pytest

import machine
import operations
from client import check_sentence, until_ok
from conftest import WORK, clean_up, numbers, tear_down
from driver import Died, Driver, fault_points
from operations import CONTENT, block_volume, starts_with

PASSES_MOST = 6
POINTS = fault_points()
killed = {}  # {point: {operation and pool: how many passes}}


def name_of(operation):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation.__name__).lower()


MATRIX = [(operation, disk) for operation in operations.OPERATIONS for disk in operation.disks]


class World:
    """A driver, its pool and one operation on it, which is begun again and again."""

    def __init__(self, operation, disk):
        number = next(numbers)
        self.operation, self.kind, self.pool = operation(), disk.kind, disk.path / f"t{number}"
        self.pool.mkdir()
        self.driver = Driver(WORK / f"t{number}", {"scratch": (self.pool, "")})
        self.start()
        self.bystander = block_volume(self, "bystander")
        self.bystander_snapshot = self.csi.snapshot("bystander", self.bystander).snapshot_id
        self.operation.prepare(self)
        self.begin = self.look()
        self.operation.before(self)
        trace = self.driver.directory / "trace"
        self.start(PLINTH_FAULT_TRACE=str(trace))
        self.operation.call(self)
        self.driver.kill()
        self.passes = collections.Counter(trace.read_text().split())
        self.start()
        self.operation.check(self)
        self.end = self.look()
        self.operation.undo(self)
        self.check_it_is_as_before()

    @property
    def csi(self):
        return self.driver.csi

    def start(self, fault=None, **variables):
        if self.driver.runs():
            self.driver.kill()
        self.driver.start(fault=fault, **variables)

    def empty_the_pool(self):
        """As it was before its very first start."""
        if self.driver.runs():
            self.driver.kill()
        for path in self.pool.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.bystander = None

    # --- what there is

    def records(self):
        found = {}
        for path in self.pool.glob("*/*/meta.json"):
            record = json.loads(path.read_text())
            found[path.parent.name] = (record["bytes"], record.get("copying", False))
        return found

    def look(self):
        """All that must be as before, when all is undone."""
        # A volume's read-only device stays until the volume is unstaged, so devices are not counted.
        attached = sorted(set(machine.loops(str(self.pool)).values()))
        found = (machine.tree(self.pool), self.records(), sorted(machine.mounts(str(self.driver.kubelet))), attached,
                 machine.tree(self.driver.state))
        identity = self.pool / "pool.json"
        if identity.exists():  # another one after the pool was emptied
            found = eval(repr(found).replace(json.loads(identity.read_text())["id"], "POOL"))  # pylint: disable=eval-used
        return found

    def is_like(self, *expected):
        return machine.eventually(lambda: self.look() in expected, 1)

    def check_it_is_as_before(self):
        assert self.is_like(self.begin), differences(self.begin, self.look())
        if self.bystander:
            assert starts_with(self.driver.image(self.bystander)) and starts_with(self.driver.image(self.bystander_snapshot, "snapshots"))
            assert len(CONTENT) > 4096

    # --- what is tried

    def succeed(self, *more_codes):
        """The call, as a client repeats it, and all that follows."""
        until_ok(lambda: self.operation.call(self), 5, ("ABORTED", "UNAVAILABLE", *more_codes))
        self.operation.check(self)
        self.operation.undo(self)
        self.check_it_is_as_before()

    def kill_at(self, point, number):
        self.operation.before(self)
        try:
            self.start(f"{point}=kill:{number}")
            self.operation.call(self)
        except Died:
            pass
        except grpc.RpcError as error:
            assert self.driver.ended_by_kill(), f"not killed, but refused: {error.details()}"
        assert self.driver.ended_by_kill(), f"not killed at pass {number} of {self.passes[point]}"
        self.driver.close_client()
        self.start()
        self.succeed()

    def fail_at(self, point, action, number):
        starting = isinstance(self.operation, (operations.Recover, operations.NewPool))
        self.operation.before(self)
        try:
            self.start(f"{point}={action}:{number}")
        except Died:  # what it cannot start without
            assert starting and self.driver.process.returncode == 1
            self.start()
        try:
            self.operation.call(self)
            assert starting or self.operation.takes_away, f"{action} at {point} was not noticed"
            self.operation.check(self)
        except grpc.RpcError as error:
            check_sentence(error)
            assert starting or point in error.details(), f"another failure: {error.code().name} {error.details()}"
            assert starting or error.code().name == {"fail": "INTERNAL", "nospace": "RESOURCE_EXHAUSTED"}[action], error.code().name
            assert starting or self.operation.takes_away or self.is_like(self.begin, self.end), \
                f"left after the failure at {point}: {differences(self.begin, self.look())}"
        assert machine.thaw_leftovers(str(self.driver.kubelet)) == [], "it is frozen still"
        unfinished = [name for root in (self.pool, self.driver.state) for name in machine.tree(root) if name.endswith(".new")]
        assert unfinished == [], f"left after the failure at {point}: {unfinished}"
        # A pool that could not be opened is tried again after a second.
        self.succeed(*(["INTERNAL", "RESOURCE_EXHAUSTED"] if starting else []))


def differences(before, after):
    """Both as text, without what is the same."""
    lines = []
    for old, new in zip(before, after):
        old, new = (set(map(str, part.items() if isinstance(part, dict) else part)) for part in (old, new))
        lines += [f"missing: {line}" for line in sorted(old - new)] + [f"left: {line}" for line in sorted(new - old)]
    return "\n".join(lines) or "the same things in other numbers"


@pytest.fixture(scope="module", params=MATRIX, ids=[f"{name_of(operation)}-{disk}" for operation, disk in MATRIX])
def get_world(request, disks):
    """get_world() is the world of an operation and a pool.  After a failed test it is another one."""
    operation, disk = request.param
    worlds, broken, label = [], [], f"{name_of(operation)}-{disk}"

    def throw_away(world):
        clean_up(world.driver, label)
        shutil.rmtree(world.driver.directory, ignore_errors=True)
        shutil.rmtree(world.pool, ignore_errors=True)

    def get(spoilt=False):
        if spoilt:
            throw_away(worlds.pop())
        elif not worlds and broken:
            pytest.skip("the operation does not work even without a fault; see its first failure")
        elif not worlds:
            broken.append(True)
            worlds.append(World(operation, disks[disk]))
            broken.clear()
        return worlds[-1] if worlds else None
    get.label = label
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
    actions = {"reflink": ["fail"], "plain": ["nospace"]}[world.kind] if len(world.operation.disks) == 2 else ["fail", "nospace"]
    try:
        for number in range(1, passes + 1):
            world.kill_at(point, number)
            killed.setdefault(point, {})[get_world.label] = number
            for action in actions:
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


def table():
    """A line for each fault point: the operations that were killed there, and at how many passes."""
    for point in POINTS:
        if point in killed:
            yield f"{point}: " + ", ".join(f"{label} {count}" for label, count in killed[point].items())
