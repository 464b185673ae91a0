"""What goes wrong beside the driver: lvm's commands fail, lie or are killed, its reports are nonsense, the volume group is full, tags
are damaged, logical volumes vanish, something half made is there at the start."""
import contextlib
import hashlib
import json
import re
import time

import grpc
import pytest

import machine
import volume_group
from client import block, check_sentence, from_snapshot, from_volume, mount, refused, until_ok
from machine import GiB, MiB
from pretend_driver import KINDS, commands, misbehaving, tag_of

HOWS = {"thin": ["fail Insufficient free space: 5 extents needed, but only 2 available", "die-after"],
        "linear": ["die", "fail-after Device or resource busy."]}
RECOVERING = ("ABORTED", "UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "NOT_FOUND", "FAILED_PRECONDITION", "DEADLINE_EXCEEDED")


def recovers(call, seconds=60):
    return until_ok(call, seconds, RECOVERING)


class Steps:
    """Each step is begun with a command that misbehaves, and then again."""

    def __init__(self, driver, parameters, number):
        self.driver, self.parameters, self.number = driver, parameters, number

    @property
    def csi(self):
        return self.driver.csi

    def name(self, what):
        return f"{what}-{self.number}"

    def create(self, name="c", source=None, bytes=8 * MiB):
        return self.csi.create(self.name(name), bytes, block(), source=source, parameters=self.parameters).volume_id

    def formatted(self):
        return self.csi.create(self.name("m"), 16 * MiB, mount(), parameters=self.parameters).volume_id

    def steps(self):
        origin = self.create("origin")
        yield "lvcreate", self.create
        yield "lvchange", self.formatted
        yield "lvcreate", lambda: self.csi.CreateSnapshot(name=self.name("s"), source_volume_id=origin)
        snapshot = self.csi.snapshot(self.name("s"), origin).snapshot_id
        yield "lvcreate", lambda: self.create("restored", from_snapshot(snapshot), 12 * MiB)
        yield "lvcreate", lambda: self.create("cloned", from_volume(origin))
        yield "lvextend", lambda: self.csi.expand(origin, 12 * MiB)
        yield "lvchange", lambda: self.driver.stage(origin, block())
        yield "lvchange", lambda: self.driver.unstage(origin)
        yield "lvcreate", lambda: self.csi.group(self.name("g"), [origin, self.create()])
        yield "lvremove", lambda: self.csi.delete_snapshot(snapshot)
        yield "lvremove", lambda: self.csi.delete(self.create())


@pytest.mark.parametrize("kind", ["thin", "linear"])
def test_a_command_fails(new_driver, group, kind):
    driver = new_driver({"main": (group, "thinpool=thin")}).start()
    for number, how in enumerate(HOWS[kind]):
        for command, call in Steps(driver, KINDS[kind], number).steps():
            with misbehaving(command, how):
                driver.csi.seconds = 1
                try:
                    call()
                except grpc.RpcError as error:  # either is good, as long as the truth comes out later
                    check_sentence(error)
                except AssertionError:
                    pass  # the kubelet's part sees that what lvm said was not true
            driver.csi.seconds = 60
            recovers(call)
        driver.release_everything()
        recovers(driver.csi.delete_everything)
    assert machine.eventually(lambda: group.names() == set(), 5)


# --- reports

REPORT = {"report": [{"vg": [{"vg_name": "x"}], "pv": [], "lv": [], "pvseg": [], "seg": []}]}
NONSENSE = ["", "{", "[]", "null", "\\x00\\x01", '{"report": [' * 3000, json.dumps(REPORT), '{"report": 1}', '{"report": [{"vg": 1}]}', '{"report": []}',
            '{"report": [{"vg": [{}], "pv": [{}], "lv": [{}], "pvseg": [{}], "seg": [{}]}]}', '{"report": [{"lv": []}]}', "x" * 100000, '{"report": [{"vg": [\\xff]}]}']
CHANGES = [lambda report: report["vg"].append(report["vg"][0]), lambda report: report["lv"].append(report["lv"][0]),
           lambda report: report["lv"][0].update(lv_size="18446744073709551616"), lambda report: report["lv"][0].update(lv_size="-1"),
           lambda report: report["lv"][0].update(lv_name="n" * 5000), lambda report: report["lv"][0].update(lv_parent=report["lv"][0]["lv_name"]),
           lambda report: report["pvseg"].append({"lv_name": "nobody", "pvseg_size": "1", "pv_missing": ""}),
           lambda report: report["pvseg"][0].update(pvseg_size="9223372036854775807"), lambda report: report["seg"][0].update(lv_name=7),
           lambda report: report["vg"][0].update(vg_extent_size="0"), lambda report: report["vg"][0].pop("vg_tags"),
           lambda report: report["vg"][0].update(vg_name=""), lambda report: report["lv"][0].update(lv_tags="," * 4000)]


def nonsense(report):
    yield from NONSENSE
    for change in CHANGES:
        other = json.loads(report)
        change(other["report"][0])
        yield json.dumps(other).replace("\\", "\\\\")


def test_reports_that_are_none(driver, csi, group):
    volume = csi.create("a", 8 * MiB, block()).volume_id
    thick = csi.create("b", 8 * MiB, block(), parameters=KINDS["raid1"]).volume_id
    with driver_report(group) as report:
        for text in nonsense(report):
            with misbehaving("fullreport", "print " + text), misbehaving("lvcreate", "fail Nothing."):
                with pytest.raises(grpc.RpcError):  # from now on the inventory is in doubt
                    csi.create("d", 8 * MiB, block())
                for call in (csi.volumes, lambda: csi.create("c", 8 * MiB, block()), lambda: csi.health(volume)):
                    try:
                        call()
                    except grpc.RpcError as error:
                        check_sentence(error)
    with group.changed():
        pass
    time.sleep(1.1)  # how often the disk is looked at
    recovers(lambda: csi.create("c", 8 * MiB, block()))
    assert {volume, thick} <= set(recovers(csi.volume_ids))


@contextlib.contextmanager
def driver_report(group):
    """The report as the driver gets it."""
    import importlib.machinery
    import importlib.util
    loader = importlib.machinery.SourceFileLoader("pretended", str(volume_group.pathlib.Path(__file__).parent / "lvm"))
    lvm = importlib.util.module_from_spec(importlib.util.spec_from_loader("pretended", loader))
    loader.exec_module(lvm)
    with group.looked_at() as looked:
        report = {section: [{key: str(value) for key, value in row.items() if key not in ("lv_role", "lv_attr")} for row in found]
                  for section, _, found in lvm.rows(looked)}
    yield json.dumps({"report": [report]})


# --- room


def test_a_full_volume_group(new_driver, new_group):
    group = new_group(size=24 * MiB, devices=2, thin=0)
    csi = new_driver({"main": (group, "reserve=0")}).start().csi
    made = []
    with refused("RESOURCE_EXHAUSTED", "OUT_OF_RANGE"):
        for number in range(20):
            made.append(csi.create(f"v{number}", 8 * MiB, block()).volume_id)
    assert 3 <= len(made) <= 6
    with refused("RESOURCE_EXHAUSTED", "OUT_OF_RANGE"):
        csi.expand(made[0], 40 * MiB)
    for call in (lambda: csi.snapshot("s", made[0]), lambda: csi.create("c", 8 * MiB, block(), source=from_volume(made[0])),
                 lambda: csi.create("r", 8 * MiB, block(), parameters=KINDS["raid1"])):
        with refused("RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "INVALID_ARGUMENT"):
            call()
    csi.delete(made.pop())
    csi.create("again", 8 * MiB, block())
    with group.changed() as changed:  # somebody else takes what the driver believes to be free
        changed.add("other", ranges=changed.allocate(changed.free()))
    with refused("RESOURCE_EXHAUSTED", "OUT_OF_RANGE"):
        csi.create("late", 8 * MiB, block())
    with group.changed() as changed:
        changed.remove("other")


def test_a_thin_pool_that_fills_up(driver, csi, group):
    volume = csi.create("a", 8 * MiB, block()).volume_id
    commands()
    group.fill_thin_pool(data_used=GiB * 17 // 10, metadata_used=7 * MiB)
    assert machine.eventually(lambda: len([line for line in commands() if line.startswith("lvextend")]) > 0, 15), "the thin pool is not grown"
    group.fill_thin_pool(data_used=100 * GiB, metadata_used=MiB)
    with refused("RESOURCE_EXHAUSTED"):
        csi.create("b", 8 * MiB, block())
    assert csi.NodeGetStorageHealth().backend_health
    for flags in ("ro no_discard_passdown queue_if_no_space", "out_of_data_space", "rw needs_check", "Fail", ""):
        group.fill_thin_pool(flags=flags)
        csi.NodeGetStorageHealth(), csi.health(volume), csi.ControllerListVolumeHealth()
        with contextlib.suppress(grpc.RpcError):
            csi.GetCapacity()
    group.fill_thin_pool(data_used=0, flags="rw")
    recovers(lambda: csi.create("b", 8 * MiB, block()))


def test_a_volume_group_is_made_of_empty_devices(new_driver):
    paths = [volume_group.TOP / f"empty-{number}" for number in range(2)]
    for path in paths:
        with open(path, "wb") as file:
            file.truncate(2 * GiB)
    with open(volume_group.TOP / "used", "wb") as file:
        file.truncate(64 * MiB)
    machine.run("mkfs.ext4", "-q", volume_group.TOP / "used")

    class Made:
        name = "made"

        def names(self):
            return set()
    driver = new_driver({"main": (Made(), f"devices={paths[0]}+{paths[1]},thinpool=tp,thinpool-size=1Gi")}).start()
    driver.csi.delete(driver.csi.create("a", 8 * MiB, block()).volume_id)
    other = Made()
    other.name = "refused"
    second = new_driver({"main": (other, f"devices={volume_group.TOP / 'used'}")}).start()
    with refused("FAILED_PRECONDITION", "UNAVAILABLE", match="not empty"):
        second.csi.create("a", 8 * MiB, block())


# --- behind the driver's back


def signed(volume, head, rest):
    """A tag whose check is right (docs/lvm.md)."""
    check = hashlib.sha256(f"{volume}:{head}:{rest}".encode()).hexdigest()[:8]
    return f"plinth.1:{head}:{check}:{rest}"


DAMAGE = [lambda tag: "", lambda tag: tag.replace(":r", ":d", 1), lambda tag: tag[:-4], lambda tag: "plinth.1:", lambda tag: tag.rpartition(":")[0],
          lambda tag: tag + ":more", lambda tag: "plinth.1:rv-:1:::::::00000000:a:", lambda tag: tag.replace("plinth.1:", "plinth.2:", 1),
          lambda tag: "plinth.1:" + "x" * 240, lambda tag: "plinth.1:" + "x" * 900, lambda tag: "plinth.1:" + ":" * 60, lambda tag: "plinth.1:rv-:" + "=" * 100,
          lambda tag: re.sub(r":([0-9a-f]{8}):", ":ffffffff:", tag), lambda tag: tag.replace("rv", "rs", 1), lambda tag: tag.replace("rv-", "\xff\xfe-", 1)]


def set_tag(group, name, tag):
    with group.changed() as changed:
        changed.volumes[name]["tags"] = [tag] if tag else []


@pytest.mark.damaged
def test_damaged_tags(driver, csi, group):
    volumes = {csi.create(f"v{number}", 8 * MiB, block(), parameters=KINDS["thin" if number % 2 else "linear"]).volume_id: damage
               for number, damage in enumerate(DAMAGE)}
    tags = {volume: tag_of(group, volume) for volume in volumes}
    for restart in (True, False):
        for volume, damage in volumes.items():
            set_tag(group, volume, damage(tags[volume]))
        driver.restart() if restart else time.sleep(1.1)
        driver.csi.volumes()
        unhealthy = {entry.volume_id for entry in driver.csi.ControllerListVolumeHealth().entries}
        assert unhealthy == set(volumes)
        for number, volume in enumerate(volumes):
            call = [lambda: driver.stage(volume, block()), lambda: driver.csi.snapshot("s", volume), lambda: driver.csi.expand(volume, 16 * MiB),
                    lambda: driver.csi.DeleteVolume(volume_id=volume)][number % 4]
            with refused("DATA_LOSS", "FAILED_PRECONDITION", "NOT_FOUND", "UNAVAILABLE"):
                call()
        for volume, tag in tags.items():
            set_tag(group, volume, tag)
        driver.restart() if restart else time.sleep(1.1)
        assert set(driver.csi.volume_ids()) == set(volumes)
    driver.csi.delete_everything()


@pytest.mark.damaged
def test_damaged_ones_that_vanish_are_forgotten(driver, csi, group):
    volumes = [csi.create(f"v{number}", 8 * MiB, block(), parameters=KINDS["linear"]).volume_id for number in range(4)]
    tag = tag_of(group, volumes[0])

    def unhealthy():
        time.sleep(1.1)
        csi.volumes()
        return {entry.volume_id for entry in csi.ControllerListVolumeHealth().entries}
    for volume in volumes:
        set_tag(group, volume, "plinth.1:")
        assert volume in unhealthy()
    for vanished in (volumes[3], volumes[1], volumes[2]):
        group.drop(vanished)
    assert unhealthy() == {volumes[0]}
    set_tag(group, volumes[0], tag)
    assert unhealthy() == set()


@pytest.mark.parametrize("kind", ["thin", "linear"])
def test_volumes_vanish(driver, csi, group, kind):
    """Removed, and renamed, while the driver runs; each is then asked for something else."""
    volumes = [csi.create(f"v{number}", 8 * MiB, block(), parameters=KINDS[kind]).volume_id for number in range(6)]
    snapshot = csi.snapshot("s", volumes[5]).snapshot_id
    for name in (*volumes, snapshot):
        group.drop(name)
    for volume, call in zip(volumes, (lambda it: driver.stage(it, block()), lambda it: csi.CreateSnapshot(name="t", source_volume_id=it),
                                      lambda it: csi.expand(it, 16 * MiB), lambda it: csi.create("c", 8 * MiB, block(), source=from_volume(it)),
                                      lambda it: csi.group("g", [it]))):
        with refused("DATA_LOSS", "NOT_FOUND", "INTERNAL", "FAILED_PRECONDITION", "UNAVAILABLE", match=volume):
            call(volume)
    with refused("DATA_LOSS", "NOT_FOUND", "INTERNAL", "FAILED_PRECONDITION", "UNAVAILABLE"):
        csi.create("r", 8 * MiB, block(), source=from_snapshot(snapshot))
    driver.restart()
    driver.csi.delete(volumes[5])
    driver.csi.delete_snapshot(snapshot)
    assert driver.csi.volumes() == [] and driver.csi.snapshots() == []


def half_made(group, changed, origin, letter, head, **more):
    name = origin[:-20] + letter * 20
    volume = changed.add(name, tags=[signed(name, head, ":")], **more)
    changed.resize(name, 8 * MiB)
    return name, volume


def test_half_made_ones_at_the_start(driver, csi, group):
    origin = csi.create("a", 8 * MiB, block(), parameters=KINDS["linear"]).volume_id
    thin = csi.create("b", 8 * MiB, block()).volume_id
    driver.stop()
    now = f"{time.time_ns():x}"
    with group.changed() as changed:
        half_made(group, changed, origin, "1", f"cv-t:{now}:::::")
        half_made(group, changed, origin, "2", f"cve:{now}:::::", type="thin", pool="thin")
        half_made(group, changed, origin, "3", f"dv-t:{now}:::::")
        half_made(group, changed, origin, "4", f"dv-tz:{now}:::::")
        half_made(group, changed, origin, "5", f"cv-ty:{now}::{origin}:::")
        for suffix in ("cut", "grow"):
            name = f"{origin}.{suffix}"
            changed.add(name, origin=origin if suffix == "cut" else "", tags=[f"plinth.1:{suffix}"])
            changed.resize(name, 8 * MiB)
        changed.volumes["thin"]["transaction"] += 1  # device-mapper has heard it already: a scratch volume is made and removed
        changed.activate(origin)
    lines = changed.device("thin").read_text().split("\n")
    words = lines[1].split(" ")
    lines[1] = " ".join([str(int(words[0]) - 1), *words[1:]])
    changed.device("thin").write_text("\n".join(lines))
    (volume_group.TOP / "suspended" / changed.device_name(origin)).touch()
    driver.start()
    assert not list((volume_group.TOP / "suspended").iterdir())
    assert machine.eventually(lambda: group.names() == {origin, thin}, 20), group.names()
    group_device_down(group, origin)


def group_device_down(group, name):
    with group.changed() as changed:
        changed.deactivate(name)


@pytest.mark.parametrize("point", ["node.stage.attached", "node.stage.mounted"])
def test_a_stage_that_fails_gives_the_device_back(driver, csi, group, point):
    volume = csi.create("a").volume_id
    driver.restart(fault=f"{point}=fail")
    with refused("INTERNAL", match=point):
        driver.stage(volume)
    assert group.number(volume) is None, "it stays active"
    driver.use(volume)


def test_what_is_not_found_while_a_pool_is_opened_is_no_volume_that_is_gone(driver, csi, group):
    volume = csi.create("a", 8 * MiB, block()).volume_id
    driver.stop()
    with group.changed() as changed:
        changed.deactivate("thin")
    with misbehaving("lvchange", "fail Failed to find logical volume"):
        driver.start()
        with refused("UNAVAILABLE", match="Failed to find"):
            driver.csi.DeleteVolume(volume_id=volume)
    recovers(lambda: driver.csi.DeleteVolume(volume_id=volume))
    assert volume not in group.names()
