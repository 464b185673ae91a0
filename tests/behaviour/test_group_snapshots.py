"""Group snapshots: all members at one moment, or none."""
import os
import time

import grpc
import pytest

import machine
from client import block, from_snapshot, refused
from machine import MiB
from marks import on_both_pools


@pytest.fixture
def members(driver):
    """Three volumes: a mounted one, an unused block one and one with a file system that nobody uses."""
    mounted, device, unused = (driver.csi.create("a"), driver.csi.create("b", 4 * MiB, block()), driver.csi.create("c"))
    driver.image(device.volume_id).write_bytes(os.urandom(4 * MiB))
    path = driver.use(mounted.volume_id)
    with open(f"{path}/file", "w") as file:
        file.write("content")
    return [volume.volume_id for volume in (mounted, device, unused)]


@on_both_pools
def test_a_group_has_a_snapshot_of_each_member(driver, members):
    group = driver.csi.group("g", members)
    assert group.ready_to_use and group.group_snapshot_id
    assert {snapshot.source_volume_id for snapshot in group.snapshots} == set(members)
    for snapshot in group.snapshots:
        assert snapshot.group_snapshot_id == group.group_snapshot_id and snapshot.ready_to_use
        assert snapshot.creation_time == group.creation_time
        assert driver.csi.GetSnapshot(snapshot_id=snapshot.snapshot_id).snapshot == snapshot
    assert driver.csi.GetVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id).group_snapshot == group


@on_both_pools
def test_each_member_can_be_restored(driver, members):
    group = driver.csi.group("g", members)
    of = {snapshot.source_volume_id: snapshot.snapshot_id for snapshot in group.snapshots}
    mounted, device, _ = members
    copy = driver.csi.create("x", source=from_snapshot(of[mounted]))
    assert open(f"{driver.use(copy.volume_id)}/file").read() == "content"
    copy = driver.csi.create("y", 4 * MiB, block(), source=from_snapshot(of[device]))
    assert driver.image(copy.volume_id).read_bytes() == driver.image(device).read_bytes()


@on_both_pools
def test_the_same_name_and_members_give_the_same_group(driver, members):
    group = driver.csi.group("g", members)
    assert driver.csi.group("g", members) == group
    assert driver.csi.group("g", members[::-1]) == group
    assert len(driver.csi.snapshots()) == 3
    for others in (members[:2], members[:1], members + [driver.csi.create("d").volume_id]):
        with refused("ALREADY_EXISTS"):
            driver.csi.group("g", others)


@pytest.mark.parametrize("position", [0, 1, 3])
def test_a_group_with_a_member_that_is_missing_is_not_made(driver, members, position):
    gone = driver.csi.create("gone").volume_id
    driver.csi.delete(gone)
    for missing in (gone, "nonsense"):
        with refused("NOT_FOUND"):
            driver.csi.group("g", members[:position] + [missing] + members[position:])
    assert driver.csi.snapshots() == []
    assert machine.tree(driver.pool_path() / "snapshots") == []
    with open(f"{driver.target_path(members[0])}/writable", "w") as file:
        file.write("x")
    driver.csi.group("g", members)


def test_duplicated_ids_are_invalid(driver, members):
    with refused("INVALID_ARGUMENT", match="repeated|twice|duplicate"):
        driver.csi.group("g", members + members[:1])
    assert driver.csi.snapshots() == []


def test_no_members_or_too_many_are_invalid(driver, members):
    with refused("INVALID_ARGUMENT"):
        driver.csi.group("g", [])
    with refused("INVALID_ARGUMENT"):
        driver.csi.group("g", [f"{members[0][:-6]}{number:06d}" for number in range(2000)])


def test_parameters_of_groups_are_refused_as_there_are_none(driver, members):
    with refused("INVALID_ARGUMENT"):
        driver.csi.group("g", members, parameters={"a": "b"})
    driver.csi.group("g", members, parameters={"csi.storage.k8s.io/volumegroupsnapshot/name": "x"})


def test_a_member_cannot_be_deleted_alone(driver, members):
    group = driver.csi.group("g", members)
    with refused("INVALID_ARGUMENT", match=group.group_snapshot_id):
        driver.csi.delete_snapshot(group.snapshots[0].snapshot_id)
    assert len(driver.csi.snapshots()) == 3


@on_both_pools
def test_a_deleted_group_is_gone_with_all_its_snapshots(driver, members):
    single = driver.csi.snapshot("single", members[1])
    group = driver.csi.group("g", members)
    for _ in range(2):
        driver.csi.delete_group(group)
        assert driver.csi.snapshot_ids() == [single.snapshot_id]
    with refused("NOT_FOUND"):
        driver.csi.GetVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id)


def test_the_snapshots_named_must_be_those_of_the_group(driver, members):
    single = driver.csi.snapshot("single", members[1])
    group = driver.csi.group("g", members)
    ids = [snapshot.snapshot_id for snapshot in group.snapshots]
    for wrong in (ids[:2], ids + [single.snapshot_id], [single.snapshot_id], ids[:2] + ["nonsense"], ids[:2] + ids[:1]):
        for method in (driver.csi.GetVolumeGroupSnapshot, driver.csi.DeleteVolumeGroupSnapshot):
            with refused("INVALID_ARGUMENT"):
                method(group_snapshot_id=group.group_snapshot_id, snapshot_ids=wrong)
    assert len(driver.csi.snapshots()) == 4
    assert driver.csi.GetVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id, snapshot_ids=ids[::-1]).group_snapshot == group


def test_a_group_is_found_by_its_name_although_a_volume_is_gone(driver, members):
    group = driver.csi.group("g", members)
    driver.csi.delete(members[2])
    assert driver.csi.group("g", members) == group


def test_a_group_across_pools(new_driver, disks):
    paths = {"one": disks["reflink"].path / "group-one", "two": disks["plain"].path / "group-two"}
    for path in paths.values():
        path.mkdir()
    driver = new_driver(pools={name: (path, "") for name, path in paths.items()}).start()
    members = [driver.csi.create(name, parameters={"pool": name}).volume_id for name in paths]
    for member in members:
        driver.use(member)
    group = driver.csi.group("g", members)
    assert len(group.snapshots) == 2 and group.ready_to_use
    assert driver.csi.group("g", members[::-1]) == group


def test_a_group_of_which_a_pool_is_missing_is_neither_gone_nor_made_anew(new_driver, disks):
    paths = {name: disks["reflink"].path / f"missing-{name}" for name in ("one", "two")}
    for path in paths.values():
        path.mkdir()
    driver = new_driver(pools={name: (path, "") for name, path in paths.items()}).start()
    members = [driver.csi.create(name, parameters={"pool": name}).volume_id for name in paths]
    group = driver.csi.group("g", members)
    for missing in paths.values():
        driver.stop()
        missing.rename(missing.with_name("away"))
        driver.start()
        for call in (lambda: driver.csi.group("g", members), lambda: driver.csi.delete_group(group),
                     lambda: driver.csi.DeleteVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id),
                     lambda: driver.csi.GetVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id)):
            with refused("UNAVAILABLE"):
                call()
        driver.stop()
        missing.with_name("away").rename(missing)
        driver.start()
        assert driver.csi.group("g", members) == group


@pytest.mark.parametrize("away", ["one", "two"])
def test_a_half_made_group_is_undone_when_its_last_pool_is_there(new_driver, disks, away):
    """One member is ready and one is not when the driver is killed, and the pool of either of them is mounted late."""
    paths = {name: disks["reflink"].path / f"late-{name}" for name in ("one", "two")}
    for path in paths.values():
        path.mkdir(exist_ok=True)
    driver = new_driver(pools={name: (path, "") for name, path in paths.items()}).start()
    members = [driver.csi.create(name, parameters={"pool": name}).volume_id for name in paths]
    driver.restart(PLINTH_FAULT="snapshot.making.ready=kill")
    with pytest.raises(grpc.RpcError):
        driver.csi.group("g", members)
    assert driver.ended_by_kill()

    def left():
        return [machine.tree(path / "snapshots") != [] for path in paths.values()]
    paths[away].rename(paths[away].with_name("away"))
    driver.start()
    paths[away].with_name("away").rename(paths[away])
    assert left() == [True, True], "nobody can tell yet that it is not whole"
    time.sleep(1.1)  # it is looked for once a second
    driver.csi.GetCapacity(parameters={"pool": away})
    assert machine.eventually(lambda: left() == [False, False])
    assert driver.csi.group("g", members).ready_to_use
