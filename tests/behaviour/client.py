"""A CSI client.  `csi.CreateVolume(name="a", ...)` calls the method of that name of whatever service has it; names in
lower case are short forms for what most tests need."""
import contextlib
import os
import re
import sys
import time

import grpc

sys.path.insert(0, os.environ["PLINTH_STUBS"])
import csi_pb2
import health_pb2
import registration_pb2
from google.protobuf import symbol_database

DEADLINE = 30
MODES = csi_pb2.VolumeCapability.AccessMode
SERVICES = [service for file in (csi_pb2, health_pb2, registration_pb2)
            for service in file.DESCRIPTOR.services_by_name.values()]
METHODS = {method.name: method for service in SERVICES for method in service.methods}
STREAMS = {"Watch", "GetMetadataAllocated", "GetMetadataDelta"}


def message_class(descriptor):
    return symbol_database.Default().GetSymbol(descriptor.full_name)


def mount(fstype="ext4", mode="SINGLE_NODE_MULTI_WRITER", flags=(), group=""):
    """A capability for a volume with a file system."""
    kind = csi_pb2.VolumeCapability.MountVolume(fs_type=fstype, mount_flags=flags, volume_mount_group=group)
    return csi_pb2.VolumeCapability(mount=kind, access_mode={"mode": mode})


def block(mode="SINGLE_NODE_MULTI_WRITER"):
    """A capability for a raw block volume."""
    return csi_pb2.VolumeCapability(block={}, access_mode={"mode": mode})


def size(required=0, limit=0):
    return csi_pb2.CapacityRange(required_bytes=required, limit_bytes=limit)


def from_snapshot(snapshot_id):
    return csi_pb2.VolumeContentSource(snapshot={"snapshot_id": snapshot_id})


def from_volume(volume_id):
    return csi_pb2.VolumeContentSource(volume={"volume_id": volume_id})


def code_of(error):
    return error.value.code().name if hasattr(error, "value") else error.code().name


def check_sentence(error):
    """Every error has a sentence for a person that fits a Kubernetes event, and no details in other forms."""
    text = error.details()
    assert text and len(text.encode()) <= 1023, f"not a sentence: {text!r}"
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text), f"control characters in {text!r}"
    assert not [key for key, _ in error.trailing_metadata() or () if key == "grpc-status-details-bin"]


@contextlib.contextmanager
def refused(*codes, match=""):
    """The call inside fails with one of the codes and a sentence that the pattern is found in."""
    try:
        yield
    except grpc.RpcError as error:
        assert error.code().name in codes, f"{error.code().name} instead of {'/'.join(codes)}: {error.details()}"
        check_sentence(error)
        assert re.search(match, error.details(), re.I), f"{match!r} is not in {error.details()!r}"
    else:
        raise AssertionError(f"not refused; {'/'.join(codes)} was expected")


def until_ok(call, seconds=10, codes=("ABORTED",)):
    """Repeats a call, as CSI's clients do, as long as it is told to."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code().name not in codes or time.monotonic() > end:
                raise
            time.sleep(0.02)


class Client:
    def __init__(self, socket, deadline=DEADLINE):
        self.deadline = deadline
        self.channel = grpc.insecure_channel(f"unix:{socket}", options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1),
            ("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 20)])

    def close(self):
        self.channel.close()

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(name)
        method = METHODS[name]
        request_class, response_class = message_class(method.input_type), message_class(method.output_type)
        start = self.channel.unary_stream if name in STREAMS else self.channel.unary_unary
        call = start(f"/{method.containing_service.full_name}/{name}", request_class.SerializeToString,
                     response_class.FromString)

        def invoke(request=None, timeout=None, **fields):
            return call(request or request_class(**fields), timeout=timeout or self.deadline)
        setattr(self, name, invoke)
        return invoke

    def raw(self, path, message, timeout=None):
        """Sends bytes as they are and returns the answer's bytes."""
        return self.channel.unary_unary(path)(message, timeout=timeout or self.deadline)

    # --- short forms

    def create(self, name, bytes=16 << 20, capability=None, source=None, parameters=None, limit=0, **more):
        return self.CreateVolume(name=name, capacity_range=size(bytes, limit) if bytes or limit else None,
                                 volume_capabilities=[capability or mount()], volume_content_source=source,
                                 parameters=parameters or {}, **more).volume

    def delete(self, volume_id):
        self.DeleteVolume(volume_id=volume_id)

    def snapshot(self, name, volume_id, **more):
        return self.CreateSnapshot(name=name, source_volume_id=volume_id, **more).snapshot

    def delete_snapshot(self, snapshot_id):
        self.DeleteSnapshot(snapshot_id=snapshot_id)

    def group(self, name, volume_ids, **more):
        return self.CreateVolumeGroupSnapshot(name=name, source_volume_ids=volume_ids, **more).group_snapshot

    def delete_group(self, group):
        self.DeleteVolumeGroupSnapshot(group_snapshot_id=group.group_snapshot_id,
                                       snapshot_ids=[snapshot.snapshot_id for snapshot in group.snapshots])

    def expand(self, volume_id, required, limit=0, **more):
        return self.ControllerExpandVolume(volume_id=volume_id, capacity_range=size(required, limit), **more)

    def volumes(self):
        return [entry.volume for entry in self.ListVolumes().entries]

    def snapshots(self):
        return [entry.snapshot for entry in self.ListSnapshots().entries]

    def volume_ids(self):
        return [volume.volume_id for volume in self.volumes()]

    def snapshot_ids(self):
        return [snapshot.snapshot_id for snapshot in self.snapshots()]

    def health(self, volume_id):
        """{reason: status} of what is wrong with a volume, as the controller sees it."""
        entries = self.ControllerGetVolumeHealth(volume_id=volume_id).volume_health.health_statuses
        return {entry.reason: csi_pb2.VolumeHealthErrorType.Name(entry.status) for entry in entries}

    def delete_everything(self):
        """What a client would do to be rid of all: groups, snapshots, volumes."""
        snapshots = self.snapshots()
        for group_id in {snapshot.group_snapshot_id for snapshot in snapshots} - {""}:
            self.DeleteVolumeGroupSnapshot(group_snapshot_id=group_id)
        for snapshot in snapshots:
            if not snapshot.group_snapshot_id:
                self.delete_snapshot(snapshot.snapshot_id)
        for volume_id in self.volume_ids():
            self.delete(volume_id)
