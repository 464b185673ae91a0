"""The life of volumes and snapshots, typed."""
import os
import stat

import pytest
from conftest import WORK, fails, good, mounts, rows, run, value

GIB = 1 << 30


def create(name, *words):
    return value("volume", "create", name, *words)["volume"]


def test_create_list_show_delete(node):
    table = rows(good("volume", "create", "data", "--size", "1Gi", "--fstype", "xfs"))
    assert len(table) == 1 and table[0]["SIZE"] == "1Gi" and table[0]["TYPE"] == "xfs" and table[0]["MADE FROM"] == "-"
    identity = table[0]["VOLUME"]

    again = create("data", "--size", "1Gi", "--fstype", "xfs")
    assert again["volumeId"] == identity and again["capacityBytes"] == GIB
    assert again["volumeContext"] == {"fsType": "xfs"}
    assert again["accessibleTopology"] == [{"segments": {"csi.plinth.dev/node": "here"}}]

    assert rows(good("volume", "list")) == table
    entries = value("volume", "list")["entries"]
    assert [entry["volume"] for entry in entries] == [again]

    shown = good("volume", "show", identity)
    lines = dict(line.split(":", 1) for line in shown.splitlines())
    assert lines["Volume"].strip() == identity and lines["Type"].strip() == "xfs"
    assert lines["Size"].strip() == "1Gi (1073741824 bytes)"
    assert lines["Reached from"].strip() == "csi.plinth.dev/node=here"
    assert lines["Health"].strip() == "nothing is wrong"
    details = value("volume", "show", identity)
    assert details["volume"] == again and details["volumeHealth"]["healthStatuses"] == []

    assert good("volume", "delete", identity) == f"{identity} is deleted\n"
    assert value("volume", "delete", identity) == {"volumeId": identity}  # again: CSI says OK
    assert rows(good("volume", "list")) == [] and value("volume", "list") == {"entries": []}
    assert identity in fails("NOT_FOUND", "volume", "show", identity)


def test_same_name_other_size(node):
    create("data", "--size", "10Mi")
    assert "data" in fails("ALREADY_EXISTS", "volume", "create", "data", "--size", "20Mi")


def test_pool_and_parameters(node):
    assert create("a", "--size", "10Mi", "--pool", "scratch")["capacityBytes"] == 10 << 20
    create("b", "--size", "10Mi", "--parameter", "pool=scratch", "--parameter", "provisioning=thick",
           "--parameter=mkfsOptions=-I 512")
    assert "scratch" in fails("INVALID_ARGUMENT", "volume", "create", "c", "--size", "1Gi", "--pool", "nowhere")
    assert "shoe" in fails("INVALID_ARGUMENT", "volume", "create", "c", "--size", "1Gi", "--parameter", "shoe=43")
    error = fails("RESOURCE_EXHAUSTED", "volume", "create", "c", "--size", "10Ti", "--block")
    assert "scratch" in error


def test_sizes_refused(node):
    assert "300Mi" in fails("OUT_OF_RANGE", "volume", "create", "c", "--size", "10Mi", "--fstype", "xfs")
    assert "btrfs" in fails("INVALID_ARGUMENT", "volume", "create", "c", "--size", "1Gi", "--fstype", "btrfs")
    assert "name" in fails("INVALID_ARGUMENT", "volume", "create", "")
    fails("INVALID_ARGUMENT", "volume", "create", "x" * 200, "--size", "10Mi")
    fails("INVALID_ARGUMENT", "volume", "create", "a\x1bb", "--size", "10Mi")


def test_publish_twice_and_unpublish(node, place):
    identity = create("data", "--size", "1Gi", "--fstype", "xfs", "--access-mode", "SINGLE_NODE_MULTI_WRITER")["volumeId"]
    first, second = place / "first", place / "second"
    staging = f"/run/plinth/staging/csi.plinth.dev/{identity}"
    mode = ["--access-mode", "single_node_multi_writer"]

    assert good("volume", "publish", identity, first, *mode) == f"{identity} is published at {first}\n"
    assert os.path.ismount(first) and os.path.ismount(staging)
    (first / "file").write_text("content")
    # again; and a relative path, through a directory's link, with slashes at the end
    good("volume", "publish", identity, first, *mode)
    (WORK / "link").symlink_to(place)
    published = value("volume", "publish", identity, "link/second//", *mode, cwd=WORK)
    (WORK / "link").unlink()
    assert published == {"volumeId": identity, "targetPath": str(second), "stagingTargetPath": staging}
    assert (second / "file").read_text() == "content"

    said = good("volume", "unpublish", identity, first)
    assert "stays staged" in said and str(second) in said
    assert os.path.ismount(staging) and not first.exists()
    assert fails("FAILED_PRECONDITION", "volume", "delete", identity)
    ended = value("volume", "unpublish", identity, second)
    assert ended["unstaged"] is True and not second.exists() and not os.path.exists(staging)
    assert good("volume", "unpublish", identity, second).endswith("and unstaged\n")  # again


def test_single_writer_has_one_target(node, place):
    identity = create("data", "--size", "10Mi")["volumeId"]
    good("volume", "publish", identity, place / "one")
    fails("FAILED_PRECONDITION", "volume", "publish", identity, place / "two")
    assert os.path.ismount(place / "one") and not (place / "two").exists()
    good("volume", "unpublish", identity, place / "one")


def test_read_only_and_mount_options(node, place):
    identity = create("data", "--size", "10Mi")["volumeId"]
    target = place / "data"
    good("volume", "publish", identity, target, "--read-only", "--mount-option", "noatime", "--mount-option", "nodev",
         "--staging", WORK / "stage")
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        options = {line.split()[4]: line.split()[5].split(",") for line in lines}
    assert "ro" in options[str(target)] and "noatime" in options[str(target)]
    assert "rw" in options[str(WORK / "stage")]
    with pytest.raises(OSError):
        (target / "file").write_text("no")
    good("volume", "unpublish", identity, target, "--staging", WORK / "stage")
    assert not (WORK / "stage").exists()
    # a failed publish takes back the staging that was made for it
    fails("INVALID_ARGUMENT", "volume", "publish", identity, target, "--mount-option", "journal_path=/etc/passwd")
    assert not target.exists() and str(target) not in mounts()


def test_raw_block(node, place):
    identity = create("disk", "--size", "8Mi", "--block")["volumeId"]
    assert value("volume", "show", identity)["volume"]["volumeContext"] == {"fsType": "block"}
    good("volume", "publish", identity, place / "disk")  # that it is raw says the driver
    assert stat.S_ISBLK((place / "disk").stat().st_mode)
    with open(place / "disk", "r+b", buffering=0) as device:
        device.write(b"x" * 4096)
        assert device.seek(0, os.SEEK_END) == 8 << 20
    good("volume", "expand", identity, "--size", "16Mi")
    with open(place / "disk", "rb") as device:
        assert device.read(4096) == b"x" * 4096 and device.seek(0, os.SEEK_END) == 16 << 20
    good("volume", "unpublish", identity, place / "disk")
    fails("FAILED_PRECONDITION", "volume", "publish", identity, place / "disk", "--fstype", "ext4")


def test_expand_in_use(node, place):
    identity = create("data", "--size", "1Gi", "--fstype", "xfs")["volumeId"]
    good("volume", "publish", identity, place / "data")
    assert good("volume", "expand", identity, "--size", "2Gi") == f"{identity} has 2Gi (2147483648 bytes)\n"
    space = os.statvfs(place / "data")
    assert 1.9 * GIB < space.f_blocks * space.f_frsize <= 2 * GIB
    assert value("volume", "expand", identity, "--size", "1Gi") == {"capacityBytes": 2 * GIB,
                                                                   "nodeExpansionRequired": False}
    fails("RESOURCE_EXHAUSTED", "volume", "expand", identity, "--size", "100Ti")
    good("volume", "unpublish", identity, place / "data")


def test_snapshot_restore_clone(node, place):
    volume = create("data", "--size", "1Gi", "--fstype", "xfs")["volumeId"]
    good("volume", "publish", volume, place / "data")
    (place / "data" / "file").write_text("old")
    table = rows(good("snapshot", "create", volume, "monday"))
    assert table[0]["READY"] == "yes" and table[0]["VOLUME"] == volume and table[0]["SIZE"] == "1Gi"
    snapshot = table[0]["SNAPSHOT"]
    (place / "data" / "file").write_text("new")

    made = value("snapshot", "create", volume, "monday")["snapshot"]
    assert made["snapshotId"] == snapshot and made["creationTime"][:19].replace("T", " ") == table[0]["CREATED"]
    listed = value("snapshot", "list")["entries"]
    assert [entry["snapshot"] for entry in listed] == [made]
    assert rows(good("snapshot", "list", "--volume", volume)) == table
    assert value("snapshot", "list", "--volume", "another") == {"entries": []}

    # The file system and the size come from the source; a larger size can be asked for.
    restored = value("snapshot", "restore", snapshot, "again", "--size", "2Gi")["volume"]
    assert restored["contentSource"] == {"snapshot": {"snapshotId": snapshot}} and restored["capacityBytes"] == 2 * GIB
    same = rows(good("volume", "create", "same", "--from-snapshot", snapshot))[0]
    assert same["SIZE"] == "1Gi" and same["TYPE"] == "xfs" and same["MADE FROM"] == f"snapshot {snapshot}"
    clone = create("clone", "--from-volume", volume)
    assert clone["contentSource"] == {"volume": {"volumeId": volume}} and clone["volumeContext"] == {"fsType": "xfs"}
    for identity, content in (restored["volumeId"], "old"), (same["VOLUME"], "old"), (clone["volumeId"], "new"):
        good("volume", "publish", identity, place / "copy")
        assert (place / "copy" / "file").read_text() == content
        good("volume", "unpublish", identity, place / "copy")

    fails("OUT_OF_RANGE", "snapshot", "restore", snapshot, "small", "--size", "500Mi")
    good("volume", "unpublish", volume, place / "data")
    good("volume", "delete", volume)
    assert good("snapshot", "delete", snapshot) == f"{snapshot} is deleted\n"
    assert value("snapshot", "delete", snapshot) == {"snapshotId": snapshot}
    assert rows(good("snapshot", "list")) == []


def test_restore_after_the_volume_is_gone(node):
    volume = create("data", "--size", "300Mi", "--fstype", "xfs")["volumeId"]
    snapshot = value("snapshot", "create", volume, "last")["snapshot"]["snapshotId"]
    good("volume", "delete", volume)
    # Nobody knows any more which file system it has, so it must be said.
    restored = value("snapshot", "restore", snapshot, "again", "--fstype", "xfs")["volume"]
    assert restored["capacityBytes"] == 300 << 20 and restored["volumeContext"] == {"fsType": "xfs"}


def test_unknown_ids(node, place):
    for code, words in [
            ("NOT_FOUND", ["volume", "show", "nobody"]),
            ("NOT_FOUND", ["volume", "expand", "nobody", "--size", "1Gi"]),
            ("NOT_FOUND", ["volume", "publish", "nobody", place / "x"]),
            ("NOT_FOUND", ["volume", "create", "x", "--from-volume", "nobody"]),
            ("NOT_FOUND", ["volume", "create", "x", "--from-snapshot", "nobody"]),
            ("NOT_FOUND", ["snapshot", "create", "nobody", "x"]),
            ("NOT_FOUND", ["snapshot", "restore", "nobody", "x"]),
    ]:
        assert "nobody" in fails(code, *words)
    good("volume", "delete", "nobody")
    good("snapshot", "delete", "nobody")
    good("volume", "unpublish", "nobody", place / "x")


def test_many_volumes_are_all_listed(node):
    made = {create(f"v{i}", "--size", "1Mi", "--block")["volumeId"] for i in range(25)}
    assert {row["VOLUME"] for row in rows(good("volume", "list"))} == made


def test_pool_list(node):
    table = rows(good("pool", "list"))
    assert len(table) == 1
    row = table[0]
    assert row["POOL"] == "scratch" and row["NODE"] == "here" and row["DRIVER"] == "csi.plinth.dev"
    info = value("pool", "list")
    assert info["name"] == "csi.plinth.dev" and info["nodeId"] == "here" and info["vendorVersion"] == row["VERSION"]
    pool = info["pools"][0]
    assert pool["pool"] == "scratch" and 0 < pool["maximumVolumeSize"] <= pool["availableCapacity"]
    before = pool["availableCapacity"]
    create("data", "--size", "1Gi", "--block")
    after = value("pool", "list", "--pool", "scratch")["pools"][0]["availableCapacity"]
    assert GIB <= before - after < GIB + (1 << 20)  # its record needs a few blocks too
    assert "nowhere" in fails("INVALID_ARGUMENT", "pool", "list", "--pool", "nowhere")


def test_output_that_cannot_be_written(node):
    with open("/dev/full", "w", encoding="utf-8") as full:
        import subprocess
        from conftest import PLINTH
        process = subprocess.run([PLINTH, "volume", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 1 and "No space left" in process.stderr


def test_help_in_the_middle_makes_nothing(node):
    assert "Usage: plinth volume create" in good("volume", "create", "data", "--size", "1Gi", "--help")
    assert value("volume", "list") == {"entries": []}
    assert run("volume", "create", "--", "--help").status == 0  # a volume of that name
