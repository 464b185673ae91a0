"""Lists of volumes and snapshots, page by page, while volumes come and go; single ones; and all of it after a restart."""
import pytest

import machine
from client import block, from_snapshot, mount, refused
from machine import MiB


def volumes(csi, count):
    return [csi.create(f"v{number}", MiB, block()).volume_id for number in range(count)]


def page_through(call, most, between=lambda page: None):
    """All entries, page by page; `between` is told each page."""
    found, token = [], ""
    for _ in range(100):
        answer = call(max_entries=most, starting_token=token)
        assert len(answer.entries) <= most or most == 0
        found += answer.entries
        token = answer.next_token
        if not token:
            return found
        assert len(token.encode()) <= 128 and len(answer.entries) == most
        between(answer.entries)
    raise AssertionError("the list does not end")


def test_an_empty_list_is_empty(csi):
    for answer in (csi.ListVolumes(), csi.ListSnapshots(), csi.ControllerListVolumeHealth()):
        assert not answer.entries and not answer.next_token


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 8, 2**31 - 1])
def test_pages_together_are_the_whole_list(csi, most):
    expected = sorted(volumes(csi, 7))
    entries = page_through(csi.ListVolumes, most)
    assert sorted(entry.volume.volume_id for entry in entries) == expected


def test_a_page_can_go_on_after_its_last_volume_was_deleted(csi):
    expected = volumes(csi, 9)
    deleted = []

    def delete_last(page):
        deleted.append(page[-1].volume.volume_id)
        csi.delete(deleted[-1])
    entries = page_through(csi.ListVolumes, 2, delete_last)
    assert sorted(entry.volume.volume_id for entry in entries) == sorted(expected)
    assert sorted(csi.volume_ids()) == sorted(set(expected) - set(deleted))


def test_deleting_and_adding_between_pages_neither_repeats_nor_skips_the_others(csi):
    kept = volumes(csi, 12)
    numbers = iter(range(100, 200))

    def change(page):
        csi.delete(csi.create(f"v{next(numbers)}", MiB, block()).volume_id)
        csi.create(f"v{next(numbers)}", MiB, block())
    found = [entry.volume.volume_id for entry in page_through(csi.ListVolumes, 3, change)]
    assert len(found) == len(set(found)) and set(kept) <= set(found)


def test_everything_deleted_between_pages_ends_the_list(csi):
    volumes(csi, 4)
    first = csi.ListVolumes(max_entries=2)
    for volume_id in csi.volume_ids():
        csi.delete(volume_id)
    second = csi.ListVolumes(max_entries=2, starting_token=first.next_token)
    assert not second.entries and not second.next_token


@pytest.mark.parametrize("method", ["ListVolumes", "ListSnapshots", "ControllerListVolumeHealth"])
def test_tokens_that_are_not_ours_are_aborted_and_negative_pages_invalid(csi, method):
    call = getattr(csi, method)
    for token in ("nonsense", "0", "é", "x" * 128):
        with refused("ABORTED"):
            call(starting_token=token)
    with refused("INVALID_ARGUMENT"):
        call(max_entries=-1)
    with refused("INVALID_ARGUMENT"):
        call(max_entries=-2**31)


def test_snapshots_are_listed_by_page_by_id_and_by_source(csi):
    first, second = volumes(csi, 2)
    of = {volume_id: [csi.snapshot(f"s{number}-{volume_id}", volume_id).snapshot_id for number in range(3)]
          for volume_id in (first, second)}
    everything = sorted(of[first] + of[second])
    for most in (0, 1, 2, 6, 7):
        entries = page_through(csi.ListSnapshots, most)
        assert sorted(entry.snapshot.snapshot_id for entry in entries) == everything

    def some(**wanted):
        return sorted(entry.snapshot.snapshot_id for entry in csi.ListSnapshots(**wanted).entries)
    assert some(source_volume_id=first) == sorted(of[first])
    assert some(snapshot_id=of[second][0]) == [of[second][0]]
    assert some(snapshot_id=of[second][0], source_volume_id=second) == [of[second][0]]
    assert some(snapshot_id=of[second][0], source_volume_id=first) == []
    assert some(snapshot_id="nonsense") == some(source_volume_id="nonsense") == some(snapshot_id=first) == []

    def by_source(**page):
        return csi.ListSnapshots(source_volume_id=second, **page)
    assert sorted(entry.snapshot.snapshot_id for entry in page_through(by_source, 1)) == sorted(of[second])


def test_a_page_of_snapshots_can_go_on_after_its_last_one_was_deleted(csi):
    (volume_id,) = volumes(csi, 1)
    expected = [csi.snapshot(f"s{number}", volume_id).snapshot_id for number in range(5)]
    entries = page_through(csi.ListSnapshots, 2, lambda page: csi.delete_snapshot(page[-1].snapshot.snapshot_id))
    assert sorted(entry.snapshot.snapshot_id for entry in entries) == sorted(expected)


def test_a_single_volume_is_what_the_list_has(csi):
    origin = csi.create("a")
    copy = csi.create("b", source=from_snapshot(csi.snapshot("s", origin.volume_id).snapshot_id))
    for volume in (origin, copy):
        assert csi.ControllerGetVolume(volume_id=volume.volume_id).volume == volume
        assert volume in csi.volumes()
    with refused("NOT_FOUND"):
        csi.ControllerGetVolume(volume_id=origin.volume_id[:-1] + "x")


# --- after a restart


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_everything_is_found_again(driver, how):
    csi = driver.csi
    origin, device = csi.create("a"), csi.create("b", MiB, block(), parameters={"provisioning": "thick"})
    csi.snapshot("s", device.volume_id)
    csi.group("g", [origin.volume_id, device.volume_id])
    csi.create("c", source=from_snapshot(csi.snapshot("t", origin.volume_id).snapshot_id))
    path = driver.use(origin.volume_id)
    csi.expand(device.volume_id, 2 * MiB)

    def all_there_is():
        return driver.csi.ListVolumes(), driver.csi.ListSnapshots(), driver.csi.NodeGetInfo(), \
            driver.csi.NodeGetVolumeStats(volume_id=origin.volume_id, volume_path=path)
    before = all_there_is()
    getattr(driver, how)()
    driver.start()
    assert all_there_is() == before


def test_mounts_outlive_the_driver_and_are_gone_on_with(driver):
    volume, device = driver.csi.create("a"), driver.csi.create("b", MiB, block())
    path, node = driver.use(volume.volume_id), driver.use_block(device.volume_id)
    for how in (driver.stop, driver.kill):
        with open(f"{path}/file", "w") as file, open(node, "r+b") as raw:
            file.write("before")
            raw.write(b"before")
            how()
            file.write(" and after")
            raw.write(b" and after")
        driver.start()
        assert open(f"{path}/file").read() == "before and after"
        assert open(node, "rb").read(16) == b"before and after"
        driver.stage(volume.volume_id)
        driver.stage(device.volume_id, block())
        driver.publish(volume.volume_id)
        driver.publish(device.volume_id, block())
        with refused("ALREADY_EXISTS"):
            driver.publish(volume.volume_id, readonly=True)
        with refused("ALREADY_EXISTS"):
            driver.stage(volume.volume_id, mount("ext4", "SINGLE_NODE_SINGLE_WRITER"))


@pytest.mark.parametrize("damage", ["lost", "empty", "garbage", "wrong types"])
def test_without_its_state_directory_the_driver_goes_by_the_kernels_mounts(driver, damage):
    volume, device = driver.csi.create("a"), driver.csi.create("b", MiB, block())
    driver.use(volume.volume_id)
    driver.use_block(device.volume_id)
    driver.stop()
    files = list((driver.state / "volumes").iterdir())
    assert len(files) == 2
    for file in files:
        if damage == "lost":
            file.unlink()
        else:
            file.write_text({"empty": "", "garbage": "\0{[", "wrong types": '{"staging": 7, "targets": [1]}'}[damage])
    driver.start()
    driver.publish(volume.volume_id, pod="another")
    driver.publish(device.volume_id, block(), pod="another")
    for entry in (volume, device):
        with refused("FAILED_PRECONDITION"):
            driver.csi.delete(entry.volume_id)
        with refused("FAILED_PRECONDITION"):
            driver.unstage(entry.volume_id)
        driver.release(entry.volume_id)
    assert [file for file in (driver.state / "volumes").iterdir()] == []


def test_after_a_reboot_nothing_is_mounted_and_everything_is_there(driver):
    volume = driver.csi.create("a")
    path = driver.use(volume.volume_id)
    with open(f"{path}/file", "w") as file:
        file.write("content")
    driver.kill()
    machine.unmount_all(str(driver.kubelet))  # as a reboot would have
    machine.run("sh", "-c", f"rm -rf {driver.state}/*")
    assert machine.eventually(lambda: not machine.loops(driver.pool_path()))
    driver.start()
    path = driver.use(volume.volume_id)
    assert open(f"{path}/file").read() == "content"
