"""What somebody did to the volume group behind the driver's back: tags made by hand or damaged, logical volumes renamed and
removed, old archives restored, a creation that was torn by a power cut.  What is not certain is left alone and told."""
import hashlib
import itertools
import re
import subprocess
import time

import grpc
import pytest

import groups
import machine
from client import block, from_snapshot, refused
from content import SOME, get, new, put, read, read_file, same, write_file, zeros
from groups import run
from kinds import KINDS, thick, thin_and_thick
from lvm_driver import eventually_ok
from machine import MiB

LOOKED_AFTER = ("DATA_LOSS", "FAILED_PRECONDITION", "NOT_FOUND", "UNAVAILABLE")


def tag_of(main, volume):
    (tag,) = [tag for tag in main.tags(volume) if tag.startswith("plinth.")]
    return tag


def set_tag(main, volume, tag):
    """In place of all that it has."""
    words = [word for old in main.tags(volume) for word in ("--deltag", old)]
    run("lvchange", "-qq", *words, *(["--addtag", tag] if tag else []), f"main/{volume}")


def signed(volume, head, rest):
    """A tag whose check is right (docs/lvm.md)."""
    check = hashlib.sha256(f"{volume}:{head}:{rest}".encode()).hexdigest()[:8]
    return f"plinth.1:{head}:{check}:{rest}"


def id_of(ours, name):
    """The id of another name in the same pool (docs/on-disk.md)."""
    return ours[:-20] + hashlib.sha256(name.encode()).hexdigest()[:20]


def unhealthy(driver):
    return {entry.volume_id for entry in driver.csi.ControllerListVolumeHealth().entries}


def content_of(main, name):
    with main.opened(name) as path:
        return read(path)


DAMAGE = {
    "no tag": lambda tag, _: "",
    "another phase": lambda tag, _: tag.replace(":r", ":d", 1),
    "another digit of its check": lambda tag, _: re.sub(r":([0-9a-f]{8}):", lambda m: f":{int(m[1], 16) ^ 1:08x}:", tag),
    "its end is missing": lambda tag, _: tag[:-4],
    "its beginning only": lambda tag, _: "plinth.1:",
    "too few fields": lambda tag, _: tag.rpartition(":")[0],
    "too many fields": lambda tag, _: tag + ":more",
    "made by hand": lambda tag, _: "plinth.1:rv-:1:::::::00000000:a:",
    "another's tag": lambda tag, other: other,
    "a newer format": lambda tag, _: tag.replace("plinth.1:", "plinth.2:", 1),
    "250 letters": lambda tag, _: "plinth.1:" + "x" * 240,
}


@pytest.mark.damaged
@pytest.mark.parametrize("damage, kind", zip(DAMAGE, itertools.cycle(["thin", "linear"])))
def test_a_damaged_tag_is_told_and_its_volume_left_alone(driver, main, kind, parameters, damage):
    volume, other = new(driver, "a", 8 * MiB, parameters), new(driver, "b", 8 * MiB, parameters)
    tag = tag_of(main, volume)
    driver.stop()
    set_tag(main, volume, DAMAGE[damage](tag, tag_of(main, other)))
    row = main.volumes()[volume]
    driver.start()
    assert volume in unhealthy(driver) and other not in unhealthy(driver)
    for call in (lambda: driver.stage(volume, block()), lambda: driver.csi.snapshot("s", volume),
                 lambda: driver.csi.expand(volume, 16 * MiB), lambda: driver.csi.delete(volume),
                 lambda: driver.csi.create("a", 8 * MiB, block(), parameters=parameters)):
        with refused(*LOOKED_AFTER, match=volume):
            call()
    driver.restart()
    assert main.volumes()[volume] == row
    same(content_of(main, volume)[:len(SOME)], SOME)
    same(get(driver, other)[:len(SOME)], SOME)
    driver.stop()
    set_tag(main, volume, tag)  # put right, it is as it was
    driver.start()
    assert unhealthy(driver) == set()
    same(get(driver, volume)[:len(SOME)], SOME)
    driver.csi.delete(volume)
    driver.csi.delete(other)


@pytest.mark.damaged
@thin_and_thick
def test_a_logical_volume_that_somebody_named_and_tagged_as_ours_is_left_alone(driver, main, kind, parameters):
    """Also where the check of the tag is right, a `creating` that is old is not removed: there may be data in it."""
    ours = driver.csi.create("a", 8 * MiB, block(), parameters=parameters).volume_id
    driver.stop()
    made = {}
    for letter, created, phase in (("1", 1, "c"), ("2", time.time_ns() - 3 * 86400 * 10**9, "c"), ("3", 2**62, "c")):
        name = id_of(ours, letter)
        main.add(name, 8 * MiB)
        groups.fill(main.path(name))
        run("lvchange", "-qq", "-an", f"main/{name}")
        set_tag(main, name, signed(name, f"{phase}v-t:{created:x}:::::", f"{letter}:"))
        made[name] = content_of(main, name)
    driver.start()
    for name, content in made.items():
        assert name in main.names(), "removed"
        same(content_of(main, name), content)
        assert name in unhealthy(driver)
        assert name not in driver.csi.volume_ids()
    driver.stop()
    for name in made:
        main.drop(name)
    driver.start()
    assert unhealthy(driver) == set()
    driver.csi.delete(ours)


@thick
def test_what_was_being_made_an_hour_ago_is_removed(driver, main, kind, parameters):
    ours = driver.csi.create("a", 8 * MiB, block(), parameters=parameters).volume_id
    driver.stop()
    name = id_of(ours, "one")
    main.add(name, 8 * MiB)
    run("lvchange", "-qq", "-an", f"main/{name}")
    set_tag(main, name, signed(name, f"cv-t:{time.time_ns() - 3600 * 10**9:x}:::::", "one:"))
    driver.start()
    assert main.names() == {"thin", ours}


@pytest.mark.damaged
@thick
def test_what_is_being_made_and_open_is_left_alone(driver, main, kind, parameters):
    ours = driver.csi.create("a", 8 * MiB, block(), parameters=parameters).volume_id
    driver.stop()
    name = id_of(ours, "one")
    main.add(name, 8 * MiB)
    set_tag(main, name, signed(name, f"cv-t:{time.time_ns():x}:::::", "one:"))
    with open(main.path(name), "rb"):
        driver.start()
        assert name in main.names() and name in unhealthy(driver)
        driver.stop()
    driver.start()
    assert name not in main.names()
    driver.csi.delete(ours)


@thin_and_thick
def test_a_deletion_that_was_begun_goes_on(driver, main, kind, parameters):
    volume = new(driver, "a", 8 * MiB, parameters)
    driver.stop()
    head, _, rest = re.fullmatch(r"plinth\.1:(.*):([0-9a-f]{8}):(.*)", tag_of(main, volume)).groups()
    set_tag(main, volume, signed(volume, "d" + head[1:], rest))
    driver.start()
    assert machine.eventually(lambda: volume not in main.names(), 5)


@pytest.mark.damaged
@thin_and_thick
def test_a_volume_that_was_renamed_is_left_alone_and_comes_back_with_its_name(driver, main, kind, parameters):
    volume = new(driver, "a", 8 * MiB, parameters)
    driver.stop()
    run("lvrename", "-qq", "main", volume, "renamed")
    driver.start()
    assert volume not in driver.csi.volume_ids()
    with refused("NOT_FOUND"):
        driver.stage(volume, block())
    assert "renamed" in main.names()
    same(content_of(main, "renamed")[:len(SOME)], SOME)
    driver.restart()
    driver.stop()
    run("lvrename", "-qq", "main", "renamed", volume)
    driver.start()
    same(get(driver, volume)[:len(SOME)], SOME)
    driver.csi.delete(volume)


@pytest.mark.damaged
@thick
def test_two_that_swapped_their_names_are_both_left_alone(driver, main, kind, parameters):
    first, second = new(driver, "a", 8 * MiB, parameters, b"1" * 4096), new(driver, "b", 8 * MiB, parameters, b"2" * 4096)
    driver.stop()
    for old, now in ((first, "x"), (second, first), ("x", second)):
        run("lvrename", "-qq", "main", old, now)
    driver.start()
    assert unhealthy(driver) >= {first, second}
    for volume in (first, second):
        with refused(*LOOKED_AFTER):
            driver.stage(volume, block())
    assert main.names() == {"thin", first, second}
    driver.stop()
    for old, now in ((first, "x"), (second, first), ("x", second)):
        run("lvrename", "-qq", "main", old, now)
    driver.start()
    same(get(driver, first)[:4096], b"1" * 4096)
    driver.csi.delete(first)
    driver.csi.delete(second)


@pytest.mark.parametrize("action", ["stage", "snapshot", "expand", "clone", "delete"])
@pytest.mark.parametrize("renamed", [False, True], ids=["removed", "renamed"])
@thin_and_thick
def test_a_volume_is_removed_or_renamed_while_the_driver_runs(driver, main, kind, parameters, action, renamed):
    volume = new(driver, "a", 8 * MiB, parameters)
    other = new(driver, "b", 8 * MiB, parameters)
    if renamed:
        run("lvrename", "-qq", "main", volume, "renamed")
    else:
        main.drop(volume)
    calls = {"stage": lambda: driver.stage(volume, block()), "snapshot": lambda: driver.csi.snapshot("s", volume),
             "expand": lambda: driver.csi.expand(volume, 16 * MiB), "delete": lambda: driver.csi.delete(volume),
             "clone": lambda: driver.csi.create("c", 8 * MiB, block(), source={"volume": {"volume_id": volume}})}
    if action == "delete":
        driver.csi.delete(volume)
    else:
        with refused(*LOOKED_AFTER, "INTERNAL", match=volume):
            calls[action]()
        assert driver.csi.health(volume) or volume not in driver.csi.volume_ids()
    same(get(driver, other)[:len(SOME)], SOME)
    assert main.names() == {"thin", other} | ({"renamed"} if renamed else set())
    driver.restart()
    assert driver.csi.volume_ids() == [other]
    if renamed:
        same(content_of(main, "renamed")[:len(SOME)], SOME)
        main.drop("renamed")


@thin_and_thick
def test_somebody_makes_something_with_a_name_of_ours_while_the_driver_runs(driver, main, kind, parameters):
    volume = driver.csi.create("a", 8 * MiB, block(), parameters=parameters).volume_id
    driver.csi.delete(volume)
    main.add(volume, 12 * MiB)
    groups.fill(main.path(volume), 12 * MiB)
    before = content_of(main, volume)
    try:
        with refused("ALREADY_EXISTS", "FAILED_PRECONDITION", "INTERNAL", "DATA_LOSS", match=volume):
            driver.csi.create("a", 8 * MiB, block(), parameters=parameters)
        same(content_of(main, volume), before)
    finally:
        main.drop(volume)
    eventually_ok(lambda: driver.csi.create("a", 8 * MiB, block(), parameters=parameters),
                  codes=("ALREADY_EXISTS", "FAILED_PRECONDITION", "INTERNAL", "DATA_LOSS"))


@pytest.mark.damaged
def test_a_thin_pool_that_was_removed_is_told(driver, new_group, new_disk, new_driver):
    group = new_group("gone", [new_disk().path], thin=64 * MiB)
    other = new_driver({"gone": (group, "thinpool=thin")}).start()
    volume = new(other, "a", 8 * MiB, KINDS["thin"])
    run("lvremove", "-qq", "-y", "-f", "gone/thin")
    with refused("UNAVAILABLE", "FAILED_PRECONDITION", "INTERNAL", "DATA_LOSS", "RESOURCE_EXHAUSTED"):
        other.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"])
    with refused(*LOOKED_AFTER, "INTERNAL"):
        other.stage(volume, block())
    driver.csi.create("c", 8 * MiB, block())
    other.kill()
    other.given_up = True
    driver.csi.delete_everything()


# --- an old archive


def set_clock(days):
    subprocess.run(["date", "-s", f"{days} days"], stdout=subprocess.DEVNULL, check=True)


def archive_of_its_making(driver, main, parameters, path):
    """The metadata as they were while its file system was being made, and the volume, which has data now."""
    driver.start("filesystem.make.before=kill")
    with pytest.raises(grpc.RpcError):
        driver.csi.create("a", 48 * MiB, parameters=parameters)
    assert driver.ended_by_kill()
    archive = main.back_up(path)
    driver.start()
    volume = driver.csi.create("a", 48 * MiB, parameters=parameters).volume_id
    write_file(driver.use(volume), SOME)
    driver.release(volume)
    return archive, volume


def check_it_is_left_alone(driver, main, volume, parameters):
    """Also when all is looked at again, as somebody has changed something."""
    for tag in ("once", "again"):
        assert volume in main.names() and volume in unhealthy(driver), "the volume under live data was removed"
        for call in (lambda: driver.stage(volume), lambda: driver.csi.delete(volume),
                     lambda: driver.csi.create("a", 48 * MiB, parameters=parameters)):
            with refused(*LOOKED_AFTER):
                call()
        run("vgchange", "-qq", "--addtag", tag, "main")
        run("vgchange", "-qq", "--deltag", tag, "main")
        time.sleep(2)


@pytest.mark.damaged
@thick
def test_an_old_archive_under_live_data_takes_nothing_away(driver, main, kind, parameters, tmp_path):
    """Two days ago the metadata was saved while a file system was being made.  Now that is what the tag says again, and
    the volume is full of data."""
    driver.stop()
    set_clock(-2)
    try:
        archive, volume = archive_of_its_making(driver, main, parameters, tmp_path / "archive")
        driver.stop()
    finally:
        set_clock(2)
    now = main.back_up(tmp_path / "now")
    if volume not in open(archive).read():
        pytest.skip("nothing was there yet when the driver was killed")
    main.restore(archive)
    driver.start()
    check_it_is_left_alone(driver, main, volume, parameters)
    driver.stop()
    main.restore(now)
    driver.start()
    assert read_file(driver.use(volume)) == SOME
    driver.release(volume)
    driver.csi.delete(volume)


@pytest.mark.damaged
@thick
def test_an_old_archive_restored_while_the_driver_runs_takes_nothing_away(driver, main, kind, parameters, tmp_path):
    driver.stop()
    archive, volume = archive_of_its_making(driver, main, parameters, tmp_path / "archive")
    now = main.back_up(tmp_path / "now")
    main.restore(archive)
    assert machine.eventually(lambda: volume in unhealthy(driver), 10)
    check_it_is_left_alone(driver, main, volume, parameters)
    main.restore(now)
    assert machine.eventually(lambda: volume not in unhealthy(driver), 10)
    assert read_file(driver.use(volume)) == SOME
    driver.release(volume)
    driver.csi.delete(volume)


@thick
def test_an_archive_from_before_a_volume_was_made_does_not_give_its_space_away_unclean(driver, main, kind, parameters, tmp_path):
    archive = main.back_up(tmp_path / "archive")
    volume = new(driver, "a", 48 * MiB, parameters, groups.PATTERN * 48)
    driver.stop()
    main.restore(archive)
    driver.start()
    assert driver.csi.volumes() == []
    other = driver.csi.create("b", 64 * MiB, block(), parameters=parameters).volume_id
    zeros(get(driver, other), "a new volume where a lost one was")
    assert volume != other


@pytest.mark.damaged
def test_an_archive_that_disagrees_with_the_thin_pool_is_told_and_nothing_is_removed(driver, main, tmp_path):
    first = new(driver, "first", 8 * MiB, KINDS["thin"])
    archive = main.back_up(tmp_path / "archive")
    second = new(driver, "second", 8 * MiB, KINDS["thin"])
    driver.csi.delete(first)
    driver.stop()
    run("vgchange", "-qq", "-an", "main")
    now = main.back_up(tmp_path / "now")
    main.restore(archive)
    names = main.names()
    driver.start()
    assert first in names and second not in names
    health = driver.csi.NodeGetStorageHealth().backend_health
    assert health or first in unhealthy(driver), "nothing is said of it"
    with refused("INTERNAL", *LOOKED_AFTER):
        driver.stage(first, block())
    assert main.names() == names, "something was removed or made"
    driver.stop()
    run("vgchange", "-qq", "-an", "main")
    main.restore(now)
    driver.start()
    same(get(driver, second)[:len(SOME)], SOME)
    driver.csi.delete(second)


# --- a creation that was torn


def tear(main, volume, archive):
    """The state after a power cut within lvcreate: the volume group has the volume and a message that is still to be sent,
    the thin pool has neither the volume nor the new transaction number."""
    number = groups.report("lvs", "-o", "thin_id", f"main/{volume}")[0]["thin_id"]
    transaction = int(groups.report("lvs", "-o", "transaction_id", "main/thin")[0]["transaction_id"])
    main.back_up(archive)
    text = open(archive).read()
    text, count = re.subn(r"(\n\s*transaction_id = \d+\n(?=(?:(?!\n\t\t\}).)*?zero_new_blocks))",
                          rf'\1\n\t\t\t\tmessage1 {{\n\t\t\t\t\tcreate = "{volume}"\n\t\t\t\t}}\n', text, flags=re.S)
    assert count == 1, "the scenario is wrong: no thin pool in the archive"
    open(archive, "w").write(text)
    run("lvchange", "-qq", "-ay", "main/thin")
    run("lvchange", "-qq", "-an", f"main/{volume}")
    pool = next(name for name in ("main-thin-tpool", "main-thin") if name in groups.devices() and "thin-pool" in groups.status(name))
    run("dmsetup", "message", pool, "0", f"delete {number}")
    run("dmsetup", "message", pool, "0", f"set_transaction_id {transaction} {transaction - 1}")
    run("vgchange", "-qq", "-an", "main")
    main.restore(archive)


@pytest.mark.parametrize("what", ["volume", "restored", "with a file system"])
def test_a_torn_thin_creation_is_finished_or_undone(driver, main, tmp_path, what):
    """Nobody was told of the volume yet.  After the start it is whole, or gone; the repeated call gives one that works."""
    other = new(driver, "other", 8 * MiB, KINDS["thin"])
    snapshot = driver.csi.snapshot("s", other).snapshot_id
    request = {"volume": {"capability": block()}, "restored": {"capability": block(), "source": from_snapshot(snapshot)},
               "with a file system": {"bytes": 48 * MiB}}[what]
    if what == "with a file system":
        driver.stop()
        driver.start("filesystem.make.before=kill")
        with pytest.raises(grpc.RpcError):
            driver.csi.create("a", parameters=KINDS["thin"], **request)
        assert driver.ended_by_kill()
        (volume,) = main.names() - {"thin", other, snapshot}
    else:
        volume = driver.csi.create("a", parameters=KINDS["thin"], **{"bytes": 8 * MiB, **request}).volume_id
        driver.stop()
    tear(main, volume, tmp_path / "archive")
    driver.start()
    assert groups.suspended() == []
    if volume in driver.csi.volume_ids():
        content = get(driver, volume)
        zeros(content) if what == "volume" else same(content[:len(SOME)], SOME)
    made = driver.csi.create("a", parameters=KINDS["thin"], **{"bytes": 8 * MiB, **request}).volume_id
    assert made == volume
    if what == "with a file system":
        write_file(driver.use(made))
    else:
        put(driver, made)
    same(get(driver, other)[:len(SOME)], SOME)
    assert main.names() == {"thin", other, snapshot, volume}
    driver.csi.create("later", 8 * MiB, block(), parameters=KINDS["thin"])


def test_a_thin_volume_that_the_pool_has_lost_is_told(driver, main):
    """No message is waiting: the volume is gone for good, and is not made anew in silence."""
    volume, other = new(driver, "a", 8 * MiB, KINDS["thin"]), new(driver, "b", 8 * MiB, KINDS["thin"])
    number = groups.report("lvs", "-o", "thin_id", f"main/{volume}")[0]["thin_id"]
    driver.stop()
    run("lvchange", "-qq", "-ay", "main/thin")
    run("lvchange", "-qq", "-an", f"main/{volume}")
    pool = next(name for name in ("main-thin-tpool", "main-thin") if name in groups.devices() and "thin-pool" in groups.status(name))
    run("dmsetup", "message", pool, "0", f"delete {number}")
    driver.start()
    with refused("INTERNAL", *LOOKED_AFTER, match=volume):
        driver.stage(volume, block())
    assert driver.csi.health(volume), "nothing is said of it"
    same(get(driver, other)[:len(SOME)], SOME)
    driver.csi.delete(volume)
    assert main.names() == {"thin", other}
