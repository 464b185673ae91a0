"""Pools that cannot be used, tools that are not there, loop devices that are used up; and all others work on."""
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import machine
from client import block, csi_pb2, from_snapshot, from_volume, mount, refused
from driver import Died, Driver
from machine import MiB


def ill(driver):
    return {entry.reason: csi_pb2.StorageHealthErrorType.Name(entry.status)
            for entry in driver.csi.NodeGetStorageHealth().backend_health}


@pytest.fixture
def two_pools(new_driver, disk):
    """A driver with a good pool and one that a test spoils, and a volume in each."""
    root = disk.path / f"two-pools-{time.monotonic_ns()}"
    for name in ("good", "bad"):
        (root / name).mkdir(parents=True)
    driver = new_driver(pools={name: (root / name, "") for name in ("good", "bad")}).start()
    driver.good = driver.csi.create("good", parameters={"pool": "good"}).volume_id
    driver.bad = driver.csi.create("bad", parameters={"pool": "bad"}).volume_id
    return driver


def check_only_the_bad_one_suffers(driver, *codes, match=""):
    csi = driver.csi
    assert csi.Probe().ready.value
    assert ill(driver) and set(ill(driver).values()) == {"STORAGE_UNREACHABLE"}
    for call in (lambda: csi.create("x", parameters={"pool": "bad"}), lambda: csi.ControllerGetVolume(volume_id=driver.bad),
                 lambda: csi.delete(driver.bad), lambda: csi.expand(driver.bad, 64 * MiB), lambda: csi.snapshot("s", driver.bad),
                 lambda: driver.stage(driver.bad), lambda: csi.create("c", source=from_volume(driver.bad)),
                 lambda: csi.GetCapacity(parameters={"pool": "bad"}), lambda: csi.group("g", [driver.good, driver.bad])):
        with refused(*codes, match=match):
            call()
    assert "INACCESSIBLE" in csi.health(driver.bad).values()
    # Undoing works without the pool.
    driver.unpublish(driver.bad)
    driver.unstage(driver.bad)
    assert csi.volume_ids() == [driver.good]
    driver.use(driver.good)
    csi.snapshot("t", driver.good)
    driver.release(driver.good)
    csi.delete(csi.create("y").volume_id)
    assert csi.GetCapacity(parameters={"pool": "good"}).available_capacity > 0


def check_both_work(driver):
    assert machine.eventually(lambda: sorted(driver.csi.volume_ids()) == sorted([driver.good, driver.bad]), 3) or \
        driver.csi.ControllerGetVolume(volume_id=driver.bad)
    assert ill(driver) == {}
    driver.use(driver.bad)
    driver.release(driver.bad)
    assert sorted(driver.csi.volume_ids()) == sorted([driver.good, driver.bad])


def test_a_pool_whose_directory_is_missing_is_used_as_soon_as_it_is_there(two_pools):
    driver = two_pools
    driver.stop()
    path, away = driver.pool_path("bad"), driver.pool_path("bad").with_name("away")
    path.rename(away)
    driver.start()
    check_only_the_bad_one_suffers(driver, "UNAVAILABLE", match="bad")
    assert not path.exists(), "a directory that is missing is a disk that is not mounted: it must not be made"
    away.rename(path)
    time.sleep(1.1)  # it is looked for once a second
    check_both_work(driver)


def test_an_empty_directory_in_place_of_the_pool_is_another_pool(two_pools):
    """A disk that is not mounted: what was in the pool is not there, and nothing that is asked for by its id is found."""
    driver = two_pools
    driver.stop()
    path, away = driver.pool_path("bad"), driver.pool_path("bad").with_name("away")
    path.rename(away)
    path.mkdir()
    driver.start()
    with refused("NOT_FOUND"):
        driver.csi.ControllerGetVolume(volume_id=driver.bad)
    driver.stop()
    shutil.rmtree(path)
    away.rename(path)
    driver.start()
    check_both_work(driver)


def test_a_pool_that_is_read_only_is_used_as_soon_as_it_can_be_written(two_pools):
    driver = two_pools
    driver.stop()
    path = driver.pool_path("bad")
    machine.run("mount", "--bind", path, path)
    machine.run("mount", "-o", "remount,bind,ro", path)
    try:
        driver.start()
        check_only_the_bad_one_suffers(driver, "UNAVAILABLE", "FAILED_PRECONDITION", "INTERNAL", match="read-only")
    finally:
        machine.run("umount", path)
    time.sleep(1.1)
    driver.csi.GetCapacity(parameters={"pool": "bad"})
    check_both_work(driver)


def test_a_pool_whose_disk_becomes_read_only_is_reported_and_changes_fail(small_disk, new_driver):
    disk = small_disk("plain", 256 * MiB)
    machine.run("mount", "-o", "remount,errors=remount-ro", disk.path)
    (disk.path / "pool").mkdir()
    driver = new_driver(pools={"scratch": (disk.path / "pool", "")}).start()
    volume = driver.csi.create("a", MiB, block())
    os.sync()
    with open(f"/sys/fs/ext4/{disk.device}/trigger_fs_error", "w") as trigger:
        trigger.write("test")
    for call in (lambda: driver.csi.create("b", MiB, block()), lambda: driver.csi.delete(volume.volume_id),
                 lambda: driver.csi.snapshot("s", volume.volume_id), lambda: driver.csi.expand(volume.volume_id, 2 * MiB)):
        with refused("INTERNAL", "FAILED_PRECONDITION", "UNAVAILABLE", match="read-only"):
            call()
    assert driver.csi.volume_ids() == [volume.volume_id]
    assert "PoolReadOnly" in ill(driver)
    driver.stop()
    machine.run("umount", disk.path)
    subprocess.run(["e2fsck", "-f", "-y", disk.image], stdout=subprocess.DEVNULL, check=False)
    machine.run("mount", "-o", "loop", disk.image, disk.path)
    driver.start()
    assert driver.csi.volume_ids() == [volume.volume_id]


def test_a_damaged_identity_of_the_pool_is_left_alone(two_pools):
    driver = two_pools
    identity = driver.pool_path("bad") / "pool.json"
    good = identity.read_bytes()
    for damage in (b"", good[:20], b"{}", b'{"id": "../../../etc"}', os.urandom(100), good.replace(b'"version": 1', b'"version": 2'),
                   good.replace(b'"incompatible": 0', b'"incompatible": 4')):
        driver.stop()
        identity.write_bytes(damage)
        driver.start()
        with refused("DATA_LOSS", "FAILED_PRECONDITION", match="bad"):
            driver.csi.create("x", parameters={"pool": "bad"})
        assert identity.read_bytes() == damage
        driver.use(driver.good)
        driver.release(driver.good)
    driver.stop()
    identity.write_bytes(good)
    driver.start()
    check_both_work(driver)


def test_a_directory_that_is_not_empty_does_not_become_a_pool(two_pools):
    driver = two_pools
    driver.stop()
    path, away = driver.pool_path("bad"), driver.pool_path("bad").with_name("away")
    path.rename(away)
    path.mkdir()
    (path / "precious").write_text("x")
    driver.start()
    with refused("FAILED_PRECONDITION", match="precious"):
        driver.csi.create("x", parameters={"pool": "bad"})
    assert machine.tree(path) in (["precious"], ["lock", "precious"])
    driver.stop()
    shutil.rmtree(path)
    away.rename(path)
    driver.start()


def test_a_copy_of_a_pool_on_a_second_node_is_not_used(driver, new_driver, disk):
    volume = driver.csi.create("a")
    path = disk.path / "copied"
    machine.run("cp", "-a", driver.pool_path(), path)
    (path / "lock").unlink()
    second = new_driver(pools={"copy": (path, "")}, node="node-b").start()
    before = machine.tree(path)
    with refused("FAILED_PRECONDITION", match="copy.*adopt"):
        second.csi.create("b")
    with refused("FAILED_PRECONDITION", match="adopt"):
        second.csi.ControllerGetVolume(volume_id=volume.volume_id)
    with refused("FAILED_PRECONDITION"):
        second.csi.delete(volume.volume_id)
    assert set(machine.tree(path)) - {"lock"} == set(before) - {"lock"}
    driver.use(volume.volume_id)
    second.stop()
    second.given_up = True
    shutil.rmtree(path)


def test_a_copy_of_a_pool_does_not_hinder_the_pool(driver, disk):
    """Also where it comes first in the configuration."""
    volume = driver.csi.create("a").volume_id
    driver.stop()
    path, pools = disk.path / "copied-beside", driver.pools
    machine.run("cp", "-a", driver.pool_path(), path)
    driver.pools = {"copy": (path, ""), **pools}
    driver.start()
    with refused("FAILED_PRECONDITION", match="copy.*adopt"):
        driver.csi.create("b", parameters={"pool": "copy"})
    driver.use(volume)
    driver.release(volume)
    driver.csi.delete(volume)
    driver.stop()
    shutil.rmtree(path)
    driver.pools = pools
    driver.start()
    assert driver.csi.volumes() == []


def test_two_pools_with_one_id_are_both_refused(new_driver, disk):
    """As after a clone of the whole disk, which keeps the directory's inode too."""
    root = disk.path / "twins"
    for name in ("one", "two", "other"):
        (root / name).mkdir(parents=True)
    driver = new_driver(pools={"one": (root / "one", ""), "other": (root / "other", "")}).start()
    volume = driver.csi.create("a")
    driver.stop()
    machine.run("cp", "-a", f"{root}/one/.", root / "two")
    identity = json.loads((root / "two/pool.json").read_text())
    (root / "two/pool.json").write_text(json.dumps({**identity, "inode": (root / "two").stat().st_ino}))
    (root / "two/lock").unlink()
    driver.pools = {name: (root / name, "") for name in ("one", "two", "other")}
    driver.start()
    for name in ("one", "two"):
        with refused("FAILED_PRECONDITION", match="one.*two|two.*one"):
            driver.csi.create("b", parameters={"pool": name})
    with refused("FAILED_PRECONDITION"):
        driver.csi.delete(volume.volume_id)
    driver.csi.delete(driver.csi.create("c", parameters={"pool": "other"}).volume_id)
    for name in ("one", "two"):
        assert (root / name / "volumes" / volume.volume_id / "data").exists()
    driver.stop()
    shutil.rmtree(root / "two")
    driver.pools = {name: (root / name, "") for name in ("one", "other")}
    driver.start()
    assert driver.csi.volume_ids() == [volume.volume_id]


def test_a_pool_in_use_whose_twin_is_mounted_later_ends_its_calls_and_takes_no_new_ones(new_driver, small_disk, tools, tmp_path):
    """A clone of the whole disk, inode numbers and all, is mounted while a call is in the midst of the original."""
    disk, second, go = small_disk("plain", 128 * MiB), tmp_path / "second", tmp_path / "go"
    (disk.path / "pool").mkdir()
    second.mkdir()
    driver = new_driver(pools={"one": (disk.path / "pool", ""), "two": (second / "pool", "")})
    mkfs = f'[ ! -e {go}.slow ] || : >{go}.begun; while [ -e {go}.slow ]; do sleep 0.05; done; exec {shutil.which("mkfs.ext4")} "$@"'
    driver.start(PATH=tools({"mkfs.ext4": mkfs}))
    volume = driver.csi.create("a").volume_id
    driver.use(volume)
    pathlib.Path(f"{go}.slow").touch()
    request = csi_pb2.CreateVolumeRequest(name="b", volume_capabilities=[mount()],
                                          capacity_range={"required_bytes": 16 * MiB}).SerializeToString()
    call = driver.csi.channel.unary_unary("/csi.v1.Controller/CreateVolume").future(request, timeout=30)
    assert machine.eventually(lambda: os.path.exists(f"{go}.begun"))
    os.sync()
    shutil.copy(disk.image, tmp_path / "clone.img")
    machine.run("mount", "-o", "loop", tmp_path / "clone.img", second)
    try:
        time.sleep(1.1)
        for name in ("two", "one"):
            with refused("FAILED_PRECONDITION", match="one.*two|two.*one"):
                driver.csi.create("c", parameters={"pool": name})
        assert driver.csi.volumes() == []
        pathlib.Path(f"{go}.slow").unlink()
        assert call.exception().code().name in ("ABORTED", "FAILED_PRECONDITION"), call.exception()
        with refused("FAILED_PRECONDITION", match="one.*two|two.*one"):
            driver.csi.delete(volume)
        driver.release(volume)
        driver.stop()
    finally:
        machine.run("umount", second)
    driver.start()
    assert volume in driver.csi.volume_ids()
    driver.use(volume)
    driver.csi.create("b")


def test_a_second_process_on_one_pool_is_refused(driver, new_driver):
    volume = driver.csi.create("a")
    second = new_driver(pools=driver.pools)
    second.given_up = True
    began = time.monotonic()
    with pytest.raises(Died, match="in use by another Plinth"):
        second.start()
    assert second.process.returncode != 0 and time.monotonic() - began < 5
    assert not second.socket.exists()
    driver.use(volume.volume_id)


def test_what_an_older_driver_binds_while_its_successor_waits_for_the_pool_is_in_use(driver, new_driver):
    """In another PID namespace, as in a pod that is replaced: the successor does not see the process that has the lock."""
    volume = driver.csi.create("a", MiB, block()).volume_id
    (driver.pool_path() / "lock").write_text("4194304")  # no process has that number
    second = new_driver(pools=driver.pools)
    second.given_up = True
    second.start()
    with refused("UNAVAILABLE", match="locked"):
        second.csi.delete(volume)
    driver.use_block(volume)
    driver.kill()
    assert machine.eventually(lambda: not ill(second), 10)
    with refused("FAILED_PRECONDITION", match="in use"):
        second.csi.delete(volume)
    second.stop()
    driver.start()


def test_pools_are_waited_for_at_a_time(new_driver, disk):
    """Three whose lock is held for longer than a start waits for each."""
    pools = {name: (disk.path / f"locked-{name}", "") for name in ("one", "two", "three")}
    holders = []
    for path, _ in pools.values():
        path.mkdir()
        (path / "lock").write_text("4194304")  # no process has that number
        holders.append(open(path / "lock", "r+"))
        fcntl.flock(holders[-1], fcntl.LOCK_EX)
    try:
        driver = new_driver(pools=pools)
        began = time.monotonic()
        driver.start()
        assert time.monotonic() - began < 6
        assert ill(driver)
    finally:
        for holder in holders:
            holder.close()


def test_a_pool_is_free_again_at_once_after_its_user_was_killed(driver):
    driver.csi.create("a")
    driver.kill()
    began = time.monotonic()
    driver.start()
    assert time.monotonic() - began < 3


@pytest.mark.damaged
@pytest.mark.parametrize("restarted", [False, True])
def test_volumes_on_a_disk_that_has_shut_itself_down_are_given_back(new_driver, small_disk, restarted):
    """An xfs that does so answers no question about its files, and the kernel asks it for a loop device's status."""
    disk = small_disk("reflink", 512 * MiB)
    driver = new_driver(pools={"dying": (disk.path, "")}).start()
    mounted, raw = driver.csi.create("a").volume_id, driver.csi.create("b", MiB, block()).volume_id
    driver.use(mounted)
    driver.use_block(raw)
    driver.publish(raw, block("SINGLE_NODE_READER_ONLY"), pod="pod-2", readonly=True)
    machine.run("xfs_io", "-x", "-c", "shutdown", disk.path)
    assert len(machine.loops(disk.path)) == 3
    if restarted:
        driver.restart()
    for volume_id in (mounted, raw):
        driver.release(volume_id)
    assert machine.eventually(lambda: not machine.loops(disk.path)), machine.loops(disk.path)
    assert machine.mounts(driver.kubelet) == []


@pytest.fixture
def without_group(new_driver, tmp_path):
    """A driver with a pool whose directory is not there, and one whose volume group is not."""
    driver = new_driver(pools={"gone": (tmp_path / "gone", "")}, options=["--pool", "group=lvm:vg=plinth-no-such-group"])
    driver.documented_state = Driver.documented_state | {"lvm", "lvm/lvm.conf"}
    return driver.start()


OF_NO_POOL = f"{'a' * 12}-{'b' * 8}-{'c' * 20}"


def test_a_volume_of_any_pool_that_cannot_be_opened_is_not_called_unstaged(without_group):
    """Of a file pool that is not mounted the loop devices tell; of a volume group nothing is known until it is there."""
    with refused("UNAVAILABLE", match="group"):
        without_group.unstage(OF_NO_POOL)
    without_group.options = []
    without_group.restart()
    without_group.unstage(OF_NO_POOL)


# --- tools


@pytest.fixture
def tools(tmp_path):
    """tools({"mkfs.ext4": "exit 1"}): a PATH with fakes before the real ones; None: there is none of that name."""
    def make(fakes):
        directory = tmp_path / "bin"
        directory.mkdir()
        for name in ("mkfs.ext4", "mkfs.xfs", "tune2fs", "e2fsck", "resize2fs", "xfs_db", "sh", "sleep", "env", "cat", "id"):
            if name not in fakes and shutil.which(name):
                (directory / name).symlink_to(shutil.which(name))
        for name, text in fakes.items():
            if text is not None:
                (directory / name).write_text(f"#!/bin/sh\n{text}\n")
                (directory / name).chmod(0o755)
        return str(directory)
    return make


@pytest.mark.parametrize("text, code, said", [
    (None, "FAILED_PRECONDITION", "mkfs.ext4"),
    ("echo the moon is full >&2; exit 1", "INTERNAL", "the moon is full"),
    ("kill -9 $$", "INTERNAL", "mkfs.ext4"),
    ("yes garbage | head -c 3000000; yes error >&2 | head -c 3000000 >&2; exit 3", "INTERNAL", "mkfs.ext4"),
    ("printf 'a\\000b\\033[2J\\377'; printf 'c\\000d\\033[2J\\377' >&2; exit 1", "INTERNAL", "mkfs.ext4"),
    ("exit 0", "", ""),
])
def test_mkfs_that_is_missing_or_fails_leaves_nothing(new_driver, tools, text, code, said):
    driver = new_driver()
    driver.start(PATH=tools({"mkfs.ext4": text}))
    if code:
        for _ in range(2):
            with refused(code, match=said):
                driver.csi.create("a")
            assert driver.csi.volumes() == [] and machine.tree(driver.pool_path() / "volumes") == []
    else:  # it lies; what is not there is not mounted
        volume = driver.csi.create("a")
        with refused("DATA_LOSS"):
            driver.stage(volume.volume_id)
        driver.csi.delete(volume.volume_id)
    driver.csi.create("b", MiB, block())
    driver.restart()
    driver.csi.create("a")


def test_a_missing_tool_for_copies_is_told_and_the_volume_is_not_harmed(driver, tools):
    csi = driver.csi
    volume = csi.create("a")
    copy = csi.create("b", 64 * MiB, source=from_snapshot(csi.snapshot("s", volume.volume_id).snapshot_id))
    driver.stop()
    driver.start(PATH=tools({"tune2fs": None, "resize2fs": None, "e2fsck": None}))
    with refused("FAILED_PRECONDITION", match="tune2fs|resize2fs|e2fsck"):
        driver.stage(copy.volume_id)
    assert machine.mounts(driver.kubelet) == []
    driver.restart()
    assert machine.size_of_filesystem(driver.use(copy.volume_id)) > 48 * MiB


def test_a_tool_that_hangs_does_not_outlive_a_stop_and_what_it_made_is_undone(new_driver, tools):
    driver = new_driver()
    driver.start(PATH=tools({"mkfs.ext4": "exec sleep 1000"}))
    call = driver.csi.channel.unary_unary("/csi.v1.Controller/CreateVolume")
    request = csi_pb2.CreateVolumeRequest(name="a", volume_capabilities=[mount()]).SerializeToString()
    future = call.future(request, timeout=30)
    assert machine.eventually(lambda: any("1000" in words for words in machine.strangers().values()))
    with refused("ABORTED"):
        driver.csi.create("a", 0)
    driver.csi.create("b", MiB, block())
    driver.stop()
    assert future.exception() is not None
    assert machine.eventually(lambda: not machine.strangers())
    driver.start()
    driver.csi.create("a", 0)


def test_a_tool_that_rewrites_a_file_system_outlives_a_stop(driver, tools, tmp_path):
    """Killed half way it would leave what e2fsck -p refuses.  The next driver waits for it as for that of a killed one."""
    copy = driver.csi.create("b", source=from_snapshot(driver.csi.snapshot("s", driver.csi.create("a").volume_id).snapshot_id)).volume_id
    driver.stop()
    slow, done = tmp_path / "slow", tmp_path / "done"
    slow.touch()
    rewrite = f'for device; do :; done; exec 9<>$device; while [ -e {slow} ]; do sleep 0.05; done; echo nobody reads this >&2; {shutil.which("tune2fs")} "$@" && : >{done}'
    driver.start(PATH=tools({"tune2fs": rewrite}))
    stage = csi_pb2.NodeStageVolumeRequest(volume_id=copy, staging_target_path=driver.staging_path(copy),
                                           volume_capability=mount()).SerializeToString()
    future = driver.csi.channel.unary_unary("/csi.v1.Node/NodeStageVolume").future(stage, timeout=30)
    assert machine.eventually(lambda: any("tune2fs" in words for words in machine.strangers().values()))
    try:
        driver.stop()
        assert future.exception() is not None
        assert any("tune2fs" in words for words in machine.strangers().values()), "it was ended with the driver"
        driver.start()
        with refused("UNAVAILABLE", match="killed Plinth left running"):
            driver.stage(copy)
    finally:
        slow.unlink()
    assert machine.eventually(done.exists), "it was ended by its own words"
    assert machine.eventually(lambda: not ill(driver), 5)
    driver.use(copy)


def test_an_orphaned_tool_of_a_killed_driver_holds_off_the_next_one(new_driver, tools):
    """It still writes to the image that recovery would remove; so the pool is not used until it has ended."""
    driver = new_driver()
    driver.start(PATH=tools({"mkfs.ext4": "exec sleep 1000"}))
    request = csi_pb2.CreateVolumeRequest(name="a", volume_capabilities=[mount()]).SerializeToString()
    future = driver.csi.channel.unary_unary("/csi.v1.Controller/CreateVolume").future(request, timeout=30)
    assert machine.eventually(lambda: any("1000" in words for words in machine.strangers().values()))
    driver.kill()
    assert future.exception() is not None
    orphans = [pid for pid, words in machine.strangers().items() if "sleep" in words]
    assert orphans, "the scenario is wrong: mkfs ended with its driver"
    driver.start()
    with refused("UNAVAILABLE", match="killed Plinth left running"):
        driver.csi.create("b", MiB, block())
    assert machine.tree(driver.pool_path() / "volumes") != []
    for pid in orphans:
        os.kill(pid, 9)
    time.sleep(1.1)
    machine.eventually(lambda: not ill(driver), 3)
    assert driver.csi.volumes() == [] and machine.tree(driver.pool_path() / "volumes") == []
    driver.csi.create("a")


INTERNAL = 1 << 31 | 1 << 32  # glibc's own signals, which its posix_spawn() leaves ignored


def test_tools_get_no_more_than_they_need(new_driver, tools, tmp_path):
    """No descriptor but the pool's lock and their output, and signals as usual."""
    report = tmp_path / "report"
    driver = new_driver()
    driver.start(PATH=tools({"mkfs.ext4": f"ls -l /proc/$$/fd > {report}; grep -E 'Sig(Blk|Ign)' /proc/self/status >> {report}; "  # not of $$: dash blocks signals while it forks
                                          f"exec {shutil.which('mkfs.ext4')} \"$@\""}) + ":/usr/bin:/bin")
    driver.csi.create("a")
    lines = report.read_text().splitlines()
    opened = [line.split(" -> ")[1] for line in lines if " -> " in line]
    strange = [path for path in opened if not any(part in path for part in ("/lock", "pipe:", "/dev/null", str(report), "mkfs.ext4", "/proc/"))]
    assert strange == []
    for line in lines:
        if line.startswith("Sig"):
            assert int(line.split()[1], 16) & ~INTERNAL == 0, line


# --- loop devices


def test_when_loop_devices_are_used_up_it_is_told_and_later_calls_work(driver):
    volume, device = driver.csi.create("a"), driver.csi.create("b", MiB, block())
    with machine.covered("/dev/loop-control"):
        for entry, capability in ((volume, mount()), (device, block())):
            with refused("RESOURCE_EXHAUSTED", match="loop device"):
                driver.stage(entry.volume_id, capability)
        assert machine.mounts(driver.kubelet) == [] and machine.tree(driver.state / "volumes") == []
    driver.use(volume.volume_id)
    driver.use_block(device.volume_id)


def test_a_loop_device_that_cannot_be_asked_is_not_called_gone(driver):
    volume = driver.csi.create("a", MiB, block()).volume_id
    driver.stage(volume, block())
    device, = machine.loops(driver.pool_path())
    with machine.covered(device):
        with refused("INTERNAL", match=f"{device}.*{volume}"):
            driver.unstage(volume)
        with refused("FAILED_PRECONDITION", match="in use"):
            driver.csi.delete(volume)
    driver.unstage(volume)
    assert not machine.loops(driver.pool_path())


def test_a_stranger_on_the_loop_device_is_not_thrown_off(driver):
    """losetup of somebody else on the same image: the volume's device is its own."""
    volume = driver.csi.create("a", MiB, block())
    other = machine.run("losetup", "-f", "--show", driver.image(volume.volume_id)).strip()
    try:
        driver.use_block(volume.volume_id)
        driver.release(volume.volume_id)
        assert other in machine.loops(driver.pool_path())
    finally:
        machine.run("losetup", "-d", other)


# --- what is configured


@pytest.mark.parametrize("options", [
    ["--pool", "x=file:path=relative"], ["--pool", "x=zfs:path=/a"], ["--pool", "x=lvm:thinpool=a"], ["--pool", "x"], ["--pool", "x=file:path=/tmp/x,size=7"],
    ["--pool", "a=file:path=/tmp/x,reserve=101%"], ["--pool", "a=file:path=/tmp/x,overprovision=0"], ["--pool", "a=file:path=/tmp/x,provisioning=fat"],
    ["--default-fstype", "ntfs"], ["--frozen-copy-most", "-1"], ["--state-dir", "relative"], ["--nonsense"], ["extra"],
    ["--driver-name", "-x-"], ["--node-id", ""], ["--log-level", "loud"],
])
def test_what_makes_no_sense_is_not_started(new_driver, options):
    driver = new_driver(options=options)
    driver.given_up = True
    began = time.monotonic()
    with pytest.raises(Died):
        driver.start()
    assert driver.process.returncode not in (0, -6, -11) and time.monotonic() - began < 5
    assert len(driver.log_bytes()) > 10 and not pathlib.Path("/tmp/x").exists()


@pytest.mark.parametrize("endpoint", ["unix://relative.sock", "tcp://127.0.0.1:7777", "", "/nowhere/at/all/csi.sock", "/" + "x" * 200])
def test_an_endpoint_that_cannot_be_is_refused(new_driver, endpoint):
    driver = new_driver()
    driver.given_up = True
    command = driver.command()
    command[command.index("--endpoint") + 1] = endpoint
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False)
    assert done.returncode not in (0, -6, -11) and done.stdout
    assert not pathlib.Path("/nowhere").exists()
