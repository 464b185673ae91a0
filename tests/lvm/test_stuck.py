"""lvm that hangs, is gone, or is not the one that was expected."""
import os
import signal
import time

import grpc
import pytest

import driver as drivers
import groups
import machine
from client import DEADLINE, block, check_sentence, csi_pb2, from_snapshot, mount, refused
from content import SOME, Writer, get, new, read, same
from driver import Died
from kinds import KINDS, thin_and_thick
from lvm_driver import eventually_ok, storage_health
from machine import MiB

PATIENT = 5


@pytest.fixture
def driver(new_driver, main, tmp_path):
    """An LVM pool and a file pool beside it."""
    (tmp_path / "files").mkdir()
    return new_driver({"main": (main, "thinpool=thin"), "files": (tmp_path / "files", "")}).use_tools().start()


def ask(driver, name="a", timeout=PATIENT, kind="linear"):
    """One CreateVolume with a deadline of its own."""
    return driver.csi.CreateVolume(name=name, capacity_range={"required_bytes": 8 * MiB}, volume_capabilities=[block()],
                                   parameters=KINDS[kind], timeout=timeout).volume


@thin_and_thick
def test_a_stuck_command_is_told_before_the_deadline_and_the_node_goes_on(driver, main, kind):
    volume = new(driver, "before", 8 * MiB, KINDS[kind])
    with driver.stuck():
        began = time.monotonic()
        with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE", match="lvcreate|lvm"):
            ask(driver, kind=kind)
        assert time.monotonic() - began < PATIENT + 0.5
        began = time.monotonic()
        driver.csi.Probe(), driver.csi.volumes(), driver.csi.snapshots(), driver.csi.GetCapacity(), driver.csi.health(volume)
        driver.csi.create("elsewhere", MiB, block(), parameters={"pool": "files"})
        assert time.monotonic() - began < 2, "others wait for the stuck command"
        began = time.monotonic()
        for call in (lambda: driver.csi.CreateSnapshot(name="s", source_volume_id=volume, timeout=2),
                     lambda: driver.csi.DeleteVolume(volume_id=volume, timeout=2),
                     lambda: driver.csi.ControllerExpandVolume(volume_id=volume, capacity_range={"required_bytes": 64 * MiB}, timeout=2)):
            with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE", match="lvm|lvcreate|waiting|under way"):
                call()
        assert time.monotonic() - began < 7.5
    made = eventually_ok(lambda: ask(driver, kind=kind))
    assert driver.csi.volume_ids().count(made.volume_id) == 1
    assert main.names() >= {made.volume_id}


@thin_and_thick
def test_a_volume_that_is_still_being_taken_from_the_node_is_not_handed_out(driver, main, kind):
    """Its device would go under its next user, and its number be another volume's."""
    volume = new(driver, "a", 8 * MiB, KINDS[kind])
    driver.stage(volume, block())
    target = driver.publish(volume, block())
    driver.unpublish(volume)
    with driver.stuck():
        with refused("DEADLINE_EXCEEDED", match="lvchange"):
            driver.csi.NodeUnstageVolume(volume_id=volume, staging_target_path=driver.staging_path(volume), timeout=3)
        driver.stage(volume, block())
        with refused("ABORTED", match="still running; try again"):
            driver.publish(volume, block())
    eventually_ok(lambda: driver.stage(volume, block()) and driver.publish(volume, block()),
                  codes=("ABORTED", "FAILED_PRECONDITION"))  # as the kubelet does
    assert os.stat(target).st_rdev == os.stat(main.path(volume)).st_rdev
    same(read(target)[:len(SOME)], SOME)


def test_a_stuck_command_that_goes_on_finishes_what_was_asked(driver, main):
    with driver.stuck():
        with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE"):
            ask(driver, timeout=2)
    assert machine.eventually(lambda: len(main.names()) == 2, 10), "the command did not go on"
    volume = eventually_ok(lambda: ask(driver))
    assert main.names() == {"thin", volume.volume_id}
    groups.run("lvs", "main")


def test_a_stuck_command_that_is_killed_is_started_anew(driver, main):
    with driver.stuck():
        with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE"):
            ask(driver, timeout=2)
        pids = driver.stuck_pids()
        assert pids
        (driver.tools / "stuck").unlink()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        volume = eventually_ok(lambda: ask(driver))
        (driver.tools / "stuck").touch()
    assert main.names() == {"thin", volume.volume_id}


def test_the_driver_ends_although_a_command_is_stuck(driver, main):
    with driver.stuck():
        with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE"):
            ask(driver, timeout=2)
        began = time.monotonic()
        driver.stop()
        assert time.monotonic() - began < 5
    driver.start()
    eventually_ok(lambda: ask(driver))


def test_a_driver_that_was_killed_leaves_a_command_and_its_successor_waits_for_it(driver, main):
    """The orphan has the pool's lock; nothing is recovered under it."""
    with driver.stuck():
        with refused("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE"):
            ask(driver, timeout=2)
        driver.kill()
        (driver.tools / "stuck").rename(driver.tools / "set-aside")
        try:
            driver.start()
            with refused("UNAVAILABLE", "ABORTED", "ALREADY_EXISTS", "FAILED_PRECONDITION", "DEADLINE_EXCEEDED"):
                ask(driver, timeout=3)
        except Died as died:
            assert "main" in str(died) or "lock" in str(died)
        (driver.tools / "set-aside").rename(driver.tools / "stuck")
    if not driver.runs():
        driver.start()
    volume = eventually_ok(lambda: ask(driver))
    assert main.names() == {"thin", volume.volume_id}


def check_that_others_do_not_wait(driver, volume, name):
    """Calls that are not about the stuck pool `main`, each with a deadline that it would have waited for."""
    csi = driver.csi
    for call in (lambda: csi.create(name, MiB, block(), parameters={"pool": "files"}), csi.Probe, csi.volumes, csi.snapshots,
                 csi.ControllerListVolumeHealth, csi.NodeGetStorageHealth, lambda: csi.GetCapacity(parameters={"pool": "files"}),
                 lambda: driver.use_block(volume), lambda: driver.release(volume)):
        began = time.monotonic()
        call()
        assert time.monotonic() - began < DEADLINE / 4


# --- lvm that is stopped, or dies, while it has a volume suspended

HASTE = 8  # a command has 15 seconds, and is stuck after 4
MOMENTS = [("thin", "suspended"), ("thin", "message"), ("thin", "resuming"), ("linear", "suspended"), ("linear", "resuming")]
with_a_volume_suspended = pytest.mark.parametrize("kind, moment", MOMENTS, ids=["-".join(words) for words in MOMENTS])


@pytest.fixture
def hasty(new_driver, main, tmp_path):
    """The same driver with limits that are shorter."""
    (tmp_path / "files").mkdir()
    driver = new_driver({"main": (main, "thinpool=thin"), "files": (tmp_path / "files", "")}, environment={"PLINTH_HASTE": str(HASTE)})
    return driver.use_tools().start()


@pytest.fixture
def written(new_driver):
    """written(path): a writer that ends with the test, before its driver."""
    writers = []

    def write(path):
        writers.append(Writer(path))
        assert writers[-1].goes_on()
        return writers[-1]
    yield write
    for device in groups.suspended():
        groups.run("dmsetup", "resume", device)
    for writer in writers:
        writer.end()


def snapshot_while_written(driver, kind, written, seconds=2):
    """Asks for a snapshot of a mounted volume that is being written, and waits so long: (volume, writer, blocks before)."""
    volume = driver.csi.create("a", 64 * MiB, parameters=KINDS[kind]).volume_id
    writer = written(f"{driver.use(volume)}/file")
    before = writer.synced
    with refused("DEADLINE_EXCEEDED", match="lvcreate"):
        driver.csi.CreateSnapshot(name="s", source_volume_id=volume, timeout=seconds)
    return volume, writer, before


def is_held(writer):
    """Its volume is suspended: it waits."""
    return groups.suspended() and not writer.goes_on(1)


def check_snapshot(driver, volume, writer, before):
    """A retry gives a snapshot of a moment between the call and the answer, and nothing is lost of what was synced."""
    snapshot = eventually_ok(lambda: driver.csi.snapshot("s", volume))
    after = writer.synced + 1
    assert writer.goes_on()
    copy = driver.csi.create("copy", 64 * MiB, source=from_snapshot(snapshot.snapshot_id)).volume_id
    writer.end()
    assert writer.trouble is None
    blocks = Writer.whole_blocks(f"{driver.use(copy)}/file")
    assert before <= blocks <= after, "it is of another moment"
    driver.release(volume)
    assert Writer.whole_blocks(f"{driver.use(volume)}/file") == writer.synced


@with_a_volume_suspended
def test_lvm_that_stops_with_a_volume_suspended_and_goes_on_has_done_no_harm(driver, written, kind, moment):
    with driver.lvm_that_stops(moment, "--snapshot"):
        volume, writer, before = snapshot_while_written(driver, kind, written)
        assert is_held(writer), "the scenario is wrong"
    assert writer.goes_on()
    check_snapshot(driver, volume, writer, before)


@with_a_volume_suspended
def test_lvm_that_stops_with_a_volume_suspended_is_told_and_killed_and_the_volume_goes_on(hasty, written, kind, moment):
    """Also if nobody asks the driver for anything any more."""
    other = hasty.csi.create("other", MiB, block(), parameters={"pool": "files"}).volume_id
    with hasty.lvm_that_stops(moment, "--snapshot"):
        volume, writer, before = snapshot_while_written(hasty, kind, written)
        assert is_held(writer), "the scenario is wrong"
        status, message = machine.eventually(lambda: storage_health(hasty).get("CommandStuck"), 5)
        assert status == "STORAGE_UNREACHABLE" and "lvcreate" in message
        hasty.csi.health(volume)
        check_that_others_do_not_wait(hasty, other, "elsewhere")
        assert is_held(writer), "it was not stuck long enough"
        assert writer.goes_on(120 / HASTE), "the volume stays suspended"
        assert groups.suspended() == []
    check_snapshot(hasty, volume, writer, before)
    assert storage_health(hasty) == {}


@with_a_volume_suspended
def test_a_volume_goes_on_although_somebody_kills_lvm_that_has_it_suspended(driver, written, kind, moment):
    """The kernel, for want of memory."""
    with driver.lvm_that_stops(moment, "--snapshot"):
        volume, writer, before = snapshot_while_written(driver, kind, written)
        assert is_held(writer), "the scenario is wrong"
        driver.let_go_on(signal.SIGKILL)
        assert writer.goes_on(), "the volume stays suspended"
    check_snapshot(driver, volume, writer, before)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
@with_a_volume_suspended
def test_a_driver_that_ends_while_lvm_has_a_volume_suspended_resumes_it_when_it_starts(driver, written, kind, moment, how):
    with driver.lvm_that_stops(moment, "--snapshot"):
        volume, writer, before = snapshot_while_written(driver, kind, written)
        assert is_held(writer), "the scenario is wrong"
        if how == "SIGTERM":
            driver.stop()
        else:
            driver.kill()
            driver.let_go_on(signal.SIGKILL)
    driver.start()
    assert writer.goes_on(), "the volume stays suspended"
    check_snapshot(driver, volume, writer, before)


def test_a_pool_that_is_stuck_from_the_start_hinders_no_other(new_driver, main, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers, "PATIENCE", 2 * drivers.PATIENCE)  # it waits for each pool at the start
    (tmp_path / "files").mkdir()
    driver = new_driver({"main": (main, "thinpool=thin"), "files": (tmp_path / "files", "")}).use_tools().start()
    here = driver.csi.create("here", MiB, block(), parameters={"pool": "files"}).volume_id
    there = new(driver, "there", 8 * MiB, KINDS["thin"])
    driver.stop()
    with driver.stuck():
        driver.start()
        for attempts in (1, 2):
            for number in range(3):
                check_that_others_do_not_wait(driver, here, f"v{attempts}-{number}")
                for call in (lambda: ask(driver, timeout=2), lambda: driver.csi.DeleteVolume(volume_id=there, timeout=2),
                             lambda: driver.csi.NodeUnstageVolume(volume_id=there, staging_target_path="/nowhere", timeout=2)):
                    with refused("UNAVAILABLE", "DEADLINE_EXCEEDED", match="main.*lvm"):
                        call()
            assert len(driver.stuck_pids()) == attempts, "calls have started commands beside one that is stuck"
            assert len(driver.csi.volumes()) == 1 + 3 * attempts
            os.kill(driver.stuck_pids()[-1], signal.SIGKILL)
            time.sleep(1.1)  # it is tried again once a second
    eventually_ok(lambda: driver.csi.delete(there))


def test_the_driver_ends_while_a_pool_is_opened(new_driver, main, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers, "PATIENCE", 2 * drivers.PATIENCE)
    driver = new_driver({"main": (main, "thinpool=thin")}).use_tools().start()
    driver.stop()
    with driver.stuck():
        driver.start()
        monkeypatch.undo()
        driver.stop()
    driver.start()
    eventually_ok(lambda: ask(driver))


def test_lvm_is_not_installed(new_driver, main, tmp_path):
    (tmp_path / "files").mkdir()
    driver = new_driver({"main": (main, "thinpool=thin"), "files": (tmp_path / "files", "")})
    empty = driver.directory / "empty"
    empty.mkdir()
    for tool in ("mkfs.ext4", "mkfs.xfs", "e2fsck", "resize2fs", "losetup"):
        (empty / tool).symlink_to(f"/sbin/{tool}")
    driver.environment["PATH"] = str(empty)
    driver.start()
    driver.csi.create("b", MiB, block(), parameters={"pool": "files"})
    with refused("FAILED_PRECONDITION", "UNAVAILABLE", match="lvm"):
        driver.csi.create("a", 8 * MiB, block(), parameters={"pool": "main"})
    (empty / "lvm").symlink_to("/sbin/lvm")
    eventually_ok(lambda: driver.csi.create("a", 8 * MiB, block(), parameters={"pool": "main"}), codes=("UNAVAILABLE", "FAILED_PRECONDITION"))


def test_lvm_goes_away_while_the_driver_runs(driver, main):
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    (driver.tools / "lvm").rename(driver.tools / "hidden")
    try:
        (driver.tools / "lvm").write_text("#!/bin/sh\nexec /nowhere/lvm\n")
        (driver.tools / "lvm").chmod(0o755)
        with refused("FAILED_PRECONDITION", "UNAVAILABLE", "INTERNAL", match="lvm"):
            driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"])
        assert driver.csi.volume_ids() == [volume]
    finally:
        (driver.tools / "hidden").rename(driver.tools / "lvm")
    eventually_ok(lambda: driver.csi.create("b", 8 * MiB, block(), parameters=KINDS["thin"]))


@thin_and_thick
def test_an_orphaned_mkfs_of_a_killed_driver_holds_off_the_next_one(driver, main, kind):
    """It still writes to the volume that recovery would remove."""
    mkfs = driver.tools / "mkfs.ext4"
    mkfs.write_text("#!/bin/sh\nexec sleep 1000\n")
    mkfs.chmod(0o755)
    asked = driver.csi.channel.unary_unary("/csi.v1.Controller/CreateVolume").future(csi_pb2.CreateVolumeRequest(
        name="a", volume_capabilities=[mount()], capacity_range=csi_pb2.CapacityRange(required_bytes=16 * MiB),
        parameters=KINDS[kind]).SerializeToString(), timeout=30)

    def orphans():
        return [pid for pid, words in machine.strangers().items() if "sleep" in words]
    assert machine.eventually(orphans, 20)
    driver.kill()
    assert asked.exception() is not None and orphans(), "the scenario is wrong: mkfs ended with its driver"
    mkfs.unlink()
    left = main.names()
    driver.start()
    with refused("UNAVAILABLE", match="killed Plinth left running"):
        driver.csi.create("b", 8 * MiB, block(), parameters=KINDS[kind])
    assert main.names() == left and len(left) == 2, "something was done to the volume that mkfs is writing"
    for pid in orphans():
        os.kill(pid, signal.SIGKILL)
    volume = eventually_ok(lambda: driver.csi.create("a", 16 * MiB, parameters=KINDS[kind]), codes=("UNAVAILABLE",)).volume_id
    assert main.names() == {"thin", volume}


ODD = {"nothing": "exit 0", "garbage": "head -c 20000 /dev/urandom; exit 0", "an error": "echo '  Command failed.' >&2; exit 5",
       "another format": 'echo \'{"report": [{"vg": "main", "lv": 7}]}\'', "half of it": '/sbin/lvm "$@" | head -c 300',
       "very much": "yes '{\"report\": [' | head -c 70000000", "a crash": "kill -SEGV $$",
       "another version": 'case "$*" in *version*) echo "  LVM version: 3.1.0(9)";; *) /sbin/lvm "$@" | sed "s/lv_name/lv_title/g";; esac'}


@pytest.mark.parametrize("odd", ODD)
def test_lvm_says_something_else_at_the_start(new_driver, main, tmp_path, odd):
    """Then the pool cannot be used, nothing is changed, and the node goes on."""
    (tmp_path / "files").mkdir()
    driver = new_driver({"main": (main, "thinpool=thin"), "files": (tmp_path / "files", "")}).use_tools().start()
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    driver.stop()
    before = main.get("vg_seqno"), main.parts()
    with driver.instead_of_lvm(ODD[odd]):
        driver.start()
        driver.csi.create("b", MiB, block(), parameters={"pool": "files"})
        with refused("UNAVAILABLE", "FAILED_PRECONDITION", "INTERNAL", "DATA_LOSS", match="lvm|main"):
            driver.csi.create("c", 8 * MiB, block(), parameters={"pool": "main"})
        with refused("UNAVAILABLE", "FAILED_PRECONDITION", "INTERNAL", "DATA_LOSS"):
            driver.csi.DeleteVolume(volume_id=volume, timeout=10)
        assert driver.memory() < 64 * MiB
    assert (main.get("vg_seqno"), main.parts()) == before
    eventually_ok(lambda: driver.csi.create("c", 8 * MiB, block(), parameters={"pool": "main"}))
    same(get(driver, volume)[:len(SOME)], SOME)


FIRST_REPORT_ONLY = """case "$*" in *fullreport*) echo >>"$0.reports"; [ $(wc -l <"$0.reports") -lt 2 ] || { echo "  No." >&2; exit 5; };; esac
exec /sbin/lvm "$@"
"""


@pytest.mark.parametrize("capability", [mount(), block()], ids=["mount", "block"])
@thin_and_thick
def test_what_is_staged_in_a_pool_that_cannot_be_opened_stays_until_it_can(new_driver, main, kind, capability):
    """By the first report its id is known: there is a pool, but nothing behind it."""
    driver = new_driver({"main": (main, "thinpool=thin")}).use_tools().start()
    volume = driver.csi.create("a", 16 * MiB, capability, parameters=KINDS[kind]).volume_id
    driver.stage(volume, capability)
    driver.stop()
    with driver.instead_of_lvm(FIRST_REPORT_ONLY):
        driver.start()
        for _ in range(3):
            with refused("UNAVAILABLE", match=f"{volume}.*main"):
                driver.unstage(volume)
            with refused("INTERNAL", "UNAVAILABLE", match="main"):
                driver.stage(volume, capability)
        assert driver.runs() and main.has_device(volume)
    eventually_ok(lambda: driver.stage(volume, capability))
    driver.unstage(volume)
    assert not driver.in_use(volume)


@pytest.mark.parametrize("step", ["create", "snapshot", "expand", "delete"])
@pytest.mark.parametrize("how", ["it says it failed and has not", "it says it worked and has not"])
def test_lvm_lies(driver, main, step, how):
    """What is on the disks counts, not what was said of it: after the retry all is as it should be."""
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    calls = {"create": lambda: ask(driver, "b", 20, "thin"), "snapshot": lambda: driver.csi.snapshot("s", volume),
             "expand": lambda: driver.csi.expand(volume, 16 * MiB), "delete": lambda: driver.csi.delete(volume)}
    command = {"create": "lvcreate", "snapshot": "lvcreate", "expand": "lvextend", "delete": "lvremove"}[step]
    lie = '/sbin/lvm "$@"; echo "  Something went wrong." >&2; exit 5' if "failed" in how else "exit 0"
    with driver.instead_of_lvm(f'[ "$1" = {command} ] || exec /sbin/lvm "$@"\n{lie}\n'):
        try:
            calls[step]()
        except grpc.RpcError as error:  # either is good, as long as the truth comes out later
            check_sentence(error)
    driver.restart()
    eventually_ok(calls[step])
    ids = set(driver.csi.volume_ids()) | set(driver.csi.snapshot_ids())
    assert main.names() - {"thin"} == ids
    assert len(ids) == {"create": 2, "snapshot": 2, "expand": 1, "delete": 0}[step]
    if step == "expand":
        assert main.size(volume) == 16 * MiB
