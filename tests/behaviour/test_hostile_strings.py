"""Every string of every request, as no client should send it.  What is tried follows from the descriptors: a new field
is tried without a word here."""
import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from client import METHODS, STREAMS, block, message_class
from machine import MiB
from marks import SECRET

PATHS = {"staging_target_path", "target_path", "volume_path", "volume_publish_path"}
LIMITS = {**{name: 4095 for name in PATHS}, "node_id": 256, "mount_flags": 4096, "endpoint": 4095, "error": 4096}
MAP_LIMIT, LIMIT = 4096, 128
UNSERVED = {"ControllerPublishVolume", "ControllerUnpublishVolume", "ControllerModifyVolume", "GetMetadataAllocated", "GetMetadataDelta"}
CSI = sorted(name for name, method in METHODS.items() if method.containing_service.full_name.startswith("csi."))


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def strings_of(descriptor, path=()):
    """The paths to all strings of a message, to any depth; a map's keys and values are strings too."""
    for field in descriptor.fields:
        if is_map(field):
            yield from ((*path, field, part) for part in ("key", "value"))
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield (*path, field)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            yield from strings_of(field.message_type, (*path, field))


def name_of(path):
    return ".".join(step if isinstance(step, str) else step.name for step in path)


def put(message, path, text):
    """Sets the string at the path, making the messages on the way."""
    field, rest = path[0], path[1:]
    if is_map(field):
        key = text if rest[0] == "key" else "k"
        getattr(message, field.name)[key] = "v" if rest[0] == "key" else text
    elif not rest:
        if field.label == FieldDescriptor.LABEL_REPEATED:
            getattr(message, field.name).append(text)
        else:
            setattr(message, field.name, text)
    else:
        inner = getattr(message, field.name)
        put(inner.add() if field.label == FieldDescriptor.LABEL_REPEATED else inner, rest, text)


def base_request(method, volume_id, kubelet):
    """A request that is good but for what is put into it."""
    request = message_class(METHODS[method].input_type)()
    names = {field.name: field for field in request.DESCRIPTOR.fields}
    for name, value in {"name": "a", "volume_id": volume_id, "source_volume_id": volume_id, "snapshot_id": "s", "node_id": "node-a",
                        "group_snapshot_id": "g", "base_snapshot_id": "s", "target_snapshot_id": "t",
                        "staging_target_path": f"{kubelet}/staging", "target_path": f"{kubelet}/target", "volume_path": f"{kubelet}/target",
                        "volume_publish_path": f"{kubelet}/target"}.items():
        if name in names:
            setattr(request, name, value)
    if method != "ListSnapshots" and "source_volume_ids" in names:
        request.source_volume_ids.append(volume_id)
    if method == "ListSnapshots":
        request.Clear()
    if "volume_capability" in names:
        request.volume_capability.CopyFrom(block())
    if "volume_capabilities" in names and method != "GetCapacity":
        request.volume_capabilities.append(block())
    return request


def raw_with(request, path, payload):
    """The request's bytes with the payload as the string at the path."""
    mark = ("~" * len(payload)).encode() if payload else b""
    put(request, path, mark.decode())
    message = request.SerializeToString()
    assert message.count(mark) == 1 or not payload
    return message.replace(mark, payload) if payload else message


def limit_of(path):
    return MAP_LIMIT if isinstance(path[-1], str) else LIMITS.get(path[-1].name, LIMIT)


BAD = {
    "a NUL": lambda limit: b"pvc\0evil",
    "a lonely NUL": lambda limit: b"\0",
    "control character 1": lambda limit: b"a\x01b",
    "escape": lambda limit: b"a\x1b[2Jb",
    "delete": lambda limit: b"a\x7fb",
    "control character U+0085": lambda limit: "a\u0085b".encode(),
    "a byte that is no UTF-8": lambda limit: b"a\xffb",
    "a cut UTF-8 sequence": lambda limit: b"abc\xe2\x82",
    "an overlong NUL": lambda limit: b"a\xc0\x80b",
    "a surrogate": lambda limit: b"a\xed\xa0\x80b",
    "beyond Unicode": lambda limit: b"a\xf4\x90\x80\x80b",
    "one byte too long": lambda limit: b"x" * (limit + 1),
    "far too long": lambda limit: b"x" * (limit + 100000),
}

CASES = [(method, path) for method in CSI for path in strings_of(METHODS[method].input_type)]
identify = [f"{method}-{name_of(path)}" for method, path in CASES]


def test_there_is_something_to_try():
    fields = {path[-1].name for _, path in CASES if not isinstance(path[-1], str)}
    assert len(CASES) > 100 and PATHS | {"name", "starting_token", "mount_flags", "fs_type", "volume_mount_group"} <= fields
    assert len(CSI) == 36


@pytest.mark.parametrize("method, path", CASES, ids=identify)
def test_no_bad_string_gets_past_the_door(shared_driver, method, path):
    driver, volume_id = shared_driver
    call_path = f"/{METHODS[method].containing_service.full_name}/{method}"
    field = path[-2 if isinstance(path[-1], str) else -1].name
    allowed = {"INVALID_ARGUMENT"} | ({"UNIMPLEMENTED"} if method in UNSERVED else set())
    for what, make in BAD.items():
        payload = make(limit_of(path))
        message = raw_with(base_request(method, volume_id, driver.kubelet), path, payload)
        try:
            if method in STREAMS:
                list(driver.csi.channel.unary_stream(call_path)(message, timeout=10))
            else:
                driver.csi.raw(call_path, message, timeout=10)
            code, text = "OK", ""
        except grpc.RpcError as error:
            code, text = error.code().name, error.details()
        assert code in allowed, f"{what}: {code} {text}"
        if code == "INVALID_ARGUMENT":
            assert field in text, f"{what}: the field is not named in {text!r}"
            assert "evil" not in text and "xxxxxxxx" not in text and len(text) < 300, f"{what} is quoted: {text!r}"
    assert driver.runs() and driver.csi.volume_ids() == [volume_id]


@pytest.mark.parametrize("method, path", CASES, ids=identify)
def test_a_string_as_long_as_it_may_be_is_not_too_long(shared_driver, method, path):
    driver, volume_id = shared_driver
    call_path = f"/{METHODS[method].containing_service.full_name}/{method}"
    length = limit_of(path) - (1 if isinstance(path[-1], str) else 0)
    message = raw_with(base_request(method, volume_id, driver.kubelet), path, b"y" * length)
    try:
        driver.csi.raw(call_path, message, timeout=10) if method not in STREAMS else \
            list(driver.csi.channel.unary_stream(call_path)(message, timeout=10))
    except grpc.RpcError as error:
        assert error.code().name not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"), error.details()
        assert "longer than" not in error.details()
    clean_up_after(driver, volume_id)


def clean_up_after(driver, volume_id):
    """Some requests of that length are good ones."""
    for snapshot in driver.csi.snapshots():
        driver.csi.DeleteVolumeGroupSnapshot(group_snapshot_id=snapshot.group_snapshot_id) if snapshot.group_snapshot_id \
            else driver.csi.delete_snapshot(snapshot.snapshot_id)
    for other in driver.csi.volume_ids():
        if other != volume_id:
            driver.csi.delete(other)


@pytest.mark.parametrize("method", CSI)
def test_requests_without_anything_are_answered(shared_driver, method):
    driver, _ = shared_driver
    call_path = f"/{METHODS[method].containing_service.full_name}/{method}"
    try:
        list(driver.csi.channel.unary_stream(call_path)(b"", timeout=10))
        code = "OK"
    except grpc.RpcError as error:
        code = error.code().name
    required = any(word in method for word in ("Volume", "Snapshot")) and not method.startswith("List") and "List" not in method
    if method in UNSERVED:
        assert code == "UNIMPLEMENTED"
    else:
        assert code == ("INVALID_ARGUMENT" if required else "OK")


@pytest.mark.parametrize("allowed", ["a\tb", "a\nb", "a\rb", "ü", "\U0001f4be", "a\u00a0b", "\ufeffa", "a\u202eb"])
def test_what_csi_allows_in_a_name_is_allowed(shared_driver, allowed):
    driver, _ = shared_driver
    volume = driver.csi.create(allowed, MiB, block())
    assert driver.record(volume.volume_id)["name"] == allowed
    driver.csi.delete(volume.volume_id)


# --- what secrets may be


SECRETS = [(method, path) for method, path in CASES if path[0].name == "secrets"]


def test_every_request_with_secrets_is_tried():
    assert len({method for method, _ in SECRETS}) == 22


@pytest.mark.parametrize("method, path", SECRETS, ids=[f"{method}-{name_of(path)}" for method, path in SECRETS])
def test_a_bad_secret_is_not_quoted(shared_driver, method, path):
    driver, volume_id = shared_driver
    call_path = f"/{METHODS[method].containing_service.full_name}/{method}"
    secret = SECRET.encode()
    for payload in (secret + b"\0", secret + b"\xff", b"\x01" + secret, secret * 300):
        message = raw_with(base_request(method, volume_id, driver.kubelet), path, payload)
        with pytest.raises(grpc.RpcError) as caught:
            list(driver.csi.channel.unary_stream(call_path)(message, timeout=10))
        assert SECRET not in caught.value.details()
    assert secret not in driver.log_bytes()
