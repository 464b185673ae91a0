"""Disks that fail, wait or are gone, and pools that are full: what is told, what goes on, and that it recovers."""
import os
import threading
import time

import grpc
import pytest

import groups
import machine
from client import Client, block, csi_pb2, mount, refused, until_ok
from content import SOME, get, new, put, read, read_file, same, write, write_file
from driver import fault_points
from groups import report, run
from kinds import KINDS
from lvm_driver import eventually_ok
from machine import GiB, KiB, MiB

GUARD_POINTS = [point for point in fault_points() if point.startswith("pool.lvm.guard.")]
TROUBLE = ("INTERNAL", "UNAVAILABLE", "FAILED_PRECONDITION", "DATA_LOSS", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED")


def storage_health(driver):
    return {entry.reason: (csi_pb2.StorageHealthErrorType.Name(entry.status), entry.message)
            for entry in driver.csi.NodeGetStorageHealth().backend_health}


def told(driver, volume_id):
    """What is wrong with a volume, as controller and node see it, which must agree."""
    found = driver.csi.health(volume_id)
    entries = driver.csi.NodeGetVolumeHealth(volume_id=volume_id).volume_health.health_statuses
    assert set(found) <= {entry.reason for entry in entries}
    for entry in entries:
        assert entry.message and entry.reason.isalnum() and entry.reason[0].isupper()
    return set(found.values()) | {csi_pb2.VolumeHealthErrorType.Name(entry.status) for entry in entries}


@pytest.fixture
def fragile(new_disk, new_group, new_driver):
    """A volume group on three disks that can fail, with a driver: (driver, group, disks)."""
    disks = [new_disk(384 * MiB) for _ in range(3)]
    group = new_group("fragile", [disk.path for disk in disks])
    driver = new_driver({"fragile": (group, "")}).use_tools().start()
    yield driver, group, disks
    for disk in disks:
        if disk.name in groups.devices():
            disk.mend()


def disks_of(group, name, disks):
    """The disks below a logical volume."""
    rows = groups.report("lvs", "-a", "-o", "lv_name,devices", group.name)
    text = " ".join(row["devices"] for row in rows if row["lv_name"].strip("[]").startswith(name))
    return [disk for disk in disks if f"{disk.path}(" in text]


# --- mirrors


def test_a_mirror_goes_on_without_a_disk_and_says_so(fragile):
    driver, group, disks = fragile
    volume = driver.csi.create("a", 48 * MiB, parameters=KINDS["raid1"]).volume_id
    path = driver.use(volume)
    write_file(path, SOME)
    assert told(driver, volume) == set()
    disks_of(group, volume, disks)[0].fail()
    write_file(path, SOME, "more")
    assert machine.eventually(lambda: told(driver, volume), 10) == {"DEGRADED"}
    assert [entry.volume_id for entry in driver.csi.ControllerListVolumeHealth().entries] == [volume]
    assert read_file(path) == SOME == read_file(path, "more")
    driver.release(volume)
    assert read_file(driver.use(volume)) == SOME


@pytest.mark.parametrize("has_snapshot", [False, True], ids=["alone", "beneath_a_snapshot"])
def test_a_degraded_mirror_is_told_by_device_mapper_alone(fragile, has_snapshot):
    """No command is needed to know."""
    driver, group, disks = fragile
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=KINDS["raid1"]).volume_id
    path = driver.use_block(volume)
    if has_snapshot:
        run("lvcreate", "-qq", "-y", "-s", "-L", "32m", "-n", "theirs", f"fragile/{volume}", disks[2].path)
    write(path, SOME)
    disks_of(group, volume, disks)[1].fail()
    write(path, SOME)
    driver.commands()
    assert machine.eventually(lambda: told(driver, volume), 10) == {"DEGRADED"}
    looks = "fullreport" if has_snapshot else "none"  # as somebody has changed the group
    assert [command for command in driver.commands() if not command.startswith(looks)] == []
    if has_snapshot:
        group.drop("theirs")


def test_a_mirror_that_was_repaired_is_whole_again(fragile):
    driver, group, disks = fragile
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=KINDS["raid1"]).volume_id
    path = driver.use_block(volume)
    write(path, SOME)
    bad = disks_of(group, volume, disks)[0]
    bad.fail()
    write(path, SOME)
    assert machine.eventually(lambda: told(driver, volume), 10) == {"DEGRADED"}
    bad.mend()
    run("lvchange", "-qq", "-y", "--refresh", f"fragile/{volume}")
    assert machine.eventually(lambda: not told(driver, volume), 20), told(driver, volume)
    same(read(path, len(SOME)), SOME)


# --- a disk that fails under volumes without redundancy


def test_an_error_of_the_disk_is_the_volumes_and_not_the_drivers(fragile):
    driver, group, disks = fragile
    healthy = new(driver, "healthy", 16 * MiB, KINDS["linear"])
    size = 384 * MiB
    volume = driver.csi.create("a", size, block(), parameters=KINDS["linear"]).volume_id  # on two disks
    bad = [disk for disk in disks_of(group, volume, disks) if disk not in disks_of(group, healthy, disks)]
    assert bad, "the scenario is wrong"
    path = driver.use_block(volume)
    bad[0].fail()
    with pytest.raises(OSError):
        for offset in range(0, size, 16 * MiB):
            write(path, SOME, offset)
    began = time.monotonic()
    driver.csi.volumes(), driver.csi.Probe(), driver.csi.GetCapacity()
    assert time.monotonic() - began < 2
    driver.release(volume)
    bad[0].mend()
    put(driver, volume)
    same(get(driver, healthy)[:len(SOME)], SOME)


@pytest.mark.parametrize("step", ["create", "create a file system", "snapshot", "expand", "delete", "stage"])
def test_a_failing_disk_makes_a_clear_error_and_the_same_call_succeeds_when_it_is_mended(fragile, step):
    driver, group, disks = fragile
    volume = driver.csi.create("a", 48 * MiB, parameters=KINDS["linear"]).volume_id
    calls = {"create": lambda: driver.csi.create("b", 16 * MiB, block(), parameters=KINDS["linear"]),
             "create a file system": lambda: driver.csi.create("b", 16 * MiB, parameters=KINDS["linear"]),
             "snapshot": lambda: driver.csi.snapshot("s", volume), "expand": lambda: driver.csi.expand(volume, 64 * MiB),
             "delete": lambda: driver.csi.delete(volume), "stage": lambda: driver.use(volume)}
    for disk in disks:
        disk.fail()
    with refused(*(code for code in TROUBLE if code != "ABORTED")):
        calls[step]()
    driver.csi.Probe(), driver.csi.volumes()
    assert groups.suspended() == []
    for disk in disks:
        disk.mend()
    eventually_ok(calls[step], codes=TROUBLE)
    expected = {"create": 2, "create a file system": 2, "snapshot": 2, "delete": 0}.get(step, 1)
    assert len(group.names()) == expected


@pytest.mark.parametrize("kind", ["linear", "raid1"])
def test_a_disk_that_fails_now_and_then_loses_nothing_that_was_acknowledged(fragile, kind):
    """dm-flakey: two seconds good, one second bad."""
    driver, group, disks = fragile
    for disk in disks:
        disk.flake(2, 1)
    made, failed, end = set(), [], time.monotonic() + 12
    impatient = Client(driver.socket)
    for number in range(1000):
        if time.monotonic() > end:
            break
        try:
            made.add(impatient.create(f"a{number}", 4 * MiB, block(), parameters=KINDS[kind]).volume_id)
        except grpc.RpcError as error:
            assert error.code().name in TROUBLE, error
            failed.append(f"a{number}")
            time.sleep(0.5)
    impatient.close()
    for disk in disks:
        disk.mend()
    assert made and made <= group.names()
    assert machine.eventually(lambda: made <= set(driver.csi.volume_ids()), 20), "what is there is not found again"
    if "missing" in (row["pv_missing"] for row in report("pvs", "-o", "pv_missing")):  # LVM has written that down
        with refused("RESOURCE_EXHAUSTED", match="restoremissing"):
            driver.csi.create("refused", 4 * MiB, block(), parameters=KINDS[kind])
        for disk in disks:
            groups.succeeds("vgextend", "-qq", "--restoremissing", "fragile", disk.path)
    driver.restart()
    for name in failed:  # what came some way is kept for the retry
        made.add(eventually_ok(lambda: driver.csi.create(name, 4 * MiB, block(), parameters=KINDS[kind]), codes=TROUBLE).volume_id)
    assert set(driver.csi.volume_ids()) == group.names() == made


# --- a slow disk


def test_a_slow_disk_keeps_only_its_own_pools_calls_waiting(fragile, new_driver, tmp_path):
    """dm-delay under the physical volumes: each read takes two seconds."""
    driver, group, disks = fragile
    driver.stop()
    driver.given_up = True
    (tmp_path / "files").mkdir()
    both = new_driver({"fragile": (group, ""), "files": (tmp_path / "files", "")}).start()
    both.before["fragile"] = set()
    for disk in disks:
        disk.delay(3000)
    try:
        began = time.monotonic()
        with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE", match="fragile|lvm"):
            both.csi.CreateVolume(name="a", capacity_range={"required_bytes": 8 * MiB}, volume_capabilities=[block()], timeout=4)
        assert time.monotonic() - began < 4.5
        began = time.monotonic()
        both.csi.create("b", MiB, block(), parameters={"pool": "files"})
        both.csi.Probe(), both.csi.volumes(), both.csi.GetCapacity()
        assert time.monotonic() - began < 2, "others wait for the slow disk"
    finally:
        for disk in disks:
            disk.mend()
    eventually_ok(lambda: both.csi.create("a", 8 * MiB, block()), 60)


# --- a disk that is gone


@pytest.fixture
def partial(fragile):
    """Three volumes, then the last disk of the mirror goes while the driver is stopped."""
    driver, group, disks = fragile
    mirror = new(driver, "mirror", 16 * MiB, KINDS["raid1"])
    bad = disks_of(group, mirror, disks)[-1]
    there, lost = None, None
    for number in range(60):
        volume = driver.csi.create(f"v{number}", 48 * MiB, block(), parameters=KINDS["linear"]).volume_id
        on = disks_of(group, volume, disks)
        if bad in on and not lost:
            lost = volume
        elif bad not in on and not there:
            there = volume
            put(driver, volume)
        if there and lost:
            break
    assert there and lost, "the scenario is wrong"
    driver.stop()
    run("vgchange", "-qq", "-an", "fragile")
    bad.remove()
    yield driver, group, bad, {"mirror": mirror, "there": there, "lost": lost}
    if bad.name not in groups.devices():
        run("dmsetup", "create", bad.name, "--table", bad.whole())


def test_a_missing_disk_is_told_and_what_does_not_need_it_works(partial):
    driver, group, bad, ids = partial
    driver.start()
    assert set(driver.csi.volume_ids()) == group.names()
    same(read(driver.use_block(ids["there"]))[:len(SOME)], SOME)
    assert told(driver, ids["there"]) == set()
    same(read(driver.use_block(ids["mirror"]))[:len(SOME)], SOME)
    assert told(driver, ids["mirror"]) == {"DEGRADED"}
    assert told(driver, ids["lost"]) & {"INACCESSIBLE", "DATA_LOSS"}
    with refused("UNAVAILABLE", "FAILED_PRECONDITION", "DATA_LOSS", "INTERNAL", match="missing|device"):
        driver.stage(ids["lost"], block())
    assert storage_health(driver), "nothing is said of the pool"
    driver.release_everything()
    driver.stop()
    run("dmsetup", "create", bad.name, "--table", bad.whole())
    driver.start()
    same(read(driver.use_block(ids["mirror"]))[:len(SOME)], SOME)
    driver.use_block(ids["lost"])


@pytest.mark.parametrize("action", ["create", "snapshot", "expand"])
def test_a_missing_disk_lets_nothing_be_made_and_says_why(partial, action):
    """LVM changes no volume group of which a disk is missing, but for removals."""
    driver, group, bad, ids = partial
    names = group.parts()
    driver.start()
    calls = {"create": lambda: driver.csi.create("new", 8 * MiB, block()), "snapshot": lambda: driver.csi.snapshot("s", ids["lost"]),
             "expand": lambda: driver.csi.expand(ids["lost"], 96 * MiB)}
    codes = ["UNAVAILABLE"] if action == "snapshot" else ["RESOURCE_EXHAUSTED"]  # a new volume can go to another node
    with refused(*codes, match="missing"):
        calls[action]()
    assert driver.csi.GetCapacity().available_capacity == 0
    assert group.parts() == names
    driver.stop()
    run("dmsetup", "create", bad.name, "--table", bad.whole())
    driver.start()
    driver.csi.delete(ids["lost"])
    driver.csi.create("another", 8 * MiB, block())


def test_a_missing_disk_that_comes_back_is_used_without_a_restart(partial):
    driver, group, bad, ids = partial
    driver.start()
    with refused("RESOURCE_EXHAUSTED", match="missing"):
        driver.csi.create("new", 8 * MiB, block())
    run("dmsetup", "create", bad.name, "--table", bad.whole())
    assert machine.eventually(lambda: driver.csi.GetCapacity().available_capacity > 0, 20), "nobody has looked whether it is back"
    driver.csi.create("new", 8 * MiB, block())
    driver.use_block(ids["lost"])
    assert told(driver, ids["lost"]) == set() and storage_health(driver) == {}


def test_a_disk_that_lvm_has_written_down_as_missing_is_told_with_the_command(partial):
    driver, group, bad, ids = partial
    mirror = f"fragile/{ids['mirror']}"
    run("lvchange", "-qq", "-ay", "-K", mirror)
    run("lvconvert", "-qq", "-y", "--repair", mirror)
    run("lvchange", "-qq", "-an", mirror)
    run("dmsetup", "create", bad.name, "--table", bad.whole())
    driver.start()
    with refused("RESOURCE_EXHAUSTED", match="vgextend --restoremissing"):
        driver.csi.create("new", 8 * MiB, block())
    run("vgextend", "-qq", "--restoremissing", "fragile", bad.path)
    eventually_ok(lambda: driver.csi.create("new", 8 * MiB, block()), codes=("RESOURCE_EXHAUSTED",))


def test_a_disk_that_dies_is_told_although_nobody_asks_lvm(fragile):
    """Nothing is written to it, and no command runs: its label cannot be read."""
    driver, group, disks = fragile
    ids = [driver.csi.create(f"v{number}", 240 * MiB, block(), parameters=KINDS["linear"]).volume_id for number in range(3)]
    assert [told(driver, volume) for volume in ids] == [set()] * 3 and storage_health(driver) == {}
    for volume in ids:
        disk, = disks_of(group, volume, disks)
        disk.fail()
        assert machine.eventually(lambda: told(driver, volume), 10) == {"INACCESSIBLE"}
        assert [told(driver, other) for other in ids if other != volume] == [set()] * 2
        assert "DiskMissing" in storage_health(driver) and driver.csi.GetCapacity().available_capacity == 0
        disk.mend()
        assert machine.eventually(lambda: driver.csi.health(volume) == {} and storage_health(driver) == {}, 20)
        assert told(driver, volume) == set()


def test_a_mirror_that_is_filled_anew_is_told(fragile):
    driver, group, disks = fragile
    volume = new(driver, "a", 128 * MiB, KINDS["raid1"])
    path = driver.use_block(volume)
    assert machine.eventually(lambda: groups.report("lvs", "-o", "sync_percent", f"{group.name}/{volume}")[0]["sync_percent"] == "100.00", 60)
    assert told(driver, volume) == set()
    old = disks_of(group, volume, disks)[0]
    free, = [disk for disk in disks if disk not in disks_of(group, volume, disks)]
    run("lvchange", "-qq", "--maxrecoveryrate", "1M", f"{group.name}/{volume}")
    run("lvconvert", "-qq", "-y", "--replace", old.path, f"{group.name}/{volume}", free.path)
    assert machine.eventually(lambda: told(driver, volume), 20) == {"DEGRADED"}
    same(read(path)[:len(SOME)], SOME)
    run("lvchange", "-qq", "--maxrecoveryrate", "0", f"{group.name}/{volume}")
    assert machine.eventually(lambda: driver.csi.health(volume) == {}, 60)


def test_a_snapshot_whose_space_fails_is_told_and_the_volume_is_well(fragile):
    driver, group, disks = fragile
    volume = new(driver, "a", 64 * MiB, KINDS["linear"], os.urandom(MiB) * 64)
    path = driver.use_block(volume)
    impatient = Client(driver.socket, 8)
    for disk in disks:
        disk.delay(40)
    try:
        snapshot = until_ok(lambda: impatient.snapshot("s", volume), 60, ("ABORTED", "DEADLINE_EXCEEDED"))
        assert not snapshot.ready_to_use
        cow, = [name for name in groups.devices() if name.endswith("--cut-cow") or name.endswith(".cut-cow")]
        size = machine.size_of_device(f"/dev/mapper/{cow}") // 512
        run("dmsetup", "load", cow, "--table", f"0 {size} error")
        run("dmsetup", "suspend", "--nolockfs", "--noflush", cow)
        run("dmsetup", "resume", cow)
        write(path, SOME[::-1], 32 * MiB)
        health = machine.eventually(lambda: driver.csi.health(volume), 20)
        assert set(health) == {"SnapshotFailed"}
    finally:
        impatient.close()
        for disk in disks:
            disk.mend()
    same(read(path)[32 * MiB:][:len(SOME)], SOME[::-1])
    driver.csi.delete_snapshot(snapshot.snapshot_id)
    assert machine.eventually(lambda: driver.csi.health(volume) == {}, 20)


@pytest.mark.parametrize("kind", ["linear", "thin"])
@pytest.mark.parametrize("capability", [mount(), block()], ids=["mount", "block"])
def test_a_volume_whose_only_disk_has_died_is_given_back(new_disk, new_group, new_driver, kind, capability):
    """LVM does not find the volume group, so it deactivates nothing there."""
    disk = new_disk(384 * MiB)
    group = new_group("dying", [disk.path], thin=128 * MiB)
    driver = new_driver({"dying": (group, "thinpool=thin")}).start()
    volume = driver.csi.create("a", 48 * MiB, capability, parameters=KINDS[kind]).volume_id
    driver.use(volume, capability)
    disk.fail()
    eventually_ok(lambda: driver.release(volume))
    assert not group.has_device(volume)
    disk.mend()
    eventually_ok(lambda: driver.use(volume, capability))


# --- thin pools that are full


@pytest.fixture
def small(new_disk, new_group, new_driver):
    """A thin pool of 64 MiB that cannot grow, promised three times: (driver, group)."""
    disk = new_disk(128 * MiB)
    group = new_group("small", [disk.path], thin=64 * MiB)
    group.add("filler", group.free())
    driver = new_driver({"small": (group, "thinpool=thin,overprovision=3,reserve=0")}).use_tools().start()
    return driver, group


def write_until_full(path, most):
    """How many bytes could be written."""
    done = 0
    with open(path, "r+b", buffering=0) as device:
        try:
            while done < most:
                done += device.write(os.urandom(MiB))
                os.fsync(device.fileno())
        except OSError:
            pass
    return done


def test_a_full_thin_pool_fails_writes_and_is_told_and_recovers(small):
    driver, group = small
    run("lvchange", "-qq", "--errorwhenfull", "y", "small/thin")
    driver.restart()
    safe = new(driver, "safe", 8 * MiB, KINDS["thin"])
    volume = driver.csi.create("a", 128 * MiB, block(), parameters=KINDS["thin"]).volume_id
    done = write_until_full(driver.use_block(volume), 128 * MiB)
    assert 40 * MiB < done < 64 * MiB, done
    health = machine.eventually(lambda: storage_health(driver), 5)
    assert any("small" in message or "thin" in message for _, message in health.values()), health
    for call in (lambda: driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"]), lambda: driver.csi.snapshot("s", safe)):
        with refused("RESOURCE_EXHAUSTED"):
            call()
    assert driver.csi.GetCapacity(parameters=KINDS["thin"]).available_capacity == 0
    driver.release(volume)
    driver.csi.delete(volume)
    same(get(driver, safe)[:len(SOME)], SOME)
    eventually_ok(lambda: driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"]), codes=("RESOURCE_EXHAUSTED",))
    assert machine.eventually(lambda: not storage_health(driver), 10), storage_health(driver)


def test_a_full_thin_pool_that_waits_goes_on_when_something_is_deleted(small):
    """Without errorwhenfull the kernel holds writes for a minute."""
    driver, group = small
    first = driver.csi.create("first", 48 * MiB, block(), parameters=KINDS["thin"]).volume_id
    put(driver, first, os.urandom(40 * MiB))
    second = driver.csi.create("second", 64 * MiB, block(), parameters=KINDS["thin"]).volume_id
    path = driver.use_block(second)
    writer = threading.Thread(target=write_until_full, args=(path, 40 * MiB))
    writer.start()
    try:
        assert machine.eventually(lambda: " out_of_data_space " in groups.status("small-thin-tpool"), 20)
        began = time.monotonic()
        driver.csi.Probe(), driver.csi.volumes(), driver.csi.GetCapacity()
        assert time.monotonic() - began < 2
        assert storage_health(driver)
        eventually_ok(lambda: driver.csi.delete(first), 30)
    finally:
        writer.join(90)
    assert not writer.is_alive()
    assert machine.eventually(lambda: " rw " in groups.status("small-thin-tpool"), 10)


def test_a_file_system_on_a_full_thin_pool_keeps_what_was_synced(small):
    driver, group = small
    run("lvchange", "-qq", "--errorwhenfull", "y", "small/thin")
    driver.restart()
    volume = driver.csi.create("a", 128 * MiB, parameters=KINDS["thin"]).volume_id
    path = driver.use(volume)
    write_file(path, SOME)
    with pytest.raises(OSError):
        for number in range(64):
            write_file(path, os.urandom(2 * MiB), f"f{number}")
    driver.release(volume)
    run("lvremove", "-qq", "-y", "small/filler")
    run("lvextend", "-qq", "-L", "+32m", "small/thin")
    assert read_file(driver.use(volume)) == SOME


@pytest.mark.parametrize("killed", [None, *GUARD_POINTS])
def test_a_thin_pool_grows_by_itself_from_free_space(new_disk, new_group, new_driver, killed):
    group = new_group("roomy", [new_disk(384 * MiB).path], thin=64 * MiB)
    driver = new_driver({"roomy": (group, "thinpool=thin")}).start(fault=killed and f"{killed}=kill")
    volume = driver.csi.create("a", 56 * MiB, block(), parameters=KINDS["thin"]).volume_id
    content = os.urandom(54 * MiB)
    write(driver.use_block(volume), content)  # 84 per cent
    if killed:
        assert driver.ended_by_kill(30)
        driver.start()
    assert machine.eventually(lambda: group.size("thin") > 64 * MiB, 30), "it was not grown"
    same(get(driver, volume)[:len(content)], content)


def test_a_nearly_full_thin_pool_is_told_and_refuses_new_volumes(small):
    driver, group = small
    volume = driver.csi.create("a", 96 * MiB, block(), parameters=KINDS["thin"]).volume_id
    write(driver.use_block(volume), os.urandom(62 * MiB))  # 97 per cent
    assert machine.eventually(lambda: storage_health(driver), 10), "nothing is said of it"
    for call in (lambda: driver.csi.create("b", 4 * MiB, block(), parameters=KINDS["thin"]), lambda: driver.csi.snapshot("s", volume)):
        with refused("RESOURCE_EXHAUSTED", match="thin|full|%|per cent"):
            call()
    assert driver.csi.GetCapacity(parameters=KINDS["thin"]).available_capacity == 0


def use_metadata(group, percent):
    """Fills the thin pool's metadata behind LVM's back, with thin devices that LVM does not know: snapshots of a large one,
    each written to once; until it is grown.  Their numbers."""
    pool, numbers, sectors = f"{group.name}-thin-tpool", [9000000], 2 * GiB // 512

    def written(number, chunks):
        run("dmsetup", "create", "pvwritten", "--table", f"0 {sectors} thin /dev/mapper/{pool} {number}")
        for chunk in chunks:
            write("/dev/mapper/pvwritten", b"x", chunk * 64 * KiB)
        run("dmsetup", "remove", "--retry", "pvwritten")

    def blocks():
        return [int(number) for number in groups.status(pool).split()[4].split("/")]
    total = blocks()[1]
    run("dmsetup", "message", pool, "0", f"create_thin {numbers[0]}")
    written(numbers[0], range(0, 20000, 40))
    while blocks()[0] < total * percent / 100 and blocks()[1] == total:
        numbers.append(numbers[-1] + 1)
        run("dmsetup", "message", pool, "0", f"create_snap {numbers[-1]} {numbers[0]}")
        written(numbers[-1], [len(numbers)])
        assert len(numbers) < 1000
    return numbers


def test_thin_metadata_that_fill_up_are_grown(new_disk, new_group, new_driver):
    group = new_group("many", [new_disk(512 * MiB).path], thin=128 * MiB, extent="1M", thin_metadata=2 * MiB)
    driver = new_driver({"many": (group, "thinpool=thin")}).start()
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    driver.use_block(volume)
    size = "lvs", "-a", "-o", "lv_metadata_size", "many/thin"
    before = int(report(*size)[0]["lv_metadata_size"])
    use_metadata(group, 85)
    assert machine.eventually(lambda: int(report(*size)[0]["lv_metadata_size"]) > before, 30), "they were not grown"
    works_again = driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"]).volume_id
    driver.csi.delete(works_again)
    same(get(driver, volume)[:len(SOME)], SOME)


def test_full_thin_metadata_are_told_and_refuse_new_volumes(new_disk, new_group, new_driver):
    group = new_group("many", [new_disk(256 * MiB).path], thin=128 * MiB, extent="1M", thin_metadata=2 * MiB)
    group.add("filler", group.free())  # nothing to grow from
    driver = new_driver({"many": (group, "thinpool=thin")}).start()
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    driver.use_block(volume)
    numbers = use_metadata(group, 95)
    messages = " ".join(message for _, message in storage_health(driver).values())
    assert "metadata" in messages, messages or "nothing is said of it"
    for call in (lambda: driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"]), lambda: driver.csi.snapshot("s", volume)):
        with refused("RESOURCE_EXHAUSTED", match="metadata"):
            call()
    assert driver.csi.GetCapacity(parameters=KINDS["thin"]).available_capacity == 0
    for number in numbers:
        run("dmsetup", "message", "many-thin-tpool", "0", f"delete {number}")
    assert machine.eventually(lambda: not storage_health(driver), 10), storage_health(driver)
    same(get(driver, volume)[:len(SOME)], SOME)
    eventually_ok(lambda: driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"]), codes=("RESOURCE_EXHAUSTED",))


def test_a_thin_pool_that_needs_repair_is_told_with_the_command(new_disk, new_group, new_driver):
    """Its metadata cannot be written once: the kernel makes it read-only."""
    disk = new_disk(256 * MiB)
    group = new_group("broken", [disk.path], thin=64 * MiB)
    driver = new_driver({"broken": (group, "thinpool=thin")}).start()
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=KINDS["thin"]).volume_id
    path = driver.use_block(volume)
    write(path, SOME[:MiB])
    disk.fail()
    with pytest.raises(OSError):
        write(path, os.urandom(8 * MiB), 4 * MiB)
    machine.eventually(lambda: " rw " not in groups.status("broken-thin-tpool"), 10)
    disk.mend()
    messages = " ".join(message for _, message in storage_health(driver).values())
    assert "lvconvert" in messages or "lvchange" in messages, messages or "nothing is said of it"
    assert told(driver, volume)
    with refused("RESOURCE_EXHAUSTED", match="repair"):  # another node may have room
        driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"])
    driver.release(volume)
    driver.stop()
    run("vgchange", "-qq", "-an", "broken")
    if not groups.succeeds("lvchange", "-qq", "-ay", "broken/thin"):
        run("lvconvert", "-qq", "-y", "--repair", "broken/thin")
    for name in group.parts():
        if name.startswith("thin_meta"):
            driver.before["broken"].add(name)
    driver.start()
    same(get(driver, volume)[:MiB], SOME[:MiB])
    for name in group.names():
        if name.startswith("thin_meta"):
            group.drop(name)


# --- a volume group that is full


def test_a_volume_group_that_is_full_half_way_through_a_copy_leaves_nothing(new_disk, new_group, new_driver):
    """The target has room and the cut has not; then the other way round."""
    group = new_group("tight", [new_disk(256 * MiB).path])
    driver = new_driver({"tight": (group, "reserve=0")}).start()
    volume = new(driver, "a", 64 * MiB, KINDS["linear"])
    for room in (96 * MiB, 32 * MiB, 68 * MiB):
        group.add("filler", group.free() - room)
        with refused("RESOURCE_EXHAUSTED", match="tight"):
            driver.csi.snapshot("s", volume)
        with refused("RESOURCE_EXHAUSTED", match="tight"):
            driver.csi.create("c", 64 * MiB, block(), source={"volume": {"volume_id": volume}})
        assert group.names() == {volume, "filler"}, f"left with room for {room}"
        group.drop("filler")
    snapshot = eventually_ok(lambda: driver.csi.snapshot("s", volume), codes=("RESOURCE_EXHAUSTED",))
    driver.csi.delete_snapshot(snapshot.snapshot_id)


@pytest.mark.parametrize("kind", ["thin", "linear"])
def test_a_metadata_area_that_is_nearly_full_is_told(new_disk, new_group, new_driver, kind):
    """The smallest one: capacity says 0 and health says why; deleting works."""
    disk = new_disk(640 * MiB)
    group = new_group("tiny", [disk.path], extent="1M", metadata="64k", thin=256 * MiB)
    driver = new_driver({"tiny": (group, f"thinpool=thin,provisioning={'thin' if kind == 'thin' else 'thick'}")}).start()
    made = []
    for number in range(200):
        if driver.csi.GetCapacity().available_capacity == 0:
            break
        made.append(driver.csi.create(f"v{number}", MiB, block(), parameters=KINDS[kind]).volume_id)
    row = group.get("vg_mda_size,vg_mda_free")
    assert int(row["vg_mda_free"]) > 0, "it went on until the area was full"
    assert 20 < len(made) < 200 and group.free() > 128 * MiB
    assert any("metadata" in message for _, message in storage_health(driver).values())
    with refused("RESOURCE_EXHAUSTED", match="metadata"):
        driver.csi.create("one more", MiB, block(), parameters=KINDS[kind])
    with refused("RESOURCE_EXHAUSTED", match="metadata"):
        driver.csi.snapshot("of one", made[0])
    for volume in made:
        driver.csi.delete(volume)
    assert driver.csi.GetCapacity().available_capacity > 128 * MiB and storage_health(driver) == {}


def test_wiping_a_thin_volume_with_zeros_needs_no_room_for_all_of_it(new_disk, new_group, new_driver):
    """Most of it was never written, and the thin pool has a fourth of its size."""
    group = new_group("small", [new_disk(256 * MiB).path], thin=96 * MiB)
    driver = new_driver({"small": (group, "thinpool=thin,overprovision=10")}).start()
    volume = driver.csi.create("a", 384 * MiB, block(), parameters={"wipe": "zero"}).volume_id
    put(driver, volume)
    size = group.size("thin")
    driver.csi.delete(volume)
    assert group.size("thin") == size, "the thin pool was grown for it"
