"""Bytes in volumes, written and read as pods would."""
import os
import threading
import time

import machine
from client import block
from machine import KiB, MiB

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


class Writer(threading.Thread):
    """Writes numbered blocks to a file and syncs each, as a database in a pod would, until it is ended."""
    block = 4 * KiB

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.synced, self.ending, self.trouble = path, 0, False, None
        self.start()

    @classmethod
    def content(cls, number):
        return number.to_bytes(8, "big") * (cls.block // 8)

    def run(self):
        try:
            with open(self.path, "wb", buffering=0) as file:
                while not self.ending:
                    file.write(self.content(self.synced + 1))
                    os.fsync(file.fileno())
                    self.synced += 1
                    time.sleep(0.01)
        except OSError as error:
            self.trouble = error

    def goes_on(self, seconds=10):
        reached = self.synced + 2  # one may have been synced before it was counted
        return machine.eventually(lambda: self.synced >= reached, seconds)

    def end(self):
        self.ending = True
        self.join(60)
        assert not self.is_alive(), "the writer hangs"

    @classmethod
    def whole_blocks(cls, path):
        """How many blocks a copy of the file has; all but the last, which may have been under way, must be whole."""
        with open(path, "rb") as file:
            found = [file.read(cls.block) for _ in range(os.stat(path).st_size // cls.block)]
        whole = [block == cls.content(number) for number, block in enumerate(found, 1)]
        assert all(whole[:-1]), f"block {whole.index(False) + 1} of {len(whole)} is not what was written"
        return sum(whole)


def new(driver, name, size, parameters, content=SOME):
    """A raw block volume with some content; its id."""
    volume = driver.csi.create(name, size, block(), parameters=parameters)
    put(driver, volume.volume_id, content)
    return volume.volume_id
