"""What is not ours: other logical volumes, other volume groups, volume groups inside our volumes, other people's disks."""
import subprocess

import pytest

import groups
import machine
from client import block, from_snapshot, mount, refused
from content import SOME, get, new, put, read, same, write, zeros
from driver import Died, fault_points
from groups import Group, fill, report, run
from kinds import KINDS, thin_and_thick
from lvm_driver import eventually_ok
from machine import MiB


def churn(driver, kind="thin"):
    """Some of everything."""
    parameters = KINDS[kind]
    volume = new(driver, f"v-{kind}", 8 * MiB, parameters)
    snapshot = driver.csi.snapshot(f"s-{kind}", volume).snapshot_id
    copy = driver.csi.create(f"c-{kind}", 16 * MiB, block(), source=from_snapshot(snapshot), parameters=parameters).volume_id
    driver.csi.expand(volume, 24 * MiB)
    same(get(driver, copy)[:len(SOME)], SOME)
    driver.csi.delete(volume)
    driver.csi.delete_snapshot(snapshot)
    driver.csi.delete(copy)


def works(driver, **more):
    volume = driver.csi.create("works", 8 * MiB, block(), **more).volume_id
    put(driver, volume)
    driver.csi.delete(volume)


# --- others in our volume group


@thin_and_thick
def test_logical_volumes_of_others_are_as_they_were(driver, main, kind):
    linear = main.add("foreign", 64 * MiB)
    run("lvcreate", "-qq", "-y", "-V", "64m", "-T", "main/thin", "-n", "foreign-thin")
    fill(linear)
    fill(main.path("foreign-thin"), 32 * MiB)
    rows, sums = main.volumes(), [machine.checksum(linear), machine.checksum(main.path("foreign-thin"))]
    try:
        churn(driver, kind)
        driver.kill()
        driver.start()
        churn(driver, kind)
        assert driver.csi.volumes() == [] == driver.csi.snapshots()
        assert [machine.checksum(linear), machine.checksum(main.path("foreign-thin"))] == sums
        after = main.volumes()
        for name in ("foreign", "foreign-thin"):
            assert after[name] == rows[name]
    finally:
        main.drop("foreign")
        main.drop("foreign-thin")


def test_an_administrators_snapshot_of_our_volume_is_not_removed_with_it(driver, main):
    volume = new(driver, "a", 16 * MiB, KINDS["linear"])
    before = get(driver, volume)
    run("lvcreate", "-qq", "-y", "-s", "-L", "32m", "-n", "theirs", f"main/{volume}")
    try:
        with refused("FAILED_PRECONDITION", match="theirs|snapshot"):
            driver.csi.delete(volume)
        put(driver, volume, bytes(len(SOME)))
        with main.opened("theirs") as path:
            same(read(path), before)
    finally:
        main.drop("theirs")
    driver.csi.delete(volume)


def test_an_administrators_thin_snapshot_of_our_volume_outlives_it(driver, main):
    volume = new(driver, "a", 16 * MiB, KINDS["thin"])
    before = get(driver, volume)
    run("lvcreate", "-qq", "-y", "-s", "-kn", "-n", "theirs", f"main/{volume}")
    try:
        driver.csi.delete(volume)
        with main.opened("theirs") as path:
            same(read(path), before)
        assert driver.csi.volumes() == [] == driver.csi.snapshots()
    finally:
        main.drop("theirs")


def test_an_administrator_may_use_lvm_beside_the_driver(driver, main):
    """Both make and remove volumes at the same time."""
    theirs = subprocess.Popen(["bash", "-ec", """for n in $(seq 12); do
        lvcreate -qq -y -Wn -Zn -L 8m -n theirs main; lvcreate -qq -y -V 8m -T main/thin -n theirs-thin
        lvremove -qq -y main/theirs main/theirs-thin; done"""], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    try:
        for number in range(6):
            volume = driver.csi.create(f"a{number}", 8 * MiB, block(), parameters=KINDS[["thin", "linear"][number % 2]]).volume_id
            driver.csi.snapshot(f"s{number}", volume)
    finally:
        output = theirs.communicate(timeout=60)[0]
    assert theirs.returncode == 0, output
    assert len(driver.csi.volumes()) == 6 == len(driver.csi.snapshots())


# --- other volume groups


def test_other_volume_groups_are_not_touched(driver, new_group, new_disk):
    other = new_group("other", [new_disk(filled=True).path])
    path = other.add("data", 64 * MiB)
    fill(path)
    row, sums = other.get("vg_seqno,vg_tags,lv_count,vg_mda_free"), [machine.checksum(path) for path in (path, *other.paths)]
    driver.restart()
    churn(driver, "thin")
    churn(driver, "linear")
    assert other.get("vg_seqno,vg_tags,lv_count,vg_mda_free") == row
    assert [machine.checksum(path) for path in (path, *other.paths)] == sums
    run("lvchange", "-qq", "-an", "other/data")


@thin_and_thick
def test_a_volume_group_of_the_same_name_inside_a_volume_is_not_seen(driver, main, kind, parameters):
    volume = driver.csi.create("guest", 64 * MiB, block(), parameters=parameters).volume_id
    path = driver.use_block(volume)
    inside = f"/dev/mapper/{groups.device_name('main', volume)}"
    (driver.directory / "dev").mkdir()  # /dev/main is there
    only = ["--config", f'devices {{ dir = "{driver.directory}/dev" scan = [ "/dev" ] scan_lvs = 1 global_filter = [ "a|^{inside}$|", "r|.*|" ] }}']
    run("vgcreate", "-qq", "-y", *only, "main", inside)
    run("lvcreate", "-qq", "-y", "-an", "-Zn", "-Wn", *only, "-L", "8m", "-n", "nested", "main")
    uuid, sum_ = main.uuid(), machine.checksum(path)
    driver.restart()
    assert driver.csi.volume_ids() == [volume]
    churn(driver, kind)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    copy = driver.csi.create("copy", 64 * MiB, block(), source=from_snapshot(snapshot)).volume_id
    driver.use_block(copy)  # now there are two of them
    driver.restart()
    churn(driver, kind)
    assert machine.checksum(path) == sum_ and main.uuid() == uuid
    assert "nested" not in main.parts()


def test_a_file_system_in_an_image_on_a_loop_device_of_ours_is_not_seen(new_driver, main, tmp_path):
    """A file pool beside: a volume of it holds a volume group of the same name."""
    (tmp_path / "files").mkdir()
    driver = new_driver({"main": (main, "thinpool=thin"), "files": (tmp_path / "files", "")}).start()
    volume = driver.csi.create("guest", 64 * MiB, block(), parameters={"pool": "files"}).volume_id
    path = driver.use_block(volume)
    loop = next(device for device, file in machine.loops(str(tmp_path / "files")).items() if volume in file)
    groups.make_guest(loop, "main")
    sum_ = machine.checksum(path)
    driver.restart()
    works(driver, parameters={"pool": "main"})
    assert machine.checksum(path) == sum_
    driver.release(volume)
    driver.csi.delete(volume)


def test_a_volume_group_in_a_volume_is_not_seen_through_the_loop_device_of_the_kubelet(driver, main):
    volume = driver.csi.create("guest", 64 * MiB, block()).volume_id
    path = driver.use_block(volume)
    with groups.looped(path) as loop:
        groups.make_guest(loop, "main")
        sum_, uuid = machine.checksum(path), main.uuid()
        driver.restart()
        works(driver)
        assert machine.checksum(path) == sum_ and uuid in main.uuid()


def test_a_volume_group_on_a_loop_device_is_used_if_that_is_named(new_driver, tmp_path):
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(256 * MiB)
    with groups.looped(image) as loop:
        groups.make_guest(loop, "looped")
        driver = new_driver({"looped": (None, "")})
        driver.pool_text = lambda pool, more: f"lvm:vg=looped{more}"
        driver.start()
        with refused("UNAVAILABLE", match="looped.*loop device has to be named"):
            driver.csi.create("a", 8 * MiB, block())
        driver.stop()
        driver.pools = {"looped": (None, f",devices={loop}")}
        for _ in range(2):
            driver.start()
            driver.csi.delete(driver.csi.create("a", 8 * MiB, block()).volume_id)
            driver.stop()


# --- which volume group


def test_devices_can_be_named(new_driver, new_group, new_disk):
    first, second = new_disk(), new_disk()
    group = new_group("own", [first.path, second.path])
    driver = new_driver({"own": (group, f"devices={first.path}+{second.path}")}).start()
    churn(driver, "linear")


def test_a_volume_group_that_is_not_there_is_told_and_found_when_it_comes(new_driver, new_group, new_disk, main):
    disk = new_disk()
    group = new_group("late", [disk.path])
    run("vgrename", "-qq", "late", "elsewhere")
    driver = new_driver({"main": (main, "thinpool=thin"), "late": (main, "")})
    text = driver.pool_text
    driver.pool_text = lambda pool, more: "lvm:vg=late" if more == "" else text(pool, more)
    driver.start()
    try:
        works(driver)
        with refused("UNAVAILABLE", "FAILED_PRECONDITION", match="late"):
            driver.csi.create("a", 8 * MiB, block(), parameters={"pool": "late"})
    finally:
        run("vgrename", "-qq", "elsewhere", "late")
    volume = eventually_ok(lambda: driver.csi.create("a", 8 * MiB, block(), parameters={"pool": "late"}),
                           codes=("UNAVAILABLE", "FAILED_PRECONDITION")).volume_id
    driver.csi.delete(volume)


def test_the_volume_group_is_tagged_with_the_pools_id_and_nothing_else(driver, main):
    tags = [tag for tag in main.get("vg_tags")["vg_tags"].split(",") if tag]
    volume = driver.csi.create("a", 8 * MiB, block()).volume_id
    assert tags == [f"plinth.pool.{volume.split('-')[0]}"]


@pytest.mark.parametrize("known_by", ["name", "uuid"])
def test_a_volume_group_that_was_renamed_keeps_its_volumes(new_driver, new_group, new_disk, known_by):
    group = new_group("before", [new_disk().path])
    group.called = group.uuid() if known_by == "uuid" else None
    driver = new_driver({"pool": (group, "")}).start()
    volume = new(driver, "a", 8 * MiB, KINDS["linear"])
    driver.stop()
    run("vgrename", "-qq", "before", "after")
    group.name = "after"
    driver.before["after"] = driver.before.pop("before")
    driver.start()
    assert driver.csi.volume_ids() == [volume] and volume in group.names()
    same(get(driver, volume)[:len(SOME)], SOME)
    churn(driver, "linear")


def test_two_volume_groups_with_one_id_are_both_left_alone(new_driver, new_group, new_disk):
    """A cloned disk: which is the real one?"""
    first, second = new_group("first", [new_disk().path]), new_group("second", [new_disk().path])
    driver = new_driver({"first": (first, "")}).start()
    volume = new(driver, "a", 8 * MiB, KINDS["linear"])
    driver.stop()
    tag = first.get("vg_tags")["vg_tags"]
    run("vgchange", "-qq", "--addtag", tag, "second")
    both = new_driver({"first": (first, ""), "second": (second, "")}).start()
    for pool in ("first", "second"):
        with refused("FAILED_PRECONDITION", "UNAVAILABLE", "ALREADY_EXISTS"):
            both.csi.create("b", 8 * MiB, block(), parameters={"pool": pool})
    both.kill()
    both.given_up = True
    assert first.names() == {volume} and second.names() == set()
    run("vgchange", "-qq", "--deltag", tag, "second")
    driver.start()
    same(get(driver, volume)[:len(SOME)], SOME)


def test_only_one_driver_uses_a_volume_group(driver, new_driver, main):
    second = new_driver({"main": (main, "thinpool=thin")})
    second.given_up = True
    try:
        second.start()
        with refused("UNAVAILABLE", "ALREADY_EXISTS", "FAILED_PRECONDITION"):
            second.csi.create("a", 8 * MiB, block())
        second.kill()
    except Died as died:
        assert "main" in str(died)
    works(driver)


# --- a volume group of our own


class Made(Group):
    """A volume group that the driver is to make of disks; there is none yet."""

    def __init__(self, name, paths):
        self.name, self.paths = name, [str(path) for path in paths]

    def parts(self):
        return super().parts() if self.exists() else set()

    def volumes(self):
        return super().volumes() if self.exists() else {}

    def exists(self):
        return self.name in {row["vg_name"] for row in report("vgs", "-o", "vg_name")}


@pytest.fixture
def made(new_group):
    def make(name, paths):
        new_group.made.append(Made(name, paths))
        return new_group.made[-1]
    return make


def test_a_volume_group_is_made_of_empty_disks(new_driver, new_disk, made):
    disks = [new_disk(), new_disk()]
    group = made("fresh", [disk.path for disk in disks])
    driver = new_driver({"fresh": (group, "devices=" + "+".join(disk.path for disk in disks))}).start()
    churn(driver, "linear")
    row = group.get("vg_mda_size,pv_count,vg_autoactivation")
    assert int(row["pv_count"]) == 2 and int(row["vg_mda_size"]) >= 120 * MiB
    assert row["vg_autoactivation"] == ""  # no start of the machine activates what is in it
    volume = new(driver, "a", 8 * MiB, KINDS["linear"])
    driver.restart()
    assert driver.csi.volume_ids() == [volume]


# What a killed driver has left: test_growth.py.
OPENING = [point for point in fault_points() if point.startswith("pool.lvm.open.") and ".leftover." not in point]


@pytest.mark.parametrize("point", OPENING)
def test_the_first_start_of_a_pool_that_is_killed_can_be_repeated(new_driver, new_disk, made, point):
    disk = new_disk()
    group = made("fresh", [disk.path])
    driver = new_driver({"fresh": (group, f"thinpool=pool,thinpool-size=128Mi,devices={disk.path}")})
    with pytest.raises(Died):
        driver.start(fault=f"{point}=kill")
    driver.start()
    driver.before["fresh"] = group.parts()
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    zeros(get(driver, volume)[len(SOME):])
    driver.csi.delete(volume)
    driver.stop()
    driver.given_up = True


def test_a_thin_pool_is_made(new_driver, new_disk, made):
    disks = [new_disk(), new_disk()]
    group = made("fresh", [disk.path for disk in disks])
    driver = new_driver({"fresh": (group, "thinpool=pool,thinpool-size=256Mi,devices=" + "+".join(disk.path for disk in disks))}).start()
    driver.before["fresh"] = group.parts()
    assert "pool" in group.names()
    assert groups.run("lvs", "--noheadings", "-o", "discards", "fresh/pool").strip() == "passdown"
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    zeros(get(driver, volume)[len(SOME):])
    driver.restart()
    assert driver.csi.volume_ids() == [volume]
    driver.csi.delete(volume)
    driver.stop()
    driver.given_up = True


ONE_PARTITION = """
import sys
with open(sys.argv[1], "r+b") as disk:
    disk.seek(446)
    disk.write(bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (65536).to_bytes(4, "little"))
    disk.seek(510)
    disk.write(bytes([0x55, 0xaa]))
"""
SIGNATURES = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"], "swap": ["mkswap"], "physical volume": ["pvcreate", "-qq", "-y"],
              "partition table": ["/usr/bin/python3", "-c", ONE_PARTITION],
              "lost label": ["sh", "-c", 'vgcreate -qq -y lost "$0" && dd if=/dev/zero of="$0" bs=4096 count=1 conv=notrunc,fsync']}


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_disk_with_a_signature_is_refused_by_name(new_driver, new_disk, made, signature, main):
    empty, used = new_disk(), new_disk()
    run(*SIGNATURES[signature], used.path)
    sums = [machine.checksum(disk.path) for disk in (empty, used)]
    group = made("fresh", [empty.path, used.path])
    driver = new_driver({"main": (main, "thinpool=thin"), "fresh": (group, f"devices={empty.path}+{used.path}")})
    driver.start()
    with refused("FAILED_PRECONDITION", "UNAVAILABLE", match=used.path):
        driver.csi.create("a", 8 * MiB, block(), parameters={"pool": "fresh"})
    works(driver, parameters={"pool": "main"})
    assert not group.exists() and [machine.checksum(disk.path) for disk in (empty, used)] == sums


def test_a_volume_group_whose_uuid_is_nowhere(new_driver, new_group, new_disk):
    group = new_group("first", [new_disk().path])
    group.called = "abcdef-abcd-abcd-abcd-abcd-abcd-abcdef"
    driver = new_driver({"main": (group, "")}).start()
    with refused("UNAVAILABLE", match=group.called):
        driver.csi.create("a", 8 * MiB, block())
    assert group.names() == set() and group.get("vg_tags")["vg_tags"] == ""


@pytest.mark.parametrize("when_full", ["error", "queue"])
def test_what_writers_get_when_the_thin_pool_is_full_is_chosen(new_driver, new_group, new_disk, when_full):
    group = new_group("fast", [new_disk().path], thin=64 * MiB)
    if when_full == "queue":
        run("lvchange", "-qq", "--errorwhenfull", "y", "fast/thin")
    driver = new_driver({"fast": (group, f"thinpool=thin,when-full={when_full}")}).start()
    works(driver)
    assert report("lvs", "-o", "lv_when_full", "fast/thin")[0]["lv_when_full"] == when_full


def test_a_thin_pool_that_does_not_zero_is_refused(new_driver, new_group, new_disk):
    group = new_group("dirty", [new_disk().path], thin=64 * MiB)
    run("lvchange", "-qq", "-Zn", "dirty/thin")
    driver = new_driver({"dirty": (group, "thinpool=thin")}).start()
    with refused("FAILED_PRECONDITION", "UNAVAILABLE", match="zero"):
        driver.csi.create("a", 8 * MiB, block())
    run("lvchange", "-qq", "-Zy", "dirty/thin")
    eventually_ok(lambda: driver.csi.create("a", 8 * MiB, block()), codes=("UNAVAILABLE", "FAILED_PRECONDITION"))


def test_no_volume_is_activated_by_others_at_boot(driver, main):
    """Activation of the group, as init scripts do, leaves ours alone."""
    volumes = [new(driver, kind, 8 * MiB, KINDS[kind]) for kind in ("thin", "linear", "raid1")]
    snapshot = driver.csi.snapshot("s", volumes[0]).snapshot_id
    for volume in volumes:  # a reboot
        run("lvchange", "-qq", "-an", f"main/{volume}")
    run("vgchange", "-qq", "-aay", "main")
    assert [name for name in (*volumes, snapshot) if main.has_device(name)] == []
    mounted = driver.csi.create("m", 320 * MiB, mount("xfs")).volume_id
    run("lvchange", "-qq", "-an", f"main/{mounted}")
    run("vgchange", "-qq", "-aay", "main")
    assert not main.has_device(mounted)


def test_a_staged_volume_is_activated_whatever_the_disks_are_called(new_driver, new_group):
    """After a reboot the same disks come under other names, in another order."""
    names = ("x1", "x2")
    disks = [groups.physical(name, 256 * MiB, groups.DISKS[5], number) for number, name in enumerate(names)]
    group = new_group("moving", [disk.path for disk in disks])
    driver = new_driver({"moving": (group, "")}).start()
    volume = new(driver, "a", 8 * MiB, {**KINDS["raid1"]})
    driver.stop()
    run("vgchange", "-qq", "-an", "moving")
    for disk in disks:
        disk.remove()
    moved = [groups.Mapped(name, disk.disk, 256 * MiB, disk.start * 512) for name, disk in zip(("y2", "x1"), disks)]
    group.paths = [disk.path for disk in moved]
    driver.start()
    path = driver.use_block(volume)
    same(read(path)[:len(SOME)], SOME)
    write(path, SOME)
