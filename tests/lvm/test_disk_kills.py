"""The disk pool: its steps are killed (kill -9), and the calls repeated."""
import os
import subprocess

import grpc
import pytest

import machine
from client import block, mount
from content import get, put, same, SOME, zeros
from disks import SIZES, USABLE, capacity, driver, grow, named, new_pool, places, shelf, volume_groups  # pylint: disable=unused-import
from driver import Died, fault_points
from machine import MiB

CREATE = [(mount(), point) for point in ("pool.lvm.create.before", "pool.lvm.create.after", "controller.create.formatted",
                                         "pool.lvm.write.before", "pool.lvm.write.after")]
CREATE += [(block(), point) for point in ("pool.lvm.create.after", "snapshot.making.made", "snapshot.making.synced",
                                          "snapshot.making.ready")]
DELETE = [("none", "pool.lvm.remove.before"), ("none", "pool.lvm.remove.after"), ("zero", "snapshot.removal.marked"),
          ("zero", "snapshot.removal.wiped"), ("zero", "pool.lvm.remove.after")]
WIPE = ["pool.disk.wipe.before", "pool.disk.wipe.after"]
TAKE = ["pool.disk.take.before", "pool.disk.take.after"]
GROW = ["pool.disk.resize.before", "pool.disk.resize.after", "pool.lvm.extend.after"]

FREE = USABLE["small"] + USABLE["middle"]


@pytest.fixture
def disks(shelf):
    return {name: shelf.add(name, SIZES[name], room=32 * MiB, filled=True) for name in ("small", "middle")}


def killed(driver, point, call):
    """True if the driver came to the point and was killed there; then the call has been repeated with success."""
    driver.kill()
    try:
        driver.start(fault=f"{point}=kill")
        call()
    except (Died, grpc.RpcError):
        pass
    reached = driver.ended_by_kill()
    if driver.runs():
        driver.kill()
    driver.start()
    return reached


@pytest.mark.parametrize("capability,point", CREATE, ids=[f"{c.WhichOneof('access_type')}-{p}" for c, p in CREATE])
def test_a_creation_that_is_killed_can_be_repeated(driver, point, capability):
    assert killed(driver, point, lambda: driver.csi.create("a", 60 * MiB, capability))
    volume = driver.csi.create("a", 60 * MiB, capability)
    assert volume.capacity_bytes == USABLE["middle"] and list(places()) == [volume.volume_id]
    assert driver.csi.volumes() == [volume]
    if capability.HasField("block"):
        zeros(get(driver, volume.volume_id))


@pytest.mark.parametrize("wipe,point", DELETE)
def test_a_deletion_that_is_killed_can_be_repeated(driver, point, wipe):
    volume = driver.csi.create("a", 16 * MiB, parameters={"wipe": wipe}).volume_id
    assert killed(driver, point, lambda: driver.csi.delete(volume))
    driver.csi.delete(volume)
    assert places() == {} and machine.eventually(lambda: capacity(driver)[0] == FREE, 10)


@pytest.mark.parametrize("point", TAKE)
def test_a_start_that_is_killed_while_it_takes_disks_goes_on(new_pool, disks, point):
    driver = new_pool(named(*disks.values()))
    with pytest.raises(Died):
        driver.start(fault=f"{point}=kill")
    driver.start()
    assert capacity(driver)[0] == FREE and len(volume_groups()) == 2


@pytest.mark.parametrize("point", WIPE + TAKE)
def test_an_adoption_that_is_killed_can_be_repeated(new_pool, shelf, point):
    disk = shelf.add("theirs", 64 * MiB)
    machine.run("mkfs.ext4", "-q", disk.path)
    command = [os.environ["PLINTH"], "pool", "adopt", "--pool", "whole", "--yes", disk.path]
    environment = {**os.environ, "NODE_NAME": "node-a"}
    killed = subprocess.run(command, env={**environment, "PLINTH_FAULT": f"{point}=kill"}, check=False, capture_output=True)
    assert killed.returncode == -9
    again = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert again.returncode == 0 or "already" in again.stdout + again.stderr
    driver = new_pool(named(disk)).start()
    assert capacity(driver) == (60 * MiB, 60 * MiB) and len(volume_groups()) == 1


def test_every_fault_point_of_the_pool_is_killed_here():
    assert {point for point in fault_points() if point.startswith("pool.disk.")} == {*WIPE, *TAKE, *GROW[:2]}


@pytest.mark.parametrize("point", GROW)
def test_a_growth_that_is_killed_can_be_repeated(driver, disks, point):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    grow(disks["small"], 32 * MiB)
    assert killed(driver, point, lambda: driver.csi.expand(volume, 60 * MiB))
    assert driver.csi.expand(volume, 60 * MiB).capacity_bytes == USABLE["small"] + 32 * MiB
    found = get(driver, volume)
    same(found[:len(SOME)], SOME)
    zeros(found[USABLE["small"]:])
