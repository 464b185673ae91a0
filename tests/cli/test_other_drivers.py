"""Other drivers than ours: what they cannot do, how they make one wait, and what they may say."""
import json
import os
import pty
import re
import subprocess
import time

import pytest
from conftest import PLINTH, WORK, fails, good, rows, run, value
from fake_driver import FakeDriver, csi, refuse


@pytest.fixture
def fake():
    driver = FakeDriver(f"unix://{WORK}/fake.sock")
    yield driver
    driver.stop()


def at(fake):
    return {"CSI_ENDPOINT": fake.endpoint}


def volume(identity="vol/1", **others):
    return csi.Volume(volume_id=identity, capacity_bytes=1 << 30, **others)


def created(request=None, context=None):
    return csi.CreateVolumeResponse(volume=volume())


# --- waiting ---


def test_aborted_is_asked_again_and_the_progress_is_shown(fake):
    fake.says("CreateVolume", *[refuse("ABORTED", f"copying: {10 * i} %") for i in range(6)], created)
    result = run("volume", "create", "data", "--size", "1Gi", env=at(fake))
    assert result.status == 0 and "vol/1" in result.out and len(fake.calls) == 7, result
    assert re.fullmatch(r"creating the volume data: 2 s, copying: [34]0 %\n", result.err), result
    assert len({call[1].SerializeToString() for call in fake.calls}) == 1  # the same request each time


def test_a_terminal_gets_one_line_rewritten(fake):
    fake.says("CreateVolume", *[refuse("ABORTED", "copying\x1b[2J\nfar") for i in range(7)], created)
    master, slave = pty.openpty()
    process = subprocess.run([PLINTH, "volume", "create", "data", "--endpoint", fake.endpoint], stderr=slave,
                             stdout=subprocess.PIPE, text=True, check=True)
    os.close(slave)
    written = os.read(master, 65536).decode()
    os.close(master)
    assert "vol/1" in process.stdout
    assert written.count("\r\x1b[Kcreating the volume data: ") >= 2 and written.endswith("\r\x1b[K"), written
    assert "\n" not in written and "copying [2J far" in written, written


def test_a_quick_answer_shows_nothing(fake):
    fake.says("CreateVolume", refuse("ABORTED", "a moment"), created)
    assert run("volume", "create", "data", env=at(fake)).err == ""


def test_it_gives_up_after_the_timeout(fake):
    fake.says("DeleteVolume", refuse("ABORTED", "an operation is pending for it"))
    begin = time.monotonic()
    said = fails("ABORTED", "volume", "delete", "v", "--timeout", "3s", env=at(fake))
    assert "3 s" in said and "an operation is pending for it" in said
    assert 2 <= time.monotonic() - begin < 4


def test_a_call_that_takes_too_long_is_made_again(fake):
    fake.says("ControllerExpandVolume", lambda request, context: time.sleep(6),
              csi.ControllerExpandVolumeResponse(capacity_bytes=5))
    assert run("volume", "expand", "v", "--size", "5", env=at(fake)).status == 0
    assert len(fake.calls) == 2


def test_a_snapshot_that_is_not_ready_yet(fake):
    def snapshot(ready):
        return csi.CreateSnapshotResponse(snapshot=csi.Snapshot(snapshot_id="s", source_volume_id="v",
                                                                ready_to_use=ready))
    fake.says("CreateSnapshot", snapshot(False), snapshot(False), snapshot(True))
    assert rows(good("snapshot", "create", "v", "monday", env=at(fake)))[0]["READY"] == "yes"
    fake.says("CreateSnapshot", snapshot(False))
    fails("ABORTED", "snapshot", "create", "v", "monday", "--timeout", "2s", env=at(fake))


def test_other_errors_are_not_asked_again(fake):
    for code in "INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "ALREADY_EXISTS", "PERMISSION_DENIED":
        fake.calls.clear()
        fake.says("CreateVolume", refuse(code, "it cannot be"))
        assert fails(code, "volume", "create", "a", env=at(fake)) == f"plinth: {code}: it cannot be"
        assert len(fake.calls) == 1


# --- what they say ---


def test_what_a_driver_says_cannot_write_on_the_terminal(fake):
    fake.says("CreateVolume", refuse("INTERNAL", "no\x1b[31m\r\nplinth: OK: everything is fine"))
    result = run("volume", "create", "a", env=at(fake))
    assert result.err == "plinth: INTERNAL: no [31m plinth: OK: everything is fine\n"
    hostile = volume("a\x1b[2Jb\nc", volume_context={"fsType": "\x07"})
    fake.says("ListVolumes", csi.ListVolumesResponse(entries=[csi.ListVolumesResponse.Entry(volume=hostile)]))
    fake.says("ControllerGetVolume", csi.ControllerGetVolumeResponse(volume=hostile))
    assert rows(good("volume", "list", env=at(fake)))[0]["VOLUME"] == "a [2Jb c"
    assert "\x1b" not in good("volume", "show", "a", env=at(fake))
    assert value("volume", "list", env=at(fake))["entries"][0]["volume"]["volumeId"] == "a\x1b[2Jb\nc"


HOSTILE = "a\x1b[2J\x07\x7f\x9b1mb\r\nplinth: OK"
HARMLESS = "a [2J 1mb plinth: OK"


def without_control(*words, fake):
    """Runs plinth; what it prints has no control characters but its own ends of lines.  Returns its output."""
    result = run(*words, env=at(fake))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.out + result.err), result
    assert "\nplinth: OK" not in result.out + result.err, result
    return result


@pytest.fixture
def hostile(fake):
    """A driver all of whose texts are hostile."""
    this = volume(HOSTILE, volume_context={"fsType": HOSTILE}, accessible_topology=[csi.Topology(segments={HOSTILE: HOSTILE})],
                  content_source=csi.VolumeContentSource(
                      snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=HOSTILE)))
    snapshot = csi.Snapshot(snapshot_id=HOSTILE, source_volume_id=HOSTILE, group_snapshot_id=HOSTILE, ready_to_use=True)
    fake.says("GetPluginInfo", csi.GetPluginInfoResponse(name=HOSTILE, vendor_version=HOSTILE, manifest={"pools": HOSTILE}))
    fake.says("NodeGetInfo", csi.NodeGetInfoResponse(node_id=HOSTILE))
    fake.says("GetCapacity", csi.GetCapacityResponse())
    fake.says("CreateVolume", csi.CreateVolumeResponse(volume=this))
    fake.says("CreateSnapshot", csi.CreateSnapshotResponse(snapshot=snapshot))
    fake.says("ListVolumes", csi.ListVolumesResponse(entries=[csi.ListVolumesResponse.Entry(volume=this)]))
    fake.says("ListSnapshots", csi.ListSnapshotsResponse(entries=[csi.ListSnapshotsResponse.Entry(snapshot=snapshot)]))
    fake.says("ControllerGetVolume", csi.ControllerGetVolumeResponse(
        volume=this, status=csi.ControllerGetVolumeResponse.VolumeStatus(published_node_ids=[HOSTILE, HOSTILE])))
    fake.says("ControllerGetVolumeHealth", csi.ControllerGetVolumeHealthResponse(volume_health=csi.VolumeHealth(
        health_statuses=[csi.VolumeHealth.VolumeHealthEntry(status=1, reason=HOSTILE, message=HOSTILE)])))
    fake.says("ControllerExpandVolume", csi.ControllerExpandVolumeResponse(capacity_bytes=5))
    for method in "DeleteVolume", "DeleteSnapshot", "NodePublishVolume", "NodeUnpublishVolume":
        fake.says(method, getattr(csi, method + "Response")())
    return fake


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("words", [
    ("pool", "list"), ("volume", "list"), ("volume", "show", "v"), ("volume", "create", "v"),
    ("volume", "expand", HOSTILE, "--size", "5"), ("volume", "delete", HOSTILE),
    ("snapshot", "list"), ("snapshot", "create", "v", "s"), ("snapshot", "restore", HOSTILE, "v"),
    ("snapshot", "delete", HOSTILE),
    ("volume", "publish", HOSTILE, str(WORK / "target"), "--staging", str(WORK / "staging")),
    ("volume", "unpublish", HOSTILE, str(WORK / "target"), "--staging", str(WORK / "staging"))],
    ids=lambda words: " ".join(words[:2]))
def test_no_control_character_of_a_driver_is_printed(hostile, words, form):
    result = without_control(*words, "-o", form, fake=hostile)
    assert result.status == 0, result
    if form == "table":
        assert HARMLESS in result.out
    elif words[:2] != ("volume", "expand"):
        assert json.dumps(HOSTILE) in json.dumps(json.loads(result.out))


def test_nor_in_errors_and_progress(hostile):
    hostile.says("CreateVolume", refuse("INTERNAL", HOSTILE))
    assert HARMLESS in without_control("volume", "create", "v", fake=hostile).err
    assert HARMLESS in without_control("volume", "publish", HOSTILE, WORK / "target", fake=hostile).err  # the driver's name
    # the id of the volume that a snapshot is of, while it is asked for
    hostile.says("ControllerGetVolume", *[refuse("ABORTED", HOSTILE)] * 6, csi.ControllerGetVolumeResponse())
    assert f"looking at {HARMLESS}: 2 s, {HARMLESS}" in without_control("snapshot", "restore", HOSTILE, "v",
                                                                                fake=hostile).err


def test_columns_are_aligned_for_every_script(fake):
    entries = [csi.ListVolumesResponse.Entry(volume=volume(identity)) for identity in ("a", "größer", "日本")]
    fake.says("ListVolumes", csi.ListVolumesResponse(entries=entries))
    assert [row["VOLUME"] for row in rows(good("volume", "list", env=at(fake)))] == ["a", "größer", "日本"]


def test_lists_are_read_to_the_last_page(fake):
    def page(request, context):
        first = int(request.starting_token or 0)
        assert request.max_entries > 0
        return csi.ListVolumesResponse(
            entries=[csi.ListVolumesResponse.Entry(volume=volume(f"v{i}")) for i in range(first, first + 3)],
            next_token=str(first + 3) if first < 6 else "")
    fake.says("ListVolumes", page)
    assert [row["VOLUME"] for row in rows(good("volume", "list", env=at(fake)))] == [f"v{i}" for i in range(9)]
    fake.says("ListVolumes", page, refuse("ABORTED", "the token is old"))
    assert "the token is old" in fails("ABORTED", "volume", "list", env=at(fake))
    assert len(fake.called("ListVolumes")) == 5


def test_answers_without_what_they_are_about(fake):
    fake.says("CreateVolume", csi.CreateVolumeResponse())
    fake.says("CreateSnapshot", csi.CreateSnapshotResponse())
    fake.says("ControllerGetVolume", csi.ControllerGetVolumeResponse())
    fake.says("ListVolumes", csi.ListVolumesResponse(entries=[csi.ListVolumesResponse.Entry()]))
    fails("INTERNAL", "volume", "create", "a", env=at(fake))
    fails("INTERNAL", "snapshot", "create", "v", "a", env=at(fake))
    fails("INTERNAL", "volume", "show", "v", env=at(fake))
    assert rows(good("volume", "list", env=at(fake))) == []


def test_health_and_nodes_are_shown(fake):
    fake.says("ControllerGetVolume", csi.ControllerGetVolumeResponse(
        volume=volume("v"), status=csi.ControllerGetVolumeResponse.VolumeStatus(published_node_ids=["n1", "n2"])))
    fake.says("ControllerGetVolumeHealth", csi.ControllerGetVolumeHealthResponse(volume_health=csi.VolumeHealth(
        volume_id="v", health_statuses=[csi.VolumeHealth.VolumeHealthEntry(
            status=csi.DEGRADED, reason="PoolNearlyFull", message="2% are free")])))
    said = good("volume", "show", "v", env=at(fake))
    assert re.search(r"Published on: +n1, n2\n", said) and re.search(r"Health: +DEGRADED, PoolNearlyFull: 2% are free\n", said)
    health = value("volume", "show", "v", env=at(fake))["volumeHealth"]["healthStatuses"]
    assert health == [{"status": "DEGRADED", "reason": "PoolNearlyFull", "message": "2% are free"}]


# --- what they cannot ---


def test_a_volume_is_looked_for_in_the_list(fake):
    fake.says("ListVolumes", csi.ListVolumesResponse(entries=[csi.ListVolumesResponse.Entry(volume=volume("v"))]))
    assert value("volume", "show", "v", env=at(fake))["volume"]["volumeId"] == "v"
    assert "w" in fails("NOT_FOUND", "volume", "show", "w", env=at(fake))
    del fake.answers["ListVolumes"]
    fails("UNIMPLEMENTED", "volume", "show", "v", env=at(fake))


def test_a_driver_without_capacity_or_node(fake):
    del fake.answers["NodeGetInfo"]
    row = rows(good("pool", "list", env=at(fake)))[0]
    assert row == {"POOL": "-", "NODE": "-", "DRIVER": "fake.driver", "VERSION": "1", "AVAILABLE": "-", "LARGEST": "-",
                   "SMALLEST": "-"}
    fake.says("GetCapacity", csi.GetCapacityResponse(available_capacity=5 << 30))
    row = rows(good("pool", "list", "--pool", "fast", env=at(fake)))[0]
    assert row["POOL"] == "fast" and row["AVAILABLE"] == "5Gi" and row["LARGEST"] == "-"
    assert dict(fake.called("GetCapacity")[0][1].parameters) == {"pool": "fast"}


def test_one_pool_of_several_fails(fake):
    fake.says("GetPluginInfo", csi.GetPluginInfoResponse(name="fake.driver", manifest={"pools": "slow,fast"}))
    fake.says("GetCapacity", refuse("UNAVAILABLE", "pool slow is gone"), csi.GetCapacityResponse(available_capacity=7))
    result = run("pool", "list", env=at(fake))
    assert result.status == 1 and result.err == "plinth: UNAVAILABLE: pool slow is gone\n"
    assert [row["POOL"] for row in rows(result.out)] == ["fast"]


def test_the_size_of_a_copy_is_that_of_its_source(fake):
    """Some drivers make a volume of no size if none is named."""
    fake.says("CreateVolume", created)
    fake.says("ListSnapshots", csi.ListSnapshotsResponse(entries=[csi.ListSnapshotsResponse.Entry(
        snapshot=csi.Snapshot(snapshot_id="s", source_volume_id="v", size_bytes=12345))]))
    good("snapshot", "restore", "s", "a", env=at(fake))
    good("snapshot", "restore", "s", "a", "--size", "20000", env=at(fake))
    fake.says("ControllerGetVolume", csi.ControllerGetVolumeResponse(
        volume=csi.Volume(volume_id="v", capacity_bytes=777, volume_context={"fsType": "block"})))
    good("volume", "create", "a", "--from-volume", "v", env=at(fake))
    requests = [request for name, request in fake.called("CreateVolume")]
    assert [request.capacity_range.required_bytes for request in requests] == [12345, 20000, 777]
    assert [request.volume_capabilities[0].HasField("block") for request in requests] == [False, False, True]
    assert [request.volume_content_source.WhichOneof("type") for request in requests] == ["snapshot", "snapshot", "volume"]


# --- publishing with attaching, with and without staging ---


def publishing(fake, **capabilities):
    fake.can(**capabilities)
    fake.says("ControllerGetVolume", csi.ControllerGetVolumeResponse(
        volume=volume(volume_context={"fsType": "xfs", "colour": "red"})))
    fake.says("ControllerPublishVolume", csi.ControllerPublishVolumeResponse(publish_context={"lun": "3"}))
    for method in ("ControllerUnpublishVolume", "NodeStageVolume", "NodePublishVolume", "NodeUnstageVolume",
                   "NodeUnpublishVolume"):
        fake.says(method, getattr(csi, method + "Response")())


STEPS = ("ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume",
         "ControllerUnpublishVolume")


def test_attach_stage_publish_and_back(fake):
    publishing(fake, controller=["PUBLISH_UNPUBLISH_VOLUME"], node=["STAGE_UNSTAGE_VOLUME"])
    target = str(WORK / "target")
    good("volume", "publish", "vol/1", target, "--read-only", "--mount-option", "noatime", env=at(fake))
    (attach, stage, publish) = [request for name, request in fake.called(*STEPS)]
    assert attach.node_id == "node-7" and attach.volume_id == "vol/1"
    assert dict(stage.publish_context) == dict(publish.publish_context) == {"lun": "3"}
    assert dict(stage.volume_context) == dict(publish.volume_context) == {"fsType": "xfs", "colour": "red"}
    assert stage.volume_capability == publish.volume_capability == csi.VolumeCapability(
        mount=csi.VolumeCapability.MountVolume(fs_type="xfs", mount_flags=["noatime"]),
        access_mode=csi.VolumeCapability.AccessMode(mode="SINGLE_NODE_WRITER"))
    assert publish.readonly and publish.target_path == target
    # an id that is no file name gives a directory that is one
    assert stage.staging_target_path == publish.staging_target_path
    assert re.fullmatch(r"/run/plinth/staging/fake.driver/[0-9a-f]{64}", stage.staging_target_path)
    assert os.stat(stage.staging_target_path).st_mode & 0o777 == 0o700

    fake.calls.clear()
    good("volume", "unpublish", "vol/1", target, env=at(fake))
    assert [name for name, request in fake.called(*STEPS)] == ["NodeUnpublishVolume", "NodeUnstageVolume",
                                                             "ControllerUnpublishVolume"]
    assert not os.path.exists(stage.staging_target_path)


def test_a_driver_that_does_not_stage(fake):
    publishing(fake)
    good("volume", "publish", "vol/1", WORK / "target", "--block", env=at(fake))
    good("volume", "unpublish", "vol/1", WORK / "target", env=at(fake))
    assert [name for name, request in fake.called(*STEPS)] == ["NodePublishVolume", "NodeUnpublishVolume"]
    request = fake.called("NodePublishVolume")[0][1]
    assert request.staging_target_path == "" and request.volume_capability.HasField("block")


def test_a_failed_publish_takes_its_staging_back(fake):
    publishing(fake, controller=["PUBLISH_UNPUBLISH_VOLUME"], node=["STAGE_UNSTAGE_VOLUME"])
    fake.says("NodePublishVolume", refuse("INTERNAL", "mount failed"))
    assert fails("INTERNAL", "volume", "publish", "vol/1", WORK / "t", env=at(fake)) == "plinth: INTERNAL: mount failed"
    assert [name for name, request in fake.called(*STEPS)] == [
        "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume", "NodeUnstageVolume",
        "ControllerUnpublishVolume"]
    fake.says("NodeUnstageVolume", refuse("INTERNAL", "stuck"))
    said = fails("INTERNAL", "volume", "publish", "vol/1", WORK / "t", env=at(fake))
    assert "mount failed" in said and "still staged at /run/plinth/staging/fake.driver/" in said and "stuck" in said
    for directory in (os.path.join("/run/plinth/staging/fake.driver", name)
                      for name in os.listdir("/run/plinth/staging/fake.driver")):
        os.rmdir(directory)


def test_a_driver_that_tells_nothing_of_its_volumes(fake):
    publishing(fake)
    del fake.answers["ControllerGetVolume"]
    good("volume", "publish", "vol/1", WORK / "target", "--fstype", "ext4", env=at(fake))
    assert fake.called("NodePublishVolume")[0][1].volume_capability.mount.fs_type == "ext4"


def test_a_driver_with_a_name_that_is_no_file_name(fake):
    fake.says("GetPluginInfo", csi.GetPluginInfoResponse(name="../../etc"))
    assert "--staging" in fails("INTERNAL", "volume", "publish", "v", WORK / "target", env=at(fake))
    publishing(fake)
    good("volume", "publish", "v", WORK / "target", "--staging", WORK / "stage", env=at(fake))


def test_growth_in_two_steps(fake):
    fake.says("ControllerExpandVolume",
              csi.ControllerExpandVolumeResponse(capacity_bytes=2 << 30, node_expansion_required=True))
    assert "--path" in good("volume", "expand", "v", "--size", "2Gi", env=at(fake))
    fake.says("NodeExpandVolume", csi.NodeExpandVolumeResponse(capacity_bytes=2 << 30))
    assert "--path" not in good("volume", "expand", "v", "--size", "2Gi", "--path", WORK / "x", env=at(fake))
    request = fake.called("NodeExpandVolume")[0][1]
    assert request.volume_path == str(WORK / "x") and request.capacity_range.required_bytes == 2 << 30
