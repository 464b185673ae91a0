"""Command lines that are wrong, and sockets that are none."""
import pathlib
import re
import socket
import subprocess

import pytest
from conftest import PLINTH, SOCKET, WORK, fails, good, mistake, run


@pytest.mark.parametrize("words, said", [
    (["volume"], "a command is missing"),
    (["volume", "paint"], '"paint"'),
    (["volume", "create"], "NAME"),
    (["volume", "create", "a", "b"], '"b"'),
    (["volume", "create", "a", "--size", "much"], '"much"'),
    (["volume", "create", "a", "--size", "1GiB"], '"1GiB"'),
    (["volume", "create", "a", "--size", "1.5Gi"], '"1.5Gi"'),
    (["volume", "create", "a", "--size", "-1"], '"-1"'),
    (["volume", "create", "a", "--size", "0"], "above zero"),
    (["volume", "create", "a", "--size", "99999999999Gi"], '"99999999999Gi"'),
    (["volume", "create", "a", "--size", ""], "size"),
    (["volume", "create", "a", "--size"], "--size"),
    (["volume", "create", "a", "--parameter", "pool"], "KEY=VALUE"),
    (["volume", "create", "a", "--parameter", "=pool"], "KEY=VALUE"),
    (["volume", "create", "a", *["--parameter", "a=b"] * 65], "64"),
    (["volume", "create", "a", "--access-mode", "EVERYBODY"], "EVERYBODY"),
    (["volume", "create", "a", "--access-mode", "UNKNOWN"], "UNKNOWN"),
    (["volume", "create", "a", "--block", "--fstype", "xfs"], "exclude"),
    (["volume", "create", "a", "--block=yes"], "no value"),
    (["volume", "create", "a", "--from-snapshot", "s", "--from-volume", "v"], "exclude"),
    (["volume", "create", "a", "--colour", "red"], "--colour"),
    (["volume", "list", "a"], '"a"'),
    (["volume", "list", "-o", "yaml"], "yaml"),
    (["volume", "list", "--timeout", "10"], '"10"'),
    (["volume", "list", "--timeout", "0s"], '"0s"'),
    (["volume", "list", "--timeout", "1d"], '"1d"'),
    (["volume", "list", "--endpoint", "tcp://127.0.0.1:1"], "tcp://127.0.0.1:1"),
    (["volume", "list", "--endpoint", "csi.sock"], "csi.sock"),
    (["volume", "list", "--endpoint", "unix:///" + "x" * 200], "107"),
    (["volume", "show"], "VOLUME"),
    (["volume", "expand", "a"], "--size is missing"),
    (["volume", "publish", "a"], "TARGET"),
    (["volume", "publish", "a", "/x", "--block", "--fstype", "xfs"], "exclude"),
    (["volume", "unpublish", "a"], "TARGET"),
    (["volume", "delete"], "VOLUME"),
    (["snapshot"], "a command is missing"),
    (["snapshot", "create", "a"], "NAME"),
    (["snapshot", "restore", "a"], "NAME"),
    (["snapshot", "restore", "a", "b", "--size", "x"], '"x"'),
    (["snapshot", "delete"], "SNAPSHOT"),
    (["snapshot", "list", "a"], '"a"'),
    (["pool", "list", "a"], '"a"'),
    (["pool", "adopt"], "DIRECTORY"),
    (["demo", "now"], '"now"'),
], ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "")
def test_mistakes(words, said):
    assert said in mistake(*words)


@pytest.mark.parametrize("target, said", [("/", '"/"'), (".", '"."'), ("..", '".."'), ("a/..", '"a/.."'), ("", '""'),
                                          ("/nowhere/x", "/nowhere"), ("y" * 5000, "longer"), ("y" * 300, "cannot")],
                         ids=lambda value: value[:20])
def test_targets_that_cannot_be(target, said):
    result = run("volume", "publish", "a", target, "--endpoint", "/nowhere.sock")
    assert result.status == 1 and said in result.err, result


@pytest.mark.parametrize("words", [["volume", "list"], ["volume", "create", "a", "--size", "1Gi"], ["pool", "list"],
                                   ["volume", "delete", "a"], ["snapshot", "list"], ["snapshot", "create", "a", "b"]])
def test_no_driver(words):
    nowhere = WORK / "nowhere.sock"
    said = fails("UNAVAILABLE", *words, "--endpoint", f"unix://{nowhere}")
    assert str(nowhere) in said and "No such file" in said
    # what is at the socket does not listen any more
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(nowhere))
    assert "refused" in fails("UNAVAILABLE", *words, env={"CSI_ENDPOINT": str(nowhere)})
    nowhere.unlink()


def test_a_socket_that_never_answers():
    silent = WORK / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        listener.listen()
        result = run("volume", "list", "--endpoint", silent, "--timeout", "3s")
    silent.unlink()
    assert result.status == 1 and "plinth: " in result.err, result
    assert "listing volumes: 2 s" in result.err, result


def test_the_environment_names_the_socket(node):
    good("volume", "list", env={"CSI_ENDPOINT": f"unix://{SOCKET}"})
    # the command line has precedence
    good("volume", "list", "--endpoint", f"unix://{SOCKET}", env={"CSI_ENDPOINT": "/nowhere.sock"})


def test_not_for_everybody(node):
    process = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", PLINTH, "volume", "list"],
                             capture_output=True, text=True, check=False)
    assert process.returncode == 1 and "Permission denied" in process.stderr, process


COMMANDS = [[], ["volume"], ["volume", "create"], ["volume", "list"], ["volume", "show"], ["volume", "expand"],
            ["volume", "publish"], ["volume", "unpublish"], ["volume", "delete"], ["volume", "import"],
            ["volume", "release"], ["snapshot"], ["snapshot", "create"],
            ["snapshot", "list"], ["snapshot", "restore"], ["snapshot", "delete"], ["pool"], ["pool", "list"],
            ["pool", "adopt"], ["demo"]]


@pytest.mark.parametrize("words", COMMANDS)
def test_help(words):
    said = good(*words, "--help")
    assert said.startswith(f"Usage: {' '.join(['plinth', *words])} ")
    assert all(len(line) <= 80 for line in said.splitlines())


def test_the_manual_has_every_command_and_option_and_no_other():
    page = (pathlib.Path(__file__).parents[2] / "docs/man/plinth.8").read_text(encoding="utf-8")
    options = set().union(*(re.findall(r"--([a-z][a-z-]+)", good(*words, "--help")) for words in COMMANDS))
    assert set(re.findall(r"Fl -([a-z][a-z-]+)", page)) == options
    commands = {" ".join(words) for words in COMMANDS} - {"", "volume", "snapshot", "pool"} | {"node", "version"}
    synopsis = page[page.index(".Sh SYNOPSIS"):page.index(".Sh DESCRIPTION")]
    assert set(re.findall(r"^\.Cm (.*)$", synopsis, re.MULTILINE)) == commands
