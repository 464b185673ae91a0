"""The driver as a process, with the directories it works in, and a kubelet's part: paths to stage and publish at."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import machine
from client import Client, block, mount

PLINTH = os.environ["PLINTH"]
REPORTS = re.compile(rb"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w+Sanitizer")
STOP_WITHIN = 5
DRIVER = "csi.plinth.dev"
TOPOLOGY_KEY = f"{DRIVER}/node"


def sanitizer():
    """The sanitizer of the binary, or None."""
    symbols = pathlib.Path(PLINTH).read_bytes()
    return next((name for name in ("tsan", "asan") if f"__{name}_init".encode() in symbols), None)


SANITIZER = sanitizer()
PATIENCE = max(10 if SANITIZER else 1, int(os.environ.get("PLINTH_PATIENCE", 1)))


def fault_points():
    return subprocess.run([PLINTH, "faults"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()


class Died(Exception):
    """The driver ended by itself while it was started."""


class Driver:
    """One `plinth node`.  It can be stopped, killed and started again, in the same directories."""

    processes = []  # of all drivers there have been
    client = Client

    def __init__(self, directory, pools, node="node-a", options=(), environment=None):
        self.directory = pathlib.Path(directory)
        self.pools = pools  # {name: (path, more options as text)}
        self.node, self.options, self.environment = node, list(options), dict(environment or {})
        self.socket = self.directory / "csi.sock"
        self.kubelet, self.state = self.directory / "kubelet", self.directory / "state"
        self.log = self.directory / "log"
        self.kubelet.mkdir(parents=True, exist_ok=True)
        self.process = self.csi = None
        self.staged, self.published = [], []  # (volume id, path), for the clean-up

    # --- life

    def command(self):
        command = [PLINTH, "node", "--endpoint", f"unix://{self.socket}", "--node-id", self.node,
                   "--kubelet-dir", self.kubelet, "--state-dir", self.state]
        for name, pool in self.pools.items():
            command += ["--pool", f"{name}={self.pool_text(*pool)}"]
        return [str(word) for word in command + self.options]

    @staticmethod
    def pool_text(path, more):
        return f"file:path={path}" + (f",{more}" if more else "")

    def start(self, fault=None, **variables):
        """Starts it and waits until it listens."""
        environment = {**os.environ, **self.environment, **variables}
        if fault:
            environment["PLINTH_FAULT"] = fault
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment)
        Driver.processes = [process for process in Driver.processes if process.poll() is None] + [self.process]
        end = time.monotonic() + 10 * PATIENCE
        while not self.answers():
            if self.process.poll() is not None:
                raise Died(f"the driver ended with {self.process.returncode}; its log ends:\n{self.tail()}")
            assert time.monotonic() < end, f"the driver does not listen; its log ends:\n{self.tail()}"
            time.sleep(0.001)
        self.csi = self.client(self.socket)
        return self

    def answers(self):
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(str(self.socket))
            return True
        return False

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def close_client(self):
        if self.csi is not None:
            self.csi.close()
            self.csi = None

    def stop(self):
        """SIGTERM: it must end with status 0 within five seconds."""
        self.close_client()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_WITHIN * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running {STOP_WITHIN} s after SIGTERM; its log ends:\n{self.tail()}") from None
        assert status == 0, f"ended with {status} after SIGTERM; its log ends:\n{self.tail()}"

    def kill(self):
        self.close_client()
        self.process.kill()
        self.process.wait()

    def restart(self, **variables):
        self.stop()
        return self.start(**variables)

    def ended_by_kill(self, seconds=1):
        """True if it is ended by SIGKILL, or just ending."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds * PATIENCE) == -signal.SIGKILL
        return False

    # --- what it says

    def log_bytes(self):
        return self.log.read_bytes() if self.log.exists() else b""

    def tail(self):
        return self.log_bytes()[-3000:].decode(errors="replace")

    def log_records(self):
        return [json.loads(line) for line in self.log_bytes().splitlines()]

    def memory(self, key="VmHWM"):
        """Bytes, from /proc/<pid>/status."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", status).group(1)) << 10

    # --- the pool's directory

    def pool_path(self, name=None):
        return pathlib.Path(self.pools[name or next(iter(self.pools))][0])

    def image(self, volume_id, kind="volumes"):
        found = [path for path, _ in self.pools.values() if (pathlib.Path(path) / kind / volume_id).exists()]
        return pathlib.Path(found[0] if found else self.pool_path()) / kind / volume_id / "data"

    @contextlib.contextmanager
    def opened(self, volume_id, kind="volumes"):
        """A path where the bytes of a volume or snapshot can be read and written, staged or not."""
        yield self.image(volume_id, kind)

    def content(self, volume_id, kind="volumes"):
        with self.opened(volume_id, kind) as image, open(image, "rb") as file:
            return file.read()

    def in_use(self, volume_id):
        """How many block devices the volume has now."""
        return sum(volume_id in file for path, _ in self.pools.values() for file in machine.loops(str(path)).values())

    def record(self, volume_id, kind="volumes"):
        return json.loads((self.image(volume_id, kind).parent / "meta.json").read_text())

    def half_made(self, kind="volumes"):
        """{id: record} of what is in phase `creating`."""
        return {path.parent.name: json.loads(path.read_text())
                for root, _ in self.pools.values() for path in pathlib.Path(root).glob(f"{kind}/*/meta.json.creating")}

    # --- the kubelet's part

    def staging_path(self, volume_id):
        path = self.kubelet / "plugins/kubernetes.io/csi" / DRIVER / volume_id / "globalmount"
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def target_path(self, volume_id, pod="pod-1"):
        path = self.kubelet / "pods" / pod / "volumes/kubernetes.io~csi" / volume_id
        path.mkdir(parents=True, exist_ok=True)
        return str(path / "mount")

    def stage(self, volume_id, capability=None, path=None, **more):
        path = path or self.staging_path(volume_id)
        self.csi.NodeStageVolume(volume_id=volume_id, staging_target_path=path,
                                 volume_capability=capability or mount(""), **more)
        if (volume_id, path) not in self.staged:
            self.staged.append((volume_id, path))
        return path

    def publish(self, volume_id, capability=None, pod="pod-1", readonly=False, target=None, staging=None, **more):
        target = target or self.target_path(volume_id, pod)
        self.csi.NodePublishVolume(volume_id=volume_id, target_path=target, readonly=readonly,
                                   staging_target_path=staging or self.staging_path(volume_id),
                                   volume_capability=capability or mount(""), **more)
        if (volume_id, target) not in self.published:
            self.published.append((volume_id, target))
        return target

    def use(self, volume_id, capability=None, **more):
        """Stages and publishes; the path where a pod would find it."""
        self.stage(volume_id, capability)
        return self.publish(volume_id, capability, **more)

    def use_block(self, volume_id, **more):
        return self.use(volume_id, block(), **more)

    def unpublish(self, volume_id, target=None):
        target = target or self.target_path(volume_id)
        self.csi.NodeUnpublishVolume(volume_id=volume_id, target_path=target)
        assert not os.path.lexists(target), f"{target} is still there after unpublish"
        self.published = [known for known in self.published if known != (volume_id, target)]

    def unstage(self, volume_id, path=None):
        path = path or self.staging_path(volume_id)
        self.csi.NodeUnstageVolume(volume_id=volume_id, staging_target_path=path)
        assert not machine.is_mounted(path), f"{path} is still mounted after unstage"
        self.staged = [known for known in self.staged if known != (volume_id, path)]

    def release(self, volume_id):
        """Unpublishes and unstages a volume wherever it is."""
        for known in [known for known in self.published if known[0] == volume_id]:
            self.unpublish(*known)
        for known in [known for known in self.staged if known[0] == volume_id]:
            self.unstage(*known)

    def release_everything(self):
        for volume_id in {known[0] for known in self.published + self.staged}:
            self.release(volume_id)

    # --- what it must not leave

    # What may be in a pool without volumes, and in the state directory (docs/on-disk.md).
    documented = {"pool.json", "lock", "volumes", "snapshots", "lost+found"}
    documented_state = {"volumes", "frozen"}

    def leftovers(self):
        """Sentences about everything that is left after the driver has ended and all has been deleted."""
        below = str(self.kubelet)
        found = [f"frozen: {path}" for path in machine.thaw_leftovers(below)]
        found += [f"mounted: {path}" for path in machine.mounts(below)]
        others = [process.pid for process in Driver.processes if process is not self.process]
        machine.eventually(lambda: not machine.strangers(others), 0.5)
        found += [f"process {pid}: {words}" for pid, words in machine.strangers(others).items()]
        found += self.left_in_pools()
        if self.state.exists():
            found += [f"in the state directory: {name}" for name in machine.tree(self.state)
                      if name not in self.documented_state]
        return found

    def left_in_pools(self):
        roots, found = [str(path) for path, _ in self.pools.values()], []
        machine.eventually(lambda: not any(machine.loops(root) for root in roots))
        for root in roots:
            found += [f"loop device: {device} on {file}" for device, file in machine.loops(root).items()]
            found += [f"in the pool: {name}" for name in machine.tree(root) if name not in self.documented]
        return found

    def check_log(self, secrets=()):
        """No report of a sanitizer, no secret, every line a JSON object."""
        log = self.log_bytes()
        report = REPORTS.search(log)
        assert report is None, f"sanitizer:\n{log[max(0, report.start() - 200):report.start() + 4000].decode(errors='replace')}"
        for secret in secrets:
            assert secret.encode() not in log, "a secret is in the log"
        for line in log.splitlines():
            assert isinstance(json.loads(line), dict), f"not a line of the log: {line!r}"
