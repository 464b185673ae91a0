"""plinth volume import and release of image files, killed (kill -9) at every step: until the last step a driver sees no
volume, after it a whole one; the same command again goes on.  (What the commands say: tests/cli/test_import.py.)"""
import hashlib
import json
import os
import subprocess

import pytest

import machine
from driver import PLINTH, fault_points
from machine import MiB

OWN = [point for point in fault_points() if point.startswith("pool.import.file.")]
IN = ["pool.import.file.made", "pool.file.replace.written", "pool.file.replace.renamed", "pool.import.file.moved", "pool.import.file.renamed"]
OUT = ["pool.import.file.renamed", "pool.import.file.released"]


def plinth(*words, fault=None):
    environment = {**os.environ, "NODE_NAME": "node-a", **({"PLINTH_FAULT": f"{fault}=kill"} if fault else {})}
    return subprocess.run([PLINTH, "volume", *words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=60)


def import_(pool, image, **more):
    done = plinth("import", "--block", "--pool-path", pool, "-o", "json", image, **more)
    if more:
        assert done.returncode == -9, done
        return None
    assert done.returncode == 0, done
    return json.loads(done.stdout)["items"][0]["metadata"]["name"]


def release(pool, volume, image, **more):
    done = plinth("release", "--pool-path", pool, "--to", image, volume, **more)
    assert done.returncode == (-9 if more else 0), done


@pytest.fixture
def image(driver):
    """In the pool's file system, with content; the driver has been stopped."""
    driver.stop()
    path = driver.pool_path().with_name(driver.pool_path().name + ".image")
    path.write_bytes(os.urandom(MiB))
    yield path
    path.unlink(missing_ok=True)


def content(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seen(driver):
    """The volumes that a driver has, and what it finds wrong."""
    driver.start()
    volumes, wrong = driver.csi.volume_ids(), list(driver.csi.ControllerListVolumeHealth().entries)
    driver.stop()
    assert wrong == []
    return volumes


@pytest.mark.parametrize("point", IN)
def test_an_import_that_is_killed_can_be_repeated(driver, image, point):
    pool, before = driver.pool_path(), content(image)
    import_(pool, image, fault=point)
    volumes = seen(driver)
    assert len(volumes) == (1 if point == IN[-1] else 0)
    volume = import_(pool, image)
    assert seen(driver) == [volume] and content(driver.image(volume)) == before and not image.exists()
    assert set(machine.tree(pool / "volumes")) == {volume, f"{volume}/data", f"{volume}/meta.json"}
    release(pool, volume, image)
    assert content(image) == before and seen(driver) == []


@pytest.mark.parametrize("point", OUT)
def test_a_release_that_is_killed_can_be_repeated_or_taken_back(driver, image, point):
    pool, before = driver.pool_path(), content(image)
    volume = import_(pool, image)
    release(pool, volume, image, fault=point)
    assert seen(driver) == []
    assert import_(pool, image) == volume
    assert seen(driver) == [volume] and content(driver.image(volume)) == before
    release(pool, volume, image, fault=point)
    release(pool, volume, image)
    assert content(image) == before and seen(driver) == [] and machine.tree(pool / "volumes") == []


def test_every_step_is_killed():
    assert set(OWN) <= set(IN + OUT)
