"""A driver on a scratch pool, and how the commands are run."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

PLINTH = os.environ["PLINTH"]
WORK = pathlib.Path(os.environ["WORK"])
SOCKET = "/run/plinth/csi.sock"  # the default of node and commands

counts = {"passed": 0, "failed": 0, "skipped": 0}


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        counts[report.outcome] += 1
    if report.outcome == "skipped":
        print(f"\nskip {report.nodeid}: {report.longrepr[2]}")


def pytest_unconfigure(config):
    if counts["passed"] + counts["failed"] + counts["skipped"] == 0:
        counts["failed"] = 1  # nothing was collected
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts), flush=True)


class Result:
    def __init__(self, process):
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr

    def __repr__(self):
        return f"status {self.status}\n{self.out}\n{self.err}"


def run(*words, env=None, timeout=60, **others):
    """Runs plinth with these words; CSI_ENDPOINT and the like of our own environment do not count."""
    clean = {key: text for key, text in os.environ.items() if key == "PATH" or key.endswith("SAN_OPTIONS")}
    process = subprocess.run([PLINTH, *map(str, words)], env={**clean, "TZ": "UTC", **(env or {})}, capture_output=True, text=True,
                             timeout=timeout, check=False, stdin=subprocess.DEVNULL, **others)
    return Result(process)


def without_progress(errors):
    """Standard error without lines of progress, which a busy disk may bring into any test."""
    return "".join(line for line in errors.splitlines(True) if not re.fullmatch(r"[a-z].*: \d+ s(, .*)?\n", line))


def good(*words, **others):
    """Runs what must succeed without an error; returns what it prints."""
    result = run(*words, **others)
    assert result.status == 0 and without_progress(result.err) == "", result
    return result.out


def value(*words, **others):
    """The same with -o json; returns the value."""
    return json.loads(good(*words, "-o", "json", **others))


def fails(code, *words, **others):
    """Runs what must fail with a gRPC code; returns the one line of the error."""
    result = run(*words, **others)
    assert result.status == 1 and result.out == "", result
    lines = result.err.splitlines()
    assert lines[-1].startswith(f"plinth: {code}: "), result
    return lines[-1]


def mistake(*words, **others):
    """Runs what must be refused as a mistake on the command line; returns the error."""
    result = run(*words, **others)
    assert result.status == 2 and result.out == "" and "--help" in result.err, result
    return result.err


def rows(table):
    """The rows of a printed table as dictionaries; checks that the columns are aligned."""
    head, *lines = table.splitlines()
    names = [name for name in head.split("  ") if name.strip()]
    starts = [head.index(name.strip()) for name in names]
    result = []
    for line in lines:
        ends = starts[1:] + [len(line)]
        assert all(line[start - 2:start] == "  " for start in starts[1:]), table
        result.append({name.strip(): line[a:b].strip() for name, a, b in zip(names, starts, ends)})
    return result


def mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return [line.split()[4] for line in lines]


def loops():
    """Files below the work directory that have loop devices, but for images of pools."""
    found = [path.read_text().strip() for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file")]
    return [path for path in found if path.startswith(str(WORK)) and not path.endswith("pool.img")]


def listens(path):
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


class Node:
    """`plinth node`, in the background."""

    def __init__(self, *words, endpoint=SOCKET, binary=PLINTH):
        self.endpoint = endpoint
        self.log = open(WORK / "node.log", "ab")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([binary, "node", "--endpoint", f"unix://{endpoint}", *map(str, words)],
                                        stdin=subprocess.DEVNULL, stderr=self.log)
        end = time.monotonic() + 10
        while not listens(endpoint):
            assert self.process.poll() is None and time.monotonic() < end, (WORK / "node.log").read_text()
            time.sleep(0.01)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0
        self.log.close()


@pytest.fixture(scope="session")
def node():
    driver = Node("--node-id", "here", "--pool", f"scratch=file:path={WORK}/pool,overprovision=10",
                  "--kubelet-dir", "/run/kubelet", "--state-dir", "/run/plinth/state")
    yield driver
    driver.stop()


@pytest.fixture(autouse=True)
def nothing_left(request):
    """After each test with the driver no volume, snapshot, mount, loop device or staging directory is left."""
    before = mounts()
    yield
    if "node" not in request.fixturenames:
        return
    for entry in value("volume", "list")["entries"]:
        identity = entry["volume"]["volumeId"]
        for target in [path for path in mounts() if path not in before and "/staging/" not in path]:
            run("volume", "unpublish", identity, target)
        assert run("volume", "delete", identity).status == 0
    for entry in value("snapshot", "list")["entries"]:
        assert run("snapshot", "delete", entry["snapshot"]["snapshotId"]).status == 0
    end = time.monotonic() + 2
    while loops() and time.monotonic() < end:
        time.sleep(0.01)
    assert loops() == [] and mounts() == before
    assert list(pathlib.Path("/run/plinth/staging").glob("*/*")) == []


@pytest.fixture
def place(tmp_path_factory):
    """A directory for targets."""
    path = WORK / "targets"
    path.mkdir(exist_ok=True)
    yield path
    assert list(path.iterdir()) == []


sys.path.insert(0, str(pathlib.Path(__file__).parent))
