"""Paths that lead elsewhere: relative ones, `..`, links planted where the kubelet's paths go.  Nothing elsewhere changes."""
import os

import pytest

import machine
from client import block, mount, refused
from machine import MiB

METHODS = ["stage", "unstage", "publish", "unpublish", "publish from", "stats", "expand"]


def refuse(method):
    """A volume is not at a path that cannot be one: for those who only ask, that is an answer too."""
    return refused("INVALID_ARGUMENT", *(["NOT_FOUND"] if method in ("stats", "expand") else []))


def call(driver, method, volume_id, path):
    """One call with that path where the method has one; all else is good."""
    csi, staging = driver.csi, driver.staging_path(volume_id)
    return {
        "stage": lambda: csi.NodeStageVolume(volume_id=volume_id, staging_target_path=path, volume_capability=mount()),
        "unstage": lambda: csi.NodeUnstageVolume(volume_id=volume_id, staging_target_path=path),
        "publish": lambda: csi.NodePublishVolume(volume_id=volume_id, target_path=path, staging_target_path=staging, volume_capability=mount()),
        "unpublish": lambda: csi.NodeUnpublishVolume(volume_id=volume_id, target_path=path),
        "publish from": lambda: csi.NodePublishVolume(volume_id=volume_id, target_path=driver.target_path(volume_id),
                                                      staging_target_path=path, volume_capability=mount()),
        "stats": lambda: csi.NodeGetVolumeStats(volume_id=volume_id, volume_path=path),
        "expand": lambda: csi.NodeExpandVolume(volume_id=volume_id, volume_path=path),
    }[method]()


@pytest.fixture
def volume_id(driver, request):
    """A volume, staged unless the test stages it."""
    volume = driver.csi.create("a")
    if "[stage" not in request.node.name:
        driver.stage(volume.volume_id)
    return volume.volume_id


@pytest.mark.parametrize("path", ["relative", "./relative", "..", "../../etc", "~", "var/lib", " /x"])
@pytest.mark.parametrize("method", METHODS)
def test_relative_paths_are_invalid(driver, volume_id, method, path):
    with refuse(method):
        call(driver, method, volume_id, path)


@pytest.mark.parametrize("path", ["{kubelet}/../elsewhere", "{kubelet}/pods/../../elsewhere", "{kubelet}/./x", "{kubelet}/x/.", "{kubelet}/x/..",
                                  "/..", "/."])
@pytest.mark.parametrize("method", METHODS)
def test_paths_with_dots_are_invalid(driver, volume_id, method, path):
    (driver.kubelet / "x").mkdir()
    (driver.kubelet / "pods").mkdir(exist_ok=True)
    elsewhere = driver.directory / "elsewhere"
    elsewhere.mkdir()
    with refuse(method):
        call(driver, method, volume_id, path.format(kubelet=driver.kubelet))
    assert elsewhere.is_dir() and os.listdir(elsewhere) == [] and (driver.kubelet / "x").is_dir()


@pytest.fixture
def elsewhere(driver):
    """A directory outside of the kubelet's, with something precious in it."""
    path = driver.directory / "elsewhere"
    (path / "directory").mkdir(parents=True)
    (path / "file").write_text("precious")
    yield path
    assert machine.tree(path) == ["directory", "file"] and (path / "file").read_text() == "precious"
    assert machine.mounts(str(path)) == []


LINKS = {
    "the last part": ("{kubelet}/link", "{kubelet}/link", "{elsewhere}/directory"),
    "a part on the way": ("{kubelet}/link", "{kubelet}/link/directory", "{elsewhere}"),
    "to a file": ("{kubelet}/link", "{kubelet}/link", "{elsewhere}/file"),
    "relative": ("{kubelet}/link", "{kubelet}/link/directory", "../elsewhere"),
    "to itself": ("{kubelet}/link", "{kubelet}/link", "link"),
    "to nothing": ("{kubelet}/link", "{kubelet}/link", "{elsewhere}/nothing"),
    "through proc": ("{kubelet}/link", "{kubelet}/link", "/proc/self/cwd"),
    "to the root": ("{kubelet}/link", "{kubelet}/link{elsewhere}/directory", "/"),
}


@pytest.mark.parametrize("what", LINKS)
@pytest.mark.parametrize("method", METHODS)
def test_links_below_the_kubelets_directory_are_not_followed(driver, volume_id, elsewhere, method, what):
    link, path, target = (text.format(kubelet=driver.kubelet, elsewhere=elsewhere) for text in LINKS[what])
    os.symlink(target, link)
    with refuse(method):
        call(driver, method, volume_id, path)
    assert os.readlink(link) == target


def test_a_link_planted_in_place_of_the_target_between_two_calls_is_not_followed(driver, elsewhere):
    volume_id = driver.csi.create("a").volume_id
    target = driver.use(volume_id)
    machine.run("umount", target)
    os.rmdir(target)
    os.symlink(elsewhere / "directory", target)
    with refused("INVALID_ARGUMENT"):
        driver.csi.NodeUnpublishVolume(volume_id=volume_id, target_path=target)
    with refused("INVALID_ARGUMENT"):
        driver.publish(volume_id)
    os.unlink(target)
    driver.unpublish(volume_id)


def test_the_kubelets_directory_itself_may_be_behind_a_link(new_driver):
    driver = new_driver()
    real = driver.directory / "real"
    driver.kubelet.rename(real)
    driver.kubelet.symlink_to(real)
    driver.start()
    volume_id = driver.csi.create("a").volume_id
    path = driver.use(volume_id)
    with open(f"{path}/file", "w") as file:
        file.write("x")
    driver.release(volume_id)
    driver.stop()
    driver.kubelet.unlink()
    real.rename(driver.kubelet)


@pytest.mark.parametrize("method", METHODS)
def test_longer_paths_than_the_system_knows_are_invalid(driver, volume_id, method):
    for path in ("/" + "x" * 4095, "/" + "y/" * 2500):
        with refuse(method):
            call(driver, method, volume_id, path)


@pytest.mark.parametrize("length", [128, 255, 1000, 4000])
def test_long_paths_work(driver, length):
    volume_id = driver.csi.create("a").volume_id
    base = driver.kubelet
    while length - len(str(base)) > 210:
        base = base / ("d" * 199)
    staging = base / ("s" * max(1, length - len(str(base)) - 2))
    # Longer than a system call takes: made step by step.
    here = os.open("/", os.O_RDONLY)
    for part in staging.parts[1:]:
        try:
            os.mkdir(part, dir_fd=here)
        except FileExistsError:
            pass
        here, before = os.open(part, os.O_RDONLY, dir_fd=here), here
        os.close(before)
    os.close(here)
    path = driver.stage(volume_id, path=str(staging))
    target = driver.publish(volume_id, staging=path, target=str(base / "t"))
    with open(f"{target}/file", "w") as file:
        file.write("x")
    driver.release(volume_id)


@pytest.mark.parametrize("name", ["with space", "tab\there", "back\\slash", "new\nline", "ümläut", "'quotes\"", "comma,comma", "a=b", "%s", "-o"])
def test_unusual_names_in_paths_work(driver, name):
    volume_id = driver.csi.create("a").volume_id
    staging, pod = driver.kubelet / f"staging {name}", driver.kubelet / name
    staging.mkdir()
    pod.mkdir()
    for _ in range(2):
        driver.stage(volume_id, path=str(staging))
        target = driver.publish(volume_id, staging=str(staging), target=str(pod / "mount"))
    with open(f"{target}/file", "w") as file:
        file.write("x")
    assert driver.csi.NodeGetVolumeStats(volume_id=volume_id, volume_path=target).usage
    driver.csi.snapshot("s", volume_id)
    driver.restart()
    driver.publish(volume_id, staging=str(staging), target=target)
    driver.release(volume_id)


def test_slashes_too_many_mean_the_same_path(driver):
    volume_id = driver.csi.create("a").volume_id
    staging = driver.stage(volume_id)
    target = driver.target_path(volume_id)
    driver.csi.NodePublishVolume(volume_id=volume_id, target_path=target.replace("/pods/", "//pods///") + "/",
                                 staging_target_path=staging + "//", volume_capability=mount())
    assert machine.is_mounted(target)
    driver.csi.NodeUnpublishVolume(volume_id=volume_id, target_path=target)
    assert not os.path.exists(target)


def test_a_staging_path_that_is_no_directory_is_refused(driver):
    volume_id = driver.csi.create("a").volume_id
    file = driver.kubelet / "file"
    file.write_text("precious")
    for path in (file, driver.kubelet / "missing", file / "below"):
        with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND"):
            driver.csi.NodeStageVolume(volume_id=volume_id, staging_target_path=str(path), volume_capability=mount())
    assert file.read_text() == "precious"


def test_a_target_of_the_wrong_kind_is_refused(driver):
    volume, device = driver.csi.create("a").volume_id, driver.csi.create("b", MiB, block()).volume_id
    driver.stage(volume)
    driver.stage(device, block())
    file, directory = driver.kubelet / "file", driver.kubelet / "directory"
    file.write_text("precious")
    directory.mkdir()
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", "ALREADY_EXISTS"):
        driver.csi.NodePublishVolume(volume_id=volume, target_path=str(file), staging_target_path=driver.staging_path(volume),
                                     volume_capability=mount())
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", "ALREADY_EXISTS"):
        driver.csi.NodePublishVolume(volume_id=device, target_path=str(directory), staging_target_path=driver.staging_path(device),
                                     volume_capability=block())
    assert file.read_text() == "precious" and os.listdir(directory) == []


def test_a_target_whose_parent_is_missing_is_refused(driver):
    volume_id = driver.csi.create("a").volume_id
    driver.stage(volume_id)
    with refused("INTERNAL", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", match="parent|missing|No such"):
        driver.csi.NodePublishVolume(volume_id=volume_id, target_path=str(driver.kubelet / "no/such/mount"),
                                     staging_target_path=driver.staging_path(volume_id), volume_capability=mount())
    assert not (driver.kubelet / "no").exists()
    driver.csi.NodeUnpublishVolume(volume_id=volume_id, target_path=str(driver.kubelet / "no/such/mount"))
