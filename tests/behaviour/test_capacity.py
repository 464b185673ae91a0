"""GetCapacity and what it promises: reserve, over-provisioning, pools that are full."""
import os

import pytest

import machine
from client import block, csi_pb2, from_volume, mount, refused
from driver import TOPOLOGY_KEY
from machine import GiB, KiB, MiB

DISK = 1 * GiB
both = pytest.mark.parametrize("kind", ["reflink", "plain"])


@pytest.fixture
def pool_on(small_disk, new_driver):
    """pool_on("plain", "reserve=0%"): a driver with a pool on a disk of its own of 1 GiB."""
    made = []

    def start(kind, text="", bytes=DISK):
        made.append(small_disk(kind, bytes))
        path = made[-1].path / "pool"
        path.mkdir()
        driver = new_driver(pools={"scratch": (path, text)})
        driver.disk = made[-1]
        return driver.start()
    yield start
    for disk in made:
        (disk.path / "others").unlink(missing_ok=True)


def free(driver):
    status = os.statvfs(driver.pool_path())
    return status.f_bavail * status.f_frsize


def total(driver):
    status = os.statvfs(driver.pool_path())
    return status.f_blocks * status.f_frsize


def available(driver, **more):
    return driver.csi.GetCapacity(**more).available_capacity


@both
@pytest.mark.parametrize("text, reserve, ratio", [
    ("", lambda total: total * 5 // 100, 1), ("reserve=0%", lambda total: 0, 1), ("reserve=10%", lambda total: total // 10, 1),
    ("reserve=256Mi", lambda total: 256 * MiB, 1), ("reserve=0", lambda total: 0, 1), ("overprovision=10", lambda total: total * 5 // 100, 10),
    ("overprovision=2.5,reserve=100Mi", lambda total: 100 * MiB, 2.5)])
def test_capacity_is_what_is_free_less_the_reserve_times_the_ratio(pool_on, kind, text, reserve, ratio):
    driver = pool_on(kind, text)
    expected = int((free(driver) - reserve(total(driver))) * ratio)
    assert abs(available(driver) - expected) <= 4 * MiB * ratio


@both
@pytest.mark.parametrize("text", ["", "overprovision=3"])
def test_what_is_promised_is_not_promised_twice(pool_on, kind, text):
    driver = pool_on(kind, text)
    before = available(driver)
    volume = driver.csi.create("a", 100 * MiB, block())
    assert abs(before - available(driver) - 100 * MiB) <= 4 * MiB
    driver.csi.expand(volume.volume_id, 150 * MiB)
    assert abs(before - available(driver) - 150 * MiB) <= 4 * MiB
    driver.restart()
    assert abs(before - available(driver) - 150 * MiB) <= 4 * MiB
    driver.csi.delete(volume.volume_id)
    assert abs(before - available(driver)) <= 4 * MiB


@both
def test_a_volume_of_the_largest_size_can_be_made_and_one_page_more_cannot(pool_on, kind):
    driver = pool_on(kind, "overprovision=3")
    answer = driver.csi.GetCapacity()
    largest = answer.maximum_volume_size.value
    assert 0 < largest <= answer.available_capacity
    with refused("RESOURCE_EXHAUSTED", match="pool scratch"):
        driver.csi.create("a", answer.available_capacity + 4 * KiB + MiB, block())
    assert driver.csi.volumes() == []
    driver.csi.create("a", largest, block())
    with refused("RESOURCE_EXHAUSTED"):
        driver.csi.create("b", 64 * MiB, block())


@both
def test_a_volume_that_cannot_be_promised_does_not_grow_or_get_copied(pool_on, kind):
    driver = pool_on(kind)
    volume = driver.csi.create("a", 600 * MiB, block())
    with refused("RESOURCE_EXHAUSTED"):
        driver.csi.expand(volume.volume_id, 1200 * MiB)
    assert driver.record(volume.volume_id)["bytes"] == 600 * MiB == driver.image(volume.volume_id).stat().st_size
    with refused("RESOURCE_EXHAUSTED"):
        driver.csi.create("b", 600 * MiB, block(), source=from_volume(volume.volume_id))
    assert driver.csi.volume_ids() == [volume.volume_id]


@both
def test_other_peoples_files_leave_less_for_volumes(pool_on, kind):
    driver = pool_on(kind)
    before = available(driver)
    with open(driver.disk.path / "others", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 300 * MiB)
    assert before - available(driver) >= 295 * MiB


@both
def test_a_snapshot_is_promised_what_it_holds(pool_on, kind):
    driver = pool_on(kind)
    volume = driver.csi.create("a", 200 * MiB, block())
    with open(driver.image(volume.volume_id), "r+b") as image:
        image.write(os.urandom(50 * MiB))
        os.fsync(image.fileno())
    driver.restart()  # what others have written is looked at every five seconds
    before = available(driver)
    driver.csi.snapshot("s", volume.volume_id)
    assert 45 * MiB <= before - available(driver) <= 60 * MiB


def test_the_smallest_volume_depends_on_the_file_system(driver):
    def smallest(*capabilities):
        return driver.csi.GetCapacity(volume_capabilities=capabilities).minimum_volume_size.value
    assert smallest(mount("xfs")) == 300 * MiB
    assert smallest(mount("ext4")) == smallest() == 8 * MiB
    assert 0 < smallest(block()) <= 4 * KiB


def test_what_cannot_be_served_has_no_capacity(driver):
    for capability in (mount(mode="MULTI_NODE_MULTI_WRITER"), mount("ntfs")):
        assert available(driver, volume_capabilities=[capability]) == 0
    assert available(driver, accessible_topology={"segments": {TOPOLOGY_KEY: "node-b"}}) == 0
    assert available(driver, accessible_topology={"segments": {TOPOLOGY_KEY: "node-a"}}) > GiB


def test_capacity_of_a_pool_by_name(small_disk, new_driver, disks):
    small = small_disk("plain", 200 * MiB)
    for path in (disks["reflink"].path / "large-pool", small.path / "pool"):
        path.mkdir()
    driver = new_driver(pools={"large": (disks["reflink"].path / "large-pool", ""), "small": (small.path / "pool", "")}).start()
    assert available(driver) == available(driver, parameters={"pool": "large"}) > 10 * GiB
    assert available(driver, parameters={"pool": "small", "provisioning": "thin", "csi.storage.k8s.io/x": "y"}) < 200 * MiB
    for parameters in ({"pool": "none"}, {"nonsense": "x"}):
        with refused("INVALID_ARGUMENT"):
            available(driver, parameters=parameters)


# --- full


def fill(driver, leave=0):
    """Takes all space of the pool's disk but `leave` bytes."""
    with open(driver.disk.path / "others", "wb") as file:
        size = 64 * MiB
        while size >= 4 * KiB:
            status = os.statvfs(driver.disk.path)
            try:
                if status.f_bavail * status.f_frsize - leave < size:
                    raise OSError
                end = os.fstat(file.fileno()).st_size
                os.posix_fallocate(file.fileno(), end, size)
            except OSError:
                size //= 2
    os.sync()


CREATIONS = {
    "a block volume": lambda csi, volume: csi.create("x", MiB, block()),
    "a mounted volume": lambda csi, volume: csi.create("x"),
    "a thick volume": lambda csi, volume: csi.create("x", 100 * MiB, block(), parameters={"provisioning": "thick"}),
    "a snapshot": lambda csi, volume: csi.snapshot("x", volume),
    "a clone": lambda csi, volume: csi.create("x", 100 * MiB, block(), source=from_volume(volume)),
    "a group": lambda csi, volume: csi.group("x", [volume]),
}
overcommitted = "reserve=0%,overprovision=1000"


@both
@pytest.mark.parametrize("leave", [0, 64 * KiB, 8 * MiB])
@pytest.mark.parametrize("what", CREATIONS)
def test_a_disk_that_is_full_half_way_leaves_nothing(pool_on, kind, what, leave):
    driver = pool_on(kind, overcommitted, 512 * MiB)
    volume = driver.csi.create("a", 100 * MiB, block())
    with open(driver.image(volume.volume_id), "r+b") as image:
        image.write(os.urandom(100 * MiB))
    fill(driver, leave)
    before = machine.tree(driver.pool_path())
    succeeded = None
    try:
        succeeded = CREATIONS[what](driver.csi, volume.volume_id)
    except Exception as error:  # checked below
        with refused("RESOURCE_EXHAUSTED"):
            raise error
    if succeeded is None:
        assert machine.tree(driver.pool_path()) == before
        os.unlink(driver.disk.path / "others")
        CREATIONS[what](driver.csi, volume.volume_id)


@both
def test_on_a_full_disk_volumes_can_be_used_and_deleted(pool_on, kind):
    driver = pool_on(kind, overcommitted, 512 * MiB)
    csi = driver.csi
    used, deleted = csi.create("used", MiB * 16), csi.create("deleted", MiB * 16)
    snapshot, group = csi.snapshot("s", used.volume_id), csi.group("g", [used.volume_id, deleted.volume_id])
    driver.use(used.volume_id)
    driver.release(used.volume_id)
    fill(driver)
    path = driver.use(used.volume_id)
    assert os.listdir(path)
    driver.release(used.volume_id)
    csi.delete(deleted.volume_id)
    csi.delete_snapshot(snapshot.snapshot_id)
    csi.delete_group(group)
    assert csi.volume_ids() == [used.volume_id] and csi.snapshots() == []
    driver.restart()
    assert driver.csi.volume_ids() == [used.volume_id]


@both
def test_on_a_full_disk_the_driver_starts(pool_on, kind):
    driver = pool_on(kind, overcommitted, 512 * MiB)
    volume = driver.csi.create("a", MiB * 16)
    driver.stop()
    fill(driver)
    driver.start()
    assert driver.csi.volume_ids() == [volume.volume_id]


def test_a_writer_on_a_full_pool_hears_of_it_and_loses_no_more(pool_on):
    driver = pool_on("plain", overcommitted, 512 * MiB)
    volume = driver.csi.create("a", 256 * MiB)
    path = driver.use(volume.volume_id)
    with open(f"{path}/before", "wb") as file:
        file.write(b"x" * MiB)
        os.fsync(file.fileno())
    fill(driver)
    with pytest.raises(OSError):
        with open(f"{path}/after", "wb") as file:
            file.write(os.urandom(128 * MiB))
            os.fsync(file.fileno())
    os.unlink(driver.disk.path / "others")
    driver.release(volume.volume_id)
    path = driver.use(volume.volume_id)
    assert open(f"{path}/before", "rb").read() == b"x" * MiB


def ill(driver):
    """{reason: status} of the pools."""
    return {entry.reason: csi_pb2.StorageHealthErrorType.Name(entry.status)
            for entry in driver.csi.NodeGetStorageHealth().backend_health}


@both
def test_a_full_pool_is_reported(pool_on, kind):
    driver = pool_on(kind, "reserve=0%", 512 * MiB)
    assert ill(driver) == {}
    fill(driver)
    assert ill(driver) == {"PoolNearlyFull": "STORAGE_DEGRADED"}
    assert available(driver) <= 64 * KiB
    os.unlink(driver.disk.path / "others")
    assert ill(driver) == {}
