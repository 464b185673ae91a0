"""plinth pool adopt, and what a driver says of a copied pool before and after."""
import json
import shutil

import pytest
from conftest import SOCKET, WORK, Node, fails, good, run, value

COPY_SOCKET = f"{WORK}/copy.sock"


def driver_on(path, endpoint=COPY_SOCKET):
    return Node("--node-id", "here", "--pool", f"scratch=file:path={path}", "--state-dir", WORK / "copy-state",
                "--kubelet-dir", WORK / "copy-kubelet", endpoint=endpoint)


@pytest.fixture
def copy():
    """A pool with a volume, and a copy of its directory."""
    original = WORK / "pool" / "original"
    original.mkdir()
    driver = driver_on(original)
    made = value("volume", "create", "data", "--size", "10Mi", "--endpoint", COPY_SOCKET)["volume"]
    driver.stop()
    path = WORK / "pool" / "copy"
    shutil.copytree(original, path)
    yield path, made
    shutil.rmtree(path)
    shutil.rmtree(original)


def test_a_copy_is_adopted(copy):
    path, made = copy
    before = json.loads((path / "pool.json").read_text())
    driver = driver_on(path)
    said = fails("FAILED_PRECONDITION", "volume", "show", made["volumeId"], "--endpoint", COPY_SOCKET)
    assert f"plinth pool adopt {path}" in said
    driver.stop()

    said = good("pool", "adopt", path)
    assert before["id"] in said and str(before["inode"]) in said and str(path.stat().st_ino) in said
    after = json.loads((path / "pool.json").read_text())
    assert after == {**before, "inode": path.stat().st_ino}
    driver = driver_on(path)
    assert value("volume", "show", made["volumeId"], "--endpoint", COPY_SOCKET)["volume"] == made
    driver.stop()

    assert before["id"] in fails("FAILED_PRECONDITION", "pool", "adopt", path)  # it is no copy any more


def test_the_pool_itself_is_not_adopted(copy):
    original = copy[0].parent / "original"
    before = (original / "pool.json").read_text()
    assert "no copy" in fails("FAILED_PRECONDITION", "pool", "adopt", original)
    assert (original / "pool.json").read_text() == before


def test_a_pool_in_use_is_not_adopted(copy):
    original = copy[0].parent / "original"
    driver = driver_on(original)
    assert "in use" in fails("ALREADY_EXISTS", "pool", "adopt", original)
    driver.stop()


def test_what_adopting_does_not_know_it_keeps(copy):
    path = copy[0]
    identity = json.loads((path / "pool.json").read_text())
    identity["compatible"] = {"colour": "red"}
    (path / "pool.json").write_text(json.dumps(identity))
    good("pool", "adopt", path)
    assert json.loads((path / "pool.json").read_text()) == {**identity, "inode": path.stat().st_ino}


@pytest.mark.parametrize("content, code", [
    ("", "DATA_LOSS"), ("{", "DATA_LOSS"), ("[]", "DATA_LOSS"), ('{"id": "../../../../"}', "DATA_LOSS"),
    ('{"id": 5, "version": 1}', "DATA_LOSS"), ("x" * 100000, "DATA_LOSS"),
    ('{"id": "0123456789ab", "version": 2, "incompatible": 0, "inode": 1}', "FAILED_PRECONDITION"),
    ('{"id": "0123456789ab", "version": 1, "incompatible": 4, "inode": 1}', "FAILED_PRECONDITION"),
], ids=lambda value: value[:40])
def test_damaged_and_newer_pools_are_left_alone(tmp_path, content, code):
    (tmp_path / "pool.json").write_text(content)
    assert str(tmp_path) in fails(code, "pool", "adopt", tmp_path)
    assert (tmp_path / "pool.json").read_text() == content


def test_no_pool(tmp_path):
    assert str(tmp_path) in fails("NOT_FOUND", "pool", "adopt", tmp_path)
    fails("NOT_FOUND", "pool", "adopt", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "pool.json").symlink_to("/etc/passwd")
    assert run("pool", "adopt", tmp_path).status == 1
    assert SOCKET
