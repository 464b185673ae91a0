"""Secrets are used by nobody here, and are nowhere to be seen: not in the log, in errors, in answers, in records, or with
the tools that are run."""
import os
import pathlib
import shutil

import grpc
import pytest

from client import METHODS, block, from_snapshot, message_class, mount, refused, size
from machine import MiB
from marks import SECRET

SECRETS = {"key": SECRET, SECRET: "value"}
FIELDS = sorted(name for name, method in METHODS.items() if "secrets" in message_class(method.input_type).DESCRIPTOR.fields_by_name)


def secrets(method):
    return {"secrets": SECRETS} if method in FIELDS else {}


def test_a_life_with_secrets_leaves_no_trace_of_them(new_driver, tmp_path):
    report = tmp_path / "report"
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("mkfs.ext4", "tune2fs", "e2fsck", "resize2fs"):
        real = shutil.which(name)
        (tools / name).write_text(f"#!/bin/sh\necho {name} \"$@\" >> {report}; env >> {report}; exec {real} \"$@\"\n")
        (tools / name).chmod(0o755)
    driver = new_driver(options=["--log-level", "debug"])
    driver.start(PATH=f"{tools}:{os.environ['PATH']}")
    csi, answers = driver.csi, []

    def call(method, **fields):
        answers.append(str(getattr(csi, method)(**secrets(method), **fields)))

    def fail(method, **fields):
        with pytest.raises(grpc.RpcError) as caught:
            getattr(csi, method)(**secrets(method), **fields)
        answers.append(caught.value.details())
    capability = mount("ext4")
    call("CreateVolume", name="a", volume_capabilities=[capability], capacity_range=size(16 * MiB))
    fail("CreateVolume", name="a", volume_capabilities=[capability], capacity_range=size(32 * MiB))
    (volume_id,) = csi.volume_ids()
    staging, target = driver.staging_path(volume_id), driver.target_path(volume_id)
    call("ValidateVolumeCapabilities", volume_id=volume_id, volume_capabilities=[capability])
    call("NodeStageVolume", volume_id=volume_id, staging_target_path=staging, volume_capability=capability)
    call("NodePublishVolume", volume_id=volume_id, staging_target_path=staging, target_path=target, volume_capability=capability)
    fail("NodePublishVolume", volume_id=volume_id, staging_target_path=staging, target_path=target, volume_capability=capability, readonly=True)
    call("CreateSnapshot", name="s", source_volume_id=volume_id)
    (snapshot_id,) = csi.snapshot_ids()
    call("GetSnapshot", snapshot_id=snapshot_id)
    call("ListSnapshots", source_volume_id=volume_id)
    call("CreateVolume", name="b", volume_capabilities=[capability], capacity_range=size(64 * MiB),
         volume_content_source=from_snapshot(snapshot_id))
    copy = next(entry for entry in csi.volume_ids() if entry != volume_id)
    call("NodeStageVolume", volume_id=copy, staging_target_path=driver.staging_path(copy), volume_capability=capability)
    driver.unstage(copy)
    call("ControllerExpandVolume", volume_id=copy, capacity_range=size(128 * MiB))
    fail("ControllerExpandVolume", volume_id=copy, capacity_range=size(-1))
    call("NodeExpandVolume", volume_id=volume_id, volume_path=target)
    call("CreateVolumeGroupSnapshot", name="g", source_volume_ids=[volume_id, copy])
    (group_id,) = {snapshot.group_snapshot_id for snapshot in csi.snapshots()} - {""}
    call("GetVolumeGroupSnapshot", group_snapshot_id=group_id)
    for method in ("ControllerGetVolumeHealth", "NodeGetVolumeHealth"):
        call(method, volume_id=volume_id)
    for method in ("ControllerListVolumeHealth", "NodeGetStorageHealth"):
        call(method)
    call("DeleteVolumeGroupSnapshot", group_snapshot_id=group_id)
    call("DeleteSnapshot", snapshot_id=snapshot_id)
    driver.unpublish(volume_id, target)
    driver.unstage(volume_id, staging)

    places = {"answers": "\n".join(answers), "log": driver.log_bytes().decode(), "tools": report.read_text()}
    for root in (driver.pool_path(), driver.state):
        for path in pathlib.Path(root).rglob("*"):
            if path.is_file() and path.stat().st_size < MiB:
                places[str(path)] = path.read_bytes().decode(errors="replace")
    for name in ("cmdline", "environ"):
        places[name] = pathlib.Path(f"/proc/{driver.process.pid}/{name}").read_bytes().decode()
    assert [place for place, text in places.items() if SECRET in text] == []
    assert "mkfs.ext4" in places["tools"] and "resize2fs" in places["tools"]
    call("DeleteVolume", volume_id=volume_id)


@pytest.mark.parametrize("method", FIELDS)
def test_errors_about_other_things_do_not_quote_secrets(shared_driver, method):
    driver, volume_id = shared_driver
    names = message_class(METHODS[method].input_type).DESCRIPTOR.fields_by_name
    for fields in ({}, {"volume_id": volume_id}, {"volume_id": "nonsense", "snapshot_id": "nonsense", "name": "x\x00"}):
        try:
            answer = getattr(driver.csi, method)(secrets=SECRETS, **{name: value for name, value in fields.items() if name in names})
            list(answer) if hasattr(answer, "__next__") else None
        except grpc.RpcError as error:
            assert SECRET not in error.details()
    assert SECRET.encode() not in driver.log_bytes()


@pytest.mark.options("--log-level", "debug")
def test_parameters_and_contexts_are_not_in_the_log_either(driver):
    """They may hold what somebody thought to be safe there."""
    with refused("INVALID_ARGUMENT"):
        driver.csi.create("a", MiB, block(), parameters={"password": SECRET})
    volume = driver.csi.create("b", MiB, block())
    with pytest.raises(grpc.RpcError):
        driver.csi.NodeStageVolume(volume_id=volume.volume_id, staging_target_path="/nowhere", volume_capability=mount(),
                                   publish_context={"token": SECRET}, volume_context={"token": SECRET})
    assert SECRET not in driver.log_bytes().decode()
