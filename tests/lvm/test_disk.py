"""The disk pool: whole disks, one volume on each."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import groups
import machine
from client import block, from_volume, mount, refused, until_ok
from conftest import WORK, clean_up, numbers, tear_down
from content import SOME, get, put, read, read_file, same, write, write_file, zeros
from disks import DiskDriver, Shelf, disk_of, grow, places, rename, volume_groups
from driver import Died
from groups import DISKS, run
from lvm_driver import eventually_ok
from machine import MiB

SIZES = {"small": 48 * MiB, "middle": 80 * MiB, "large": 128 * MiB}
USABLE = {name: size - 4 * MiB for name, size in SIZES.items()}  # LVM's label and metadata take one extent
PLINTH = os.environ["PLINTH"]


@pytest.fixture
def shelf():
    made = Shelf()
    yield made
    made.remove()


@pytest.fixture
def new_pool(request, shelf):
    """new_pool("devices=..."): a driver with the disk pool `whole`, not started yet."""
    made = []

    def make(text, **more):
        more.setdefault("pools", {"whole": (text, "")})
        made.append(DiskDriver(WORK / f"t{next(numbers)}", **more))
        return made[-1]
    yield make
    try:
        for driver in made:
            if driver.process is not None:
                tear_down(driver, bool(list(request.node.iter_markers("damaged"))))
    finally:
        for driver in made:
            clean_up(driver, request.node.name)


@pytest.fixture
def disks(shelf):
    """A small, a middle and a large one, full of what somebody wrote there before."""
    return {name: shelf.add(name, size, room=64 * MiB, filled=True) for name, size in SIZES.items()}


@pytest.fixture
def driver(new_pool, disks):
    return new_pool("devices=/dev/mapper/pv*").use_tools().start()


def capacity(driver):
    answer = driver.csi.GetCapacity()
    return answer.available_capacity, answer.maximum_volume_size.value


def storage_health(driver):
    return [(entry.reason, entry.message) for entry in driver.csi.NodeGetStorageHealth().backend_health]


def adopt(*words, answer="", **variables):
    """(status, output) of plinth pool adopt."""
    done = subprocess.run([PLINTH, "pool", "adopt", *map(str, words)], input=answer, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "NODE_NAME": "node-a", **variables})
    return done.returncode, done.stdout


# --- which disks


def test_empty_disks_named_by_path_are_taken(new_pool, shelf):
    paths = [shelf.add(name, size).path for name, size in SIZES.items()]
    shelf.add("other", 64 * MiB)
    driver = new_pool(f"devices={paths[0]}+{paths[1]}+{paths[2]}").start()
    assert capacity(driver) == (sum(USABLE.values()), USABLE["large"])
    found = volume_groups()
    pool_id = next(iter(found)).split("-")[1]
    assert len(found) == 3 and all(re.fullmatch(f"plinth-{pool_id}-[0-9a-f]{{8}}", name) for name in found)
    assert {row["vg_tags"] for row in found.values()} == {f"plinth.disk.whole,plinth.pool.{pool_id}"}


def test_disks_are_chosen_by_a_pattern_and_a_rule(new_pool, shelf):
    for name, size in SIZES.items():
        shelf.add(name, size)
    driver = new_pool("devices=/dev/mapper/pv*,min-size=60Mi,max-size=100Mi").start()
    assert capacity(driver) == (USABLE["middle"], USABLE["middle"])


@pytest.fixture
def whole_disks():
    yield
    for name in volume_groups():
        groups.succeeds("vgremove", "-qq", "-y", "-f", "-f", name)
    for path in DISKS:
        groups.succeeds("wipefs", "-aqf", path)


def test_a_rule_takes_disks_that_nobody_uses(new_pool, shelf, whole_disks, tmp_path):
    shelf.add("holder", 64 * MiB)  # so the disk of the shelf is in use
    run("mkfs.ext4", "-q", DISKS[0])
    run("mkfs.ext4", "-q", DISKS[1])
    run("mount", DISKS[1], tmp_path)
    before = read(DISKS[0], 64 * MiB)
    try:
        driver = new_pool("min-size=2Gi,rotational=0").start()
        taken = {row["pv_name"] for row in groups.report("pvs", "-o", "pv_name,vg_name") if row["vg_name"].startswith("plinth-")}
        assert taken == {DISKS[2], DISKS[3], DISKS[5]}
        same(read(DISKS[0], 64 * MiB), before)
        driver.stop()
        driver.pools = {"whole": ("model=nothing*", "")}
        driver.start()  # what is taken stays taken
        assert capacity(driver)[0] > 8 << 30
    finally:
        run("umount", tmp_path)


def write_gpt(path):
    """Only what makes it one: the protective record and the header."""
    with open(path, "r+b") as device:
        device.seek(446)
        device.write(bytes([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))
        device.seek(510)
        device.write(b"\x55\xaa")


SIGNATURES = {"ext4": lambda path: run("mkfs.ext4", "-q", path), "xfs": lambda path: run("mkfs.xfs", "-q", "-f", path),
              "swap": lambda path: run("mkswap", path), "partitions": write_gpt,
              "physical-volume": lambda path: run("pvcreate", "-qq", "-y", path),
              "volume-group": lambda path: run("vgcreate", "-qq", "-y", "somebody", path)}


@pytest.mark.parametrize("what", SIGNATURES)
def test_a_disk_with_a_signature_is_left_as_it_is(new_pool, shelf, what):
    theirs, ours = shelf.add("theirs", 320 * MiB), shelf.add("ours", SIZES["small"])
    SIGNATURES[what](theirs.path)
    before = machine.checksum(theirs.path)
    driver = new_pool("devices=/dev/mapper/pv*").start()
    try:
        assert capacity(driver) == (USABLE["small"], USABLE["small"])
        driver.csi.create("a", 16 * MiB)
        driver.restart()
        assert machine.checksum(theirs.path) == before
        (reason, message), = storage_health(driver)
        assert reason == "DiskNotTaken" and "not empty" in message
        command = re.search(r"plinth pool adopt --pool whole (\S+)", message).group(1)
        assert os.stat(command).st_rdev == os.stat(theirs.path).st_rdev
        assert [record for record in driver.log_records() if record["message"] == "disk not taken"]
        assert ours.path
    finally:
        groups.succeeds("vgremove", "-qq", "-y", "-f", "somebody")


def test_a_disk_in_use_is_not_taken(new_pool, shelf):
    disk = shelf.add("held", 64 * MiB)
    run("dmsetup", "create", "pvholder", "--table", f"0 2048 linear {disk.path} 0")
    try:
        driver = new_pool(f"devices={disk.path}").start()
        assert capacity(driver) == (0, 0)
    finally:
        run("dmsetup", "remove", "--retry", "pvholder")


def test_two_pools_do_not_take_each_others_disks(new_pool, shelf):
    first, second = shelf.add("first", 96 * MiB), shelf.add("second", 160 * MiB)
    driver = new_pool("", pools={"one": (f"devices={first.path}", ""), "two": (f"devices={second.path}", "")}).start()
    driver.stop()
    driver.pools = {"one": ("devices=/dev/mapper/pv*", ""), "two": ("devices=/dev/mapper/pv*", "")}
    driver.start()
    assert driver.csi.GetCapacity(parameters={"pool": "one"}).available_capacity == 92 * MiB
    assert driver.csi.GetCapacity(parameters={"pool": "two"}).available_capacity == 156 * MiB
    assert storage_health(driver) == []


@pytest.mark.parametrize("wrong", ["", "devices=sda", "rotational=yes", "min-size=big", "min-size=2Gi,max-size=1Gi", "reserve=5%,min-size=1",
                                   "vg=x,min-size=1"])
def test_options_that_make_no_sense_are_refused(new_pool, wrong):
    driver = new_pool(wrong)
    with pytest.raises(Died):
        driver.start()
    driver.process = None


# --- volumes


def test_a_volume_gets_the_smallest_disk_that_is_large_enough(driver):
    for size, name in ((60 * MiB, "middle"), (MiB, "small"), (60 * MiB, "large")):
        volume = driver.csi.create(name, max(size, 16 * MiB))
        assert volume.capacity_bytes == USABLE[name]
        assert os.stat(disk_of(volume.volume_id)).st_rdev == os.stat(f"/dev/mapper/pv{name}").st_rdev
    assert capacity(driver) == (0, 0)
    with refused("RESOURCE_EXHAUSTED", match="0 left"):
        driver.csi.create("more", 16 * MiB)


def test_what_no_disk_can_hold_is_refused_with_numbers(driver):
    with refused("RESOURCE_EXHAUSTED", match="largest free one has 124Mi"):
        driver.csi.create("a", 200 * MiB)
    with refused("OUT_OF_RANGE"):
        driver.csi.create("a", 16 * MiB, limit=32 * MiB)
    assert driver.csi.create("a", 16 * MiB, limit=USABLE["small"]).capacity_bytes == USABLE["small"]
    assert not [name for name in places() if name not in driver.csi.volume_ids()]


def test_other_shapes_are_refused(driver):
    for wrong in ({"provisioning": "thin"}, {"layout": "raid1"}, {"layout": "striped"}):
        with refused("INVALID_ARGUMENT"):
            driver.csi.create("a", 16 * MiB, block(), parameters=wrong)
    assert places() == {} and capacity(driver)[0] == sum(USABLE.values())


def test_volumes_made_at_once_get_disks_of_their_own(driver):
    with ThreadPoolExecutor(3) as clients:
        made = list(clients.map(lambda n: until_ok(lambda: driver.csi.create(f"v{n}", 16 * MiB), 60), range(3)))
    assert sorted(volume.capacity_bytes for volume in made) == sorted(USABLE.values())
    assert len(set(places().values())) == 3


def test_the_same_call_gives_the_same_volume(driver):
    first = driver.csi.create("a", 60 * MiB)
    assert driver.csi.create("a", 60 * MiB) == first
    with refused("ALREADY_EXISTS"):
        driver.csi.create("a", 90 * MiB)
    driver.csi.delete(first.volume_id)
    driver.csi.delete(first.volume_id)
    assert places() == {} and capacity(driver)[0] == sum(USABLE.values())


def test_a_raw_volume_reads_as_zeros_whatever_was_on_the_disk(driver):
    volume = driver.csi.create("a", 16 * MiB, block())
    zeros(get(driver, volume.volume_id))
    put(driver, volume.volume_id)
    driver.csi.delete(volume.volume_id)
    volume = driver.csi.create("b", 16 * MiB, block())
    zeros(get(driver, volume.volume_id))


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_volume_is_used_and_survives_a_restart_and_a_kill(new_pool, shelf, fstype):
    shelf.add("one", 384 * MiB, filled=True)
    driver = new_pool("devices=/dev/mapper/pv*").start()
    volume = driver.csi.create("a", 310 * MiB, mount(fstype))
    path = driver.use(volume.volume_id, mount(fstype))
    write_file(path)
    for end in (driver.stop, driver.kill):
        end()
        driver.start()
        assert driver.csi.volumes() == [volume] and read_file(path) == b"content"
    with refused("FAILED_PRECONDITION"):
        driver.csi.delete(volume.volume_id)
    driver.release(volume.volume_id)
    assert not driver.in_use(volume.volume_id)


def test_a_look_and_an_operation_take_few_commands(driver):
    driver.csi.create("warm", 16 * MiB, mount())
    machine.eventually(lambda: False, 2.5)
    driver.csi.volumes()
    driver.commands()
    volume = driver.csi.create("a", 60 * MiB).volume_id
    assert [command.split()[0] for command in driver.commands()] == ["lvcreate", "lvchange"]
    for _ in range(3):
        machine.eventually(lambda: False, 1.2)
        driver.csi.volumes(), driver.csi.GetCapacity(), driver.csi.Probe(), driver.csi.health(volume), driver.csi.NodeGetStorageHealth()
    assert driver.commands() == []
    driver.csi.delete(volume)
    assert [command.split()[0] for command in driver.commands()] in (["lvremove"], ["lvchange", "lvremove"])


@pytest.mark.parametrize("how", ["zero"])
def test_a_wiped_volume_leaves_nothing_on_the_disk(new_pool, shelf, how):
    disk = shelf.add("one", 64 * MiB)
    driver = new_pool(f"devices={disk.path}").start()
    volume = driver.csi.create("a", 16 * MiB, block(), parameters={"wipe": how})
    mark = os.urandom(64)
    put(driver, volume.volume_id, mark * (MiB // 64), 20 * MiB)
    assert mark in read(disk.path)
    driver.csi.delete(volume.volume_id)
    assert mark not in read(disk.path) and places() == {}
    assert capacity(driver)[0] == volume.capacity_bytes


# --- growth


def test_a_volume_does_not_grow_beyond_its_disk(driver):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    with refused("OUT_OF_RANGE", match="whole disk"):
        driver.csi.expand(volume, 60 * MiB)
    assert driver.csi.expand(volume, USABLE["small"]).capacity_bytes == USABLE["small"]


def test_a_volume_grows_with_its_disk_while_it_is_mounted(driver, disks):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    path = driver.use(volume)
    write_file(path)
    was = os.statvfs(path).f_blocks
    grow(disks["small"], 64 * MiB)
    answer = driver.csi.expand(volume, 60 * MiB)
    assert answer.capacity_bytes == USABLE["small"] + 64 * MiB
    assert os.statvfs(path).f_blocks > was * 1.4 and read_file(path) == b"content"


def test_what_a_raw_volume_grows_by_reads_as_zeros(driver, disks):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    grow(disks["small"], 32 * MiB)
    with open(disks["small"].path, "r+b") as device:
        device.seek(SIZES["small"])
        device.write(groups.PATTERN * 32)
    assert driver.csi.expand(volume, 60 * MiB).capacity_bytes == USABLE["small"] + 32 * MiB
    found = get(driver, volume)
    same(found[:len(SOME)], SOME)
    zeros(found[USABLE["small"]:])


# --- copies


def test_there_are_no_snapshots_and_the_sentence_says_why(driver):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    with refused("UNIMPLEMENTED", match="clone"):
        driver.csi.snapshot("s", volume)
    with refused("UNIMPLEMENTED", match="clone"):
        driver.csi.group("g", [volume])
    assert len(places()) == 1


@pytest.mark.parametrize("used", [False, True])
def test_a_clone_is_copied_to_another_disk(driver, used):
    volume = driver.csi.create("a", 16 * MiB).volume_id
    path = driver.use(volume)
    write_file(path)
    if not used:
        driver.release(volume)
    clone = driver.csi.create("b", 16 * MiB, source=from_volume(volume))
    assert clone.capacity_bytes == USABLE["middle"] and len(set(places().values())) == 2
    assert read_file(driver.use(clone.volume_id)) == b"content"


def test_a_raw_clone_has_the_bytes_of_its_source_and_zeros(driver):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    clone = driver.csi.create("b", 16 * MiB, block(), source=from_volume(volume)).volume_id
    found = get(driver, clone)
    same(found[:len(SOME)], SOME)
    zeros(found[len(SOME):])


# --- disks that change


def test_disks_are_found_whatever_their_names_are_now(driver, disks):
    raw = driver.csi.create("raw", 16 * MiB, block()).volume_id
    other = driver.csi.create("other", 60 * MiB, block()).volume_id
    put(driver, raw)
    was = places()
    driver.stop()
    rename([disks["small"], disks["middle"], disks["large"]], ["pvmiddle", "pvlarge", "pvsmall"])
    driver.start()
    assert set(driver.csi.volume_ids()) == {raw, other} and places() == was
    path = driver.use_block(raw)
    same(read(path, len(SOME)), SOME)
    assert driver.csi.health(raw) == {} and storage_health(driver) == []
    assert capacity(driver) == (USABLE["large"], USABLE["large"])


def test_a_disk_that_fails_hinders_only_its_volume(driver, disks):
    bad = driver.csi.create("bad", 16 * MiB, block()).volume_id
    put(driver, bad)
    good = driver.csi.create("good", 60 * MiB).volume_id
    disks["small"].fail()
    try:
        assert driver.csi.health(bad) == {"DiskMissing": "INACCESSIBLE"}
        assert [reason for reason, _ in storage_health(driver)] == ["DiskMissing"]
        assert driver.csi.health(good) == {}
        write_file(driver.use(good))
        with refused("UNAVAILABLE", "INTERNAL", match=bad):
            driver.stage(bad, block())
        driver.csi.delete(driver.csi.create("more", 16 * MiB).volume_id)
        assert capacity(driver) == (USABLE["large"], USABLE["large"])
    finally:
        disks["small"].mend()
    assert machine.eventually(lambda: driver.csi.volumes() and driver.csi.health(bad) == {}, 20)
    same(get(driver, bad)[:len(SOME)], SOME)
    eventually_ok(lambda: driver.use_block(bad))


def test_a_disk_that_is_missing_at_the_start_comes_back_under_another_name(driver, disks):
    away = driver.csi.create("away", 16 * MiB, block()).volume_id
    put(driver, away)
    stays = driver.csi.create("stays", 60 * MiB, block()).volume_id
    driver.stop()
    disk = disks["small"]
    disk.remove()
    driver.start()
    assert driver.csi.volume_ids() == [stays]
    driver.use_block(stays)
    disk.name, disk.path = "elsewhere", "/dev/mapper/elsewhere"
    run("dmsetup", "create", disk.name, "--table", disk.whole())
    try:
        driver.restart()
        assert set(driver.csi.volume_ids()) == {away, stays}
        same(get(driver, away)[:len(SOME)], SOME)
        driver.csi.delete(away)
    finally:
        driver.stop()
        rename([disk], ["pvsmall"])
        driver.start()


def test_a_new_disk_is_taken_while_the_driver_runs(driver, shelf):
    was = capacity(driver)[0]
    shelf.add("new", 128 * MiB)
    assert machine.eventually(lambda: capacity(driver)[0] == was + 124 * MiB, 20)


# --- adopting


def test_a_disk_with_something_on_it_is_adopted_while_the_driver_runs(new_pool, shelf):
    disk = shelf.add("theirs", 128 * MiB)
    run("mkfs.ext4", "-q", "-L", "holiday", disk.path)
    driver = new_pool(f"devices={disk.path}").start()
    assert capacity(driver) == (0, 0)
    before = machine.checksum(disk.path)
    status, said = adopt("--pool", "whole", disk.path, answer="no\n")
    assert status == 1 and "nothing was changed" in said and machine.checksum(disk.path) == before
    status, said = adopt("--pool", "whole", disk.path, answer=f"{128 * MiB}\n")
    assert status == 0 and "ext4" in said and "holiday" in said and str(128 * MiB) in said
    assert machine.eventually(lambda: capacity(driver)[0] == 124 * MiB, 20)
    assert storage_health(driver) == []
    zeros(get(driver, driver.csi.create("a", 16 * MiB, block()).volume_id))


def test_a_disk_is_adopted_before_the_driver_is_started(new_pool, shelf):
    disk = shelf.add("theirs", 128 * MiB)
    write_gpt(disk.path)
    status, said = adopt("--pool", "whole", "--yes", disk.path)
    assert status == 0, said
    driver = new_pool("devices=/dev/mapper/nothing*").start()
    assert capacity(driver) == (124 * MiB, 124 * MiB)
    driver.csi.create("a", 16 * MiB)


def test_what_is_in_use_or_ours_is_not_adopted(new_pool, shelf, tmp_path):
    used, ours = shelf.add("used", 64 * MiB), shelf.add("ours", 64 * MiB)
    run("mkfs.ext4", "-q", used.path)
    run("mount", used.path, tmp_path)
    try:
        driver = new_pool("devices=/dev/mapper/pvours").start()
        volume = driver.csi.create("a", 16 * MiB).volume_id
        with driver.opened(volume) as path:
            for what, words in ((used.path, "in use"), (ours.path, "already|in use"), (path, "volume"), (tmp_path, "block device"),
                                ("/dev/nothing", "cannot find")):
                status, said = adopt("--pool", "whole", "--yes", what)
                assert status == 1 and re.search(words, said), said
        driver.csi.delete(volume)
        status, said = adopt("--pool", "other", "--yes", ours.path)
        assert status == 1 and "already" in said
    finally:
        run("umount", tmp_path)


# --- kills

CREATE = ["pool.lvm.create.before", "pool.lvm.create.after", "controller.create.formatted", "pool.lvm.write.before",
          "pool.lvm.write.after", "snapshot.making.made", "snapshot.making.synced", "snapshot.making.ready"]
DELETE = ["pool.lvm.remove.before", "pool.lvm.remove.after", "snapshot.removal.marked", "snapshot.removal.wiped"]
TAKE = ["pool.disk.take.before", "pool.disk.take.after"]


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


@pytest.mark.parametrize("point", CREATE)
@pytest.mark.parametrize("capability", [mount(), block()], ids=["mount", "block"])
def test_a_creation_that_is_killed_can_be_repeated(driver, point, capability):
    killed(driver, point, lambda: driver.csi.create("a", 60 * MiB, capability))
    volume = driver.csi.create("a", 60 * MiB, capability)
    assert volume.capacity_bytes == USABLE["middle"] and list(places()) == [volume.volume_id]
    assert driver.csi.volumes() == [volume]
    if capability.HasField("block"):
        zeros(get(driver, volume.volume_id))


@pytest.mark.parametrize("point", DELETE)
@pytest.mark.parametrize("wipe", ["none", "zero"])
def test_a_deletion_that_is_killed_can_be_repeated(driver, point, wipe):
    volume = driver.csi.create("a", 16 * MiB, parameters={"wipe": wipe}).volume_id
    killed(driver, point, lambda: driver.csi.delete(volume))
    driver.csi.delete(volume)
    assert places() == {} and machine.eventually(lambda: capacity(driver)[0] == sum(USABLE.values()), 10)


@pytest.mark.parametrize("point", TAKE)
def test_a_start_that_is_killed_while_it_takes_disks_goes_on(new_pool, disks, point):
    driver = new_pool("devices=/dev/mapper/pv*")
    with pytest.raises(Died):
        driver.start(fault=f"{point}=kill")
    driver.start()
    assert capacity(driver)[0] == sum(USABLE.values()) and len(volume_groups()) == 3


@pytest.mark.parametrize("point", ["pool.disk.resize.before", "pool.disk.resize.after", "pool.lvm.extend.after"])
def test_a_growth_that_is_killed_can_be_repeated(driver, disks, point):
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    put(driver, volume)
    grow(disks["small"], 32 * MiB)
    assert killed(driver, point, lambda: driver.csi.expand(volume, 60 * MiB))
    assert driver.csi.expand(volume, 60 * MiB).capacity_bytes == USABLE["small"] + 32 * MiB
    found = get(driver, volume)
    same(found[:len(SOME)], SOME)
    zeros(found[USABLE["small"]:])
