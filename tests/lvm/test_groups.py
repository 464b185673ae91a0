"""Group snapshots: what several volumes held at one moment."""
import os
import struct
import threading
import time

import grpc
import pytest

import groups
import machine
from client import Client, block, from_snapshot, mount, refused, until_ok
from content import SOME, get, new, put, read_file, same, write, write_file
from kinds import KINDS
from lvm_driver import eventually_ok
from machine import MiB



class Member:
    """A volume that numbered records are written to, each synced."""

    def __init__(self, driver, name, kind, mounted):
        self.driver, self.mounted = driver, mounted
        self.capability = mount() if mounted else block()
        self.bytes = 48 * MiB if mounted else 16 * MiB
        self.id = driver.csi.create(name, self.bytes, self.capability, parameters=KINDS[kind]).volume_id
        path = driver.use(self.id, self.capability)
        self.path = f"{path}/records" if mounted else path
        if mounted:
            open(self.path, "wb").close()
        self.file = os.open(self.path, os.O_RDWR)
        self.count = 0

    def append(self, number):
        os.pwrite(self.file, struct.pack("<Q", number).ljust(512, b"."), self.count * 512)
        os.fsync(self.file)
        self.count += 1

    def close(self):
        os.close(self.file)

    def records_in(self, snapshot_id):
        """All numbers in the snapshot."""
        copy = self.driver.csi.create(f"copy-{snapshot_id}", self.bytes, self.capability, source=from_snapshot(snapshot_id)).volume_id
        path = self.driver.use(copy, self.capability)
        with open(f"{path}/records" if self.mounted else path, "rb") as file:
            content = file.read(MiB)
        self.driver.release(copy)
        numbers = []
        for start in range(0, len(content), 512):
            piece = content[start:start + 512]
            if piece[8:9] != b".":
                break
            numbers.append(struct.unpack("<Q", piece[:8])[0])
        return numbers


MIXTURES = {"thin": [("thin", True), ("thin", False), ("thin", True)],
            "thick": [("linear", True), ("linear", False), ("raid1", False)],
            "mixed": [("thin", True), ("linear", False), ("thin", False), ("linear", True), ("raid1", True)]}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_members_together_are_a_prefix_of_what_was_written_in_order(driver, mixture):
    members = [Member(driver, f"m{number}", *what) for number, what in enumerate(MIXTURES[mixture])]
    ended, written = threading.Event(), [0]

    def write_on():
        while not ended.is_set() and written[0] < 1900 * len(members):
            members[written[0] * 7 % len(members)].append(written[0])
            written[0] += 1
            time.sleep(0.01)  # there is room for 1900 records in each, and a slow machine takes its time
    writer = threading.Thread(target=write_on)
    writer.start()
    taken = []
    try:
        for round_ in range(3):
            before = machine.eventually(lambda: written[0] > round_ * 5 and written[0], 5)
            taken.append((before, driver.csi.group(f"g{round_}", [member.id for member in members])))
            assert machine.eventually(lambda: written[0] > before, 10), "writing did not go on"
    finally:
        ended.set()
        writer.join(20)
        for member in members:
            member.close()
    assert not writer.is_alive(), "the writer hangs"
    for before, group in taken:
        of = {snapshot.source_volume_id: snapshot.snapshot_id for snapshot in group.snapshots}
        numbers = sorted(number for member in members for number in member.records_in(of[member.id]))
        assert numbers == list(range(len(numbers))), f"not a prefix: {numbers[-5:]} of {len(numbers)}"
        assert len(numbers) >= before, f"{before} records were synced before, {len(numbers)} are there"
    assert groups.suspended() == []


@pytest.mark.parametrize("mixture", ["thin", "mixed"])
def test_a_group_has_a_snapshot_of_each_member_and_goes_as_one(driver, main, mixture):
    ids = [driver.csi.create(f"v{number}", 48 * MiB, mount() if mounted else block(), parameters=KINDS[kind]).volume_id
           for number, (kind, mounted) in enumerate(MIXTURES[mixture])]
    group = driver.csi.group("g", ids)
    assert group.ready_to_use and {snapshot.source_volume_id for snapshot in group.snapshots} == set(ids)
    assert driver.csi.group("g", ids[::-1]) == group
    driver.restart()
    assert driver.csi.GetVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id).group_snapshot == group
    with refused("INVALID_ARGUMENT"):
        driver.csi.delete_snapshot(group.snapshots[0].snapshot_id)
    for _ in range(2):
        driver.csi.delete_group(group)
        assert main.names() - {"thin"} == set(ids)


def test_a_group_is_answered_only_when_each_member_is_ready(new_disk, new_group, new_driver):
    """Kubernetes takes over what the first answer says of the members."""
    disk = new_disk(256 * MiB)
    driver = new_driver({"slow": (new_group("slow", [disk.path]), "")}).start()
    ids = [new(driver, f"v{number}", 16 * MiB, KINDS["linear"]) for number in range(2)]
    for volume in ids:
        put(driver, volume, os.urandom(12 * MiB))
    disk.delay(100)
    try:
        group = until_ok(lambda: Client.group(driver.csi, "g", ids), 120)  # not the patient one
    finally:
        disk.mend()
    assert group.ready_to_use and all(snapshot.ready_to_use for snapshot in group.snapshots)


def test_a_group_with_a_member_that_is_gone_is_not_made(driver, main):
    ids = [new(driver, f"v{number}", 8 * MiB, KINDS[kind]) for number, kind in enumerate(("thin", "linear"))]
    path = driver.use_block(ids[0])
    gone = driver.csi.create("gone", 8 * MiB, block()).volume_id
    driver.csi.delete(gone)
    with refused("NOT_FOUND"):
        driver.csi.group("g", [*ids, gone])
    assert main.names() - {"thin"} == set(ids) and groups.suspended() == []
    os.stat(path)


def test_a_group_that_does_not_fit_is_not_made_and_everybody_goes_on(driver, main):
    """One thick member has no room for its cut."""
    mounted = driver.csi.create("mounted", 48 * MiB, parameters=KINDS["thin"]).volume_id
    path = driver.use(mounted)
    large = driver.csi.create("large", 64 * MiB, block(), parameters=KINDS["linear"]).volume_id
    filler = main.add("filler", main.free() - 32 * MiB)
    try:
        with refused("RESOURCE_EXHAUSTED"):
            driver.csi.group("g", [mounted, large])
        assert main.names() == {"thin", "filler", mounted, large} and groups.suspended() == []
        write_file(path)
        assert filler and driver.csi.snapshots() == []
    finally:
        main.drop("filler")
    assert machine.eventually(lambda: driver.csi.GetCapacity(parameters=KINDS["linear"]).available_capacity > 256 * MiB, 20)
    group = driver.csi.group("g", [mounted, large])
    assert len(group.snapshots) == 2 and read_file(path) == b"content"


def test_a_group_across_pools(new_driver, new_group, new_disk, main):
    other = new_group("other", [new_disk(768 * MiB).path], thin=128 * MiB)
    driver = new_driver({"main": (main, "thinpool=thin"), "other": (other, "thinpool=thin")}).start()
    ids = [new(driver, "a", 8 * MiB, {"pool": "main", "provisioning": "thin"}),
           new(driver, "b", 8 * MiB, {"pool": "other", "provisioning": "thick"})]
    for volume in ids:
        driver.use_block(volume)
    group = driver.csi.group("g", ids)
    for snapshot in group.snapshots:
        copy = driver.csi.create(f"copy-{snapshot.source_volume_id}", 8 * MiB, block(),
                                 source=from_snapshot(snapshot.snapshot_id)).volume_id
        same(get(driver, copy)[:len(SOME)], SOME)


def test_what_a_killed_driver_left_suspended_goes_on_even_if_the_pool_cannot_be_used(driver, main):
    volume = new(driver, "a", 8 * MiB, KINDS["thin"])
    path = driver.use_block(volume)
    driver.kill()
    groups.run("dmsetup", "suspend", groups.device_name("main", volume))
    tag = next(tag for tag in main.get("vg_tags")["vg_tags"].split(",") if tag.startswith("plinth.pool."))
    groups.run("vgchange", "-qq", "--deltag", tag, "--addtag", "plinth.pool.damaged", "main")
    driver.start()
    assert machine.eventually(lambda: groups.suspended() == [], 20), groups.suspended()
    write(path, SOME)
    with refused("DATA_LOSS", match="damaged tag"):
        driver.csi.create("more", 8 * MiB, block())
    groups.run("vgchange", "-qq", "--deltag", "plinth.pool.damaged", "--addtag", tag, "main")
    eventually_ok(lambda: driver.csi.create("more", 8 * MiB, block()), codes=("DATA_LOSS",))


def test_what_a_killed_driver_left_in_the_thin_pool_goes(driver, main):
    """LVM does not know of it, and it would keep all blocks of its moment."""
    ids = [new(driver, f"v{number}", 8 * MiB, KINDS["thin"]) for number in range(3)]
    for volume in ids:
        driver.use_block(volume)
    driver.stop()
    driver.start("pool.lvm.mark.used=kill:1")
    with pytest.raises(grpc.RpcError):
        driver.csi.group("g", ids)
    assert driver.ended_by_kill()
    driver.start()
    pool = next(name for name in ("main-thin-tpool", "main-thin") if name in groups.devices() and "thin-pool" in groups.status(name))
    left = [place for place in range(3) if groups.succeeds("dmsetup", "message", pool, "0", f"delete {0xf00000 + place}")]
    assert left == []
