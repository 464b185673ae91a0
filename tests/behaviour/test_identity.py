"""Who the driver is, what it says it can do, and how others find out whether it is well."""
import socket

import grpc
import pytest

import machine
from client import Client, csi_pb2, refused
from driver import DRIVER, TOPOLOGY_KEY


def rpc_types(capabilities, service):
    return {getattr(csi_pb2, service).RPC.Type.Name(capability.rpc.type) for capability in capabilities}


def test_the_driver_tells_its_name_and_version(csi):
    info = csi.GetPluginInfo()
    assert info.name == DRIVER and info.vendor_version


def test_probe_says_ready(csi):
    assert csi.Probe().ready.value is True


def test_plugin_capabilities(csi):
    answer = csi.GetPluginCapabilities().capabilities
    services = {csi_pb2.PluginCapability.Service.Type.Name(entry.service.type)
                for entry in answer if entry.HasField("service")}
    expansions = {csi_pb2.PluginCapability.VolumeExpansion.Type.Name(entry.volume_expansion.type)
                  for entry in answer if entry.HasField("volume_expansion")}
    assert {"CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS", "GROUP_CONTROLLER_SERVICE"} <= services
    assert "SNAPSHOT_METADATA_SERVICE" not in services
    assert expansions == {"ONLINE"}


def test_controller_capabilities_name_what_is_served_and_nothing_else(csi):
    names = rpc_types(csi.ControllerGetCapabilities().capabilities, "ControllerServiceCapability")
    assert names == {"CREATE_DELETE_VOLUME", "LIST_VOLUMES", "GET_CAPACITY", "CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS",
                     "CLONE_VOLUME", "EXPAND_VOLUME", "GET_VOLUME", "SINGLE_NODE_MULTI_WRITER", "GET_SNAPSHOT",
                     "GET_VOLUME_HEALTH", "LIST_VOLUME_HEALTH"}


def test_node_capabilities_name_what_is_served_and_nothing_else(csi):
    names = rpc_types(csi.NodeGetCapabilities().capabilities, "NodeServiceCapability")
    assert names == {"STAGE_UNSTAGE_VOLUME", "GET_VOLUME_STATS", "EXPAND_VOLUME", "SINGLE_NODE_MULTI_WRITER",
                     "GET_VOLUME_HEALTH", "GET_STORAGE_HEALTH"}


def test_group_controller_capabilities(csi):
    names = rpc_types(csi.GroupControllerGetCapabilities().capabilities, "GroupControllerServiceCapability")
    assert names == {"CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"}


def test_the_node_tells_its_name_and_topology(csi):
    info = csi.NodeGetInfo()
    assert info.node_id == "node-a"
    assert dict(info.accessible_topology.segments) == {TOPOLOGY_KEY: "node-a"}


@pytest.mark.parametrize("method, fields", [
    ("ControllerPublishVolume", {"volume_id": "v", "node_id": "node-a"}),
    ("ControllerUnpublishVolume", {"volume_id": "v", "node_id": "node-a"}),
    ("ControllerModifyVolume", {"volume_id": "v"}),
    ("GetMetadataAllocated", {"snapshot_id": "s"}),
    ("GetMetadataDelta", {"base_snapshot_id": "s", "target_snapshot_id": "t"}),
])
def test_what_is_not_advertised_is_unimplemented(csi, method, fields):
    with refused("UNIMPLEMENTED"):
        answer = getattr(csi, method)(**fields)
        if hasattr(answer, "__next__"):
            next(answer)


def test_another_driver_name_changes_the_topology_key_too(new_driver):
    csi = new_driver(options=["--driver-name", "local.example.org"]).start().csi
    assert csi.GetPluginInfo().name == "local.example.org"
    assert set(csi.NodeGetInfo().accessible_topology.segments) == {"local.example.org/node"}


# --- grpc.health.v1

SERVING = 1


@pytest.mark.parametrize("service", ["", "csi.v1.Identity", "csi.v1.Controller", "csi.v1.GroupController", "csi.v1.Node"])
def test_the_health_service_says_serving(csi, service):
    assert csi.Check(service=service).status == SERVING


def test_the_health_of_a_service_that_is_not_here_is_not_found(csi):
    with refused("NOT_FOUND"):
        csi.Check(service="csi.v1.Nothing")


def test_a_watch_of_the_health_answers_at_once(csi):
    assert next(csi.Watch(service="")).status == SERVING


# --- the kubelet's plugin registration


@pytest.fixture
def registered(new_driver, tmp_path):
    """A driver that registers itself, and a client as the kubelet would be on the socket that it finds."""
    registry = tmp_path / "plugins_registry"
    registry.mkdir()
    driver = new_driver(options=["--registration-dir", registry]).start()
    sockets = machine.eventually(lambda: [path for path in registry.iterdir() if path.is_socket()])
    assert len(sockets) == 1 and len(list(registry.iterdir())) == 1
    kubelet = Client(sockets[0])
    yield driver, kubelet, registry
    kubelet.close()


def test_the_kubelet_is_told_where_the_driver_is(registered):
    driver, kubelet, _ = registered
    info = kubelet.GetInfo()
    assert (info.type, info.name) == ("CSIPlugin", DRIVER)
    assert info.endpoint == str(driver.socket)
    assert any(version.startswith("1.") for version in info.supported_versions)


def test_the_driver_hears_that_it_is_registered(registered):
    driver, kubelet, _ = registered
    kubelet.NotifyRegistrationStatus(plugin_registered=True)
    assert driver.csi.Probe().ready.value


def test_a_refused_registration_is_logged_and_the_driver_stays(registered):
    driver, kubelet, _ = registered
    kubelet.NotifyRegistrationStatus(plugin_registered=False, error="the kubelet does not like it")
    assert driver.csi.Probe().ready.value
    assert machine.eventually(lambda: b"the kubelet does not like it" in driver.log_bytes())


def test_the_registration_socket_goes_with_the_driver(registered):
    driver, _, registry = registered
    driver.stop()
    assert list(registry.iterdir()) == []
    assert not driver.socket.exists()
    driver.start()


# --- the socket


def test_only_the_owner_may_use_the_socket(driver):
    assert driver.socket.stat().st_mode & 0o777 == 0o600


def test_a_stale_socket_is_replaced(driver):
    driver.kill()
    assert driver.socket.exists()
    assert driver.start().csi.Probe().ready.value


def test_the_socket_of_a_live_driver_is_left_alone(driver, new_driver):
    second = new_driver()
    second.given_up = True
    second.socket = driver.socket
    import subprocess
    done = subprocess.run(second.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
    assert done.returncode != 0 and str(driver.socket).encode() in done.stdout
    assert driver.csi.Probe().ready.value
    second.socket.stat()


def test_what_is_no_socket_is_not_replaced(new_driver):
    driver = new_driver()
    driver.given_up = True
    driver.socket.write_text("precious")
    import subprocess
    done = subprocess.run(driver.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
    assert done.returncode != 0
    assert driver.socket.read_text() == "precious"


def test_a_client_that_says_nothing_disturbs_nobody(driver):
    quiet = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for connection in quiet:
        connection.connect(str(driver.socket))
    quiet[0].send(b"GET / HTTP/1.1\r\n\r\n")
    assert driver.csi.Probe().ready.value
    for connection in quiet:
        connection.close()
    with pytest.raises(grpc.RpcError):
        driver.csi.raw("/csi.v1.Identity/Nothing", b"")
