"""Makes the measurements of the LVM bench: run by ./run-lvm in user-mode Linux.

usage: measure_lvm.py BUILD OUT PRESENT

/dev/ubda is a volume group with PRESENT volumes in it (fill-lvm). BUILD has csiload and lvmload; every line of theirs
is added to OUT/lvm-PRESENT.jsonl. PLINTH, LVMD and METAL are programs, the peers' may be empty; ROUNDS is how often the
candidates take turns, ROUNDS_16 the same with 16 clients, PEERS_16 in how many of these the peers take part.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from lvm_volumes import THIN_POOL, VG
from measure import Driver, say

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = "/run/bench"
SIZE = 64 << 20
WRAPPED = ("lvm", "lvs", "vgs", "pvs", "lvcreate", "lvremove", "lvextend", "lvresize", "lvchange", "lvconvert", "lvrename",
           "vgchange", "vgcreate", "vgscan", "pvscan", "pvcreate")


def plinth(driver):
    return [os.environ["PLINTH"], "node", "--endpoint", "unix://" + driver.socket, "--node-id", "bench",
            "--kubelet-dir", driver.directory, "--state-dir", driver.directory + "/state",
            "--pool", f"bench=lvm:vg={VG},thinpool={THIN_POOL},overprovision=100"]


def lvmd(driver):
    config = os.path.join(driver.directory, "lvmd.yaml")
    with open(config, "w") as file:
        json.dump({"socket-name": driver.socket, "lvm-command-prefix": ["lvm"], "device-classes": [
            {"name": "thick", "volume-group": VG, "default": True, "spare-gb": 0},
            {"name": "thin", "volume-group": VG, "type": "thin", "thin-pool": {"name": THIN_POOL, "overprovision-ratio": 1000}}]}, file)
    return [os.environ["LVMD"], "--config", config, "--metrics-bind-address", ""]


def metal(driver):
    return [os.environ["METAL"], "-endpoint", driver.socket, "-nodeid", "bench", "-vgname", VG, "-hostwritepath", driver.directory]


class Bench:
    def __init__(self, build, out, present):
        self.build, self.present = build, present
        self.lines = open(os.path.join(out, f"lvm-{present}.jsonl"), "w")
        self.errors = open(os.path.join(out, f"lvm-{present}.log"), "w")
        self.wrapper = os.path.join(WORK, "wrapper")
        self.recorded = os.path.join(self.wrapper, "commands")
        self.config, self.system_directory, self.inactive = "", os.environ["LVM_SYSTEM_DIR"], False
        self.drivers = {}

    def start(self, suffix="", environment=None):
        """Starts the drivers there are. Their order is that of the first round."""
        self.stop()
        for label, command in (("plinth", plinth), ("lvmd", lvmd), ("metal", metal)):
            if not os.environ.get(label.upper()):
                continue
            self.drivers[label] = driver = Driver(WORK, label + suffix, command)
            try:
                driver.start(environment)
            except SystemExit as problem:
                if label != "plinth":
                    raise
                say(f"Plinth cannot be measured: {problem}")
                del self.drivers[label]

    def stop(self):
        for driver in self.drivers.values():
            driver.stop()
        self.drivers = {}

    def write(self, **line):
        self.lines.write(json.dumps(line) + "\n")
        self.lines.flush()

    def tool(self, label, kind, op, size):
        """The command that makes load, and variables for it; None where the candidate has no such operation."""
        if label == "raw":
            command = ["lvmload", "-vg", VG, "-op", op, "-size", size, "-config", self.config]
            command += ["-pool", THIN_POOL] if kind == "thin" else []
            return command + (["-inactive"] if self.inactive else []), {"LVM_SYSTEM_DIR": self.system_directory}
        socket = self.drivers[label].socket
        if label == "lvmd":
            return None if (op, kind) == ("snapshot", "thick") else ["lvmload", "-lvmd", socket, "-class", kind, "-op", op, "-size", size], {}
        command = ["csiload", "-endpoint", socket, "-workdir", self.drivers[label].directory, "-ops", op,
                   "-capacity", size, "-access", "block", "-timeout", "5m"]
        if label == "metal":
            return None if kind == "thin" or op == "snapshot" else [*command, "-param", "type=linear"], {}
        return [*command, "-param", f"provisioning={kind}"], {}

    def load(self, label, section, turn, kind, op, *options, size=SIZE):
        command, variables = self.tool(label, kind, op, size)
        if command is None:
            return
        command = [os.path.join(self.build, command[0]), *map(str, command[1:]), "-label", label, "-section", section,
                   "-round", str(turn), *map(str, options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=os.environ | variables)
        if done.returncode:
            say(f"failed (see lvm-{self.present}.log): {' '.join(command)}")
        self.lines.write(done.stdout)
        self.lines.flush()

    def commands(self):
        """What the wrapper has seen: pairs of LVM_SYSTEM_DIR and the words after `lvm`."""
        if not os.path.exists(self.recorded):
            return []
        with open(self.recorded) as lines:
            return [(directory, words) for directory, *words in (line.rstrip("\n").split("\x01") for line in lines)]


def memory(bench, when):
    time.sleep(3)
    for label, driver in bench.drivers.items():
        with open(f"/proc/{driver.process.pid}/status") as lines:
            kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        bench.write(label=label, section=f"memory-{bench.present}", round=1, run="memory", op=when, clients=1, n=1, errors=0,
                    p50_us=0, server={"after": {"rss_kib": kib}})


def wrap(bench):
    """Puts a wrapper before the LVM commands that the drivers started with the result run."""
    os.makedirs(bench.wrapper, exist_ok=True)
    for name in WRAPPED:
        shutil.copy(os.path.join(HERE, "lvm-wrapper"), os.path.join(bench.wrapper, name))
    return os.environ | {"PATH": bench.wrapper + ":" + os.environ["PATH"]}


def adopt_configuration(bench):
    """The raw commands get what Plinth's get: seen in a command of its, so that they cannot differ."""
    if "plinth" not in bench.drivers:
        bench.config = 'devices/global_filter=["a|^/dev/ubda$|","r|.*|"]'
        say("Plinth does not run here: the raw commands get the lab's configuration")
        return
    bench.load("plinth", "record", 1, "thin", "create-delete", "-n", 1)
    for directory, words in bench.commands():
        if words and words[0] == "lvcreate" and "--config" in words:
            bench.config, bench.system_directory = words[words.index("--config") + 1], directory
            bench.inactive = "--activate" in words and words[words.index("--activate") + 1] == "n"
            say(f"Plinth runs: LVM_SYSTEM_DIR={directory} lvm {' '.join(words)}")
            return
    sys.exit("bench: Plinth was not seen to run lvcreate --config")


# What is counted: name in the table, kind of volume, operation, its options.
COUNTED = [("", "thin", "create-delete", []), ("", "thin", "snapshot", []), ("", "thick", "create-delete", []),
           ("", "thick", "snapshot", [])]
COUNTED_LVMD = [("", "thin", "list", []), ("", "thick", "list", [])]
COUNTED_METAL = [("", "thick", "capacity", []), ("", "thick", "publish", [])]
COUNTED_PLINTH = [("", kind, op, []) for kind in ("thin", "thick") for op in ("publish", "expand")] + [
    ("-mounted", "thin", "create-delete", ["-access", "mount"]), ("-mounted", "thick", "create-delete", ["-access", "mount"]),
    *(("", "thin", op, []) for op in ("clone", "restore", "list", "list-snapshots", "capacity", "stats", "get-volume", "volume-health",
                                      "node-health", "storage-health", "probe", "create-again", "delete-absent"))]


def count(bench):
    more = {"plinth": COUNTED_PLINTH, "lvmd": COUNTED_LVMD, "metal": COUNTED_METAL}
    for label in bench.drivers:
        for suffix, kind, op, options in COUNTED + more[label]:
            bench.load(label, f"count-{kind}{suffix}", 1, kind, op, "-n", 2, "-warmup", 1, "-count-lines", bench.recorded, *options)


def turns(bench, section, kind, op, clients, count_, rounds, peers, size=SIZE):
    """`peers` are the rounds in which peers take part too."""
    for turn in range(1, rounds + 1):
        candidates = [each for each in ("raw", *bench.drivers) if each in ("raw", "plinth") or turn in peers]
        for label in candidates if turn % 2 else reversed(candidates):
            bench.load(label, section, turn, kind, op, "-c", clients, "-n", count_, size=size)


def measure(bench):
    """Many short rounds: the shorter, the more alike is the noise that raw commands and Plinth meet in one. The peers
    need fewer, as they are several times slower."""
    rounds, rounds_16 = int(os.environ["ROUNDS"]), int(os.environ["ROUNDS_16"])
    peers_16 = range(1, 1 + int(os.environ["PEERS_16"]))
    for clients, count_, rounds_, peers in ((1, 2, rounds, range(1, rounds + 1, 3)), (16, 16, rounds_16, peers_16)):
        for kind in ("thin", "thick"):
            for op in ("create-delete", "snapshot"):
                say(f"{bench.present} volumes, {clients} clients: {kind} {op}")
                turns(bench, f"{kind}-{bench.present}", kind, op, clients, count_, rounds_, peers)
        if clients == 1:
            say("what the zeroing of thick volumes weighs")
            for size in (4, 256):
                turns(bench, f"zeroing-{size}-{bench.present}", "thick", "create-delete", 1, 2, min(rounds, 3), (), size=size << 20)


def main(build, out, present):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for module in ("dm-thin-pool", "dm-snapshot", "dm-raid"):
        subprocess.run(["modprobe", module], check=True)
    os.makedirs(WORK)
    bench = Bench(build, out, int(present))
    try:
        bench.start("-counted", wrap(bench))
        adopt_configuration(bench)
        if bench.present == 10:
            say("commands started")
            count(bench)
            shutil.copy(bench.recorded, os.path.join(out, f"lvm-{present}.commands"))
        bench.start()
        if "plinth" in bench.drivers:
            bench.load("plinth", f"present-{present}", 1, "thin", "list", "-n", 1, "-existing", present)
        memory(bench, "at rest")
        measure(bench)
        memory(bench, "after the load")
    finally:
        bench.stop()
    left = subprocess.run(["lvs", "--noheadings", "-o", "lv_name", VG], stdout=subprocess.PIPE, text=True).stdout.split()
    if len(left) != bench.present + 1:
        say(f"{len(left) - bench.present - 1} volumes were left behind: {left[:3]} ...")


if __name__ == "__main__":
    main(*sys.argv[1:])
