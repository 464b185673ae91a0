"""Makes the measurements of the bench: run by ./run in namespaces of its own.

usage: measure.py WORK OUT

WORK/pool is a mounted pool for all drivers; every csiload line goes to
OUT/calls.jsonl. Each experiment is a section of that file. In it the drivers
take turns, call by call and round by round, so that all meet the same noise.
PLINTH, PEER and ROUNDS are as in ./run.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import time

ROUNDS = int(os.environ["ROUNDS"])
MANY, FEW = 1000, 10  # volumes present


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Driver:
    """A driver with a socket and storage of its own. Not started yet."""

    def __init__(self, work, label, command, storage="pool", present=0):
        self.label = label
        self.present = present  # volumes that stay in it, see fill()
        self.directory = os.path.join(work, label)  # kubelet's side
        self.storage = os.path.join(work, storage, label)
        os.makedirs(self.directory)
        os.makedirs(self.storage)
        self.socket = os.path.join(self.directory, "csi.sock")
        self.command = command(self)
        self.process = None

    def start(self, environment=None):
        with open(os.path.join(self.directory, "log"), "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 30
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {self.label} did not start, see {self.directory}/log:\n" + open(log.name).read()[-2000:])
            time.sleep(0.01)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


def plinth(driver):
    return [os.environ["PLINTH"], "node", "--endpoint", "unix://" + driver.socket, "--node-id", "bench",
            "--kubelet-dir", driver.directory, "--state-dir", driver.directory + "/state",
            "--pool", f"scratch=file:path={driver.storage},overprovision=20"]


def peer(driver):
    return [os.environ["PEER"], "-endpoint", "unix://" + driver.socket, "-statedir", driver.storage, "-nodeid", "bench"]


class Bench:
    def __init__(self, work, out):
        self.work, self.out = work, out
        self.lines = open(os.path.join(out, "calls.jsonl"), "w")
        self.errors = open(os.path.join(out, "csiload.log"), "w")
        self.null = Driver(work, "null", lambda d: [os.path.join(out, "csiload"), "-serve", d.socket])
        self.ours = {n: Driver(work, f"plinth-{n}" if n else "plinth", plinth, present=n) for n in (0, FEW, MANY)}
        self.peers = {n: Driver(work, f"peer-{n}" if n else "peer", peer, present=n) for n in (0, MANY)} if os.environ["PEER"] else {}
        # The peer where it usually is: on the machine's own file system, which may have no reflink.
        self.peer_outside = [Driver(work, "peer-outside", peer, storage="outside")] if self.peers else []
        self.empty = [self.null, *[d[0] for d in (self.peers, self.ours) if d]]
        self.many = [d[MANY] for d in (self.peers, self.ours) if d]
        self.drivers = [self.null, *self.peers.values(), *self.peer_outside, *self.ours.values()]

    def write(self, line):
        self.lines.write(json.dumps(line) + "\n")
        self.lines.flush()

    def load(self, driver, section, turn, *options, own=False):
        """One run of csiload, on the running driver or, with own, on one that csiload starts itself."""
        command = [os.path.join(self.out, "csiload"), "-endpoint", driver.socket, "-workdir", driver.directory,
                   "-label", driver.label, "-section", section, "-round", str(turn), "-existing", str(0 if section == "fill" else driver.present),
                   "-server-log", os.path.join(driver.directory, "log"), *map(str, options)]
        done = subprocess.run([*command, "--", *driver.command] if own else command,
                              stdout=subprocess.PIPE, stderr=self.errors, text=True)
        if done.returncode:
            say(f"csiload failed (see csiload.log): {' '.join(command)}")
        self.lines.write(done.stdout)
        self.lines.flush()

    def turns(self, drivers, section, *options, rounds=ROUNDS, own=False):
        for turn in range(1, rounds + 1):
            for driver in drivers if turn % 2 else reversed(drivers):
                self.load(driver, section, turn, *options, own=own)


def fill(bench):
    """Volumes of 16 MiB that stay: small ext4 file systems here, directories at the peer."""
    for driver, count in [(bench.ours[FEW], FEW), *[(d, MANY) for d in bench.many]]:
        driver.start()
        bench.load(driver, "fill", 1, "-ops", "create", "-keep", "-strict", "-n", count, "-c", min(count, 16), "-capacity", "16Mi")
        driver.stop()


def starts(bench):
    bench.turns([*bench.empty, *bench.many], "start", "-ops", "start", "-n", 6, "-idle", "1s", own=True)


def memory(bench):
    """10,000 calls and more of all kinds, then rest."""
    drivers = [*bench.empty, *bench.many]
    for operation, count, clients in [("probe", 5000, 16), ("node-caps", 2500, 1), ("list", 100, 1), ("create-delete", 500, 4),
                                      ("publish", 100, 4), ("stats", 1000, 16), ("validate", 1000, 16)]:
        for driver in drivers:
            bench.load(driver, "load", 1, "-ops", operation, "-n", count, "-c", clients, "-access", "block", "-capacity", "16Mi")
    for driver in drivers:
        bench.load(driver, "memory", 1, "-ops", "idle", "-idle", "2s")


# Operation, its options, turns with 1 and with 16 clients. Many short rounds instead of few long ones: the shorter,
# the more alike is the noise that the drivers meet in one. (16 clients share their turns evenly, or some would idle.)
CALLS = [
    ("probe", [], 1000, 3200),
    ("plugin-info", [], 700, 1600),
    ("plugin-caps", [], 700, 1600),
    ("controller-caps", [], 700, 1600),
    ("node-caps", [], 700, 1600),
    ("node-info", [], 700, 1600),
    ("stats", [], 200, 640),
    ("publish", [], 16, 64),
    ("lifecycle", ["-access", "block"], 8, 64),
]
LISTS = [("list", [], 20, 64), ("list-snapshots", [], 200, 640)]


def calls(bench):
    for section, drivers, table in (("calls", bench.empty, CALLS), ("lists", bench.many, LISTS)):
        for operation, options, one, sixteen in table:
            for clients, count in ((1, one), (16, sixteen)):
                bench.turns(drivers, section, "-ops", operation, "-c", clients, "-n", count, "-warmup", clients, "-t", "10s",
                            *options, rounds=3 * ROUNDS)


# Operation, turns of ours and of the peer, which takes seconds for some.
COPIES = [("snapshot", 20, 1), ("restore", 20, 4), ("clone", 20, 20)]


def copies(bench):
    """100 MiB of random data."""
    for operation, ours, theirs in COPIES:
        for turn in range(1, ROUNDS + 1):
            for driver in [*bench.empty[1:], *bench.peer_outside]:
                bench.load(driver, "copies", turn, "-ops", operation, "-n", ours if driver is bench.ours[0] else theirs, "-data", "100Mi")


# What is measured with few and with many volumes present: every call there is, on block volumes, whose
# creation is not drowned in mkfs.
GROWTH = [("probe", 1000), ("plugin-info", 700), ("plugin-caps", 700), ("controller-caps", 700), ("node-caps", 700),
          ("node-info", 700), ("capacity", 500), ("validate", 500), ("get-volume", 500), ("volume-health", 500),
          ("create-delete", 40), ("create-again", 500), ("delete-absent", 500), ("list-page", 500),
          ("list-health-page", 200), ("list-snapshots", 500), ("get-snapshot", 500), ("snapshot", 40),
          ("group-snapshot", 40), ("restore", 40), ("clone", 40), ("publish", 20), ("stats", 500),
          ("node-health", 300), ("storage-health", 500), ("expand", 40)]


def growth(bench):
    for operation, count in GROWTH:
        bench.turns([bench.ours[FEW], bench.ours[MANY]], "growth", "-ops", operation, "-n", count, "-warmup", 2, "-page", FEW,
                    "-access", "block", "-capacity", "64Mi", rounds=3 * ROUNDS)
    bench.turns([*bench.ours.values(), *bench.peers.values()], "present", "-ops", "create-delete", "-n", 100, "-warmup", 2)


def recorded_mkfs(bench, fs):
    """The mkfs command that Plinth runs for a volume, with FILE for the file, seen by a program put before it in PATH."""
    directory = os.path.join(bench.work, "record")
    os.makedirs(directory, exist_ok=True)
    record = os.path.join(directory, "arguments")
    program = os.path.join(directory, f"mkfs.{fs}")
    with open(program, "w") as script:
        script.write(f'#!/bin/sh\nprintf "%s\\n" "$@" >{record}\nPATH=${{PATH#*:}} exec mkfs.{fs} "$@"\n')
    os.chmod(program, 0o755)
    driver = Driver(bench.work, f"record.{fs}", plinth)
    driver.start(os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"})
    bench.load(driver, "record", 1, "-ops", "create-delete", "-n", 1, "-fs", fs)
    driver.stop()
    os.remove(program)
    if not os.path.exists(record):
        say(f"Plinth was not seen to run mkfs.{fs}")
        return None
    arguments = open(record).read().splitlines()
    os.remove(record)
    return [f"mkfs.{fs}", *arguments[:-1]]  # the device comes last


def time_mkfs(bench, command, count):
    """Seconds that the command takes, each time on a new sparse file of 1 GiB."""
    path, times = os.path.join(bench.ours[0].storage, "..", "plain"), []
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    for _ in range(count):
        with open(path, "wb") as file:
            file.truncate(1 << 30)
        began = time.monotonic()
        child = os.posix_spawnp(command[0], [*command, path], os.environ, file_actions=nowhere)  # subprocess would cost a millisecond
        status = os.waitpid(child, 0)[1]
        times.append(time.monotonic() - began)
        if status:
            sys.exit(f"bench: {' '.join(command)} failed")
        os.remove(path)
    return times


def mounted(bench):
    """CreateVolume of a mounted volume against the mkfs it runs, a few at a time in turn."""
    for fs in ("ext4", "xfs"):
        command = recorded_mkfs(bench, fs)
        if not command:
            continue
        say(f"plain command: {' '.join(command)} FILE")
        for turn in range(1, 3 * ROUNDS + 1):
            bench.load(bench.ours[0], f"mounted-{fs}", turn, "-ops", "create-delete", "-n", 8, "-fs", fs)
            times = time_mkfs(bench, command, 8)
            bench.write({"label": "mkfs", "section": f"mounted-{fs}", "round": turn, "run": "mkfs", "op": f"mkfs.{fs}",
                         "clients": 1, "n": 8, "errors": 0, "p50_us": statistics.median(times) * 1e6})


SECTIONS = [("volumes that stay", fill), ("starts", starts), ("memory", memory), ("calls", calls), ("snapshots and copies", copies),
            (f"{FEW} and {MANY} volumes", growth), ("mounted volumes and mkfs", mounted)]


def main(work, out):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(work, out)
    try:
        for title, section in SECTIONS:
            say(title)
            if section is memory:
                for driver in bench.drivers:
                    driver.start()
            section(bench)
    finally:
        for driver in bench.drivers:
            driver.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
