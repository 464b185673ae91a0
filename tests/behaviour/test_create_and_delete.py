"""CreateVolume and DeleteVolume: names, sizes, parameters, topology; and that both can be repeated."""
import hashlib
import json

import pytest

import machine
from client import MODES, block, csi_pb2, from_snapshot, from_volume, mount, refused, size
from driver import TOPOLOGY_KEY
from machine import GiB, MiB
from marks import on_both_pools


# --- what is made


@on_both_pools
def test_a_volume_has_the_size_file_system_and_place_that_were_asked_for(driver):
    volume = driver.csi.create("a", 16 * MiB)
    assert volume.capacity_bytes == 16 * MiB
    assert [dict(topology.segments) for topology in volume.accessible_topology] == [{TOPOLOGY_KEY: "node-a"}]
    assert not volume.HasField("content_source")
    image = driver.image(volume.volume_id)
    assert image.stat().st_size == 16 * MiB
    assert "ext4" in machine.run("blkid", "-p", image)


def test_the_id_is_made_of_pool_node_and_name(driver):
    volume = driver.csi.create("some-name")
    pool = json.loads((driver.pool_path() / "pool.json").read_text())["id"]
    hint = hashlib.sha256(b"node-a").hexdigest()[:8]
    digits = hashlib.sha256(b"some-name").hexdigest()[:20]
    assert volume.volume_id == f"{pool}-{hint}-{digits}"


def test_the_record_beside_the_image_says_what_it_is(driver):
    volume = driver.csi.create("a", 16 * MiB, parameters={
        "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "shop",
        "csi.storage.k8s.io/pv/name": "pv-1"})
    record = driver.record(volume.volume_id)
    expected = {"kind": "volume", "id": volume.volume_id, "name": "a", "bytes": 16 * MiB,
                "filesystem": "ext4", "thick": False, "claimName": "data", "claimNamespace": "shop"}
    assert {key: record.get(key) for key in expected} == expected


@pytest.mark.parametrize("fstype, bytes", [("ext4", 10 * MiB), ("ext4", 8 * MiB), ("xfs", 300 * MiB)])
def test_the_smallest_volumes_work(driver, fstype, bytes):
    volume = driver.csi.create("a", bytes, mount(fstype))
    assert volume.capacity_bytes == bytes
    path = driver.use(volume.volume_id)
    with open(f"{path}/file", "wb") as file:
        file.write(b"x" * MiB)
    assert machine.size_of_filesystem(path) > bytes // 3


@pytest.mark.parametrize("fstype, bytes", [("ext4", 8 * MiB - 4096), ("ext4", 1), ("xfs", 300 * MiB - 4096)])
def test_too_small_for_the_file_system_is_out_of_range_and_says_what_is_not(csi, fstype, bytes):
    with refused("OUT_OF_RANGE", match="300|8"):
        csi.create("a", bytes, mount(fstype))
    assert csi.volumes() == []


def test_sizes_are_rounded_up_to_4_kib(csi):
    assert csi.create("a", 16 * MiB + 1).capacity_bytes == 16 * MiB + 4096


def test_rounding_up_does_not_pass_the_limit(csi):
    with refused("OUT_OF_RANGE", match="limit"):
        csi.create("a", 16 * MiB + 1, limit=16 * MiB + 2)


def test_without_a_size_it_is_one_gib(csi):
    assert csi.create("a", 0).capacity_bytes == GiB


def test_a_limit_alone_is_kept(csi):
    assert 0 < csi.create("a", 0, limit=20 * MiB).capacity_bytes <= 20 * MiB


@pytest.mark.options("--default-fstype", "xfs")
def test_the_default_file_system_serves_capabilities_that_name_none(driver):
    volume = driver.csi.create("a", 300 * MiB, mount(""))
    assert driver.record(volume.volume_id)["filesystem"] == "xfs"


@on_both_pools
def test_a_thick_volume_is_allocated_and_a_thin_one_is_not(driver):
    thick = driver.csi.create("thick", 32 * MiB, block(), parameters={"provisioning": "thick"})
    thin = driver.csi.create("thin", 32 * MiB, block(), parameters={"provisioning": "thin"})
    assert machine.allocated(driver.image(thick.volume_id)) >= 32 * MiB
    assert machine.allocated(driver.image(thin.volume_id)) == 0
    for volume in (thick, thin):
        assert driver.image(volume.volume_id).read_bytes() == bytes(32 * MiB)


@pytest.mark.pool("provisioning=thick")
def test_a_pool_can_be_thick_by_default(driver):
    by_default = driver.csi.create("default", 16 * MiB, block())
    thin = driver.csi.create("thin", 16 * MiB, block(), parameters={"provisioning": "thin"})
    assert machine.allocated(driver.image(by_default.volume_id)) >= 16 * MiB
    assert machine.allocated(driver.image(thin.volume_id)) == 0


def test_mkfs_options_of_the_class_are_used(driver):
    volume = driver.csi.create("a", 16 * MiB, parameters={"mkfsOptions": "-I 512 -m 3"})
    shown = dict(line.split(":", 1) for line in
                 machine.run("dumpe2fs", "-h", driver.image(volume.volume_id)).splitlines() if ":" in line)
    assert int(shown["Inode size"]) == 512
    assert int(shown["Reserved block count"]) > 0


@pytest.mark.parametrize("options", ["-d /etc", "-E hash_seed=$(id)", "-J device=/dev/sda", "/dev/sda", "-I 512;id", "--help",
                                     "-F -F", "-n", "-O ^metadata_csum /dev/sda", "-L ../x", "-U /etc/passwd"])
def test_mkfs_options_that_name_devices_or_files_are_refused(csi, options):
    with refused("INVALID_ARGUMENT", match="mkfsOptions"):
        csi.create("a", parameters={"mkfsOptions": options})
    assert csi.volumes() == []


def test_mkfs_options_make_no_sense_for_block(csi):
    with refused("INVALID_ARGUMENT", match="mkfsOptions"):
        csi.create("a", capability=block(), parameters={"mkfsOptions": "-m 1"})


@pytest.mark.parametrize("parameters", [{"provisoning": "thin"}, {"provisioning": "fat"}, {"pool": "elsewhere"}, {"Pool": "scratch"},
                                        {"": ""}, {"csi.storage.k8s.io": "x"}])
def test_unknown_parameters_are_refused(csi, parameters):
    with refused("INVALID_ARGUMENT"):
        csi.create("a", parameters=parameters)
    assert csi.volumes() == []


@pytest.mark.parametrize("parameters, words", [
    ({"layout": "raid2"}, "layout is one of linear, striped, raid1, raid5, raid6, raid10"), ({"layout": ""}, "layout is one of"),
    ({"layout": "striped", "stripes": "1"}, "stripes is a number from 2 to 32"), ({"layout": "striped", "stripes": "33"}, "from 2 to 32"),
    ({"layout": "striped", "stripes": " 2"}, "stripes is a number"), ({"layout": "striped", "stripes": "2x"}, "stripes is a number"),
    ({"layout": "striped", "stripes": "99999999999999999999"}, "stripes is a number"), ({"layout": "raid6", "stripes": "2"}, "at least 3 stripes"),
    ({"layout": "raid1", "mirrors": "0"}, "mirrors is a number from 1 to 4"), ({"layout": "raid1", "mirrors": "5"}, "from 1 to 4"),
    ({"stripes": "2"}, "stripes is for layout .*, and the layout is linear"), ({"layout": "raid1", "stripes": "2"}, "stripes is for layout"),
    ({"mirrors": "1"}, "mirrors is for layout raid1"), ({"layout": "raid5", "mirrors": "1"}, "mirrors is for layout raid1"),
    ({"layout": "raid1", "provisioning": "thin"}, "layout raid1 is for thick volumes"), ({"wipe": "shred"}, "wipe is one of none, discard, zero"),
    ({"layout": "raid1"}, "pool scratch is one directory"), ({"wipe": "zero"}, "cannot wipe"), ({"wipe": "discard"}, "cannot wipe")])
def test_layouts_and_wiping_that_cannot_be_are_refused(driver, parameters, words):
    with refused("INVALID_ARGUMENT", match=words):
        driver.csi.create("a", MiB, block(), parameters=parameters)
    assert driver.csi.volumes() == [] and machine.tree(driver.pool_path() / "volumes") == []


def test_what_every_pool_can_do_may_be_said_and_counts(csi):
    parameters = {"layout": "linear", "wipe": "none"}
    volume = csi.create("a", MiB, block(), parameters=parameters)
    assert csi.create("a", MiB, block(), parameters=dict(reversed(parameters.items()))) == volume
    with refused("ALREADY_EXISTS", match="parameters"):
        csi.create("a", MiB, block(), parameters={"layout": "linear"})
    assert csi.GetCapacity(parameters={"layout": "raid10", "stripes": "2", "mirrors": "1", "wipe": "zero"}).available_capacity > 0


def test_parameters_of_kubernetes_are_left_to_it(csi):
    assert csi.create("a", parameters={"csi.storage.k8s.io/anything": "x"}).volume_id


def test_mutable_parameters_are_refused_as_there_are_none(csi):
    with refused("INVALID_ARGUMENT", match="mutable"):
        csi.create("a", mutable_parameters={"iops": "7"})


def test_a_volume_is_made_in_the_pool_that_the_class_names(new_driver, disks):
    paths = {name: disks[kind].path / f"named-{name}" for name, kind in (("one", "reflink"), ("two", "plain"))}
    for path in paths.values():
        path.mkdir()
    driver = new_driver(pools={name: (path, "") for name, path in paths.items()}).start()
    for name, parameters in (("one", {}), ("two", {"pool": "two"}), ("one", {"pool": "one"})):
        volume = driver.csi.create(f"in-{name}-{len(parameters)}", parameters=parameters)
        assert (paths[name] / "volumes" / volume.volume_id / "data").exists()
    assert len(driver.csi.volumes()) == 3
    with refused("INVALID_ARGUMENT", match="one, two"):
        driver.csi.create("c", parameters={"pool": "three"})
    # The name is looked for in all pools first.
    with refused("ALREADY_EXISTS"):
        driver.csi.create("in-two-1", parameters={"pool": "one"})


# --- names


@pytest.mark.parametrize("name", ["x" * 128, "é" * 64, "📦" * 32, "a\tb\nc\rd", "../../etc/passwd", "a b'c\"d\\e", "-", "%n%s", "名前", "/"])
def test_any_name_that_csi_allows_is_served(driver, name):
    volume = driver.csi.create(name, capability=block())
    assert driver.csi.create(name, capability=block()).volume_id == volume.volume_id
    assert driver.record(volume.volume_id)["name"] == name
    driver.restart()
    assert driver.csi.volume_ids() == [volume.volume_id]


# --- what is missing or wrong


def create_request(**changes):
    fields = {"name": "a", "volume_capabilities": [mount()], "capacity_range": size(16 * MiB)}
    return csi_pb2.CreateVolumeRequest(**{**fields, **changes})


@pytest.mark.parametrize("what, changes", {
    "no name": {"name": ""},
    "no capability": {"volume_capabilities": []},
    "an empty capability": {"volume_capabilities": [{}]},
    "no access mode": {"volume_capabilities": [{"mount": {}}]},
    "an unknown access mode": {"volume_capabilities": [{"mount": {}, "access_mode": {"mode": 0}}]},
    "neither block nor mount": {"volume_capabilities": [{"access_mode": {"mode": MODES.SINGLE_NODE_WRITER}}]},
    "an unknown file system": {"volume_capabilities": [mount("ntfs")]},
    "two file systems": {"volume_capabilities": [mount("ext4"), mount("xfs")]},
    "block and mount": {"volume_capabilities": [mount(), block()]},
    "a mount group": {"volume_capabilities": [mount(group="1000")]},
    "a negative size": {"capacity_range": size(-1)},
    "a negative limit": {"capacity_range": size(0, -1)},
    "the smallest size": {"capacity_range": size(-2**63)},
    "a limit below the size": {"capacity_range": size(16 * MiB, 8 * MiB)},
    "a source of no kind": {"volume_content_source": {}},
    "a source snapshot without id": {"volume_content_source": from_snapshot("")},
    "a source volume without id": {"volume_content_source": from_volume("")},
}.items())
def test_a_request_with_something_missing_or_wrong_is_invalid(csi, what, changes):
    with refused("INVALID_ARGUMENT"):
        csi.CreateVolume(create_request(**changes))
    assert csi.volumes() == []


@pytest.mark.parametrize("bytes", [2**63 - 1, 2**63 - 4096, 2**62 + 1])
def test_a_size_that_no_file_can_have_is_out_of_range(csi, bytes):
    with refused("OUT_OF_RANGE"):
        csi.create("a", bytes)
    assert csi.volumes() == []


@pytest.mark.parametrize("bytes", [2**50, 2**62])
def test_a_size_that_the_pool_does_not_have_is_exhausted(driver, bytes):
    with refused("RESOURCE_EXHAUSTED", "OUT_OF_RANGE"):
        driver.csi.create("a", bytes)
    assert driver.csi.volumes() == []
    assert machine.tree(driver.pool_path() / "volumes") == []


def test_a_source_that_is_not_there_is_not_found(csi):
    nowhere = csi.create("gone", capability=block()).volume_id
    csi.delete(nowhere)
    for source in (from_volume(nowhere), from_volume("nonsense"), from_snapshot(nowhere), from_snapshot("nonsense")):
        with refused("NOT_FOUND"):
            csi.create("a", capability=block(), source=source)


# --- the same name again (csi.md 1.6)


def test_the_same_request_gives_the_same_volume(driver):
    first = driver.csi.CreateVolume(create_request()).volume
    for _ in range(5):
        assert driver.csi.CreateVolume(create_request()).volume == first
    assert driver.csi.volume_ids() == [first.volume_id]


@pytest.mark.parametrize("what, changes", {
    "a smaller size": {"capacity_range": size(8 * MiB)},
    "a range around the size": {"capacity_range": size(10 * MiB, 20 * MiB)},
    "no size": {"capacity_range": None},
    "another access mode": {"volume_capabilities": [mount(mode="SINGLE_NODE_WRITER")]},
    "mount flags": {"volume_capabilities": [mount(flags=["noatime"])]},
    "the claim's name": {"parameters": {"csi.storage.k8s.io/pvc/name": "x"}},
    "secrets": {"secrets": {"a": "b"}},
    "a topology that fits": {"accessibility_requirements": {"requisite": [{"segments": {TOPOLOGY_KEY: "node-a"}}]}},
}.items())
def test_what_the_volume_satisfies_too_gives_the_same_volume(driver, what, changes):
    first = driver.csi.CreateVolume(create_request()).volume
    assert driver.csi.CreateVolume(create_request(**changes)).volume.volume_id == first.volume_id


@pytest.mark.parametrize("what, changes", {
    "a larger size": {"capacity_range": size(32 * MiB)},
    "a limit below its size": {"capacity_range": size(0, 8 * MiB)},
    "another file system": {"volume_capabilities": [mount("xfs")]},
    "a block device": {"volume_capabilities": [block()]},
    "parameters": {"parameters": {"provisioning": "thin"}},
    "mkfs options": {"parameters": {"mkfsOptions": "-m 1"}},
}.items())
def test_what_the_volume_does_not_satisfy_already_exists(driver, what, changes):
    first = driver.csi.CreateVolume(create_request()).volume
    with refused("ALREADY_EXISTS"):
        driver.csi.CreateVolume(create_request(**changes))
    assert driver.csi.volumes() == [first]


def test_another_source_already_exists(driver):
    csi = driver.csi
    origin, other = csi.create("origin"), csi.create("other")
    snapshot = csi.snapshot("snapshot", origin.volume_id)
    copy = csi.create("copy", source=from_snapshot(snapshot.snapshot_id))
    assert copy.content_source == from_snapshot(snapshot.snapshot_id)
    again = csi.create("copy", source=from_snapshot(snapshot.snapshot_id))
    assert again == copy
    for source in (None, from_volume(origin.volume_id), from_volume(other.volume_id)):
        with refused("ALREADY_EXISTS"):
            csi.create("copy", source=source)
    with refused("ALREADY_EXISTS"):
        csi.create("other", source=from_volume(origin.volume_id))


def test_the_same_request_finds_a_copy_although_its_source_is_gone(driver):
    csi = driver.csi
    origin = csi.create("origin")
    copy = csi.create("copy", source=from_volume(origin.volume_id))
    csi.delete(origin.volume_id)
    assert csi.create("copy", source=from_volume(origin.volume_id)) == copy


def test_a_name_can_be_used_again_after_deletion(driver):
    first = driver.csi.create("a", 16 * MiB, block())
    driver.image(first.volume_id).write_bytes(b"x" * 16 * MiB)
    driver.csi.delete(first.volume_id)
    second = driver.csi.create("a", 32 * MiB, block())
    assert second.capacity_bytes == 32 * MiB
    assert driver.image(second.volume_id).read_bytes() == bytes(32 * MiB)


# --- topology


def topology(*names, kind="requisite", key=TOPOLOGY_KEY):
    return {kind: [{"segments": {key: name}} for name in names]}


@pytest.mark.parametrize("requirement", [
    topology("node-a"), topology("node-b", "node-a"), topology("node-a", kind="preferred"),
    {**topology("node-a", "node-b"), **topology("node-b", "node-a", kind="preferred")},
    topology("node-a", key=TOPOLOGY_KEY.upper()), {}])
def test_a_topology_with_this_node_is_served(csi, requirement):
    volume = csi.create("a", accessibility_requirements=requirement)
    assert [dict(entry.segments) for entry in volume.accessible_topology] == [{TOPOLOGY_KEY: "node-a"}]


@pytest.mark.parametrize("requirement", [
    topology("node-b"), topology("NODE-A"), topology("node-a", key="another.driver/node"),
    {"requisite": [{"segments": {TOPOLOGY_KEY: "node-a", "csi.plinth.dev/zone": "z"}}]}])
def test_a_topology_without_this_node_is_exhausted_so_that_another_is_tried(csi, requirement):
    with refused("RESOURCE_EXHAUSTED", match="node-a"):
        csi.create("a", accessibility_requirements=requirement)
    assert csi.volumes() == []


# --- DeleteVolume


def test_a_deleted_volume_is_gone_and_can_be_deleted_again(driver):
    volume = driver.csi.create("a")
    for _ in range(3):
        driver.csi.delete(volume.volume_id)
        assert driver.csi.volumes() == []
        assert machine.tree(driver.pool_path() / "volumes") == []


@pytest.mark.parametrize("volume_id", ["nonsense", "../../etc", "0" * 128, "a/b", ".", "%s"])
def test_an_id_that_is_not_ours_is_simply_absent(driver, volume_id):
    driver.csi.create("a")
    driver.csi.delete(volume_id)
    driver.csi.delete_snapshot(volume_id)
    driver.csi.DeleteVolumeGroupSnapshot(group_snapshot_id=volume_id)
    for method in ("ControllerGetVolume", "ControllerGetVolumeHealth"):
        with refused("NOT_FOUND"):
            getattr(driver.csi, method)(volume_id=volume_id)
    with refused("NOT_FOUND"):
        driver.csi.GetSnapshot(snapshot_id=volume_id)
    assert len(driver.csi.volumes()) == 1


@pytest.mark.parametrize("method, fields", [
    ("DeleteVolume", {}), ("DeleteSnapshot", {}), ("DeleteVolumeGroupSnapshot", {}), ("GetVolumeGroupSnapshot", {}),
    ("ControllerGetVolume", {}), ("GetSnapshot", {}), ("ControllerGetVolumeHealth", {}),
    ("ControllerExpandVolume", {"capacity_range": size(MiB)}), ("ControllerExpandVolume", {"volume_id": "v"}),
    ("ValidateVolumeCapabilities", {"volume_capabilities": [mount()]}), ("ValidateVolumeCapabilities", {"volume_id": "v"}),
    ("CreateSnapshot", {"name": "s"}), ("CreateSnapshot", {"source_volume_id": "v"}),
    ("CreateVolumeGroupSnapshot", {"name": "g"}), ("CreateVolumeGroupSnapshot", {"source_volume_ids": ["v"]}),
    ("CreateVolumeGroupSnapshot", {"name": "g", "source_volume_ids": [""]}),
    ("NodeStageVolume", {"staging_target_path": "/x", "volume_capability": mount()}),
    ("NodeStageVolume", {"volume_id": "v", "volume_capability": mount()}),
    ("NodeStageVolume", {"volume_id": "v", "staging_target_path": "/x"}),
    ("NodeUnstageVolume", {"staging_target_path": "/x"}), ("NodeUnstageVolume", {"volume_id": "v"}),
    ("NodePublishVolume", {"target_path": "/x", "staging_target_path": "/y", "volume_capability": mount()}),
    ("NodePublishVolume", {"volume_id": "v", "staging_target_path": "/y", "volume_capability": mount()}),
    ("NodePublishVolume", {"volume_id": "v", "target_path": "/x", "staging_target_path": "/y"}),
    ("NodeUnpublishVolume", {"target_path": "/x"}), ("NodeUnpublishVolume", {"volume_id": "v"}),
    ("NodeGetVolumeStats", {"volume_path": "/x"}), ("NodeGetVolumeStats", {"volume_id": "v"}),
    ("NodeExpandVolume", {"volume_path": "/x"}), ("NodeExpandVolume", {"volume_id": "v"}),
    ("NodeGetVolumeHealth", {"volume_publish_path": "/x"}),
])
def test_a_missing_field_is_invalid(csi, method, fields):
    with refused("INVALID_ARGUMENT"):
        getattr(csi, method)(**fields)


def test_a_volume_in_use_is_not_deleted(driver):
    mounted, device = driver.csi.create("mounted"), driver.csi.create("block", capability=block())
    driver.use(mounted.volume_id)
    driver.use_block(device.volume_id)
    for volume in (mounted, device):
        with refused("FAILED_PRECONDITION", match="in use"):
            driver.csi.delete(volume.volume_id)
        assert driver.image(volume.volume_id).exists()
        driver.release(volume.volume_id)
        driver.csi.delete(volume.volume_id)
    assert driver.csi.volumes() == []


@on_both_pools
def test_a_volume_can_be_deleted_before_its_snapshots_and_copies(driver):
    csi = driver.csi
    origin = csi.create("origin", capability=block())
    driver.image(origin.volume_id).write_bytes(b"x" * origin.capacity_bytes)
    snapshot = csi.snapshot("snapshot", origin.volume_id)
    copy = csi.create("copy", capability=block(), source=from_volume(origin.volume_id))
    csi.delete(origin.volume_id)
    restored = csi.create("restored", capability=block(), source=from_snapshot(snapshot.snapshot_id))
    csi.delete_snapshot(snapshot.snapshot_id)
    for volume in (copy, restored):
        assert driver.image(volume.volume_id).read_bytes() == b"x" * origin.capacity_bytes


# --- ValidateVolumeCapabilities


def test_capabilities_that_fit_are_confirmed(csi):
    volume = csi.create("a")
    fitting = [mount(mode=mode) for mode in ("SINGLE_NODE_WRITER", "SINGLE_NODE_SINGLE_WRITER", "MULTI_NODE_READER_ONLY")]
    answer = csi.ValidateVolumeCapabilities(volume_id=volume.volume_id, volume_capabilities=fitting,
                                            volume_context=volume.volume_context)
    assert list(answer.confirmed.volume_capabilities) == fitting


@pytest.mark.parametrize("capability", [mount(mode="MULTI_NODE_MULTI_WRITER"), mount("xfs"), block(), mount("ntfs")])
def test_capabilities_that_do_not_fit_are_not_confirmed_and_the_message_says_why(csi, capability):
    volume = csi.create("a")
    answer = csi.ValidateVolumeCapabilities(volume_id=volume.volume_id, volume_capabilities=[mount(), capability])
    assert not answer.HasField("confirmed") and answer.message


def test_capabilities_of_a_volume_that_is_not_there_are_not_found(csi):
    with refused("NOT_FOUND"):
        csi.ValidateVolumeCapabilities(volume_id="nonsense", volume_capabilities=[mount()])
