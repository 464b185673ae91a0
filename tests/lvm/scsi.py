"""Disks of the kernel's scsi_debug: hardware to the kernel, each with a model and bytes of its own."""
import itertools
import pathlib
import struct

import pytest

import machine
from groups import run, succeeds
from machine import MiB

SIZE = 64 * MiB
DISCARDED = 13  # sectors, among the numbers in `stat`: Documentation/admin-guide/iostats.rst
HOSTS = pathlib.Path("/sys/bus/pseudo/drivers/scsi_debug/add_host")
MODEL = pathlib.Path("/sys/module/scsi_debug/parameters/inq_product")


def present():
    return {path.name for path in pathlib.Path("/sys/class/block").glob("sd*") if not (path / "partition").exists()}


class ScsiDisk:
    def __init__(self, model):
        MODEL.write_text(model.ljust(16))
        before = present()
        HOSTS.write_text("1")
        assert machine.eventually(lambda: present() - before, 10), "scsi_debug has made no disk"
        self.name, = present() - before
        self.path, self.system = f"/dev/{self.name}", pathlib.Path("/sys/class/block", self.name)
        assert machine.eventually(self.is_ready, 10), f"{self.path} cannot be opened"

    def is_ready(self):
        """The kernel makes it known before it has asked for its size."""
        try:
            return machine.size_of_device(self.path) == SIZE
        except OSError:
            return False

    def set_rotational(self, number):
        (self.system / "queue/rotational").write_text(str(number))

    def discarded(self):
        """Bytes that it was told are free."""
        return int((self.system / "stat").read_text().split()[DISCARDED]) * 512

    def add_partitions(self, *sizes):
        """One after the other, from the first MiB on; their paths."""
        entries, start = b"", 2048
        for size in sizes:
            entries += struct.pack("<B3xB3xII", 0, 0x83, start, size // 512)
            start += size // 512
        with open(self.path, "r+b") as device:
            device.seek(446)
            device.write(entries.ljust(64, b"\0") + b"\x55\xaa")
        run("partx", "--update", self.path)
        return [f"{self.path}{number}" for number, _ in zip(itertools.count(1), sizes)]


@pytest.fixture
def new_scsi_disk():
    """new_scsi_disk("a model"): before the fixtures of drivers that use it, so that it goes after them."""
    run("modprobe", "-a", "sd_mod")
    run("modprobe", "scsi_debug", "add_host=0", "per_host_store=1", f"dev_size_mb={SIZE // MiB}", "lbpu=1", "delay=0")
    yield ScsiDisk
    assert machine.eventually(lambda: succeeds("modprobe", "-r", "scsi_debug"), 10), "a disk of scsi_debug is still in use"
