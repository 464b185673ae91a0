"""Fixtures: volume groups, a driver for each test, and the check that it leaves nothing behind."""
import contextlib
import functools
import itertools
import os
import pathlib
import shutil
import signal
import sys

import pytest

if "PLINTH_WORK" not in os.environ:
    pytest.exit("start these tests with tests/lvm/run, which gives them a machine of their own", 2)
sys.path.append(str(pathlib.Path(__file__).parents[1] / "behaviour"))
pytest_plugins = ["counts"]

import endings
import groups
import machine
from groups import DISKS, Group
from kinds import KINDS
from lvm_driver import LvmDriver
from machine import GiB, MiB

WORK = pathlib.Path(os.environ["PLINTH_WORK"])
LOGS = pathlib.Path(os.environ["PLINTH_LOGS"])
numbers = itertools.count(1)


def marked(request, name):
    return [word for mark in request.node.iter_markers(name) for word in mark.args]


# --- volume groups


@pytest.fixture(scope="module")
def main():
    """The volume group of most tests: five disks, enough for every layout, and a thin pool."""
    group = Group("main", DISKS[:5], thin=2 * GiB)
    yield group
    group.remove()


@pytest.fixture
def new_group(request):
    """new_group("name", paths, thin=...): removed at the end, whatever state it is in."""
    made = []

    def make(name, paths, **more):
        made.append(Group(name, paths, **more))
        return made[-1]
    make.made = made
    yield make
    for group in made:
        group.remove()


@pytest.fixture
def new_disk():
    """new_disk(512 * MiB): a device for a physical volume that can be made to fail (groups.Mapped), on the last disk."""
    made, places = [], itertools.count()

    def make(size=512 * MiB, filled=False):
        number = next(places)
        made.append(groups.physical(f"t{next(numbers)}", size, DISKS[5], number, filled))
        return made[-1]
    yield make
    for disk in made:
        with contextlib.suppress(AssertionError):
            disk.mend()


@pytest.fixture(autouse=True)
def no_mapped_disk_is_left():
    """Runs last: what new_disk() made goes only when the volume groups on it are gone."""
    yield
    for name in groups.devices():
        if name.startswith("pv"):
            groups.succeeds("dmsetup", "remove", "--retry", "--force", name)
    assert groups.suspended() == []


# --- drivers


tear_down = functools.partial(endings.tear_down, forgiven=("in the pool: ", "device: "))


def clean_up(driver, name):
    """After a failed test: by force, so that the next one starts clean."""
    if driver.runs():
        driver.kill()
    for pid in machine.strangers([process.pid for process in LvmDriver.processes]):
        for number in (signal.SIGCONT, signal.SIGKILL):
            with contextlib.suppress(OSError):
                os.kill(pid, number)
    for device in groups.suspended():
        groups.succeeds("dmsetup", "resume", device)
    machine.thaw_leftovers(str(driver.directory))
    machine.unmount_all(str(driver.directory))
    for group in driver.groups():
        with contextlib.suppress(AssertionError):
            for left in group.names() - driver.before[group.name]:
                groups.succeeds("lvremove", "-qq", "-y", "-f", f"{group.name}/{left}")
    if driver.log.exists():
        LOGS.mkdir(parents=True, exist_ok=True)
        shutil.copy(driver.log, LOGS / f"{name.replace('/', '_')[:120]}.log")
    shutil.rmtree(driver.directory, ignore_errors=True)


@pytest.fixture
def new_driver(request, new_disk, new_group):  # those go after it
    """new_driver({"main": (group, "thinpool=thin")}, options=[...]): drivers that are not started yet.  At the end each of
    them gives back what it has, ends on SIGTERM with status 0, and has left nothing."""
    made = []

    def make(pools, options=(), driver_class=LvmDriver, **more):
        made.append(driver_class(WORK / f"t{next(numbers)}", pools, options=options, **more))
        return made[-1]
    yield make
    endings.end_all(made, request, tear_down, clean_up)


@pytest.fixture
def driver(request, new_driver, main):
    """A driver that runs, with one pool: thin unless a volume is asked for otherwise."""
    options = ["thinpool=thin", *marked(request, "pool")]
    return new_driver({"main": (main, ",".join(options))}, options=marked(request, "options")).use_tools().start()


@pytest.fixture
def csi(driver):
    return driver.csi


@pytest.fixture
def parameters(kind):
    return KINDS[kind]


def pytest_runtest_logreport(report):
    """A run takes minutes: what fails is told at once, in full at the end."""
    if report.failed:
        words = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr).strip()
        print(f"\nFAIL {report.nodeid} ({report.when}): {words[-600:]}", file=sys.__stderr__, flush=True)
