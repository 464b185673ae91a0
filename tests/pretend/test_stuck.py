"""A command that hangs."""
import contextlib
import socket
import threading
import time
import urllib.request

import grpc
import pytest

import machine
from client import block, refused, until_ok
from driver import PATIENCE, Died
from machine import MiB
from pretend_driver import KINDS, hanging, hanging_device_mapper, kill_children, misbehaving

WAITING = ("DEADLINE_EXCEEDED", "ABORTED", "UNAVAILABLE")


def ask(csi, name="a", timeout=3, kind="linear"):
    return csi.CreateVolume(name=name, capacity_range={"required_bytes": 8 * MiB}, volume_capabilities=[block()], parameters=KINDS[kind],
                            timeout=timeout).volume


@pytest.mark.parametrize("how, kind", [("hang", "linear"), ("hang-after", "thin")])
def test_the_deadline_is_kept_and_the_driver_recovers(driver, csi, group, how, kind):
    before = csi.create("before", 8 * MiB, block(), parameters=KINDS[kind]).volume_id
    with misbehaving("lvcreate", how):
        began = time.monotonic()
        with refused(*WAITING, match="lvcreate"):
            ask(csi, kind=kind)
        assert time.monotonic() - began < 3.5
        began = time.monotonic()
        csi.Probe(), csi.volumes(), csi.snapshots(), csi.health(before), csi.NodeGetStorageHealth()
        assert time.monotonic() - began < 0.2 * PATIENCE + 1, "others wait for the stuck command"
        for call in (lambda: csi.CreateSnapshot(name="s", source_volume_id=before, timeout=2), lambda: csi.DeleteVolume(volume_id=before, timeout=2)):
            with refused(*WAITING, match="lvm|lvcreate|waiting|under way"):
                call()
    made = until_ok(lambda: ask(csi, kind=kind, timeout=30), 30, WAITING)
    assert csi.volume_ids().count(made.volume_id) == 1 and made.volume_id in group.names()
    csi.delete(before)


def test_a_hanging_command_is_killed_by_somebody(csi, group):
    with misbehaving("lvcreate", "hang"):
        with refused(*WAITING):
            ask(csi, timeout=2)
        pids = hanging()
        assert pids
    kill_children(pids)
    made = until_ok(lambda: ask(csi, timeout=30), 30, (*WAITING, "INTERNAL"))
    assert group.names() == {made.volume_id}


def test_the_driver_ends_although_a_command_hangs(driver, csi, group):
    with misbehaving("lvcreate", "hang-after"):
        with refused(*WAITING):
            ask(csi, timeout=2)
        began = time.monotonic()
        driver.stop()
        assert time.monotonic() - began < 5
        assert machine.eventually(lambda: not machine.strangers()), "it still has the pool's lock"
    driver.start()
    until_ok(lambda: ask(driver.csi, timeout=30), 30, WAITING)


def test_a_driver_is_ended_while_it_starts(new_driver, group):
    """It listens when it has waited for its pools, or they are open."""
    driver = new_driver({"main": (group, "")})
    with misbehaving("fullreport", "hang"):
        thread = threading.Thread(target=lambda: pytest.raises(Died, driver.start))
        thread.start()
        assert machine.eventually(hanging, 5 * PATIENCE)
        driver.process.terminate()
        thread.join()
        assert driver.process.wait(3 * PATIENCE) == 0
        assert b"serving" not in driver.log_bytes()
        assert machine.eventually(lambda: not machine.strangers()), "its command still has the pool's lock"
    driver.start()


def test_scrapes_that_hang_leave_the_health_check_alone(new_driver, group):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % listener.getsockname()[1]
    new_driver({"main": (group, "thinpool=thin")}, options=["--http", address]).start()

    def get(path):
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=10 * PATIENCE) as answer:
            return answer.read().decode()

    def scrape(index):
        for _ in range(100):  # on a slow machine more than 16 may be there at a time, which are not served
            with contextlib.suppress(OSError):
                scraped[index] = get("metrics")
                return
            time.sleep(0.2)
    scraped = [None] * 20
    scrapes = [threading.Thread(target=scrape, args=(index,)) for index in range(len(scraped))]
    with hanging_device_mapper():
        for thread in scrapes:
            thread.start()
            time.sleep(0.15)
        assert get("healthz") == "ok\n"
        assert machine.eventually(lambda: scraped.count(None) == 1, 10 * PATIENCE), "not all but one are answered"
        assert not any("plinth_pool_usable" in text for text in scraped if text is not None)
    for thread in scrapes:
        thread.join()
    assert 'plinth_pool_usable{pool="main",kind="lvm"} 1' in get("metrics")


def test_a_half_made_group_that_cannot_be_removed_does_not_hold_up_the_start(driver, csi, group):
    volumes = [csi.create(name, 8 * MiB, block(), parameters=KINDS["thin"]).volume_id for name in ("a", "b")]
    driver.restart(PLINTH_FAULT="snapshot.making.made=kill")
    with pytest.raises(grpc.RpcError):
        driver.csi.group("g", volumes)
    assert driver.ended_by_kill(5) and len(group.names()) == 3
    with misbehaving("lvremove", "hang"):
        driver.start()
        assert hanging() and len(driver.csi.volumes()) == 2
    assert machine.eventually(lambda: group.names() == set(volumes), 10 * PATIENCE)


def test_a_promised_group_waits_for_a_pool_that_is_opened_late(new_driver, new_group):
    """Its members were being copied from their cuts, in two volume groups, when the driver was killed."""
    groups = [new_group(), new_group()]
    driver = new_driver({"one": (groups[0], "thinpool=thin"), "two": (groups[1], "thinpool=thin")}).start()
    volumes = [driver.csi.create(name, 8 * MiB, block(), parameters={**KINDS["linear"], "pool": name}).volume_id for name in ("one", "two")]
    driver.restart(PLINTH_FAULT="transfer.copy.piece=kill")
    with pytest.raises(grpc.RpcError):
        driver.csi.group("g", volumes)
    assert driver.ended_by_kill(5)
    with misbehaving(f"fullreport-{groups[1].name}", "fail its disk is missing"):
        driver.start()
    assert len(groups[0].names()) == 3, "the member whose pool is open, its cut and its volume"
    time.sleep(1.1)  # the pool is tried again once a second
    until_ok(lambda: driver.csi.GetCapacity(parameters={"pool": "two"}), 30, WAITING)
    assert machine.eventually(lambda: [snapshot.ready_to_use for snapshot in driver.csi.snapshots()] == [True, True], 10 * PATIENCE)
    assert len(driver.csi.group("g", volumes).snapshots) == 2
