"""Messages that are no messages, too large ones, bombs: each is answered, costs little memory, and the driver serves on."""
import gzip
import os
import random
import threading

import grpc
import pytest

import rawhttp2
from client import METHODS, Client, block, csi_pb2, mount, refused
from machine import MiB, eventually
from driver import SANITIZER
from marks import without_sanitizer

CREATE = "/csi.v1.Controller/CreateVolume"
MEMORY_MOST = 32 * MiB  # for any single hostile message


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, content):
    """A field with a length: a string, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def entry(key, value):
    return field(1, key) + field(2, value)


def good_request(name="a", **more):
    return csi_pb2.CreateVolumeRequest(name=name, volume_capabilities=[block()], capacity_range={"required_bytes": MiB}, **more)


PARAMETERS = csi_pb2.CreateVolumeRequest.DESCRIPTOR.fields_by_name["parameters"].number
SECRETS = csi_pb2.CreateVolumeRequest.DESCRIPTOR.fields_by_name["secrets"].number
CAPABILITIES = csi_pb2.CreateVolumeRequest.DESCRIPTOR.fields_by_name["volume_capabilities"].number


# --- maps


def test_of_a_key_that_comes_twice_the_last_value_counts(driver):
    def create(name, *values):
        more = b"".join(field(PARAMETERS, entry(b"provisioning", value)) for value in values)
        answer = driver.csi.raw(CREATE, good_request(name).SerializeToString() + more)
        return csi_pb2.CreateVolumeResponse.FromString(answer).volume.volume_id
    assert driver.record(create("a", b"thin", b"thick"))["thick"] is True
    assert driver.record(create("b", b"thick", b"thin"))["thick"] is False
    with refused("INVALID_ARGUMENT"):
        create("c", b"thin", b"fat")
    assert driver.record(create("d", b"fat", b"thin"))["thick"] is False
    # And to the same request without the duplicate it is the same volume.
    assert driver.csi.create("a", MiB, block(), parameters={"provisioning": "thick"}).volume_id == create("a", b"thin", b"thick")


@pytest.mark.parametrize("more", [field(PARAMETERS, b""), field(PARAMETERS, field(1, b"provisioning")),
                                  field(PARAMETERS, field(2, b"thin"))])
def test_entries_without_key_or_value_are_entries_of_empty_text(csi, more):
    with refused("INVALID_ARGUMENT"):
        csi.raw(CREATE, good_request().SerializeToString() + more)


@pytest.mark.parametrize("number", [PARAMETERS, SECRETS])
@pytest.mark.parametrize("count, length", [(100, 50), (4000, 2), (1, 5000), (50000, 4), (4000, 1000)])
def test_huge_maps_are_refused(driver, number, count, length):
    more = b"".join(field(number, entry(b"k%d" % key, b"v" * length)) for key in range(count))
    with refused("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"):
        driver.csi.raw(CREATE, good_request().SerializeToString() + more)
    assert driver.csi.volumes() == []


def test_maps_up_to_4_kib_are_served(driver):
    fitting = {f"csi.storage.k8s.io/{key:02d}": "v" * 180 for key in range(20)}
    assert 4000 < sum(len(key) + len(value) for key, value in fitting.items()) <= 4096
    driver.csi.create("a", MiB, block(), parameters=fitting, secrets=fitting)


def test_mount_flags_are_limited_together(driver):
    volume = driver.csi.create("a")
    with refused("INVALID_ARGUMENT", match="mount_flags"):
        driver.stage(volume.volume_id, mount("ext4", flags=["noatime"] * 1000))
    with refused("INVALID_ARGUMENT", match="mount_flags"):
        driver.stage(volume.volume_id, mount("ext4", flags=[""] * 5000))


# --- large ones


def measure(driver, send):
    """What a call costs in memory at its peak, over what the driver has used so far."""
    driver.csi.Probe()
    send()
    assert driver.csi.Probe().ready.value
    return driver.memory("VmHWM")


LARGE = {
    "empty entries of parameters": field(PARAMETERS, b"") * (2 * MiB - 10),
    "empty capabilities": field(CAPABILITIES, b"") * (2 * MiB - 10),
    "empty names": field(1, b"") * (2 * MiB - 10),
    "entries with a key": field(PARAMETERS, field(1, b"k")) * (4 * MiB // 5 - 10),
    "unknown numbers": varint(2000 << 3) + b"\1",
    "one secret": field(SECRETS, entry(b"k", b"v" * (4 * MiB - 100))),
    "one name": field(1, b"n" * (4 * MiB - 100)),
}
LARGE["unknown numbers"] *= 4 * MiB // len(LARGE["unknown numbers"]) - 10


@without_sanitizer
@pytest.mark.parametrize("what", LARGE)
def test_a_message_of_4_mib_costs_little_memory(driver, what):
    message = good_request().SerializeToString() + LARGE[what]
    assert 3.9 * MiB < len(message) <= 4 * MiB + 100

    def send():
        for _ in range(5):
            try:
                driver.csi.raw(CREATE, message[:4 * MiB])
            except grpc.RpcError as error:
                assert error.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), error.details()
    assert measure(driver, send) < MEMORY_MOST


@without_sanitizer
def test_64_messages_of_4_mib_at_once_are_answered_and_their_memory_is_given_back(driver):
    message = (good_request().SerializeToString() + LARGE["empty entries of parameters"])[:4 * MiB]
    codes = []

    def send():
        client = Client(driver.socket)
        for _ in range(3):
            try:
                client.raw(CREATE, message)
            except grpc.RpcError as error:
                codes.append(error.code().name)
        client.close()
    threads = [threading.Thread(target=send) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 192 and set(codes) <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    assert driver.csi.volumes() == []
    assert driver.memory() < 64 * 4 * MiB + MEMORY_MOST  # no more than what is on its way
    assert eventually(lambda: driver.memory("VmRSS") < MEMORY_MOST, 20), f"{driver.memory('VmRSS')} bytes are in use still"


@pytest.mark.parametrize("bytes", [4 * MiB + 1, 5 * MiB])
def test_a_message_above_4_mib_is_refused(driver, bytes):
    with refused("RESOURCE_EXHAUSTED"):
        driver.csi.raw(CREATE, field(1, b"n" * bytes))
    assert driver.csi.Probe().ready.value
    assert SANITIZER or driver.memory() < MEMORY_MOST, f"{driver.memory()} bytes"


def test_what_a_huge_message_took_is_given_back(driver):
    """gRPC core 1.51 collects a message before it looks at its size (docs/house.md, "Memory"): only root can send one."""
    with refused("RESOURCE_EXHAUSTED"):
        driver.csi.raw(CREATE, field(1, b"n" * (64 * MiB)))
    assert driver.csi.Probe().ready.value
    assert SANITIZER or eventually(lambda: driver.memory("VmRSS") < MEMORY_MOST, 20), f"{driver.memory('VmRSS')} bytes"


@without_sanitizer
def test_a_gzip_bomb_is_refused_unopened(driver):
    bomb = gzip.compress(bytes(1 << 29), 9)
    with rawhttp2.Connection(driver.socket) as connection:
        connection.start(CREATE, [(b"grpc-encoding", b"gzip")])
        answer = connection.send(rawhttp2.grpc_message(bomb, compressed=True))
    assert b"grpc-status" in answer and b"12" in answer  # UNIMPLEMENTED
    assert driver.csi.Probe().ready.value
    assert driver.memory() < MEMORY_MOST


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_messages_are_not_served(driver, encoding):
    call = driver.csi.channel.unary_unary(CREATE)
    with refused("UNIMPLEMENTED"):
        call(good_request().SerializeToString() * 50, timeout=10,
             compression={"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[encoding])


# --- no messages


def test_an_unknown_method_or_service_is_unimplemented(csi):
    for path in ("/csi.v1.Controller/Destroy", "/csi.v2.Controller/CreateVolume", "/a/b", "/csi.v1.Controller/", "/csi.v1.Controller",
                 "/CSI.V1.Controller/CreateVolume", "/csi.v1.Controller/CreateVolume/", "/x/" + "y" * 4000):
        with refused("UNIMPLEMENTED"):
            csi.raw(path, b"")
    assert csi.Probe().ready.value


def test_a_message_that_is_cut_off_anywhere_is_invalid_or_another_message(driver):
    message = good_request(parameters={"provisioning": "thin"}, secrets={"a": "b"}, accessibility_requirements={
        "requisite": [{"segments": {"csi.plinth.dev/node": "node-b"}}]}).SerializeToString()
    for length in range(len(message)):
        try:
            driver.csi.raw(CREATE, message[:length])
            driver.csi.delete_everything()
        except grpc.RpcError as error:
            assert error.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), f"{length}: {error.details()}"


@pytest.mark.parametrize("message", {
    "no field number": b"\x02\x00", "an endless varint": b"\x08" + b"\xff" * 20, "a length beyond the end": b"\x0a\x7fabc",
    "a length of 2^64-1": b"\x0a" + b"\xff" * 9 + b"\x01", "a length of 2^31": b"\x0a\x80\x80\x80\x80\x08", "a group": b"\x0b\x0c",
    "wire type 6": b"\x0e", "wire type 7": b"\x0f", "a number for a string": b"\x08\x01", "a fixed for a message": b"\x15abcd",
    "a key without its value": b"\x0a", "messages in messages": None,
}.items(), ids=lambda case: case[0])
def test_what_is_no_protobuf_is_invalid(csi, message):
    what, content = message
    if what == "messages in messages":
        content = b""
        while len(content) < 64 * 1024:
            content = field(3, content)
    with refused("INVALID_ARGUMENT"):
        csi.raw(CREATE, content)


def test_a_message_that_comes_twice_is_not_merged_past_its_limits(csi):
    size = csi_pb2.CreateVolumeRequest.DESCRIPTOR.fields_by_name["capacity_range"].number
    once = csi_pb2.CapacityRange(required_bytes=MiB).SerializeToString()
    message = csi_pb2.CreateVolumeRequest(name="a", volume_capabilities=[block()]).SerializeToString()
    try:
        answer = csi.raw(CREATE, message + field(size, once) * 2)
        assert csi_pb2.CreateVolumeResponse.FromString(answer).volume.capacity_bytes == MiB
    except grpc.RpcError as error:
        assert error.code().name == "INVALID_ARGUMENT"


def test_unknown_fields_are_skipped(csi):
    message = good_request().SerializeToString()
    for number in (99, 2000, (1 << 29) - 1):
        message += field(number, b"x\0\xff") + varint(number << 3) + b"\x05" + varint(number << 3 | 5) + b"abcd" + \
            varint(number << 3 | 1) + b"abcdefgh"
    assert csi_pb2.CreateVolumeResponse.FromString(csi.raw(CREATE, message)).volume.volume_id


def test_random_bytes_are_answered(shared_driver):
    driver, volume_id = shared_driver
    generator = random.Random(20261121)
    paths = [f"/{method.containing_service.full_name}/{name}" for name, method in METHODS.items()
             if name not in ("Watch", "NotifyRegistrationStatus")]
    good = good_request(parameters={"provisioning": "thin"}, secrets={"a": "b"}).SerializeToString()
    for number in range(3000):
        message = bytearray(good) if number % 2 else bytearray(generator.randbytes(generator.randrange(64)))
        for _ in range(generator.randrange(4)):
            if message:
                message[generator.randrange(len(message))] = generator.randrange(256)
        try:
            list(driver.csi.channel.unary_stream(generator.choice(paths))(bytes(message), timeout=10))
        except grpc.RpcError as error:
            assert error.code().name not in ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"), error.details()
    for other in driver.csi.volume_ids():
        if other != volume_id:
            driver.csi.delete(other)
    assert driver.runs()


# --- connections


@pytest.mark.parametrize("bytes", [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(100),
                                   rawhttp2.PREFACE + rawhttp2.frame(4, 0, 0, b"abc"), rawhttp2.PREFACE + b"\xff" * 9])
def test_what_is_no_http_disturbs_nobody(driver, bytes):
    for _ in range(20):
        connection = rawhttp2.socket.socket(rawhttp2.socket.AF_UNIX)
        connection.connect(str(driver.socket))
        connection.send(bytes)
        connection.close()
    assert driver.csi.Probe().ready.value


def test_a_call_that_stays_half_sent_holds_up_nobody(driver):
    half = [rawhttp2.Connection(driver.socket) for _ in range(100)]
    for connection in half:
        connection.start(CREATE)
        connection.send(rawhttp2.grpc_message(b"x" * 1000)[:500], end=False)
    driver.csi.create("a", MiB, block())
    for connection in half:
        connection.socket.close()
    assert driver.csi.Probe().ready.value


def test_a_call_with_two_messages_is_answered(driver):
    body = rawhttp2.grpc_message(good_request().SerializeToString())
    with rawhttp2.Connection(driver.socket) as connection:
        connection.start(CREATE)
        connection.send(body + body)
    assert driver.csi.Probe().ready.value


def test_a_call_without_a_message_is_answered(driver):
    with rawhttp2.Connection(driver.socket) as connection:
        connection.start(CREATE, end=True)
        connection.answer()
    assert driver.csi.Probe().ready.value


def test_long_headers_are_refused(driver):
    for length in (9000, 20000, 60000):
        with pytest.raises(grpc.RpcError):
            driver.csi.channel.unary_unary("/csi.v1.Identity/Probe")(b"", timeout=5, metadata=[("x-long", "a" * length)])
    assert Client(driver.socket).Probe().ready.value
