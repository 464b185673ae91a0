"""Making, using and deleting volumes of every kind."""
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

import groups
import machine
from client import block, from_snapshot, from_volume, mount, refused
from content import SOME, get, put, read, read_file, same, write, write_file, zeros
from kinds import KINDS, LAYOUTS, of_every_kind, of_main_kinds, thin_and_thick
from machine import GiB, KiB, MiB

SIZES = {"ext4": 48 * MiB, "xfs": 320 * MiB}


def check_layout(main, volume_id, kind):
    found, stripes = main.layout(volume_id)
    expected, count = LAYOUTS[kind]
    assert found.startswith(expected), f"{found} instead of {expected}"
    assert expected == "thin" or expected == "raid1" or stripes == count, f"{stripes} stripes instead of {count}"


@of_every_kind
def test_a_block_volume_has_its_layout_and_its_size_and_reads_as_zeros(driver, main, kind, parameters):
    volume = driver.csi.create("a", 45 * MiB, block(), parameters=parameters)
    assert 45 * MiB <= volume.capacity_bytes == main.size(volume.volume_id) < 64 * MiB
    check_layout(main, volume.volume_id, kind)
    path = driver.use_block(volume.volume_id)
    assert machine.size_of_device(path) == volume.capacity_bytes
    zeros(read(path))
    write(path, SOME)
    driver.release(volume.volume_id)
    assert not driver.in_use(volume.volume_id)
    same(get(driver, volume.volume_id)[:len(SOME)], SOME)


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
@of_every_kind
def test_a_file_system_is_made_and_keeps_files(driver, main, kind, parameters, fstype):
    volume = driver.csi.create("a", SIZES[fstype], mount(fstype), parameters=parameters)
    check_layout(main, volume.volume_id, kind)
    path = driver.use(volume.volume_id, mount(fstype))
    assert machine.run("findmnt", "-no", "FSTYPE", path).split() == [fstype]
    write_file(path, SOME)
    driver.release(volume.volume_id)
    assert not driver.in_use(volume.volume_id), "it is active although nobody uses it"
    path = driver.use(volume.volume_id, mount(fstype))
    assert read_file(path) == SOME


@of_every_kind
def test_the_same_request_gives_the_same_volume_and_another_is_refused(driver, main, kind, parameters):
    first = driver.csi.create("a", 16 * MiB, block(), parameters=parameters)
    assert driver.csi.create("a", 16 * MiB, block(), parameters=parameters) == first
    for other in (lambda: driver.csi.create("a", 64 * MiB, block(), parameters=parameters),
                  lambda: driver.csi.create("a", 16 * MiB, mount(), parameters=parameters),
                  lambda: driver.csi.create("a", 16 * MiB, block(), parameters=KINDS["linear" if kind == "thin" else "thin"])):
        with refused("ALREADY_EXISTS"):
            other()
    assert driver.csi.volume_ids() == [first.volume_id]
    for _ in range(2):
        driver.csi.delete(first.volume_id)
        assert main.names() == {"thin"}


@of_every_kind
def test_a_limit_between_two_extents_is_out_of_range(driver, main, kind, parameters):
    with refused("OUT_OF_RANGE"):
        driver.csi.create("a", 17 * MiB, block(), limit=18 * MiB, parameters=parameters)
    assert main.names() == {"thin"}


@of_main_kinds
def test_volumes_survive_a_restart_and_a_kill(driver, kind, parameters):
    raw = driver.csi.create("raw", 16 * MiB, block(), parameters=parameters)
    mounted = driver.csi.create("mounted", 32 * MiB, parameters=parameters)
    put(driver, raw.volume_id)
    path = driver.use(mounted.volume_id)
    write_file(path)
    was = sorted(map(str, driver.csi.volumes()))
    for end in (driver.stop, driver.kill):
        end()
        driver.start()
        assert sorted(map(str, driver.csi.volumes())) == was
        assert read_file(path) == b"content"
        same(get(driver, raw.volume_id)[:len(SOME)], SOME)
        assert driver.csi.create("raw", 16 * MiB, block(), parameters=parameters) == raw


@of_main_kinds
def test_a_staged_block_volume_survives_a_restart_and_unstages(driver, kind, parameters):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=parameters).volume_id
    path = driver.use_block(volume)
    driver.restart()
    driver.use_block(volume)
    write(path, SOME)
    driver.release(volume)
    assert not driver.in_use(volume)


@thin_and_thick
def test_a_volume_in_use_is_not_deleted(driver, kind, parameters):
    raw = driver.csi.create("raw", 16 * MiB, block(), parameters=parameters).volume_id
    mounted = driver.csi.create("mounted", 16 * MiB, parameters=parameters).volume_id
    driver.use_block(raw)
    driver.use(mounted)
    for volume in (raw, mounted):
        with refused("FAILED_PRECONDITION", match=volume):
            driver.csi.delete(volume)
        driver.release(volume)
        driver.csi.delete(volume)


@thin_and_thick
def test_a_volume_that_an_administrator_has_open_is_not_deleted(driver, main, kind, parameters):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=parameters).volume_id
    with main.opened(volume) as path, open(path, "rb"):
        with refused("FAILED_PRECONDITION"):
            driver.csi.delete(volume)
    assert volume in driver.csi.volume_ids() and volume in main.names()
    driver.csi.delete(volume)


@thin_and_thick
def test_who_has_a_raw_volume_open_when_it_is_unstaged_is_named(driver, main, kind, parameters):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=parameters).volume_id
    driver.use_block(volume)
    driver.unpublish(volume)
    with open(main.path(volume), "rb"):
        with refused("FAILED_PRECONDITION", match=f"process {os.getpid()}"):
            driver.unstage(volume)
    driver.unstage(volume)


@pytest.mark.skipif("PLINTH_VALGRIND" in os.environ, reason="valgrind 3.25 does not know mount_setattr(2)")
@thin_and_thick
def test_a_reader_of_a_raw_volume_cannot_write(driver, kind, parameters):
    volume = driver.csi.create("a", 16 * MiB, block(), parameters=parameters).volume_id
    path = driver.use_block(volume)
    reader = driver.publish(volume, block(), pod="reader", readonly=True)
    write(path, SOME)
    same(read(reader, len(SOME)), SOME)
    with pytest.raises(OSError):
        write(reader, b"x" * 512)
    same(read(path, len(SOME)), SOME)


@pytest.mark.parametrize("wrong", [{"layout": "raid2"}, {"layout": ""}, {"stripes": "0"}, {"stripes": "two"}, {"stripes": "-1"},
                                   {"mirrors": "1000000"}, {"provisioning": "thin", "layout": "raid1"}, {"wipe": "yes"},
                                   {"layout": "linear", "stripes": "2"}, {"layout": "linear", "mirrors": "1"}, {"strips": "2"},
                                   {"layout": "striped;reboot"}, {"layout": "raid1", "mirrors": "99999999999999999999"}],
                         ids=lambda wrong: "-".join(f"{key}={value}" for key, value in wrong.items()))
def test_a_parameter_that_makes_no_sense_is_invalid(driver, main, wrong):
    with refused("INVALID_ARGUMENT"):
        driver.csi.create("a", 16 * MiB, block(), parameters={"provisioning": "thick", **wrong})
    assert main.names() == {"thin"}


def test_more_devices_than_there_are_is_refused_and_leaves_nothing(driver, main):
    for wrong in ({"layout": "striped", "stripes": "6"}, {"layout": "raid1", "mirrors": "5"}, {"layout": "raid6", "stripes": "4"}):
        with refused("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"):
            driver.csi.create("a", 16 * MiB, block(), parameters={"provisioning": "thick", **wrong})
        assert main.parts() == driver.before["main"]


# --- how many commands it takes


def changes(commands):
    return [command.split()[0] for command in commands]


def test_an_operation_is_one_command_and_a_look_is_none(driver):
    driver.csi.create("warm", 16 * MiB, block())
    driver.commands()
    volume = driver.csi.create("a", 16 * MiB, block()).volume_id
    assert changes(driver.commands()) == ["lvcreate"]
    mounted = driver.csi.create("b", 16 * MiB).volume_id
    assert changes(driver.commands()) == ["lvcreate", "lvchange"]
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    assert changes(driver.commands()) == ["lvcreate"]
    cloned = driver.csi.create("c", 16 * MiB, block(), source=from_volume(volume)).volume_id
    assert changes(driver.commands()) == ["lvcreate"]
    restored = driver.csi.create("d", 16 * MiB, block(), source=from_snapshot(snapshot)).volume_id
    assert changes(driver.commands()) == ["lvcreate"]
    larger = driver.csi.create("e", 32 * MiB, block(), source=from_snapshot(snapshot)).volume_id
    assert changes(driver.commands()) == ["lvcreate", "lvextend", "lvchange"]
    driver.csi.expand(volume, 32 * MiB)
    assert changes(driver.commands()) == ["lvextend"]
    path = driver.use(mounted)
    assert len(driver.commands()) <= 1
    driver.csi.volumes(), driver.csi.snapshots(), driver.csi.GetCapacity(), driver.csi.Probe(), driver.csi.health(volume)
    driver.csi.NodeGetVolumeStats(volume_id=mounted, volume_path=path)
    driver.csi.NodeGetStorageHealth()
    assert driver.commands() == []
    driver.release(mounted)
    assert len(driver.commands()) <= 1
    driver.csi.delete_snapshot(snapshot)
    assert changes(driver.commands()) == ["lvremove"]
    for each in (volume, cloned, restored, larger):
        driver.csi.delete(each)
        assert changes(driver.commands()) == ["lvremove"]


def test_the_commands_of_thick_volumes_are_those_of_the_manual(driver):
    """docs/lvm.md, the table of operations."""
    driver.csi.create("warm", 16 * MiB, block(), parameters=KINDS["linear"])
    driver.commands()
    found = {}

    def note(what, made=None):
        found[what] = changes(driver.commands())
        return made
    raw = note("create a raw volume", driver.csi.create("a", 16 * MiB, block(), parameters=KINDS["linear"]).volume_id)
    note("create a mounted volume", driver.csi.create("b", 16 * MiB, parameters=KINDS["linear"]))
    snapshot = note("snapshot", driver.csi.snapshot("s", raw).snapshot_id)
    note("grow a raw volume", driver.csi.expand(raw, 32 * MiB))
    note("delete a snapshot", driver.csi.delete_snapshot(snapshot))
    note("delete", driver.csi.delete(raw))
    assert found == {"create a raw volume": ["lvcreate", "lvchange"], "create a mounted volume": ["lvcreate", "lvchange"],
                     "snapshot": ["lvcreate", "lvcreate", "lvchange", "lvchange", "lvremove", "lvchange"],
                     "grow a raw volume": ["lvcreate", "lvs", "lvremove", "lvextend"], "delete a snapshot": ["lvremove"], "delete": ["lvremove"]}


# --- capacity


def capacity(driver, kind):
    return driver.csi.GetCapacity(parameters=KINDS[kind]).available_capacity


@of_main_kinds
def test_capacity_falls_and_rises_with_volumes(driver, main, kind, parameters):
    was = capacity(driver, kind)
    assert was > GiB
    volume = driver.csi.create("a", 256 * MiB, block(), parameters=parameters)
    assert was - capacity(driver, kind) in range(256 * MiB, 256 * MiB + 64 * MiB)
    driver.csi.expand(volume.volume_id, 512 * MiB)
    assert was - capacity(driver, kind) in range(512 * MiB, 512 * MiB + 64 * MiB)
    driver.csi.delete(volume.volume_id)
    assert capacity(driver, kind) == was


def test_capacity_of_thick_falls_by_what_others_take(driver, main):
    was = capacity(driver, "linear")
    main.add("foreign", GiB)
    try:
        machine.eventually(lambda: was - capacity(driver, "linear") >= GiB, 20)
        assert was - capacity(driver, "linear") in range(GiB, GiB + 64 * MiB)
    finally:
        main.drop("foreign")
    assert machine.eventually(lambda: capacity(driver, "linear") == was, 20)


def test_capacity_of_thin_falls_by_what_was_promised_to_others(driver, main):
    """Whoever has made a thin volume beside ours may write all of it."""
    was = capacity(driver, "thin")
    main.add_thin("foreign", GiB)
    try:
        assert machine.eventually(lambda: was - capacity(driver, "thin") == GiB, 20)
        with refused("RESOURCE_EXHAUSTED", match="main"):
            driver.csi.create("a", was, block(), parameters=KINDS["thin"])
        driver.restart()
        assert was - capacity(driver, "thin") == GiB
    finally:
        main.drop("foreign")
    assert machine.eventually(lambda: capacity(driver, "thin") == was, 20)


@of_main_kinds
def test_all_that_is_offered_can_be_had_and_no_more(driver, main, kind, parameters):
    answer = driver.csi.GetCapacity(parameters=parameters)
    most = answer.maximum_volume_size.value if answer.HasField("maximum_volume_size") else answer.available_capacity
    with refused("RESOURCE_EXHAUSTED", "OUT_OF_RANGE", match="main"):
        driver.csi.create("b", most + 64 * MiB, block(), parameters={**parameters, "wipe": "none"})
    assert main.parts() == driver.before["main"]
    if kind == "thin":  # nothing of it is written
        volume = driver.csi.create("a", most, block(), parameters=parameters)
        assert volume.capacity_bytes >= most and capacity(driver, kind) < 64 * MiB


def test_thin_pools_are_over_provisioned_only_when_told(new_driver, main):
    driver = new_driver({"main": (main, "thinpool=thin,overprovision=3")}).start()
    assert driver.csi.GetCapacity(parameters=KINDS["thin"]).available_capacity > 5 * GiB
    driver.csi.create("a", 4 * GiB, block(), parameters=KINDS["thin"])
    driver.restart()
    assert driver.csi.GetCapacity(parameters=KINDS["thin"]).available_capacity < 2 * GiB


@pytest.mark.parametrize("reserve, parts", [("", 5), (",reserve=10%", 10), (",reserve=100Mi", None)])
@thin_and_thick
def test_what_is_reserved_is_not_promised(new_driver, main, kind, reserve, parts):
    def offered(more):
        driver = new_driver({"main": (main, f"thinpool=thin{more}")}).start()
        bytes = capacity(driver, kind)
        driver.stop()
        driver.given_up = True
        return bytes
    total = main.size("thin") if kind == "thin" else int(main.get("vg_size")["vg_size"])
    reserved = total * parts // 100 if parts else 100 * MiB
    assert offered(",reserve=0") - offered(reserve) in range(reserved - 4 * MiB, reserved + 4 * MiB + 1)


def thin_used(group):
    """Bytes of the thin pool's data that are taken."""
    word = groups.status(f"{group.name}-thin-tpool").split()[5]
    return int(word.split("/")[0]) * 64 * KiB


@pytest.mark.parametrize("fstype, bytes", [("ext4", 128 * MiB), ("xfs", 320 * MiB)])
def test_what_is_freed_in_a_file_system_goes_back_to_the_thin_pool(driver, main, fstype, bytes):
    path = driver.use(driver.csi.create("a", bytes, mount(fstype), parameters=KINDS["thin"]).volume_id)
    write_file(path, os.urandom(64 * MiB), "large")
    used = thin_used(main)
    os.unlink(f"{path}/large")
    os.sync()  # else ext4 keeps them until its journal is written
    groups.run("fstrim", path)
    assert thin_used(main) <= used - 60 * MiB


@pytest.mark.parametrize("ignores", [True, False], ids=["ignores", "passes"])
def test_a_thin_pool_that_ignores_discards_is_warned_of(new_driver, new_disk, new_group, ignores):
    group = new_group("pool", [new_disk().path], thin=64 * MiB)
    if ignores:
        groups.run("lvchange", "-qq", "-y", "-an", "pool/thin")
        groups.run("lvchange", "-qq", "-y", "--discards", "ignore", "pool/thin")
    driver = new_driver({"pool": (group, "thinpool=thin")}).start()
    driver.csi.GetCapacity()
    steps = [record["next_step"] for record in driver.log_records() if "ignores discards" in record["message"]]
    assert steps == ["lvchange --discards passdown pool/thin"] * ignores


def test_many_volumes_at_once(driver, main):
    kinds = ["thin", "linear", "raid1", "striped"]
    with ThreadPoolExecutor(8) as clients:
        made = list(clients.map(
            lambda n: driver.csi.create(f"v{n}", 16 * MiB, block(), parameters=KINDS[kinds[n % 4]]), range(16)))
        assert len({volume.volume_id for volume in made}) == 16
        assert {volume.volume_id for volume in made} == main.names() - {"thin"}
        list(clients.map(lambda volume: driver.csi.delete(volume.volume_id), made))
    assert groups.suspended() == []
