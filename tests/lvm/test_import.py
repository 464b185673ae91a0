"""`plinth volume import` and `release`: logical volumes that are there already become volumes, and what they were again.

The command works beside a running driver, which is not told: it sees for itself."""
import hashlib
import json
import os
import subprocess

import pytest

import groups
import machine
from client import block, from_snapshot, mount, refused
from content import read_file, write_file
from driver import DRIVER, PLINTH, TOPOLOGY_KEY, fault_points
from groups import run
from lvm_driver import eventually_ok
from machine import MiB

STATE = "/run/plinth-import"
POINTS = [point for point in fault_points() if point.startswith("pool.import.lvm.")]


def plinth(*words, fault=None, node="node-a", before=()):
    environment = {"PATH": os.environ["PATH"], **({"PLINTH_FAULT": fault} if fault else {}), **({"NODE_NAME": node} if node else {})}
    return subprocess.run([*before, PLINTH, "volume", *words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=60)


def import_(*words, **more):
    """What must succeed; the PersistentVolume and the claim."""
    done = plinth("import", "-o", "json", *words, **more)
    assert done.returncode == 0 and done.stderr == "", done
    return json.loads(done.stdout)["items"]


def release(volume, **more):
    done = plinth("release", volume, **more)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def fails(code, *words):
    done = plinth(*words)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith(f"plinth: {code}: "), done
    return done.stderr


def id_of(*words, **more):
    return import_(*words, **more)[0]["spec"]["csi"]["volumeHandle"]


def unhealthy(driver):
    return list(driver.csi.ControllerListVolumeHealth().entries)


def row(main, name):
    """All that an administrator sees of a logical volume but whether it is active."""
    fields = "lv_name,lv_size,segtype,lv_tags,pool_lv,origin,lv_uuid,lv_skip_activation,lv_autoactivation,lv_permissions,seg_pe_ranges"
    run("lvchange", "-qq", "-ay", "-K", f"main/{name}")  # permissions are known then only
    found = groups.report("lvs", "-o", fields, f"main/{name}")[0]
    run("lvchange", "-qq", "-an", f"main/{name}")
    return found


def checksum(main, name):
    with main.opened(name) as path:
        return machine.checksum(path)


def clean_up(driver, main):
    """What is left but volumes that CreateVolume made: those go through the driver."""
    for name in sorted(main.names() - driver.before["main"]):
        if name in main.names() and not any(len(tag.split(":")) == 12 and tag.split(":")[3] for tag in main.tags(name)):
            groups.succeeds("lvremove", "-qq", "-y", "-f", f"main/{name}")


KINDS = {"linear": [], "striped": ["-i", "2"], "raid1": ["--type", "raid1", "-m", "1"], "thin": None}


@pytest.fixture(params=KINDS)
def old(request, driver, main):
    """A logical volume `old_data`, filled, not active, with a tag of its administrator's."""
    more = KINDS[request.param]
    if more is None:
        run("lvcreate", "-qq", "-y", "-V", "64m", "-T", "main/thin", "-n", "old_data")
    else:
        run("lvcreate", "-qq", "-y", "-Wn", "-Zn", "-L", "64m", "-n", "old_data", *more, "main")
    run("lvchange", "-qq", "--addtag", "theirs", "main/old_data")
    groups.fill("/dev/main/old_data")
    yield "old_data"
    clean_up(driver, main)


def make_filesystem(tmp_path, filesystem="ext4", name="old_data"):
    """With a file in it."""
    path = f"/dev/main/{name}"
    run(f"mkfs.{filesystem}", *(["-q", "-F", "-b", "1024"] if filesystem == "ext4" else ["-q", "-f"]), path)
    run("mount", path, tmp_path)
    write_file(tmp_path, b"from before")
    run("umount", tmp_path)


def deactivate(name="old_data"):
    run("lvchange", "-qq", "-an", f"main/{name}")


# --- a whole life


def test_a_logical_volume_with_a_file_system_becomes_a_volume_and_what_it_was_again(driver, main, old, tmp_path):
    make_filesystem(tmp_path)
    deactivate()
    before, sum_ = row(main, old), checksum(main, old)
    volume = id_of("main/old_data")
    assert main.names() == {"thin", volume} and checksum(main, volume) == sum_
    assert "theirs" in main.tags(volume)
    assert machine.eventually(lambda: volume in driver.csi.volume_ids(), 3)
    assert unhealthy(driver) == []

    path = driver.use(volume)
    assert read_file(path) == b"from before"
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    write_file(path, b"from the pod")
    eventually_ok(lambda: driver.csi.expand(volume, 96 * MiB))
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize > 80 * MiB
    copy = driver.csi.create("copy", 96 * MiB, mount("ext4"), source=from_snapshot(snapshot)).volume_id
    assert read_file(driver.use(copy)) == b"from before"
    assert volume in fails("FAILED_PRECONDITION", "release", volume)
    driver.release_everything()

    assert "main/old_data" in release(volume)
    after = row(main, old)
    assert after["lv_size"] == str(96 * MiB)
    for key in ("lv_size", "seg_pe_ranges"):
        after.pop(key), before.pop(key)
    assert after == before
    assert machine.eventually(lambda: volume not in driver.csi.volume_ids(), 3)
    assert unhealthy(driver) == []
    with main.opened(old) as device:
        run("mount", device, tmp_path)
        assert read_file(tmp_path) == b"from the pod"
        run("umount", tmp_path)
    driver.csi.delete(copy)
    driver.csi.delete_snapshot(snapshot)


def test_a_logical_volume_becomes_a_raw_block_volume_and_what_it_was_again(driver, main, old):
    deactivate()
    before, sum_ = row(main, old), checksum(main, old)
    volume = id_of("main/old_data", "--block")
    assert checksum(main, volume) == sum_
    assert machine.eventually(lambda: volume in driver.csi.volume_ids(), 3)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    driver.csi.delete_snapshot(snapshot)
    path = driver.use_block(volume)
    assert machine.checksum(path) == sum_
    assert volume in fails("FAILED_PRECONDITION", "release", volume)
    driver.release(volume)
    release(volume)
    assert row(main, old) == before and checksum(main, old) == sum_


@pytest.fixture
def plain(driver, main):
    """A logical volume `plain`, active and not open."""
    run("wipefs", "-aq", main.add("plain", 320 * MiB))
    yield "plain"
    clean_up(driver, main)


def test_xfs_and_a_driver_that_is_started_later(driver, main, plain, tmp_path):
    make_filesystem(tmp_path, "xfs", plain)
    sum_ = checksum(main, plain)
    driver.stop()
    volume = id_of("main/plain")
    assert not main.has_device(volume) and checksum(main, volume) == sum_
    driver.start()
    assert driver.csi.volume_ids() == [volume]
    assert read_file(driver.use(volume)) == b"from before"
    driver.release(volume)
    driver.stop()
    release(volume)
    driver.start()
    assert driver.csi.volume_ids() == [] and "plain" in main.names()


def test_the_host_does_not_activate_it_any_more(driver, main, plain):
    volume = id_of("main/plain", "--block")
    run("vgchange", "-qq", "-aay", "main")
    assert not main.has_device(volume)
    release(volume)
    run("vgchange", "-qq", "-aay", "main")
    assert main.has_device("plain")


def test_the_manifests(driver, main, plain):
    volume, claim = import_("/dev/main/plain", "--block", "--class", "fast", "--claim", "shop/db")
    identity = volume["metadata"]["name"]
    size = str(320 * MiB)
    assert identity in main.names()
    assert volume == {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": identity},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                 "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "fast",
                 "claimRef": {"namespace": "shop", "name": "db"}, "csi": {"driver": DRIVER, "volumeHandle": identity},
                 "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                     {"key": TOPOLOGY_KEY, "operator": "In", "values": ["node-a"]}]}]}}}}
    assert claim == {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "fast",
                 "resources": {"requests": {"storage": size}}, "volumeName": identity}}
    # As the driver says it of itself.
    answer = driver.csi.NodeGetInfo().accessible_topology.segments
    assert dict(answer) == {TOPOLOGY_KEY: "node-a"}


def node_of(volume):
    return volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]


@pytest.mark.parametrize("given, name", [
    ({"before": ["unshare", "--uts", "sh", "-c", 'hostname host-c; exec "$@"', "sh"], "node": None}, "host-c"),
    ({"node": "node-b"}, "node-b"), ({"node": "n" * 100}, hashlib.sha256(b"n" * 100).hexdigest()[:63])], ids=["host", "variable", "long"])
def test_the_node_is_named_as_the_driver_would(driver, main, plain, given, name):
    volume, _ = import_("main/plain", "--block", **given)
    identity = volume["metadata"]["name"]
    assert node_of(volume) == [name] and identity.split("-")[1] == hashlib.sha256(name.encode()).hexdigest()[:8]
    assert node_of(import_("main/plain", "--block", "--node-id", name, node="another")[0]) == [name]
    release(identity)


def test_repeated_it_finds_the_volume(driver, main, plain):
    first = import_("main/plain", "--block")
    assert import_("main/plain", "--block") == first
    assert "released" not in fails("FAILED_PRECONDITION", "import", "main/plain")  # now as a file system
    release(first[0]["metadata"]["name"])
    fails("NOT_FOUND", "release", first[0]["metadata"]["name"])


def test_a_name_that_a_volume_has_is_refused(driver, main, plain):
    volume = driver.csi.create("plain", 8 * MiB, block()).volume_id
    assert volume in fails("ALREADY_EXISTS", "import", "main/plain", "--block")
    fails("FAILED_PRECONDITION", "release", volume)  # it was not imported
    driver.csi.delete(volume)
    imported = id_of("main/plain", "--block")
    main.add("plain", 8 * MiB)
    assert "plain" in fails("ALREADY_EXISTS", "release", imported)
    main.drop("plain")
    with refused("ALREADY_EXISTS"):
        machine.eventually(lambda: imported in driver.csi.volume_ids(), 3)
        driver.csi.create("plain", 320 * MiB, block())


# --- refusals: nothing is changed by any of them


def untouched(main):
    return main.volumes(), main.get("vg_seqno,vg_tags")


def test_what_has_no_file_system_is_a_raw_block_volume_only_if_that_is_said(driver, main, plain):
    before = main.volumes()["plain"]["lv_tags"], main.names()
    assert "--block" in fails("FAILED_PRECONDITION", "import", "main/plain")
    run("mkswap", "/dev/main/plain")
    said = fails("FAILED_PRECONDITION", "import", "main/plain")
    assert "swap" in said and "--block" in said
    assert (main.volumes()["plain"]["lv_tags"], main.names()) == before and main.has_device("plain")


def test_what_is_open_is_refused(driver, main, plain, tmp_path):
    before = untouched(main)
    with open("/dev/main/plain", "rb"):
        assert "open" in fails("FAILED_PRECONDITION", "import", "main/plain", "--block")
    make_filesystem(tmp_path, "xfs", plain)
    run("mount", "/dev/main/plain", tmp_path)
    try:
        assert "open" in fails("FAILED_PRECONDITION", "import", "main/plain")
        assert untouched(main) == before
    finally:
        run("umount", tmp_path)


def test_copy_on_write_snapshots_and_their_origins_are_refused(driver, main, plain):
    run("lvcreate", "-qq", "-y", "-s", "-L", "8m", "-n", "snap", "main/plain")
    before = untouched(main)
    assert "snapshot of plain" in fails("FAILED_PRECONDITION", "import", "main/snap", "--block")
    assert "snap" in fails("FAILED_PRECONDITION", "import", "main/plain", "--block")
    assert untouched(main) == before


def test_what_is_no_volume_is_refused(driver, main, plain):
    ours = driver.csi.create("a", 8 * MiB, block()).volume_id
    run("lvcreate", "-qq", "-y", "--type", "raid1", "-m", "1", "-L", "8m", "-n", "mirror", "main")
    before = untouched(main)
    assert "thin-pool" in fails("FAILED_PRECONDITION", "import", "main/thin", "--block")
    for part in ("thin_tdata", "mirror_rimage_0", "lvol0_pmspare"):
        assert part in fails("FAILED_PRECONDITION", "import", f"main/{part}", "--block")
    assert ours in fails("FAILED_PRECONDITION", "import", f"main/{ours}", "--block")
    assert untouched(main) == before
    main.drop("mirror")


def test_what_is_read_only_is_refused(driver, main, plain):
    run("lvchange", "-qq", "--permission", "r", "main/plain")
    assert "read-only" in fails("FAILED_PRECONDITION", "import", "main/plain", "--block")
    run("lvchange", "-qq", "-an", "main/plain")
    assert "read-only" in fails("FAILED_PRECONDITION", "import", "main/plain", "--block")
    assert not main.has_device("plain")


@pytest.mark.parametrize("tag", ["plinth.1:rv-:1:::::::00000000:a:", "plinth.2:new", "plinth.1:cut", "plinth.mine"])
def test_what_carries_a_tag_of_ours_is_refused(driver, main, plain, tag):
    run("lvchange", "-qq", "--addtag", tag, "main/plain")
    before = untouched(main)
    assert "tag" in fails("FAILED_PRECONDITION" if tag.startswith("plinth.2") else "DATA_LOSS", "import", "main/plain", "--block")
    assert untouched(main) == before


def test_what_is_not_there_is_told(driver, main):
    assert "nothing" in fails("NOT_FOUND", "import", "main/nothing")
    assert "nowhere" in fails("NOT_FOUND", "import", "nowhere/data")
    identity = "0123456789ab-01234567-0123456789abcdef0123"
    assert identity in fails("NOT_FOUND", "release", identity)
    ours = driver.csi.create("a", 8 * MiB, block()).volume_id
    assert "no volume" in fails("NOT_FOUND", "release", ours[:-20] + "0" * 20)


def test_a_volume_group_that_is_no_pool_yet_is_told(new_group, new_disk):
    other = new_group("other", [new_disk().path])
    other.add("data", 8 * MiB)
    assert "plinth node --pool NAME=lvm:vg=other" in fails("FAILED_PRECONDITION", "import", "other/data", "--block")
    assert other.tags("data") == [] and other.get("vg_tags")["vg_tags"] == ""
    other.drop("data")


@pytest.mark.parametrize("word", ["/dev/ubdf", "/dev/disk/by-id/x", "plain", "/plain", "a/b/c"])
def test_a_disk_is_refused_with_what_can_be_done(driver, word):
    said = fails("FAILED_PRECONDITION", "import", word)
    assert "dd" in said and "--pool-path" in said


@pytest.mark.parametrize("word", ["main/", "-main/plain", "main/-plain", "main/pl ain", "main/@tag", "main/" + "x" * 200])
def test_what_cannot_be_a_name_is_refused(driver, word):
    fails("INVALID_ARGUMENT", "import", "--", word)


# --- killed


@pytest.mark.parametrize("point", POINTS)
def test_an_import_or_release_that_is_killed_can_be_repeated(driver, main, plain, tmp_path, point):
    make_filesystem(tmp_path, "xfs", plain)
    deactivate(plain)
    before, sum_ = row(main, plain), checksum(main, plain)
    volume = id_of("main/plain")
    release(volume)

    killed = plinth("import", "main/plain", fault=f"{point}=kill")
    assert killed.returncode == -9, killed
    visible = machine.eventually(lambda: volume in driver.csi.volume_ids(), 1.5)
    assert bool(visible) == (volume in main.names())
    assert unhealthy(driver) == []
    assert id_of("main/plain") == volume and checksum(main, volume) == sum_
    assert machine.eventually(lambda: volume in driver.csi.volume_ids(), 3)

    if point != "pool.import.lvm.looked":  # release does not look inside
        killed = plinth("release", volume, fault=f"{point}=kill")
        assert killed.returncode == -9, killed
        assert machine.eventually(lambda: volume not in driver.csi.volume_ids(), 3)
        assert unhealthy(driver) == []
        if "plinth" in main.volumes()["plain"]["lv_tags"]:
            release(volume)
    else:
        release(volume)
    assert row(main, plain) == before and checksum(main, plain) == sum_
    assert os.listdir(STATE) and set(os.listdir(STATE)) == {"lock", "lvm"}


def test_every_point_of_an_import_is_killed():
    assert len(POINTS) == 3


def test_of_imports_at_once_one_works_and_the_others_say_so_or_work_after_it(driver, main):
    for number in range(3):
        main.add(f"many{number}", 8 * MiB)
    running = [subprocess.Popen([PLINTH, "volume", "import", "--block", "--node-id", "node-a", f"main/many{number}"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for number in range(3)]
    said = [process.communicate(timeout=60) for process in running]
    done = [process.returncode for process in running]
    assert 0 in done
    for status, (_, error) in zip(done, said):
        assert status == 0 or "in use by another Plinth" in error, error
    for number in range(3):
        release(id_of("--block", f"main/many{number}"))
        main.drop(f"many{number}")
