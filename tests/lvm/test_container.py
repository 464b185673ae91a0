"""The driver in a container: a root of its own with the host's /dev, lock directory and kubelet, and the host's `lvm` beside it."""
import fcntl
import pathlib
import threading

import pytest

import groups
import machine
from client import Client, block, from_snapshot, refused
from content import SOME, read_file, write_file
from kinds import KINDS, of_main_kinds
from lvm_driver import LvmDriver
from machine import MiB

# Its /run, /etc and /var/lib are its own, and so are the names of hosts, the network and System V's semaphores, by which LVM waits for a udev.
INSIDE = """
mkdir -p "$0/locks" && mount --bind /run/lock/lvm "$0/locks" || exit
for own in /run /etc/lvm /var/lib; do mount -t tmpfs tmpfs $own || exit; done
mkdir -p /run/lock/lvm && mount --bind "$0/locks" /run/lock/lvm && umount "$0/locks" || exit
exec "$@"
"""
DEVICES_FILE = pathlib.Path("/etc/lvm/devices/system.devices")


class ContainedDriver(LvmDriver):
    """What it mounts below the kubelet's directory is there on the host, too."""

    def __init__(self, directory, pools, **more):
        super().__init__(directory, pools, **more)
        groups.run("mount", "--bind", self.kubelet, self.kubelet)
        groups.run("mount", "--make-shared", self.kubelet)

    def command(self):
        namespaces = ["--mount", "--ipc", "--uts", "--net", "--propagation", "unchanged"]
        return ["unshare", *namespaces, "sh", "-c", INSIDE, str(self.directory), *super().command()]


@pytest.fixture
def driver(new_driver, main):
    return new_driver({"main": (main, "thinpool=thin")}, driver_class=ContainedDriver).start()


@pytest.fixture
def devices_file():
    """The host has one, in which the disks of the volume group are not."""
    DEVICES_FILE.parent.mkdir(parents=True, exist_ok=True)
    DEVICES_FILE.write_text("VERSION=1.1.1\nIDTYPE=devname IDNAME=/dev/ubdf DEVNAME=/dev/ubdf PVID=.\n")
    yield DEVICES_FILE
    DEVICES_FILE.unlink()


@of_main_kinds
def test_a_volume_has_its_whole_life_in_a_container(driver, devices_file, kind, parameters):
    text = devices_file.read_text()
    volume = driver.csi.create("a", 48 * MiB, parameters=parameters).volume_id
    write_file(driver.use(volume), SOME)
    snapshot = driver.csi.snapshot("s", volume).snapshot_id
    driver.csi.expand(volume, 96 * MiB)
    copy = driver.csi.create("copy", 48 * MiB, source=from_snapshot(snapshot)).volume_id
    driver.restart()
    assert read_file(driver.use(copy)) == SOME
    assert devices_file.read_text() == text
    assert not [words for words in machine.strangers().values() if "dmeventd" in words]


def test_lvm_of_the_host_and_of_the_container_wait_for_each_other(driver, main):
    impatient = Client(driver.socket, 3)
    with open("/run/lock/lvm/V_main", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with refused("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
            impatient.create("a", 16 * MiB, block())
    impatient.close()
    ended = threading.Event()

    def administrate():
        while not ended.is_set():
            main.add("foreign", 16 * MiB)
            main.drop("foreign")
    administrator = threading.Thread(target=administrate)
    administrator.start()
    try:
        volumes = [driver.csi.create(f"v{number}", 16 * MiB, block(), parameters=KINDS["linear"]).volume_id for number in range(5)]
    finally:
        ended.set()
        administrator.join(30)
    assert not administrator.is_alive() and set(volumes) <= main.names()
