"""The access modes of CSI on a disk that one node has, and how often a volume may be published."""
import pytest

from client import block, mount, refused

SERVED = ["SINGLE_NODE_WRITER", "SINGLE_NODE_READER_ONLY", "MULTI_NODE_READER_ONLY", "SINGLE_NODE_SINGLE_WRITER",
          "SINGLE_NODE_MULTI_WRITER"]
REFUSED = ["MULTI_NODE_SINGLE_WRITER", "MULTI_NODE_MULTI_WRITER"]
SECOND_TARGET = {"SINGLE_NODE_WRITER": False, "SINGLE_NODE_SINGLE_WRITER": False, "SINGLE_NODE_MULTI_WRITER": True,
                 "SINGLE_NODE_READER_ONLY": True, "MULTI_NODE_READER_ONLY": True}
kinds = pytest.mark.parametrize("kind", [mount, block])


def capability(kind, mode):
    return block(mode) if kind is block else mount("ext4", mode)


@kinds
@pytest.mark.parametrize("mode", SERVED)
def test_modes_of_one_node_are_served(driver, kind, mode):
    volume = driver.csi.create("a", capability=capability(kind, mode))
    assert driver.use(volume.volume_id, capability(kind, mode))


@kinds
@pytest.mark.parametrize("mode", REFUSED)
def test_modes_of_several_writers_are_refused_with_the_reason(driver, kind, mode):
    with refused("INVALID_ARGUMENT", match="one node's disk.*ReadWriteOnce"):
        driver.csi.create("a", capability=capability(kind, mode))
    volume = driver.csi.create("a", capability=capability(kind, "SINGLE_NODE_WRITER"))
    with refused("INVALID_ARGUMENT", "FAILED_PRECONDITION", match="one node's disk"):
        driver.stage(volume.volume_id, capability(kind, mode))


@kinds
@pytest.mark.parametrize("mode", SECOND_TARGET)
def test_a_second_target_is_for_modes_that_allow_it(driver, kind, mode):
    volume = driver.csi.create("a", capability=capability(kind, mode))
    first = driver.use(volume.volume_id, capability(kind, mode), pod="one")
    if SECOND_TARGET[mode]:
        second = driver.publish(volume.volume_id, capability(kind, mode), pod="two")
        assert second != first
    else:
        with refused("FAILED_PRECONDITION", match="one/volumes"):
            driver.publish(volume.volume_id, capability(kind, mode), pod="two")
        driver.unpublish(volume.volume_id, first)
        driver.publish(volume.volume_id, capability(kind, mode), pod="two")


@pytest.mark.parametrize("mode", ["SINGLE_NODE_READER_ONLY", "MULTI_NODE_READER_ONLY"])
def test_readers_cannot_write_to_a_file_system(driver, mode):
    volume = driver.csi.create("a")
    path = driver.use(volume.volume_id)
    with open(f"{path}/file", "w") as file:
        file.write("content")
    driver.release(volume.volume_id)
    path = driver.use(volume.volume_id, mount("ext4", mode))
    assert open(f"{path}/file").read() == "content"
    with pytest.raises(OSError, match="Read-only"):
        open(f"{path}/other", "w")


@pytest.mark.parametrize("mode", ["SINGLE_NODE_READER_ONLY", "MULTI_NODE_READER_ONLY"])
def test_readers_cannot_write_to_a_block_device(driver, mode):
    volume = driver.csi.create("a", capability=block())
    path = driver.use(volume.volume_id, block(mode))
    with open(path, "rb") as device:
        assert device.read(4096) == bytes(4096)
    with pytest.raises(OSError):
        with open(path, "r+b", buffering=0) as device:
            device.write(b"x" * 4096)
    assert driver.image(volume.volume_id).read_bytes()[:4096] == bytes(4096)
