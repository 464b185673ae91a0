"""The driver on pretended volume groups: `Group` is what an administrator would do and see, `PretendDriver` the driver."""
import contextlib
import os
import signal

import machine
import volume_group
from client import until_ok
from driver import PATIENCE, Driver
from machine import GiB, MiB
from patient import PatientClient

THIN, THICK = {"provisioning": "thin"}, {"provisioning": "thick"}
KINDS = {"thin": THIN, "linear": {**THICK, "layout": "linear"}, "striped": {**THICK, "layout": "striped"}, "raid1": {**THICK, "layout": "raid1"},
         "raid10": {**THICK, "layout": "raid10"}}


class Group:
    """A volume group `name` on four devices, with a thin pool `thin`."""

    def __init__(self, name, size=4 * GiB, devices=4, thin=2 * GiB):
        self.name = name
        (volume_group.TOP / "disks").mkdir(exist_ok=True)
        self.paths = [volume_group.TOP / "disks" / f"{name}-{number}" for number in range(devices)]
        for path in self.paths:
            with open(path, "wb") as file:
                file.truncate(size)
        with volume_group.Group.made(name, self.paths, MiB) as group:
            if thin:
                group.add("thin_tdata", parent="thin", bytes=thin, ranges=group.allocate(thin // group.extent))
                group.add("thin_tmeta", parent="thin", bytes=8 * MiB, ranges=group.allocate(8))
                group.add("thin", type="thin-pool", metadata=8 * MiB, bytes=thin)

    @contextlib.contextmanager
    def changed(self):
        """As another `lvm` would change it."""
        with volume_group.Group.opened(self.name) as group:
            yield group
            group.changed = True

    @contextlib.contextmanager
    def looked_at(self):
        with volume_group.Group.opened(self.name, write=False) as group:
            yield group

    def volumes(self):
        with self.looked_at() as group:
            return {name: volume for name, volume in group.volumes.items() if not volume["parent"] and volume["type"] != "thin-pool"}

    def names(self):
        return set(self.volumes())

    def drop(self, name):
        with self.changed() as group:
            group.remove(name)

    def number(self, name):
        with self.looked_at() as group:
            return group.number(name)

    def data(self, name):
        with self.looked_at() as group:
            return group.data(name)

    def fill_thin_pool(self, **numbers):
        """data_used, metadata_used in bytes, flags: what device-mapper says of it."""
        with self.changed() as group:
            group.volumes["thin"].update(numbers)

    def remove(self):
        """By force."""
        with contextlib.suppress(volume_group.Refused), self.changed() as group:
            for name in [name for name, volume in group.volumes.items() if not volume["parent"]]:
                with contextlib.suppress(volume_group.Refused, OSError):
                    if name in group.volumes:
                        group.remove(name)


class PretendClient(PatientClient):
    seconds = 30 * PATIENCE

    def expand(self, *arguments, **more):
        return until_ok(lambda: super(PretendClient, self).expand(*arguments, **more), self.seconds)


class PretendDriver(Driver):
    """`pools` is {name: (Group, more options as text)}."""
    client = PretendClient
    documented_state = {"volumes", "frozen", "lvm", "lvm/lvm.conf"}

    def groups(self):
        return [group for group, _ in self.pools.values()]

    @property
    def group(self):
        return self.groups()[0]

    @staticmethod
    def pool_text(group, more):
        return f"lvm:vg={group.name}" + (f",{more}" if more else "")

    def image(self, volume_id, kind="volumes"):
        """Where the bytes are of what is not active."""
        return self.group.data(volume_id)

    def in_use(self, volume_id):
        return int(self.group.number(volume_id) is not None)

    def record(self, volume_id, kind="volumes"):
        return {"bytes": self.group.volumes()[volume_id]["bytes"]}

    def left_in_pools(self):
        machine.eventually(lambda: all(group.names() == set() for group in self.groups()), 1)
        found = [f"in the pool: {name}" for group in self.groups() for name in sorted(group.names())]
        suspended = volume_group.TOP / "suspended"
        return found + [f"suspended: {path.name}" for path in (suspended.iterdir() if suspended.exists() else ())]


# --- what goes wrong with a command (lvm, misbehave())


def hanging():
    path = volume_group.TOP / "hanging"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@contextlib.contextmanager
def misbehaving(command, how):
    path = volume_group.TOP / f"on-{command}"
    path.write_text(how)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        (volume_group.TOP / "hanging").unlink(missing_ok=True)


@contextlib.contextmanager
def hanging_device_mapper():
    """Whoever asks device-mapper for a device waits: all there is is a pipe that nobody writes to."""
    devices, away = volume_group.TOP / "devices", volume_group.TOP / "away"
    devices.rename(away)
    devices.mkdir()
    os.mkfifo(devices / "hangs")
    try:
        yield
    finally:
        writer = os.open(devices / "hangs", os.O_RDWR)
        (devices / "hangs").unlink()
        devices.rmdir()
        away.rename(devices)
        os.close(writer)


def commands():
    """The commands since the last time this was asked."""
    path = volume_group.TOP / "commands"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return lines


def kill_children(pids):
    for pid in pids:
        for number in (signal.SIGCONT, signal.SIGKILL):
            with contextlib.suppress(OSError):
                os.kill(pid, number)


def tag_of(group, name):
    return next(tag for tag in group.volumes()[name]["tags"] if tag.startswith("plinth."))
