"""What a client can have begun when the driver is killed, or when a step of it fails: for test_faults.py.

Each operation has a state in which it begins (`prepare`), the call, a look at what it should have brought about
(`check`), and the way back to the state it begins in (`undo`).  `w` is the world: a driver and its pool."""
import contextlib
import os

import grpc

import machine
from client import block, from_snapshot, from_volume, mount, until_ok
from machine import KiB, MiB

SIZE, XFS = 12 * MiB, 300 * MiB
CONTENT = os.urandom(256 * KiB)


class Operation:
    """An operation on one pool."""
    disks = ("reflink", "plain")
    takes_away = False  # what has been taken away when it fails stays away; the repeated call goes on

    def prepare(self, w):
        """Brings the world to where the operation begins."""

    def before(self, w):
        """Right before the driver with the fault is started."""

    def call(self, w):
        """What is done, and done again."""

    def check(self, w):
        """After it has succeeded."""

    def undo(self, w):
        """Back to where it begins."""


# --- what operations are made of


def fill(w, volume, content=CONTENT):
    with w.driver.opened(volume) as image, open(image, "r+b") as file:
        file.write(content)
        os.fsync(file.fileno())


def has_content(path):
    with open(path, "rb") as file:
        return file.read(len(CONTENT)) == CONTENT


def starts_with(w, volume, kind="volumes"):
    with w.driver.opened(volume, kind) as image:
        return has_content(image)


def file_in(w, volume, kind="volumes", name="file"):
    """What is in a file of an ext4 that is not mounted."""
    with w.driver.opened(volume, kind) as image:
        return machine.run("debugfs", "-R", f"cat /{name}", image).partition("\n")[2].encode()


def write_file(path, content=b"content"):
    with open(f"{path}/file", "wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def read_file(path):
    with open(f"{path}/file", "rb") as file:
        return file.read()


def block_volume(w, name):
    volume = w.csi.create(name, MiB, block()).volume_id
    fill(w, volume)
    return volume


def mounted_volume(w, name, bytes=SIZE, fstype="ext4"):
    volume = w.csi.create(name, bytes, mount(fstype)).volume_id
    write_file(w.driver.use(volume))
    return volume


# --- making volumes


class CreateMount(Operation):
    def call(self, w):
        self.volume = w.csi.create("x", SIZE).volume_id

    def check(self, w):
        assert w.csi.volume_ids().count(self.volume) == 1
        with w.driver.opened(self.volume) as image:
            machine.run("e2fsck", "-f", "-n", image)

    def undo(self, w):
        w.csi.delete(self.volume)


class CreateBlock(CreateMount):
    parameters = {}

    def call(self, w):
        self.volume = w.csi.create("x", MiB, block(), parameters=self.parameters).volume_id

    def check(self, w):
        assert w.driver.content(self.volume) == bytes(MiB)


class CreateThick(CreateBlock):
    parameters = {"provisioning": "thick"}

    def check(self, w):
        super().check(w)
        assert machine.allocated(w.driver.image(self.volume)) >= MiB


class CloneBlock(CreateMount):
    bytes = MiB

    def prepare(self, w):
        self.source = from_volume(block_volume(w, "origin"))

    def call(self, w):
        self.volume = w.csi.create("x", self.bytes, block(), source=self.source).volume_id

    def check(self, w):
        assert w.driver.content(self.volume) == CONTENT + bytes(self.bytes - len(CONTENT))


class CloneMounted(CreateMount):
    def prepare(self, w):
        self.origin = mounted_volume(w, "origin")

    def call(self, w):
        self.volume = w.csi.create("x", SIZE, source=from_volume(self.origin)).volume_id

    def check(self, w):
        assert file_in(w, self.volume) == b"content"
        write_file(w.driver.target_path(self.origin))  # it is not frozen


class Restore(CloneBlock):
    def prepare(self, w):
        origin = block_volume(w, "origin")
        self.source = from_snapshot(w.csi.snapshot("origin", origin).snapshot_id)
        fill(w, origin, bytes(len(CONTENT)))


class RestoreLarger(Restore):
    bytes = 3 * MiB


class RestoreThick(Restore):
    def call(self, w):
        self.volume = w.csi.create("x", MiB, block(), source=self.source, parameters={"provisioning": "thick"}).volume_id


# --- snapshots


class SnapshotUnused(Operation):
    def prepare(self, w):
        self.volume = block_volume(w, "origin")

    def call(self, w):
        self.snapshot = w.csi.snapshot("x", self.volume).snapshot_id

    def check(self, w):
        assert starts_with(w, self.snapshot, "snapshots")

    def undo(self, w):
        w.csi.delete_snapshot(self.snapshot)


class SnapshotMounted(SnapshotUnused):
    def prepare(self, w):
        self.volume = mounted_volume(w, "origin")

    def check(self, w):
        assert file_in(w, self.snapshot, "snapshots") == b"content"
        write_file(w.driver.target_path(self.volume))


class SnapshotBlockInUse(SnapshotUnused):
    disks = ("reflink",)

    def prepare(self, w):
        super().prepare(w)
        w.driver.use_block(self.volume)


class GroupSnapshot(Operation):
    def prepare(self, w):
        self.volumes = [mounted_volume(w, "origin"), block_volume(w, "other"), mounted_volume(w, "third")]

    def call(self, w):
        self.group = w.csi.group("x", self.volumes)

    def check(self, w):
        assert len(self.group.snapshots) == 3 and self.group.ready_to_use
        for snapshot in self.group.snapshots:
            where = w, snapshot.snapshot_id, "snapshots"
            assert starts_with(*where) if snapshot.source_volume_id == self.volumes[1] else file_in(*where) == b"content"
        for volume in (self.volumes[0], self.volumes[2]):
            write_file(w.driver.target_path(volume))

    def undo(self, w):
        w.csi.delete_group(self.group)


# --- growing


class ExpandUnused(Operation):
    """Nothing shrinks, so the way back is a new volume."""
    before_size, after_size = MiB, 2 * MiB

    def make(self, w):
        self.volume = block_volume(w, "x")

    def prepare(self, w):
        self.make(w)

    def call(self, w):
        assert w.csi.expand(self.volume, self.after_size).capacity_bytes == self.after_size

    def check(self, w):
        assert w.driver.content(self.volume) == CONTENT + bytes(self.after_size - len(CONTENT))
        assert w.driver.record(self.volume)["bytes"] == self.after_size

    def undo(self, w):
        w.driver.release(self.volume)
        w.csi.delete(self.volume)
        self.make(w)


class ExpandThick(ExpandUnused):
    def make(self, w):
        self.volume = w.csi.create("x", MiB, block(), parameters={"provisioning": "thick"}).volume_id
        fill(w, self.volume)


class ExpandBlockInUse(ExpandUnused):
    def make(self, w):
        super().make(w)
        self.path = w.driver.use_block(self.volume)

    def check(self, w):
        super().check(w)
        assert machine.size_of_device(self.path) == self.after_size


class ExpandMounted(ExpandUnused):
    before_size, after_size = XFS, 320 * MiB

    def make(self, w):
        self.volume = mounted_volume(w, "x", XFS, "xfs")
        self.path = w.driver.target_path(self.volume)
        self.was = machine.size_of_filesystem(self.path)

    def check(self, w):
        assert machine.size_of_filesystem(self.path) > self.was + 15 * MiB
        assert read_file(self.path) == b"content"


class NodeExpand(ExpandMounted):
    def call(self, w):
        w.csi.NodeExpandVolume(volume_id=self.volume, volume_path=self.path, capacity_range={"required_bytes": self.after_size})


# --- deleting


class DeleteVolume(Operation):
    takes_away = True

    def prepare(self, w):
        self.volume = block_volume(w, "x")

    def call(self, w):
        w.csi.delete(self.volume)

    def check(self, w):
        assert self.volume not in w.csi.volume_ids()

    def undo(self, w):
        self.prepare(w)


class DeleteSnapshot(Operation):
    takes_away = True

    def prepare(self, w):
        self.volume = block_volume(w, "origin")
        self.undo(w)

    def call(self, w):
        w.csi.delete_snapshot(self.snapshot)

    def check(self, w):
        assert self.snapshot not in w.csi.snapshot_ids()

    def undo(self, w):
        self.snapshot = w.csi.snapshot("x", self.volume).snapshot_id


class DeleteGroup(GroupSnapshot):
    takes_away = True

    def prepare(self, w):
        self.volumes = [block_volume(w, name) for name in ("origin", "other")]
        self.undo(w)

    def call(self, w):
        w.csi.delete_group(self.group)

    def check(self, w):
        assert self.group.group_snapshot_id not in {snapshot.group_snapshot_id for snapshot in w.csi.snapshots()}

    def undo(self, w):
        self.group = w.csi.group("x", self.volumes)


# --- on the node


class StageMount(Operation):
    """Of a volume that was never staged before: then its record changes too."""

    def make(self, w):
        self.volume = w.csi.create("x", SIZE).volume_id

    def prepare(self, w):
        self.make(w)

    def call(self, w):
        self.path = w.driver.stage(self.volume)

    def check(self, w):
        assert machine.mounts(str(w.driver.kubelet)).count(self.path) == 1
        write_file(self.path)

    def undo(self, w):
        w.driver.unstage(self.volume)
        w.csi.delete(self.volume)
        self.make(w)


class StageGrown(StageMount):
    def make(self, w):
        super().make(w)
        w.csi.expand(self.volume, 24 * MiB)

    def check(self, w):
        super().check(w)
        assert machine.size_of_filesystem(self.path) > 14 * MiB


class StageRestored(StageMount):
    """Larger than its snapshot."""

    def prepare(self, w):
        origin = mounted_volume(w, "origin")
        self.source = from_snapshot(w.csi.snapshot("origin", origin).snapshot_id)
        self.make(w)

    def make(self, w):
        self.volume = w.csi.create("x", 24 * MiB, source=self.source).volume_id

    def check(self, w):
        assert read_file(self.path) == b"content"
        assert machine.size_of_filesystem(self.path) > 14 * MiB


class StageClonedXfs(StageMount):
    disks = ("reflink",)

    def prepare(self, w):
        self.origin = mounted_volume(w, "origin", XFS, "xfs")
        self.make(w)

    def make(self, w):
        self.volume = w.csi.create("x", 320 * MiB, mount("xfs"), source=from_volume(self.origin)).volume_id

    def check(self, w):
        assert read_file(self.path) == b"content"


class StageBlock(StageMount):
    def make(self, w):
        self.volume = block_volume(w, "x")

    def call(self, w):
        self.path = w.driver.stage(self.volume, block())

    def check(self, w):
        assert w.driver.in_use(self.volume) == 1


class PublishMount(Operation):
    capability, readonly = mount(""), False

    def prepare(self, w):
        self.volume = w.csi.create("x", SIZE).volume_id
        write_file(w.driver.use(self.volume, pod="first"))

    def call(self, w):
        self.path = w.driver.publish(self.volume, self.capability, readonly=self.readonly)

    def check(self, w):
        assert machine.mounts(str(w.driver.kubelet)).count(self.path) == 1
        assert read_file(self.path) == b"content"

    def undo(self, w):
        w.driver.unpublish(self.volume)


class PublishReadonly(PublishMount):
    readonly = True

    def check(self, w):
        super().check(w)
        with contextlib.suppress(OSError):
            write_file(self.path)
            raise AssertionError("it can be written")


class PublishBlock(PublishMount):
    capability = block()

    def prepare(self, w):
        self.volume = block_volume(w, "x")
        w.driver.stage(self.volume, block())

    def check(self, w):
        assert has_content(self.path)


class PublishBlockReadonly(PublishBlock):
    readonly = True


class Unpublish(Operation):
    takes_away = True
    capability = mount("")

    def prepare(self, w):
        self.volume = w.csi.create("x", SIZE).volume_id
        w.driver.use(self.volume)

    def call(self, w):
        w.driver.unpublish(self.volume)

    def check(self, w):
        assert not os.path.lexists(w.driver.target_path(self.volume))

    def undo(self, w):
        w.driver.publish(self.volume, self.capability)


class UnpublishBlock(Unpublish):
    capability = block()

    def prepare(self, w):
        self.volume = block_volume(w, "x")
        w.driver.use_block(self.volume)


class Unstage(Unpublish):
    def prepare(self, w):
        self.volume = w.csi.create("x", SIZE).volume_id
        w.driver.stage(self.volume)

    def call(self, w):
        w.driver.unstage(self.volume)

    def check(self, w):
        assert machine.eventually(lambda: not w.driver.in_use(self.volume))

    def undo(self, w):
        w.driver.stage(self.volume, self.capability)


class UnstageBlock(Unstage):
    capability = block()

    def prepare(self, w):
        self.volume = block_volume(w, "x")
        w.driver.stage(self.volume, block())


class UnstageBlockReaders(UnstageBlock):
    """There is a second, read-only device as well."""

    def prepare(self, w):
        super().prepare(w)
        self.undo(w)

    def undo(self, w):
        w.driver.stage(self.volume, block())
        w.driver.publish(self.volume, block(), readonly=True)
        w.driver.unpublish(self.volume)


# --- starting, with something half made


class Recover(Operation):
    """The driver was killed before, at `point`, and is started now: that is what can be cut off too."""
    point = ""

    def before(self, w):
        w.start(f"{self.point}=kill")
        with contextlib.suppress(grpc.RpcError):
            self.half(w)
        assert w.driver.ended_by_kill(), "the scenario is wrong: it was not killed"

    def half(self, w):
        """The call that is cut off."""


class RecoverCreate(Recover, CreateMount):
    point = "filesystem.make.after"

    def half(self, w):
        CreateMount.call(self, w)


class RecoverRestore(Recover, Restore):
    point = "snapshot.making.made"

    def half(self, w):
        Restore.call(self, w)


class RecoverSnapshot(Recover, SnapshotMounted):
    """Frozen, too."""
    point = "snapshot.making.made"

    def half(self, w):
        SnapshotMounted.call(self, w)


class RecoverGroup(Recover, GroupSnapshot):
    point = "snapshot.making.ready"

    def half(self, w):
        GroupSnapshot.call(self, w)


class RecoverDelete(Recover, DeleteVolume):
    point = "pool.file.remove.data"

    def half(self, w):
        DeleteVolume.call(self, w)


class NewPool(Operation):
    """The first start in an empty directory."""

    def prepare(self, w):
        w.empty_the_pool()
        w.start()

    def before(self, w):
        w.empty_the_pool()

    def call(self, w):
        self.volume = w.csi.create("x", MiB, block()).volume_id

    def undo(self, w):
        w.csi.delete(self.volume)


OPERATIONS = [CreateMount, CreateBlock, CreateThick, CloneBlock, CloneMounted, Restore, RestoreLarger, RestoreThick, SnapshotUnused,
              SnapshotMounted, SnapshotBlockInUse, GroupSnapshot, ExpandUnused, ExpandThick, ExpandBlockInUse, ExpandMounted, NodeExpand,
              DeleteVolume, DeleteSnapshot, DeleteGroup, StageMount, StageGrown, StageRestored, StageClonedXfs, StageBlock, PublishMount,
              PublishReadonly, PublishBlock, PublishBlockReadonly, Unpublish, UnpublishBlock, Unstage, UnstageBlock, UnstageBlockReaders,
              RecoverCreate, RecoverRestore, RecoverSnapshot, RecoverGroup, RecoverDelete, NewPool]
