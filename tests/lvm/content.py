"""Bytes in volumes, written and read as pods would."""
import os

import machine
from client import block
from machine import MiB

SOME = os.urandom(3 * MiB + 4096)  # does not end at an extent


def write(path, content, offset=0):
    with open(path, "r+b", buffering=0) as device:
        device.seek(offset)
        device.write(content)
        os.fsync(device.fileno())


def read(path, length=-1, offset=0):
    """From the device, not from what the kernel still has of it."""
    with open(path, "rb", buffering=0) as device:
        os.posix_fadvise(device.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        device.seek(offset)
        return device.read(length if length >= 0 else machine.size_of_device(path) - offset)


def write_file(path, content=b"content", name="file"):
    with open(f"{path}/{name}", "wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def read_file(path, name="file"):
    with open(f"{path}/{name}", "rb") as file:
        return file.read()


def same(found, expected):
    """Tells where two long contents differ, without printing them."""
    if found == expected:
        return True
    if len(found) != len(expected):
        raise AssertionError(f"{len(found)} bytes instead of {len(expected)}")
    first = next(index for index in range(len(found)) if found[index] != expected[index])
    count = sum(a != b for a, b in zip(found, expected))
    raise AssertionError(f"{count} bytes differ, from byte {first} on: {found[first:first + 16].hex()} instead of "
                         f"{expected[first:first + 16].hex()}")


def zeros(found, what=""):
    """True if all bytes are zero."""
    if found.count(0) == len(found):
        return True
    first = len(found) - len(found.lstrip(b"\0"))
    raise AssertionError(f"{what} is not zero: {len(found) - found.count(0)} of {len(found)} bytes, from byte {first} on: "
                         f"{found[first:first + 16].hex()}")


def places_of(marker, group):
    """Where some bytes still are on the disks of a volume group."""
    found = []
    for path in group.paths:
        content = read(path)
        if marker in content:
            found.append((path, content.index(marker)))
    return found


def put(driver, volume_id, content=SOME, offset=0):
    """Into a raw block volume that nobody uses."""
    write(driver.use_block(volume_id), content, offset)
    driver.release(volume_id)


def get(driver, volume_id):
    """All of a raw block volume that nobody uses."""
    content = read(driver.use_block(volume_id))
    driver.release(volume_id)
    return content


def new(driver, name, size, parameters, content=SOME):
    """A raw block volume with some content; its id."""
    volume = driver.csi.create(name, size, block(), parameters=parameters)
    put(driver, volume.volume_id, content)
    return volume.volume_id
