"""plinth demo: that it succeeds, and that it leaves nothing however it ends."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from conftest import PLINTH, WORK, good, loops, mounts, run, without_progress


def drivers(directory):
    """Processes whose command line names the directory."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


@pytest.fixture(params=["reflink", "plain"])
def scratch(request):
    """Where the demo plays: a directory with reflink, and one without."""
    reflink = request.param == "reflink"
    directory = pathlib.Path(tempfile.mkdtemp(dir=WORK / "pool" if reflink else WORK))
    if not reflink:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    before = mounts()
    yield directory
    assert mounts() == before
    end = time.monotonic() + 6  # a driver with a call under way may take five seconds to end
    while (loops() or drivers(directory)) and time.monotonic() < end:
        time.sleep(0.01)
    assert loops() == [] and drivers(directory) == []
    if not reflink:
        subprocess.run(["umount", directory], check=True)
    shutil.rmtree(directory)


def steps(text):
    return [int(number) for number in re.findall(r"^ ?(\d+)\. \S.* +\d+\.\d ms$", text, re.MULTILINE)]


def test_every_step_is_shown_with_its_time(scratch):
    said = good("demo", "--directory", scratch)
    assert steps(said) == list(range(1, 16)), said
    assert "All 15 steps are verified" in said and re.search(r"memory was \d+\.\d MiB", said)
    assert ("image" in said) == (scratch.parent == WORK)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", [0, 1, 3, 7, 11])
def test_interrupted(scratch, number, moment):
    with subprocess.Popen([PLINTH, "demo", "--directory", scratch], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        seen = "".join(process.stdout.readline() for _ in range(moment + 1))
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and without_progress(err) == "plinth: CANCELLED: interrupted\n", (out, err)
    assert len(steps(seen)) == moment
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("moment", [1, 3, 7, 11])
def test_killed(scratch, moment):
    """Nothing but its files can be left of a demo that is killed."""
    with subprocess.Popen([PLINTH, "demo", "--directory", scratch], stdout=subprocess.PIPE, text=True) as process:
        for _ in range(moment + 1):
            process.stdout.readline()
        process.kill()


def test_killed_while_it_starts(scratch):
    for milliseconds in range(2, 42):
        with subprocess.Popen([PLINTH, "demo", "--directory", scratch], stdout=subprocess.DEVNULL) as process:
            time.sleep(milliseconds / 1000)
            process.kill()


@pytest.mark.parametrize("moment", [2, 8])
def test_its_driver_is_killed(scratch, moment):
    with subprocess.Popen([PLINTH, "demo", "--directory", scratch], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        for _ in range(moment):
            process.stdout.readline()
        killed = [pid for pid in drivers(scratch) if pid != process.pid]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        err = process.communicate(timeout=30)[1]
    assert killed and process.returncode == 1 and without_progress(err).startswith("plinth: "), err
    assert list(scratch.iterdir()) == []


def test_not_root(scratch):
    process = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", PLINTH, "demo"], capture_output=True,
                             text=True, check=False)
    assert process.returncode == 1 and "run it as root" in process.stderr and process.stdout == "", process


def test_without_mkfs_xfs(scratch):
    result = run("demo", "--directory", scratch, env={"PATH": "/nowhere"})
    assert result.status == 1 and "apt-get install xfsprogs" in result.err and result.out == ""


def test_no_directory(scratch):
    result = run("demo", "--directory", scratch / "nowhere")
    assert result.status == 1 and str(scratch / "nowhere") in result.err and result.out == ""


def test_a_full_disk():
    directory = WORK / "full"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", directory], check=True)
    result = run("demo", "--directory", directory)
    assert result.status == 1 and result.err.startswith("plinth: "), result
    assert list(directory.iterdir()) == []
    subprocess.run(["umount", directory], check=True)
    directory.rmdir()
