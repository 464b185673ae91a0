"""Fixtures: pretended volume groups on a disk where files can share blocks, drivers on them, and the check that nothing is left."""
import itertools
import os
import pathlib
import shutil
import sys

import pytest

if "PLINTH_WORK" not in os.environ:
    pytest.exit("start these tests with tests/pretend/run, which gives them namespaces of their own", 2)
HERE = pathlib.Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "behaviour")]
pytest_plugins = ["counts"]
WORK, LOGS = pathlib.Path(os.environ["PLINTH_WORK"]), pathlib.Path(os.environ["PLINTH_LOGS"])
os.environ["PRETEND_LVM"] = str(WORK / "disk/lvm")

import endings
import machine
import volume_group
from machine import GiB
from pretend_driver import Group, PretendDriver, kill_children

numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def disk():
    made = machine.Disk(WORK, "disk", "reflink", 60 * GiB)
    volume_group.TOP.mkdir()
    yield made
    made.remove()


@pytest.fixture
def new_group():
    """new_group(...): a volume group of its own for the test."""
    made = []

    def make(**more):
        made.append(Group(f"vg-{next(numbers)}", **more))
        return made[-1]
    yield make
    for group in made:
        group.remove()


def marked(request, name):
    return [word for mark in request.node.iter_markers(name) for word in mark.args]


def clean_up(driver, name):
    """After a failed test: by force, so that the next one starts clean."""
    if driver.runs():
        driver.kill()
    kill_children(machine.strangers([process.pid for process in PretendDriver.processes]))
    machine.thaw_leftovers(str(driver.directory))
    machine.unmount_all(str(driver.directory))
    if (volume_group.TOP / "commands").exists():
        shutil.copy(volume_group.TOP / "commands", WORK / "commands")
    if driver.log.exists():
        LOGS.mkdir(parents=True, exist_ok=True)
        shutil.copy(driver.log, LOGS / f"{name.replace('/', '_')[:120]}.log")
    shutil.rmtree(driver.directory, ignore_errors=True)


@pytest.fixture
def new_driver(request, new_group):
    """new_driver({"main": (group, "thinpool=thin")}): drivers that are not started yet.  At the end each of them gives back
    what it has, ends on SIGTERM with status 0 (so without a leak), has left nothing and has no report in its log."""
    made = []

    def make(pools, **more):
        made.append(PretendDriver(WORK / f"t{next(numbers)}", pools, **more))
        return made[-1]
    yield make
    endings.end_all(made, request, endings.tear_down, clean_up)


@pytest.fixture
def group(new_group):
    return new_group()


@pytest.fixture
def driver(request, new_driver, group):
    """A driver that runs, with one pool: thin unless a volume is asked for otherwise."""
    return new_driver({"main": (group, ",".join(["thinpool=thin", *marked(request, "pool")]))}).start()


@pytest.fixture
def csi(driver):
    return driver.csi
