"""Copies and wipes that take long write down how far they are (every 256 MiB; every GiB): after a kill they go on there."""
import hashlib

import grpc
import pytest

import machine
from client import block, from_snapshot, from_volume
from content import read, same, write
from kinds import KINDS
from machine import GiB, MiB

LINEAR = KINDS["linear"]
SIZE = 384 * MiB
WITNESS = b"written behind the wipe's back\n" * 16 + bytes(16)


def content(number):
    """Of the MiB of that number: each is another."""
    return (number + 1).to_bytes(8, "big") * (MiB // 8)


def checksum(piece):
    digest = hashlib.sha256()
    for number in range(SIZE // MiB):
        digest.update(piece(number))
    return digest.hexdigest()


def fill(driver, volume, step=MiB):
    """A MiB in each step."""
    path = driver.use_block(volume)
    for number in range(driver.group.size(volume) // step):
        write(path, content(number), number * step)
    driver.release(volume)


@pytest.fixture
def driver(new_disk, new_group, new_driver):
    group = new_group("long", [new_disk(1792 * MiB).path])
    return new_driver({"long": (group, "")}).start()


def create(driver, name="copy", size=SIZE, wipe="none", **more):
    return driver.csi.create(name, size, block(), parameters={**LINEAR, "wipe": wipe}, **more).volume_id


def snapshot(driver, volume):
    return driver.csi.snapshot("copy", volume).snapshot_id


def clone(driver, volume):
    return create(driver, source=from_volume(volume))


def restore(driver, volume):
    return create(driver, source=from_snapshot(driver.csi.snapshot("s", volume).snapshot_id))


def zeroed(driver, _):
    return create(driver)


def written_down(group):
    """How far the copy is that is being made, from its tag (docs/lvm.md)."""
    tags = [tag.split(":") for name in group.names() for tag in group.tags(name) if tag.startswith("plinth.1:c") and ":" in tag[9:]]
    assert len(tags) == 1, tags
    return int(tags[0][7])


def percents(driver, start):
    """What the log says of copies from a byte of it on."""
    return [int(record["percent"]) for record in driver.log_records()[start:] if record["message"] == "copying"]


@pytest.mark.parametrize("make", [snapshot, clone, restore, zeroed], ids=lambda make: make.__name__)
def test_a_copy_that_was_killed_goes_on_where_it_was(driver, make):
    """The second driver takes ten seconds longer, and so tells the log how far it is after its first few MiB."""
    group = driver.group
    volume = create(driver, "a")
    fill(driver, volume)
    if make is restore:
        driver.csi.snapshot("s", volume)
    if make is zeroed:
        driver.csi.delete(volume)  # the new one gets what it leaves
    driver.restart(fault="pool.lvm.write.after=kill")
    with pytest.raises(grpc.RpcError):
        make(driver, volume)
    assert driver.ended_by_kill()
    assert 256 * MiB <= written_down(group) < SIZE
    told = len(driver.log_records())
    driver.start(fault="transfer.copy.piece=sleep")
    copy = make(driver, volume)
    assert min(percents(driver, told)) >= 66, percents(driver, told)
    with group.opened(copy) as device:
        assert machine.checksum(device) == checksum((lambda _: bytes(MiB)) if make is zeroed else content)
    assert not [name for name in group.parts() if name.endswith(".cut")]


def test_a_wipe_that_was_killed_goes_on_where_it_was(driver):
    """What somebody writes to the part that was wiped is there afterwards: it was not wiped again.  All else is zero."""
    group, size, step = driver.group, 1536 * MiB, 64 * MiB
    volume = create(driver, "a", size, "zero")
    fill(driver, volume, step)
    driver.restart(fault="transfer.wipe.piece=kill")
    with pytest.raises(grpc.RpcError):
        driver.csi.delete(volume)
    assert driver.ended_by_kill()
    with group.opened(volume) as device:
        assert read(device, MiB, GiB) == content(GiB // step), "all of it was wiped before the kill"
        write(device, WITNESS, 8 * step)
    driver.start()
    assert machine.eventually(lambda: group.names() == set(), 60), "the deletion does not go on"
    freed = group.add("freed", group.free())
    same(read(freed, len(WITNESS), 8 * step), WITNESS)
    write(freed, bytes(len(WITNESS)), 8 * step)
    assert [offset for offset in range(0, size, step) if read(freed, step, offset) != bytes(step)] == []
    group.drop("freed")
