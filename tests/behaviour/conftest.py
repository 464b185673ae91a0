"""Fixtures: disks for pools, a driver for each test, and the check that it leaves nothing behind."""
import contextlib
import functools
import itertools
import os
import pathlib
import shutil

import pytest

pytest_plugins = ["counts"]

if "PLINTH_WORK" not in os.environ:
    pytest.exit("start these tests with tests/behaviour/run, which gives them namespaces of their own", 2)

import endings
import machine
from client import block
from driver import Driver
from machine import GiB
from marks import SECRET

WORK = pathlib.Path(os.environ["PLINTH_WORK"])
LOGS = pathlib.Path(os.environ["PLINTH_LOGS"])
numbers = itertools.count(1)


# --- disks


@pytest.fixture(scope="session")
def disks():
    made = {kind: machine.Disk(WORK, kind, kind, 20 * GiB) for kind in ("reflink", "plain")}
    yield made
    for disk in made.values():
        disk.remove()


@pytest.fixture
def disk(request, disks):
    """The disk of the pool: where files can share blocks, unless the test is for `both` or says otherwise."""
    return disks[getattr(request, "param", "reflink")]


@pytest.fixture
def small_disk(request):
    """small_disk("plain", 100 * MiB): a disk of its own for the test."""
    made = []

    def make(kind, size):
        made.append(machine.Disk(WORK, f"small-{next(numbers)}", kind, size))
        return made[-1]
    yield make
    for disk in made:
        disk.remove()


# --- drivers


def marked(request, name):
    return [mark for mark in request.node.iter_markers(name)]


tear_down = functools.partial(endings.tear_down, secrets=[SECRET])


def clean_up(driver, name):
    """After a failed test: by force, so that the next one starts clean."""
    if driver.runs():
        driver.kill()
    for pid in machine.strangers([process.pid for process in Driver.processes]):
        with contextlib.suppress(OSError):
            os.kill(pid, 9)
    machine.thaw_leftovers(str(driver.directory))
    machine.unmount_all(str(driver.directory))
    for path, _ in driver.pools.values():
        machine.detach_all(str(path))
    if driver.log.exists():
        LOGS.mkdir(parents=True, exist_ok=True)
        shutil.copy(driver.log, LOGS / f"{name.replace('/', '_')[:120]}.log")


@pytest.fixture
def new_driver(request, disk):
    """new_driver(pools={...}, options=[...]): drivers that are not started yet.  At the end each of them gives back what
    it has, ends on SIGTERM with status 0, and has left nothing."""
    made, directories = [], []

    def make(pools=None, options=(), **more):
        number = next(numbers)
        directory = WORK / f"t{number}"
        if pools is None:
            path = disk.path / f"t{number}"
            path.mkdir()
            text = ",".join(mark.args[0] for mark in marked(request, "pool"))
            pools = {"scratch": (path, text)}
        driver = Driver(directory, pools, options=options, **more)
        directories.extend([directory, *(path for path, _ in pools.values())])
        made.append(driver)
        return driver
    yield make
    try:
        endings.end_all(made, request, tear_down, clean_up)
    finally:
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def driver(request, new_driver):
    """A driver that runs, with one pool."""
    options = [word for mark in marked(request, "options") for word in mark.args]
    environment = {key: value for mark in marked(request, "environment") for key, value in mark.kwargs.items()}
    return new_driver(options=options, environment=environment).start()


@pytest.fixture(scope="module")
def shared_driver(disks):
    """(a driver, the id of a volume), for the many cases of a module that only ask and leave nothing."""
    number = next(numbers)
    pool = disks["reflink"].path / f"t{number}"
    pool.mkdir()
    driver = Driver(WORK / f"t{number}", {"scratch": (pool, "")}).start()
    try:
        yield driver, driver.csi.create("shared", 1 << 20, block()).volume_id
        tear_down(driver, False)
    finally:
        clean_up(driver, f"shared-{number}")
        shutil.rmtree(driver.directory, ignore_errors=True)
        shutil.rmtree(pool, ignore_errors=True)


@pytest.fixture
def csi(driver):
    return driver.csi
