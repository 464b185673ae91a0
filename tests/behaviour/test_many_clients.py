"""Many at once, clients that go away, and a stop in the middle of it all."""
import collections
import contextlib
import os
import shutil
import signal
import threading
import time

import grpc
import pytest

import machine
from client import Client, block, from_snapshot, from_volume, mount, refused, until_ok
from driver import PATIENCE
from machine import GiB, MiB
from marks import on_both_pools, on_plain

CLIENTS = 64


def at_once(driver, work, count=CLIENTS):
    """Runs work(client, number) for many clients with connections of their own, at one moment; what each of them got: an
    answer, or the name of a code."""
    results, barrier = [None] * count, threading.Barrier(count)

    def run(number):
        client = Client(driver.socket)
        client.Probe()
        barrier.wait()
        try:
            results[number] = work(client, number)
        except grpc.RpcError as error:
            results[number] = error.code().name
        client.close()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def codes(results):
    return collections.Counter(result if isinstance(result, str) else "OK" for result in results)


# --- the same volume


def test_64_clients_that_make_the_same_volume_get_the_same_one(driver):
    results = at_once(driver, lambda client, number: client.create("a"))
    made = [result for result in results if not isinstance(result, str)]
    assert set(codes(results)) <= {"OK", "ABORTED"} and made
    assert {volume.volume_id for volume in made} == set(driver.csi.volume_ids())
    assert driver.csi.create("a") == made[0]


def test_64_clients_that_want_different_things_under_one_name_get_one_of_them(driver):
    results = at_once(driver, lambda client, number: client.create("a", (number + 1) * MiB, block(), limit=(number + 1) * MiB))
    made = [result for result in results if not isinstance(result, str)]
    assert set(codes(results)) <= {"OK", "ABORTED", "ALREADY_EXISTS"}
    assert len(made) == 1 and driver.csi.volumes() == made


@on_both_pools
def test_64_clients_do_everything_to_one_volume(driver):
    volume_id = driver.csi.create("a").volume_id
    driver.stage(volume_id)

    def work(client, number):
        return [lambda: client.CreateSnapshot(name=f"s{number}", source_volume_id=volume_id),
                lambda: client.expand(volume_id, 16 * MiB),
                lambda: client.NodeStageVolume(volume_id=volume_id, staging_target_path=driver.staging_path(volume_id),
                                               volume_capability=mount("")),
                lambda: client.NodePublishVolume(volume_id=volume_id, staging_target_path=driver.staging_path(volume_id),
                                                 target_path=driver.target_path(volume_id, f"pod-{number}"), volume_capability=mount("")),
                lambda: client.NodeUnpublishVolume(volume_id=volume_id, target_path=driver.target_path(volume_id, f"pod-{number - 1}")),
                lambda: client.DeleteVolume(volume_id=volume_id),
                lambda: client.create(f"c{number}", source=from_volume(volume_id)),
                lambda: client.group(f"g{number}", [volume_id])][number % 8]()
    results = at_once(driver, work)
    assert set(codes(results)) <= {"OK", "ABORTED", "FAILED_PRECONDITION"}
    assert codes(results[5::8])["OK"] == 0  # it is in use
    assert volume_id in driver.csi.volume_ids()
    for number in range(CLIENTS):
        path = driver.target_path(volume_id, f"pod-{number}")
        until_ok(lambda: driver.unpublish(volume_id, path))  # pylint: disable=cell-var-from-loop


def test_64_clients_that_delete_one_volume_all_hear_that_it_is_gone(driver):
    volume_id = driver.csi.create("a").volume_id
    results = at_once(driver, lambda client, number: client.DeleteVolume(volume_id=volume_id))
    assert set(codes(results)) <= {"OK", "ABORTED"} and codes(results)["OK"]
    assert driver.csi.volumes() == []


def test_making_and_deleting_one_volume_at_once_ends_in_one_or_the_other(driver):
    volume_id = driver.csi.create("a", MiB, block()).volume_id
    for _ in range(5):
        results = at_once(driver, lambda client, number: client.DeleteVolume(volume_id=volume_id) if number % 2
                          else client.create("a", MiB, block()))
        assert set(codes(results)) <= {"OK", "ABORTED"}
        there = driver.csi.volume_ids() == [volume_id]
        assert driver.image(volume_id).exists() == there


# --- different volumes


@on_both_pools
def test_64_volumes_live_their_whole_life_at_once(driver):
    def work(client, number):
        volume = client.create(f"v{number}", 16 * MiB)
        staging, target = driver.staging_path(volume.volume_id), driver.target_path(volume.volume_id)
        client.NodeStageVolume(volume_id=volume.volume_id, staging_target_path=staging, volume_capability=mount("ext4"))
        client.NodePublishVolume(volume_id=volume.volume_id, staging_target_path=staging, target_path=target, volume_capability=mount("ext4"))
        with open(f"{target}/file", "w") as file:
            file.write(f"content {number}")
        snapshot = client.snapshot(f"s{number}", volume.volume_id)
        copy = client.create(f"c{number}", 16 * MiB, source=from_snapshot(snapshot.snapshot_id))
        assert client.NodeGetVolumeStats(volume_id=volume.volume_id, volume_path=target).usage
        client.NodeUnpublishVolume(volume_id=volume.volume_id, target_path=target)
        client.NodeUnstageVolume(volume_id=volume.volume_id, staging_target_path=staging)
        client.delete_snapshot(snapshot.snapshot_id)
        client.delete(volume.volume_id)
        return copy
    results = at_once(driver, work)
    assert codes(results) == {"OK": CLIENTS}
    for number in (0, 31, 63):
        assert open(f"{driver.use(results[number].volume_id)}/file").read() == f"content {number}"
    assert len(driver.csi.volumes()) == CLIENTS


def test_64_clients_that_restore_one_snapshot_are_all_served(driver):
    volume = driver.csi.create("a", 4 * MiB, block())
    content = os.urandom(4 * MiB)
    driver.image(volume.volume_id).write_bytes(content)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    results = at_once(driver, lambda client, number: client.create(f"c{number}", 4 * MiB, block(),
                                                                   source=from_snapshot(snapshot.snapshot_id)))
    assert codes(results) == {"OK": CLIENTS}
    assert all(driver.image(volume.volume_id).read_bytes() == content for volume in results)


@on_plain
def test_copies_of_one_snapshot_take_turns_and_are_all_made(driver):
    volume = driver.csi.create("a", 16 * MiB, block())
    content = os.urandom(16 * MiB)
    driver.image(volume.volume_id).write_bytes(content)
    snapshot = driver.csi.snapshot("s", volume.volume_id)
    results = at_once(driver, lambda client, number: until_ok(
        lambda: client.create(f"c{number}", 16 * MiB, block(), source=from_snapshot(snapshot.snapshot_id)), 60), 24)
    assert codes(results) == {"OK": 24}
    assert all(driver.image(volume.volume_id).read_bytes() == content for volume in results)


def test_the_pool_is_not_promised_twice_at_once(small_disk, new_driver):
    disk = small_disk("reflink", GiB)
    (disk.path / "pool").mkdir()
    driver = new_driver(pools={"scratch": (disk.path / "pool", "")}).start()
    room = driver.csi.GetCapacity().available_capacity
    results = at_once(driver, lambda client, number: client.create(f"v{number}", 100 * MiB, block()))
    assert codes(results)["OK"] == room // (100 * MiB) and set(codes(results)) == {"OK", "RESOURCE_EXHAUSTED"}


# --- slow work


@pytest.fixture
def slow_mkfs(tmp_path):
    """A PATH with an mkfs.ext4 that takes its time where the volume has 48 MiB."""
    real = shutil.which("mkfs.ext4")
    (tmp_path / "mkfs.ext4").write_text(f'#!/bin/sh\nfor last; do :; done\n'
                                        f'[ "$(stat -Lc %s "$last")" != {48 * MiB} ] || sleep 2\nexec {real} "$@"\n')
    (tmp_path / "mkfs.ext4").chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_what_was_begun_goes_on_when_the_client_goes_away(driver, slow_mkfs):
    driver.restart(PATH=slow_mkfs)
    with refused("DEADLINE_EXCEEDED"):
        driver.csi.create("a", 48 * MiB, timeout=0.5)
    with refused("ABORTED"):
        driver.csi.create("a", 48 * MiB)
    began = time.monotonic()
    driver.csi.create("b")
    assert time.monotonic() - began < 1 * PATIENCE
    began = time.monotonic()
    volume = until_ok(lambda: driver.csi.create("a", 48 * MiB), 20)
    assert time.monotonic() - began < 1.8 * PATIENCE, "it was begun again"
    driver.use(volume.volume_id)


def test_slow_provisioning_does_not_hold_up_mounts_or_probes(driver):
    volumes = [driver.csi.create(f"v{number}").volume_id for number in range(4)]
    stop = threading.Event()

    def provision(number):
        client = Client(driver.socket)
        for index in range(1000):
            if stop.is_set():
                break
            volume = client.create(f"x{number}-{index}")
            client.delete(volume.volume_id)
        client.close()
    threads = [threading.Thread(target=provision, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    slowest = 0
    for volume_id in volumes:
        for step in (driver.csi.Probe, lambda: driver.use(volume_id), driver.csi.Probe):  # pylint: disable=cell-var-from-loop
            began = time.monotonic()
            step()
            slowest = max(slowest, time.monotonic() - began)
    stop.set()
    for thread in threads:
        thread.join()
    assert slowest < 2 * PATIENCE


def large_volume(driver, name="a", data=768):
    """A volume with so many MiB of data."""
    volume = driver.csi.create(name, GiB, block())
    with open(driver.image(volume.volume_id), "r+b") as image:
        for _ in range(data // 16):
            image.write(os.urandom(MiB) * 16)
    return volume


@on_plain
def test_a_long_copy_answers_before_the_deadline_with_its_progress_and_is_found_done(driver):
    volume = large_volume(driver)
    snapshot = until_ok(lambda: driver.csi.snapshot("s", volume.volume_id), 60)

    def copy(**more):
        return driver.csi.create("b", GiB, block(), source=from_snapshot(snapshot.snapshot_id), **more)
    with refused("ABORTED", match=r"\d+ ?%"):
        copy(timeout=0.5)
    with refused("ABORTED"):
        driver.csi.delete_snapshot(snapshot.snapshot_id)
    made = until_ok(copy, 60)
    assert machine.checksum(driver.image(made.volume_id)) == machine.checksum(driver.image(volume.volume_id))


@on_plain
def test_deleting_a_volume_stops_its_copy(driver):
    volume = large_volume(driver)
    with refused("ABORTED"):
        driver.csi.create("b", GiB, block(), source=from_volume(volume.volume_id), timeout=0.5)
    (copy,) = driver.half_made()
    until_ok(lambda: driver.csi.delete(copy))
    assert os.listdir(driver.pool_path() / "volumes") == [volume.volume_id]


@on_plain
def test_a_copy_from_a_snapshot_goes_on_where_it_was_when_the_driver_was_killed(driver):
    volume = large_volume(driver, data=384)
    snapshot = until_ok(lambda: driver.csi.snapshot("s", volume.volume_id), 60)

    def copy():
        return driver.csi.create("b", GiB, block(), source=from_snapshot(snapshot.snapshot_id))
    driver.kill()
    driver.start(fault="transfer.copy.piece=kill:40")  # pieces have 8 MiB, and every 256 MiB what is done is noted
    with refused("UNAVAILABLE"):
        copy()
    assert driver.ended_by_kill()
    ((half, record),) = driver.half_made().items()
    assert record["copied"] == 256 * MiB
    mark = b"not copied again"
    with open(driver.image(half), "r+b") as image:
        image.write(mark)
    driver.start()
    assert driver.csi.volume_ids() == [volume.volume_id]
    made = driver.image(until_ok(copy, 60).volume_id)
    assert made.read_bytes()[:len(mark)] == mark
    with open(made, "r+b") as image, open(driver.image(volume.volume_id), "rb") as origin:
        image.write(origin.read(len(mark)))
    assert machine.checksum(made) == machine.checksum(driver.image(volume.volume_id))


@on_plain
def test_deletions_that_wait_for_a_stuck_copy_keep_nobody_else_waiting(driver):
    snapshot = driver.csi.snapshot("s", driver.csi.create("a").volume_id)
    driver.restart(PLINTH_FAULT="snapshot.making.synced=sleep")  # ten seconds, in which its job does not stop
    with refused("ABORTED"):
        driver.csi.create("copy", source=from_snapshot(snapshot.snapshot_id), timeout=1)
    (volume_id,) = driver.half_made()
    deletions = [threading.Thread(target=lambda: pytest.raises(grpc.RpcError, driver.csi.DeleteVolume, volume_id=volume_id, timeout=6))
                 for _ in range(CLIENTS // 2)]
    for deletion in deletions:
        deletion.start()
    time.sleep(0.5)
    driver.csi.create("b", timeout=4)
    waiting = [deletion.is_alive() for deletion in deletions]
    for deletion in deletions:
        deletion.join()
    assert all(waiting), "the deletions did not wait"
    until_ok(lambda: driver.csi.delete(volume_id))


# --- SIGTERM


def load(driver, threads, prefix=""):
    """Clients that do all kinds of things until the driver is gone; gives their threads and a list of codes that are
    none of those a client must expect then."""
    strange, stop = [], threading.Event()

    def work(number):
        client = Client(driver.socket, deadline=10 * PATIENCE)
        for index in range(10**6):
            if stop.is_set():
                break
            name = f"{prefix}{number}-{index % 5}"
            try:
                volume = client.create(name, 16 * MiB)
                staging, target = driver.staging_path(volume.volume_id), driver.target_path(volume.volume_id)
                client.NodeStageVolume(volume_id=volume.volume_id, staging_target_path=staging, volume_capability=mount("ext4"))
                client.NodePublishVolume(volume_id=volume.volume_id, staging_target_path=staging, target_path=target,
                                         volume_capability=mount("ext4"))
                snapshot = client.snapshot(name, volume.volume_id)
                client.create(f"copy-{name}", 16 * MiB, source=from_snapshot(snapshot.snapshot_id))
                client.group(f"group-{name}", [volume.volume_id])
                client.NodeUnpublishVolume(volume_id=volume.volume_id, target_path=target)
                client.NodeUnstageVolume(volume_id=volume.volume_id, staging_target_path=staging)
            except grpc.RpcError as error:
                if error.code().name not in ("UNAVAILABLE", "CANCELLED", "ABORTED"):
                    strange.append(f"{error.code().name} {error.details()}")
                if not driver.answers():
                    break
            except OSError:
                break
        client.close()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    return workers, strange, stop


def take_back(driver):
    """What clients had begun when the driver ended: they ask again, for they were not answered."""
    for record in driver.half_made().values():
        until_ok(lambda: driver.csi.create(record["name"], source=from_snapshot(record["source"])), 60)  # pylint: disable=W0640
    for volume_id in driver.csi.volume_ids():
        driver.published.append((volume_id, driver.target_path(volume_id)))
        driver.staged.append((volume_id, driver.staging_path(volume_id)))


@on_both_pools
@pytest.mark.parametrize("clients", [1, 16, 64])
def test_sigterm_under_load_ends_with_0_within_5_seconds_and_all_is_found_again(driver, clients):
    workers, strange, _ = load(driver, clients)
    time.sleep(1)
    began = time.monotonic()
    driver.process.send_signal(signal.SIGTERM)
    status = driver.process.wait(10 * PATIENCE)
    took = time.monotonic() - began
    for worker in workers:
        worker.join()
    driver.close_client()
    assert status == 0 and took < 5 * PATIENCE, f"status {status} after {took:.1f} s"
    assert strange == []
    assert not driver.socket.exists()
    assert machine.thaw_leftovers(str(driver.kubelet)) == []
    driver.start()
    take_back(driver)
    for volume in driver.csi.volumes()[:10]:
        assert driver.csi.health(volume.volume_id) == {}


@on_both_pools
def test_sigkill_under_load_loses_nothing_that_was_acknowledged(driver):
    kept = driver.csi.create("kept", 4 * MiB, block())
    content = os.urandom(4 * MiB)
    driver.image(kept.volume_id).write_bytes(content)
    snapshot = driver.csi.snapshot("kept", kept.volume_id)
    for number in range(3):
        workers, strange, _ = load(driver, 16, f"round-{number}-")
        time.sleep(0.7)
        driver.kill()
        for worker in workers:
            worker.join()
        assert strange == []
        driver.start()
        take_back(driver)
    assert driver.image(kept.volume_id).read_bytes() == content
    assert driver.image(snapshot.snapshot_id, "snapshots").read_bytes() == content


def test_a_second_sigterm_changes_nothing(driver):
    workers, _, _ = load(driver, 16)
    time.sleep(0.5)
    for _ in range(20):
        driver.process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    assert driver.process.wait(5 * PATIENCE) == 0
    for worker in workers:
        worker.join()
    driver.start()
    take_back(driver)


def test_sigint_ends_it_too_and_sigpipe_does_not(driver):
    driver.process.send_signal(signal.SIGPIPE)
    time.sleep(0.1)
    assert driver.csi.Probe().ready.value
    driver.process.send_signal(signal.SIGINT)
    assert driver.process.wait(5 * PATIENCE) == 0
    driver.start()


def test_sigterm_ends_it_although_nobody_reads_its_log(new_driver):
    """Standard error is a pipe that has been filled: whoever writes to it hangs."""
    driver = new_driver()
    os.mkfifo(driver.log)
    log = os.open(driver.log, os.O_RDWR | os.O_NONBLOCK)
    try:
        driver.start()
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(log, b"x" * 4096)
        driver.process.send_signal(signal.SIGTERM)
        assert driver.process.wait(5 * PATIENCE) == 0
    finally:
        driver.kill()
        os.close(log)
        driver.log.unlink()
    driver.start()


@pytest.mark.parametrize("point", ["controller.create.formatted", "pool.file.create.recorded", "snapshot.making.made"])
def test_sigterm_while_a_call_hangs_ends_within_5_seconds_and_the_retry_succeeds(driver, point):
    origin = driver.csi.create("origin")
    driver.stop()
    driver.start(fault=f"{point}=sleep")

    def call():
        if point.startswith("snapshot"):
            return driver.csi.snapshot("s", origin.volume_id)
        return driver.csi.create("a")
    thread = threading.Thread(target=lambda: pytest.raises(grpc.RpcError, call))
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    driver.process.send_signal(signal.SIGTERM)
    assert driver.process.wait(10 * PATIENCE) == 0
    assert time.monotonic() - began < 5 * PATIENCE
    thread.join()
    driver.start()
    call()


def test_sigterm_right_after_the_start_ends_it(new_driver):
    for _ in range(20):
        driver = new_driver().start()
        driver.stop()


def test_threads_end_when_there_is_nothing_to_do(driver):
    def threads():
        return len(os.listdir(f"/proc/{driver.process.pid}/task"))
    driver.csi.create("a")
    before = threads()
    at_once(driver, lambda client, number: client.create(f"v{number}"))
    assert threads() > before
    assert machine.eventually(lambda: threads() <= before + 3, 30), threads()


def test_descriptors_are_given_back(driver):
    def descriptors():
        return len(os.listdir(f"/proc/{driver.process.pid}/fd"))

    def life(number):
        volume = driver.csi.create(f"v{number}")
        driver.use(volume.volume_id)
        driver.csi.snapshot(f"s{number}", volume.volume_id)
        driver.release(volume.volume_id)
        with pytest.raises(grpc.RpcError):
            driver.csi.create(f"v{number}", 64 * MiB)
        driver.csi.delete(volume.volume_id)
    life(0)
    before = descriptors()
    for number in range(1, 20):
        life(number)
    assert descriptors() <= before + 1
