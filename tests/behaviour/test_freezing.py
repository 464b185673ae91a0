"""Snapshots of volumes that are written to: what is in them was there at one moment, and nobody stays frozen."""
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import machine
from client import block, from_snapshot, from_volume, mount, refused, until_ok
from machine import GiB, MiB
from marks import on_both_pools, on_plain

RECORD = 16

# Appends numbered records, the same to each file in turn, and syncs each: file 1 has as many as file 2, or one more.
WRITER = """
import os, sys
files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in sys.argv[1:]]
print(flush=True)
for number in range(10**9):
    for file in files:
        os.write(file, b"%015d\\n" % number)
        os.fsync(file)
"""


class Writer:
    def __init__(self, *paths):
        self.paths = paths

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", WRITER, *self.paths], stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.wait_for_more()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def count(self):
        return os.path.getsize(self.paths[-1]) // RECORD

    def wait_for_more(self, records=20, seconds=5):
        """Fails if nothing can be written any more."""
        goal = self.count() + records
        assert machine.eventually(lambda: self.count() >= goal, seconds), "the writer hangs"


def records_in(path):
    """How many records there are; fails unless they are all from the first one on, whole and in order."""
    with open(path, "rb") as file:
        content = file.read()
    assert len(content) % RECORD == 0, "a torn record"
    numbers = [int(line) for line in content.split()]
    assert numbers == list(range(len(numbers)))
    return len(numbers)


@on_both_pools
@pytest.mark.parametrize("fstype, bytes", [("ext4", 32 * MiB), ("xfs", 300 * MiB)])
def test_a_snapshot_of_a_volume_that_is_written_to_is_a_prefix_of_what_is_written(driver, fstype, bytes):
    volume = driver.csi.create("a", bytes, mount(fstype))
    path = driver.use(volume.volume_id)
    counts = []
    with Writer(f"{path}/one", f"{path}/two") as writer:
        for number in range(4):
            before = writer.count()
            snapshot = driver.csi.snapshot(f"s{number}", volume.volume_id)
            counts.append((before, writer.count() + 2, snapshot.snapshot_id))
            writer.wait_for_more()
        clone = driver.csi.create("clone", bytes, mount(fstype), source=from_volume(volume.volume_id))
        writer.wait_for_more()
    last = 0
    for before, after, snapshot_id in counts:
        copy = driver.csi.create(f"copy-of-{snapshot_id[-8:]}", bytes, mount(fstype), source=from_snapshot(snapshot_id))
        where = driver.use(copy.volume_id)
        one, two = records_in(f"{where}/one"), records_in(f"{where}/two")
        assert two <= one <= two + 1
        assert before <= two <= after and two > last
        last = two
    where = driver.use(clone.volume_id)
    assert records_in(f"{where}/two") > last


@on_both_pools
def test_a_group_snapshot_is_taken_at_one_moment(driver):
    volumes = [driver.csi.create(f"v{number}", 32 * MiB).volume_id for number in range(3)]
    paths = [driver.use(volume_id) for volume_id in volumes]
    with Writer(*(f"{path}/file" for path in paths)) as writer:
        groups = []
        for number in range(4):
            groups.append(driver.csi.group(f"g{number}", volumes))
            writer.wait_for_more()
    for number, group in enumerate(groups):
        of = {snapshot.source_volume_id: snapshot.snapshot_id for snapshot in group.snapshots}
        counts = []
        for index, volume_id in enumerate(volumes):
            copy = driver.csi.create(f"c{number}-{index}", 32 * MiB, source=from_snapshot(of[volume_id]))
            counts.append(records_in(f"{driver.use(copy.volume_id)}/file"))
            driver.release(copy.volume_id)
        first, second, third = counts
        assert third <= second <= first <= third + 1, f"not at one moment: {counts}"


@on_both_pools
def test_snapshots_are_whole_file_systems(driver):
    """Nothing that is found in them needs repair; a frozen file system is a clean one."""
    volume = driver.csi.create("a", 32 * MiB)
    path = driver.use(volume.volume_id)
    with Writer(f"{path}/file"):
        snapshots = [driver.csi.snapshot(f"s{number}", volume.volume_id) for number in range(3)]
    for snapshot in snapshots:
        machine.run("e2fsck", "-f", "-n", driver.image(snapshot.snapshot_id, "snapshots"))


def frozen(path):
    """True if a write does not come back within a moment."""
    process = subprocess.Popen(["touch", f"{path}/touch-{time.monotonic_ns()}"])
    try:
        process.wait(0.4)
        return False
    except subprocess.TimeoutExpired:
        return True


@pytest.mark.parametrize("point", ["freeze.noted", "freeze.frozen", "freeze.thawed", "pool.file.copy.cloned", "snapshot.making.made"])
@on_both_pools
def test_a_driver_that_is_killed_while_it_freezes_thaws_when_it_is_started_again(driver, point):
    volume, other = driver.csi.create("a"), driver.csi.create("b")
    paths = [driver.use(entry.volume_id) for entry in (volume, other)]
    driver.kill()
    driver.start(fault=f"{point}=kill")
    with pytest.raises(Exception):
        driver.csi.group("g", [volume.volume_id, other.volume_id])
    assert driver.ended_by_kill()
    if point in ("freeze.frozen", "pool.file.copy.cloned", "snapshot.making.made"):
        assert any(frozen(path) for path in paths), "the scenario is wrong: nothing was frozen"
    driver.start()
    assert not any(frozen(path) for path in paths)
    assert machine.tree(driver.state / "frozen") == []
    driver.csi.group("g", [volume.volume_id, other.volume_id])


@pytest.fixture
def unwritable(small_disk, tmp_path):
    """A frozen file system that cannot be thawed, as on a dead disk: its image is on another frozen one.  Calling it makes that
    one alive."""
    disk, mounted = small_disk("plain", 128 * MiB), tmp_path / "mounted"
    image = disk.path / "image"
    image.write_bytes(b"")
    os.truncate(image, 32 * MiB)
    machine.run("mkfs.ext4", "-q", image)
    mounted.mkdir()
    machine.run("mount", "-o", "loop", image, mounted)
    for path in (mounted, disk.path):
        machine.run("fsfreeze", "-f", path)
    alive = []

    def revive():
        alive.append(machine.run("fsfreeze", "-u", disk.path))
    revive.path = mounted
    yield revive
    if not alive:
        revive()
    machine.thaw_leftovers(str(tmp_path))
    machine.run("umount", mounted)


def test_what_cannot_be_thawed_does_not_hold_up_the_start(driver, unwritable):
    driver.stop()
    device = os.stat(unwritable.path).st_dev
    note = driver.state / "frozen" / "volume-of-a-dead-disk"
    note.write_text(f"{os.major(device)}:{os.minor(device)} {unwritable.path}\n")
    driver.start()
    driver.csi.create("a")
    assert note.exists()
    unwritable()
    assert machine.eventually(lambda: not note.exists(), 5) and not frozen(unwritable.path)


def test_a_driver_that_hangs_while_it_freezes_thaws_in_time_and_the_snapshot_is_not_made(driver):
    """It is thawed; what was copied is worthless then."""
    volume = driver.csi.create("a")
    path = driver.use(volume.volume_id)
    driver.kill()
    driver.start(fault="snapshot.making.made=sleep")  # ten seconds, as long as a reflink may take
    done = []

    def take():
        try:
            done.append(driver.csi.snapshot("s", volume.volume_id))
        except Exception as error:
            done.append(error.code().name)
    thread = threading.Thread(target=take)
    thread.start()
    assert machine.eventually(lambda: machine.tree(driver.state / "frozen"))
    began = time.monotonic()
    with open(f"{path}/file", "w") as file:
        file.write("x")
        os.fsync(file.fileno())
    waited = time.monotonic() - began
    thread.join()
    assert waited < 12
    if done == ["ABORTED"]:
        assert driver.csi.snapshots() == []
    else:  # both take ten seconds: the handler was first
        assert done[0].ready_to_use
    until_ok(lambda: driver.csi.snapshot("s", volume.volume_id))


def test_sigterm_while_a_file_system_is_frozen_thaws_it(driver):
    volume = driver.csi.create("a")
    path = driver.use(volume.volume_id)
    driver.kill()
    driver.start(fault="snapshot.making.made=sleep")
    thread = threading.Thread(target=lambda: pytest.raises(Exception, driver.csi.snapshot, "s", volume.volume_id))
    thread.start()
    assert machine.eventually(lambda: machine.tree(driver.state / "frozen"))
    driver.process.send_signal(signal.SIGTERM)
    assert driver.process.wait(5) == 0
    thread.join()
    assert not frozen(path)
    driver.start()
    driver.csi.snapshot("s", volume.volume_id)


def test_a_file_system_that_somebody_else_has_frozen_is_left_to_him(driver):
    volume = driver.csi.create("a")
    path = driver.use(volume.volume_id)
    machine.run("fsfreeze", "-f", path)
    try:
        with refused("ABORTED", match="frozen"):
            driver.csi.snapshot("s", volume.volume_id)
        assert frozen(path)
    finally:
        machine.run("fsfreeze", "-u", path)
    driver.csi.snapshot("s", volume.volume_id)


@on_plain
def test_a_mounted_volume_is_frozen_until_its_copy_is_whole(driver):
    """Without shared blocks the copy takes a while, in which nothing is written."""
    volume = driver.csi.create("a", 1 * GiB)
    path = driver.use(volume.volume_id)
    with open(f"{path}/data", "wb") as file:
        for _ in range(6):
            file.write(os.urandom(64 * MiB))
    os.sync()
    with Writer(f"{path}/one", f"{path}/two") as writer:
        snapshot = driver.csi.snapshot("s", volume.volume_id, timeout=60)
        writer.wait_for_more()
    copy = driver.csi.create("b", 1 * GiB, source=from_snapshot(snapshot.snapshot_id), timeout=60)
    where = driver.use(copy.volume_id)
    one, two = records_in(f"{where}/one"), records_in(f"{where}/two")
    assert two <= one <= two + 1
    assert machine.checksum(f"{where}/data") == machine.checksum(f"{path}/data")


@on_plain
def test_nothing_is_frozen_while_its_copy_waits_for_others(driver):
    """Two copies of a pool run at a time; what holds a file system does not wait for them."""
    volume = driver.csi.create("a")
    driver.use(volume.volume_id)
    origins = [driver.csi.snapshot(name, driver.csi.create(name).volume_id).snapshot_id for name in ("one", "two")]
    driver.restart(PLINTH_FAULT="snapshot.copying.closed=sleep:1+")
    copies = [threading.Thread(target=driver.csi.create, args=(f"of-{origin}",), kwargs={"source": from_snapshot(origin), "timeout": 30})
              for origin in origins]
    snapshot = threading.Thread(target=driver.csi.snapshot, args=("s", volume.volume_id), kwargs={"timeout": 30})
    for copy in copies:
        copy.start()
    assert machine.eventually(lambda: len(driver.csi.volumes()) == 5)
    snapshot.start()
    made = machine.eventually(lambda: len(driver.csi.snapshots()) == 3, 15)
    waiting = [copy.is_alive() for copy in copies]
    for thread in (*copies, snapshot):
        thread.join()
    assert made and all(waiting), "it stayed frozen until a copy had ended"


def test_a_block_volume_in_use_is_cut_between_two_writes(driver):
    volume = driver.csi.create("a", 4 * MiB, block())
    path = driver.use_block(volume.volume_id)
    stop = threading.Event()

    def write():
        with open(path, "r+b", buffering=0) as device:
            for number in range(10**9):
                if stop.is_set():
                    return
                os.pwrite(device.fileno(), b"%08d" % number * 512, 0)
                os.fsync(device.fileno())
    thread = threading.Thread(target=write)
    thread.start()
    snapshots = [driver.csi.snapshot(f"s{number}", volume.volume_id) for number in range(5)]
    stop.set()
    thread.join()
    for snapshot in snapshots:
        head = driver.image(snapshot.snapshot_id, "snapshots").read_bytes()[:4096]
        assert head == head[:8] * 512, "a torn block"
