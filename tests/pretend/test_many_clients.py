"""16 clients at once, on volumes of their own and on the same ones, while others look; and a stop in the middle of it."""
import collections
import itertools
import random
import threading
import time

import grpc

import machine
from client import block, from_snapshot, from_volume, mount, until_ok
from machine import MiB
from pretend_driver import KINDS, PretendClient

CLIENTS = 16
ALLOWED = {"ABORTED", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS", "INVALID_ARGUMENT"}
kinds = [KINDS[name] for name in ("thin", "linear", "raid1")]


def at_once(driver, work):
    """work(client, number) by 16 clients with connections of their own."""
    failures, barrier = [], threading.Barrier(CLIENTS)

    def run(number):
        client = PretendClient(driver.socket, 60)
        try:
            barrier.wait()
            work(client, number)
        except (grpc.RpcError, AssertionError, OSError) as error:
            failures.append(f"client {number}: {error.code().name + ' ' + error.details() if hasattr(error, 'details') else repr(error)}")
        client.close()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    return threads, failures


def looks(client, volume, path=None):
    client.ListVolumes()
    client.ListSnapshots()
    client.GetCapacity(parameters=kinds[0])
    client.GetCapacity(parameters=kinds[1])
    client.ControllerListVolumeHealth()
    client.NodeGetStorageHealth()
    client.Probe()
    if volume and path:
        client.NodeGetVolumeStats(volume_id=volume, volume_path=path)


def test_volumes_of_their_own(driver, group):
    def work(client, number):
        parameters = kinds[number % len(kinds)]
        kind = mount() if number % 4 == 0 else block()
        volume = client.create(f"v{number}", 16 * MiB, kind, parameters=parameters).volume_id
        staging, target = driver.staging_path(volume), driver.target_path(volume)
        client.NodeStageVolume(volume_id=volume, staging_target_path=staging, volume_capability=kind)
        client.NodePublishVolume(volume_id=volume, staging_target_path=staging, target_path=target, volume_capability=kind)
        looks(client, volume, target)
        if number % 2:
            client.expand(volume, 20 * MiB)
        else:
            snapshot = client.snapshot(f"s{number}", volume).snapshot_id
            copy = client.create(f"c{number}", 16 * MiB, kind, source=from_snapshot(snapshot), parameters=parameters).volume_id
            client.delete_snapshot(snapshot)
            if number % 4 == 2:
                client.delete_group(client.group(f"g{number}", [volume, copy]))
            client.delete(copy)
        client.NodeUnpublishVolume(volume_id=volume, target_path=target)
        client.NodeUnstageVolume(volume_id=volume, staging_target_path=staging)
        client.delete(volume)
    threads, failures = at_once(driver, work)
    for thread in threads:
        thread.join()
    assert not failures, "\n".join(failures)
    assert group.names() == set()


def churn(driver, names, until, codes):
    """Anything to any of a few volumes, at random."""
    def step(client, pick):
        name, parameters = pick.choice(names), kinds[0] if pick.random() < 0.5 else kinds[1]
        volumes = client.volume_ids()
        volume = pick.choice(volumes) if volumes else "none"
        snapshots = client.snapshot_ids()
        snapshot = pick.choice(snapshots) if snapshots else "none"
        staging, target = driver.staging_path(volume), driver.target_path(volume)
        return pick.choice([
            lambda: client.CreateVolume(name=name, capacity_range={"required_bytes": 8 * MiB}, volume_capabilities=[block()], parameters=parameters),
            lambda: client.CreateVolume(name=name, capacity_range={"required_bytes": 8 * MiB}, volume_capabilities=[block()], parameters=parameters),
            lambda: client.CreateVolume(name=f"copy-{name}", capacity_range={"required_bytes": 12 * MiB}, volume_capabilities=[block()], parameters=parameters,
                                        volume_content_source=pick.choice([from_volume(volume), from_snapshot(snapshot)])),
            lambda: client.CreateSnapshot(name=f"s-{name}", source_volume_id=volume),
            lambda: client.CreateVolumeGroupSnapshot(name=f"g-{name}", source_volume_ids=volumes[:2] or ["none"]),
            lambda: client.ControllerExpandVolume(volume_id=volume, capacity_range={"required_bytes": 12 * MiB}),
            lambda: client.NodeStageVolume(volume_id=volume, staging_target_path=staging, volume_capability=block()),
            lambda: client.NodePublishVolume(volume_id=volume, staging_target_path=staging, target_path=target, volume_capability=block()),
            lambda: client.NodeUnpublishVolume(volume_id=volume, target_path=target),
            lambda: client.NodeUnstageVolume(volume_id=volume, staging_target_path=staging),
            lambda: client.DeleteVolume(volume_id=volume), lambda: client.DeleteVolume(volume_id=volume),
            lambda: client.DeleteSnapshot(snapshot_id=snapshot), lambda: looks(client, None)])

    def work(client, number):
        pick = random.Random(number)
        while not until():
            try:
                step(client, pick)()
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
                if error.code().name not in ALLOWED and not until():
                    raise
    return at_once(driver, work)


def settle(driver):
    """Everything unused, as the kubelet would have it."""
    for volume in driver.csi.volume_ids():
        where = {"volume_id": volume, "target_path": driver.target_path(volume)}
        until_ok(lambda: driver.csi.NodeUnpublishVolume(**where), 30)  # pylint: disable=cell-var-from-loop
        where = {"volume_id": volume, "staging_target_path": driver.staging_path(volume)}
        until_ok(lambda: driver.csi.NodeUnstageVolume(**where), 30)  # pylint: disable=cell-var-from-loop


def test_the_same_volumes_and_somebody_else_beside(driver, group):
    end, codes = time.monotonic() + 10, collections.Counter()
    threads, failures = churn(driver, ["a", "b", "c"], lambda: time.monotonic() > end, codes)
    for number in itertools.count():  # another lvm changes the group, so the inventory is compared again and again
        if time.monotonic() > end:
            break
        with group.changed() as changed:
            changed.add(f"other-{number}")
        time.sleep(0.7)
        with group.changed() as changed:
            changed.remove(f"other-{number}")
    for thread in threads:
        thread.join()
    settle(driver)
    assert not failures, "\n".join(failures)
    assert codes["OK"] > 50, codes


def test_a_stop_in_the_middle(driver, group):
    for _ in range(2):
        stopping, codes = threading.Event(), collections.Counter()
        threads, _ = churn(driver, ["a", "b", "c"], stopping.is_set, codes)
        time.sleep(3)
        stopping.set()
        began = time.monotonic()
        driver.stop()
        took = time.monotonic() - began
        for thread in threads:
            thread.join()
        assert took < 5, f"ended only {took:.1f} s after SIGTERM"
        driver.start()
    assert machine.eventually(lambda: set(driver.csi.volume_ids()) | set(driver.csi.snapshot_ids()) >= group.names(), 10)
    settle(driver)
