"""The driver with pools of LVM."""
import contextlib
import os
import pathlib
import signal
import stat

import grpc

import groups
import machine
from client import csi_pb2, until_ok
from driver import PATIENCE, Driver
from patient import PatientClient


class LvmClient(PatientClient):
    seconds = 120 * PATIENCE


class LvmDriver(Driver):
    """`pools` is {name: (Group, more options as text)}; a Group with thin=... has a thin pool `thin`."""
    client = LvmClient
    documented_state = {"volumes", "frozen", "lvm", "lvm/lvm.conf"}

    def __init__(self, directory, pools, **more):
        super().__init__(directory, pools, **more)
        self.before = {group.name: group.parts() for group in self.groups()}
        self.devices_before = set(groups.devices())
        self.tools = self.directory / "tools"

    def groups(self):
        return list({group.name: group for group, _ in self.pools.values() if isinstance(group, groups.Group)}.values())

    @property
    def group(self):
        return self.groups()[0]

    @staticmethod
    def pool_text(group, more):
        if not isinstance(group, groups.Group):
            return Driver.pool_text(group, more)
        return f"lvm:vg={group.called or group.name}" + (f",{more}" if more else "")

    def home(self, volume_id):
        return next((group for group in self.groups() if volume_id in group.names()), self.group)

    @contextlib.contextmanager
    def opened(self, volume_id, kind="volumes"):
        with self.home(volume_id).opened(volume_id) as path:
            yield path

    def image(self, volume_id, kind="volumes"):
        raise NotImplementedError("a logical volume is not always there: use opened()")

    def in_use(self, volume_id):
        return int(self.home(volume_id).has_device(volume_id))

    def record(self, volume_id, kind="volumes"):
        return {"bytes": self.home(volume_id).size(volume_id)}

    def left_in_pools(self):
        machine.eventually(lambda: set(groups.devices()) <= self.devices_before, 1)
        found = [f"suspended: {name}" for name in groups.suspended()]
        for group in self.groups():
            found += [f"in the pool: {name}" for name in group.parts() - self.before[group.name] - {"lvol0_pmspare"}]
        others = [groups.device_name(group.name, "thin") for group in self.groups()] + ["pv"]  # new_disk()
        left = [name for name in set(groups.devices()) - self.devices_before if not name.startswith(tuple(others))]
        return found + [f"device: {name}" for name in sorted(left)]

    # --- lvm behind a script, so that it can be looked at, stopped and be gone

    def use_tools(self):
        """Puts a script before lvm in the driver's PATH, before it is started."""
        self.tools.mkdir()
        script = self.tools / "lvm"
        script.write_text(f"""#!/bin/sh
echo "$@" >>{self.tools}/commands
[ ! -e {self.tools}/stuck ] || {{ echo $$ >>{self.tools}/pids; kill -STOP $$; }}
[ ! -e {self.tools}/instead ] || exec sh {self.tools}/instead "$@"
exec /sbin/lvm "$@"
""")
        script.chmod(0o755)
        self.environment["PATH"] = f"{self.tools}:{os.environ['PATH']}"
        return self

    def commands(self):
        """The lvm commands since the last time this was asked."""
        path = self.tools / "commands"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return lines

    def stuck_pids(self):
        path = self.tools / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    @contextlib.contextmanager
    def stuck(self):
        """All lvm commands of the driver stop before they do anything, for a while."""
        (self.tools / "stuck").touch()
        try:
            yield
        finally:
            (self.tools / "stuck").unlink()
            self.let_go_on()

    def let_go_on(self, number=signal.SIGCONT):
        """What has stopped, or another signal for it."""
        for pid in self.stuck_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        (self.tools / "pids").unlink(missing_ok=True)

    @contextlib.contextmanager
    def instead_of_lvm(self, script):
        (self.tools / "instead").write_text(script)
        try:
            yield
        finally:
            (self.tools / "instead").unlink()

    @contextlib.contextmanager
    def lvm_that_stops(self, moment, word):
        """The first lvm command of the driver with that word stops with a device suspended, at a moment of stop_lvm.c."""
        library = self.tools / "stop_lvm.so"
        machine.run("cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, pathlib.Path(__file__).with_name("stop_lvm.c"))
        script = f"""case "$*" in *{word}*)
    mkdir {self.tools}/once 2>/dev/null && echo $$ >>{self.tools}/pids && export LD_PRELOAD={library} PLINTH_STOP_AT={moment} ;;
esac
exec /sbin/lvm "$@"
"""
        with self.instead_of_lvm(script):
            try:
                yield
            finally:
                self.let_go_on()


def is_block_device(path):
    return stat.S_ISBLK(pathlib.Path(path).stat().st_mode)


def storage_health(driver):
    """{reason: (status, message)} of what is wrong with the pools."""
    return {entry.reason: (csi_pb2.StorageHealthErrorType.Name(entry.status), entry.message)
            for entry in driver.csi.NodeGetStorageHealth().backend_health}


def eventually_ok(call, seconds=20, codes=("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL")):
    """For what recovers by itself."""
    try:
        return until_ok(call, seconds * PATIENCE, codes)
    except grpc.RpcError as error:
        raise AssertionError(f"did not recover: {error.code().name} {error.details()}") from error
