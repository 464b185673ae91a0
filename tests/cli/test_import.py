"""plinth volume import and release, for image files and a file pool; logical volumes are in tests/lvm/test_import.py."""
import hashlib
import json
import os
import subprocess

import pytest
import yaml
from conftest import WORK, Node, fails, good, mistake, run, value

OWN_SOCKET = f"{WORK}/import.sock"
MiB = 1 << 20


class Scratch:
    """A pool of its own, whose driver is stopped, beside images in the same file system."""

    def __init__(self):
        self.path = WORK / "pool" / "scratch"
        self.path.mkdir()
        with self.driver():
            pass

    def driver(self):
        return Running(self.path)

    def import_(self, *words):
        return json.loads(good("volume", "import", "--pool-path", self.path, "--node-id", "here", "-o", "json", *words))["items"]

    def fails(self, code, *words):
        return fails(code, "volume", "import", "--pool-path", self.path, "--node-id", "here", *words)

    def release(self, volume, to):
        return good("volume", "release", "--pool-path", self.path, "--to", to, volume)

    def volumes(self):
        return [path.name for path in (self.path / "volumes").iterdir()]


class Running:
    def __init__(self, path):
        self.node = Node("--node-id", "here", "--pool", f"scratch=file:path={path}", "--state-dir", WORK / "import-state",
                         "--kubelet-dir", "/run/kubelet", endpoint=OWN_SOCKET)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.node.stop()


@pytest.fixture
def scratch():
    made = Scratch()
    yield made
    subprocess.run(["rm", "-rf", made.path], check=True)


def image(name, filesystem="ext4", size=32 * MiB):
    path = WORK / "pool" / name
    with open(path, "wb") as file:
        file.truncate(size)
    if filesystem == "ext4":
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "1024", path], check=True)
    elif filesystem:
        subprocess.run([f"mkfs.{filesystem}", "-q", "-f", path], check=True)
    return path


@pytest.fixture
def plain():
    path = image("plain.img")
    yield path
    path.unlink(missing_ok=True)


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(path):
    """All of a file but its directory and the time of its renaming."""
    status = path.stat()
    return status.st_ino, status.st_mode, status.st_uid, status.st_mtime_ns, status.st_size, status.st_blocks, checksum(path)


def list_volumes():
    return [entry["volume"]["volumeId"] for entry in value("volume", "list", "--endpoint", OWN_SOCKET)["entries"]]


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_an_image_becomes_a_volume_and_a_file_again(scratch, place, filesystem):
    path = image("plain.img", filesystem, 320 * MiB)
    before = state(path)
    volume = scratch.import_(path)[0]["metadata"]["name"]
    assert not path.exists() and scratch.volumes() == [volume]
    assert state(scratch.path / "volumes" / volume / "data") == before
    with scratch.driver():
        assert list_volumes() == [volume]
        expand = ["volume", "expand", volume, "--size", "400Mi", "--endpoint", OWN_SOCKET]
        if filesystem == "ext4":  # grown before it is mounted: not every machine's root may grow it mounted
            good(*expand)
        good("volume", "publish", volume, place / "here", "--endpoint", OWN_SOCKET)
        (place / "here" / "file").write_text("written by a pod")
        if filesystem == "xfs":
            good(*expand, "--path", place / "here")
        space = os.statvfs(place / "here")
        assert space.f_blocks * space.f_frsize > 330 * MiB
        good("volume", "unpublish", volume, place / "here", "--endpoint", OWN_SOCKET)
    back = path.with_name("back.img")
    assert str(back) in scratch.release(volume, back)
    assert scratch.volumes() == [] and back.stat().st_size == 400 * MiB and back.stat().st_ino == before[0]
    mounted = WORK / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "-o", "loop", back, mounted], check=True)
    assert (mounted / "file").read_text() == "written by a pod"
    subprocess.run(["umount", mounted], check=True)
    mounted.rmdir()
    with scratch.driver():
        assert list_volumes() == []
    back.unlink()


def test_released_at_once_it_is_as_it_was(scratch, plain):
    before = state(plain)
    scratch.release(scratch.import_(plain)[0]["metadata"]["name"], plain)
    assert state(plain) == before


def test_the_manifests(scratch, plain):
    text = good("volume", "import", "--pool-path", scratch.path, "--node-id", "no", "--driver-name", "csi.example.org",
                "--claim", "Shop: 5/- a \"quoted\" \u00e4\u0085\\", "--class", "true", plain)
    volume, claim = yaml.safe_load_all(text)
    (identity,) = scratch.volumes()
    assert volume["metadata"]["name"] == identity == volume["spec"]["csi"]["volumeHandle"] == claim["spec"]["volumeName"]
    assert volume["spec"]["csi"] == {"driver": "csi.example.org", "volumeHandle": identity, "fsType": "ext4"}
    assert volume["spec"]["volumeMode"] == claim["spec"]["volumeMode"] == "Filesystem"
    assert volume["spec"]["claimRef"] == claim["metadata"] == {"namespace": "Shop: 5", "name": "- a \"quoted\" \u00e4\u0085\\"}
    assert volume["spec"]["storageClassName"] == claim["spec"]["storageClassName"] == "true"
    assert volume["spec"]["capacity"] == {"storage": str(32 * MiB)} == claim["spec"]["resources"]["requests"]
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "csi.example.org/node", "operator": "In", "values": ["no"]}]}]
    assert "\u0085" not in text
    again = run("volume", "import", "--pool-path", scratch.path, "--node-id", "no", "-o", "json", plain)
    assert json.loads(again.out)["kind"] == "List"


@pytest.mark.parametrize("name, claim", [("a b.img", "a-b-img"), ("UPPER_5", "upper-5"), ("-._", "volume"), ("9" * 100, "9" * 63),
                                         ("\u00e4x", "x"), ("\"': {}[]\\", "volume"), ("x" * 128, "x" * 63)])
def test_any_name_of_a_file_gives_a_name_for_the_claim(scratch, name, claim):
    path = image(name, None)
    volume, made = scratch.import_("--block", path)
    assert made["metadata"] == {"namespace": "default", "name": claim}
    with scratch.driver():
        assert list_volumes() == [volume["metadata"]["name"]]
    scratch.release(volume["metadata"]["name"], path)
    path.unlink()


def test_a_raw_block_volume(scratch, place):
    path = image("raw", None)
    assert "--block" in scratch.fails("FAILED_PRECONDITION", path)
    volume, _ = scratch.import_("--block", path)
    assert volume["spec"]["volumeMode"] == "Block" and "fsType" not in volume["spec"]["csi"]
    assert "raw blocks" in scratch.fails("FAILED_PRECONDITION", path)  # now not as a raw block volume
    with scratch.driver():
        identity = volume["metadata"]["name"]
        good("volume", "publish", identity, place / "disk", "--block", "--endpoint", OWN_SOCKET)
        (place / "disk").write_bytes(b"x" * 4096)
        # while it is staged, also without its driver
        assert "stopped" in fails("ALREADY_EXISTS", "volume", "release", "--pool-path", scratch.path, "--to", path, identity)
    assert "open" in fails("FAILED_PRECONDITION", "volume", "release", "--pool-path", scratch.path, "--to", path, identity)
    with scratch.driver():
        good("volume", "unpublish", identity, place / "disk", "--endpoint", OWN_SOCKET)
    scratch.release(identity, path)
    assert path.read_bytes()[:4097] == b"x" * 4096 + b"\0"
    path.unlink()


def test_repeated_it_finds_the_volume(scratch, plain):
    first = scratch.import_(plain)
    assert scratch.import_(plain) == first
    image("plain.img", None)
    assert first[0]["metadata"]["name"] in scratch.fails("ALREADY_EXISTS", "--block", plain)
    assert plain.stat().st_size == 32 * MiB


# --- refusals


def test_refused_images_are_as_they_were(scratch, plain):
    before = state(plain)
    with open(plain, "rb"):
        assert "open" in scratch.fails("FAILED_PRECONDITION", plain)
    loop = subprocess.run(["losetup", "-f", "--show", plain], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    assert "loop device" in scratch.fails("FAILED_PRECONDITION", plain)
    subprocess.run(["losetup", "-d", loop], check=True)
    os.link(plain, f"{plain}.other")
    assert "2 names" in scratch.fails("FAILED_PRECONDITION", plain)
    os.unlink(f"{plain}.other")
    os.symlink(plain, f"{plain}.link")
    scratch.fails("INTERNAL", f"{plain}.link")
    os.unlink(f"{plain}.link")
    assert state(plain) == before and scratch.volumes() == []


def test_other_things_are_refused(scratch, tmp_path):
    assert "no regular file" in scratch.fails("FAILED_PRECONDITION", "--block", tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert "no regular file" in scratch.fails("FAILED_PRECONDITION", "--block", tmp_path / "fifo")
    odd = image("odd", None, 1000)
    assert "multiple" in scratch.fails("FAILED_PRECONDITION", "--block", odd)
    odd.unlink()
    assert "nothing" in scratch.fails("NOT_FOUND", WORK / "pool" / "nothing")
    for name in ("", "/", "x/", "..", "y" * 129):
        scratch.fails("INVALID_ARGUMENT", "--block", f"{WORK}/pool/{name}")
    assert scratch.volumes() == []


def test_another_file_system_is_refused(scratch, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    path = tmp_path / "image"
    with open(path, "wb") as file:
        file.truncate(MiB)
    assert "same file system" in scratch.fails("FAILED_PRECONDITION", "--block", path)
    assert path.exists() and scratch.volumes() == []
    volume = scratch.import_("--block", image("raw", None))[0]["metadata"]["name"]
    said = fails("FAILED_PRECONDITION", "volume", "release", "--pool-path", scratch.path, "--to", tmp_path / "back", volume)
    assert "same file system" in said
    scratch.release(volume, WORK / "pool" / "raw")  # it goes on
    (WORK / "pool" / "raw").unlink()
    subprocess.run(["umount", tmp_path], check=True)


def test_nothing_is_overwritten(scratch, plain):
    volume = scratch.import_(plain)[0]["metadata"]["name"]
    plain.write_text("precious")
    fails("ALREADY_EXISTS", "volume", "release", "--pool-path", scratch.path, "--to", plain, volume)
    assert plain.read_text() == "precious"
    plain.unlink()
    scratch.release(volume, plain)


def test_only_what_was_imported_is_released(scratch, plain):
    with scratch.driver():
        made = value("volume", "create", "a", "--size", "10Mi", "--endpoint", OWN_SOCKET)["volume"]["volumeId"]
        assert "must be stopped" in scratch.fails("ALREADY_EXISTS", plain)
    assert "not imported" in fails("FAILED_PRECONDITION", "volume", "release", "--pool-path", scratch.path, "--to", plain, made)
    for identity in ("0123456789ab-01234567-0123456789abcdef0123", "a", "../volumes", ""):
        fails("NOT_FOUND", "volume", "release", "--pool-path", scratch.path, "--to", plain, identity)
    assert plain.exists()


def test_pools_that_are_none(scratch, plain, tmp_path):
    assert "plinth node" in fails("FAILED_PRECONDITION", "volume", "import", "--node-id", "here", "--pool-path", tmp_path, plain)
    subprocess.run(["cp", "-a", scratch.path, f"{scratch.path}-copy"], check=True)
    said = fails("FAILED_PRECONDITION", "volume", "import", "--node-id", "here", "--pool-path", f"{scratch.path}-copy", plain)
    assert "plinth pool adopt" in said
    subprocess.run(["rm", "-rf", f"{scratch.path}-copy"], check=True)
    assert list(tmp_path.iterdir()) == [] and plain.exists()


@pytest.mark.parametrize("words", [["import"], ["import", "a/b", "c/d"], ["import", "a/b", "-o", "table"],
                                   ["import", "a/b", "--claim", "/x"], ["import", "a/b", "--claim", "x/"],
                                   ["import", "a/b", "--claim", "x/y/z"], ["import", "a/b", "--class", "\udcff"],
                                   ["import", "a/b", "--node-id", "-x"], ["import", "a/b", "--driver-name", "a b"],
                                   ["release"], ["release", "a", "--to", "/x"], ["release", "a", "--pool-path", "/x"]],
                         ids=str)
def test_mistakes(words):
    mistake("volume", *words)
