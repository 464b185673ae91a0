"""A driver, its pool and one operation on it, which is begun, cut off and begun again: for test_faults.py."""
import collections
import json
import re
import shutil

import grpc

import machine
import operations
from client import check_sentence, until_ok
from driver import Died
from operations import CONTENT, block_volume, starts_with

killed = {}  # {point: {operation and pool: how many passes}}


def name_of(operation):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation.__name__).lower()


def table():
    """A line for each fault point: the operations that were killed there, and at how many passes."""
    for point, operations_killed in sorted(killed.items()):
        yield f"{point}: " + ", ".join(f"{label} {count}" for label, count in operations_killed.items())


class Driven:
    """What operations need: a driver that is killed and started again."""

    def __init__(self, driver):
        self.driver = driver

    @property
    def csi(self):
        return self.driver.csi

    def start(self, fault=None, **variables):
        if self.driver.runs():
            self.driver.kill()
        self.driver.start(fault=fault, **variables)


class World(Driven):
    """A driver, its pool and one operation on it, which is begun again and again."""

    def __init__(self, operation, driver):
        super().__init__(driver)
        self.operation = operation()
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

    @property
    def pool(self):
        return self.driver.pool_path()

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

    def unfinished(self):
        """Files that were being written."""
        return [name for root in (self.pool, self.driver.state) for name in machine.tree(root) if name.endswith(".new")]

    def is_like(self, *expected):
        return machine.eventually(lambda: self.look() in expected, 1)

    def check_it_is_as_before(self):
        assert self.is_like(self.begin), differences(self.begin, self.look())
        if self.bystander:
            assert starts_with(self, self.bystander) and starts_with(self, self.bystander_snapshot, "snapshots")
            assert len(CONTENT) > 4096

    # --- what is tried

    def succeed(self, *more_codes):
        """The call, as a client repeats it, and all that follows."""
        until_ok(lambda: self.operation.call(self), 5, ("ABORTED", "UNAVAILABLE", *more_codes))
        self.operation.check(self)
        self.operation.undo(self)
        self.check_it_is_as_before()

    def kill_at(self, point, number):
        killed_there = any(self.is_killed_at(point, number) for _ in range(tries(point, number)))
        assert killed_there, f"not killed at pass {number} of {self.passes[point]}"
        self.driver.close_client()
        self.start()
        self.succeed()

    def is_killed_at(self, point, number):
        """If not, it is all as before."""
        self.operation.before(self)
        try:
            self.start(f"{point}=kill:{number}")
            self.operation.call(self)
        except Died:
            pass
        except grpc.RpcError as error:
            assert self.driver.ended_by_kill(), f"not killed, but refused: {error.details()}"
        if self.driver.ended_by_kill():
            return True
        self.start()
        self.succeed()
        return False

    def fail_at(self, point, action, number):
        noticed = any(self.is_noticed_at(point, action, number) for _ in range(tries(point, number)))
        assert noticed, f"{action} at {point} was not noticed"

    def is_noticed_at(self, point, action, number):
        """It is all as before then."""
        starting = isinstance(self.operation, (operations.Recover, operations.NewPool))
        self.operation.before(self)
        try:
            self.start(f"{point}={action}:{number}")
        except Died:  # what it cannot start without
            assert starting and self.driver.process.returncode == 1
            self.start()
        try:
            self.operation.call(self)
            noticed = starting or self.operation.takes_away
            self.operation.check(self)
        except grpc.RpcError as error:
            noticed = True
            check_sentence(error)
            assert starting or point in error.details(), f"another failure: {error.code().name} {error.details()}"
            assert starting or error.code().name == {"fail": "INTERNAL", "nospace": "RESOURCE_EXHAUSTED"}[action], error.code().name
            assert starting or self.operation.takes_away or self.is_like(self.begin, self.end), \
                f"left after the failure at {point}: {differences(self.begin, self.look())}"
        assert machine.thaw_leftovers(str(self.driver.kubelet)) == [], "it is frozen still"
        unfinished = self.unfinished()
        assert unfinished == [], f"left after the failure at {point}: {unfinished}"
        if not noticed:
            self.start()
        # A pool that could not be opened is tried again after a second.
        self.succeed(*(["INTERNAL", "RESOURCE_EXHAUSTED"] if starting else []))
        return noticed


def tries(point, number):
    """How many pieces a copy has is what the file system in use has written by then, which differs a little: a pass that does
    not come is waited for."""
    return 10 if point == "transfer.copy.piece" and number > 1 else 1


def differences(before, after):
    """Both as text, without what is the same."""
    lines = []
    for old, new in zip(before, after):
        old, new = (set(map(str, part.items() if isinstance(part, dict) else part)) for part in (old, new))
        lines += [f"missing: {line}" for line in sorted(old - new)] + [f"left: {line}" for line in sorted(new - old)]
    return "\n".join(lines) or "the same things in other numbers"
