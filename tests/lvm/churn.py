"""What happens in one machine of power-loss: after the boot everything that was acknowledged must be there and whole, and
nothing else; then three clients make, write, copy, grow and delete volumes until the power goes.

usage: churn.py LOG SEED        LOG is a file on the host: a line is on it before the next step is done

Exit status 1: something is lost or left; the last lines say what."""
import json
import os
import pathlib
import random
import sys
import tempfile
import threading

import grpc

sys.path.append(str(pathlib.Path(__file__).parents[1] / "behaviour"))
import groups
import machine
from client import block, from_snapshot, from_volume, mount, until_ok
from content import read, read_file, write
from groups import DISKS, Group
from kinds import KINDS
from lvm_driver import LvmDriver
from machine import KiB, MiB

SLOTS, SLOT, PAGE = 8, 64 * KiB, 4096
RAW, MOUNTED = 8 * MiB, 24 * MiB
CLIENTS = [("thin", False), ("linear", False), ("thin", True), ("linear", True)]


def content(seed):
    """64 KiB that tell where they come from."""
    return random.Random(seed).randbytes(PAGE) * (SLOT // PAGE) if seed else bytes(SLOT)


class Log:
    """Lines {"client", "step", "do", ...} before and {"client", "step", "done", ...} after each step."""

    def __init__(self, path):
        self.lines = [json.loads(line) for line in open(path) if line.endswith("\n")] if os.path.exists(path) else []
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.lock = threading.Lock()

    def add(self, **line):
        with self.lock:
            os.write(self.file, (json.dumps(line) + "\n").encode())
            os.fsync(self.file)


class Client:
    """One client and what it knows: volumes and snapshots as {name: {"id", "bytes", "slots": [seed], "maybe": {slot: seed}}}."""

    def __init__(self, number, driver, log):
        self.number, self.driver, self.log = number, driver, log
        self.kind, self.mounted = CLIENTS[number]
        self.capability = mount() if self.mounted else block()
        self.volumes, self.snapshots, self.step, self.staged = {}, {}, 0, {}
        self.random = random.Random()

    # --- steps: told, done, told

    def do(self, what, **arguments):
        self.step += 1
        self.log.add(client=self.number, step=self.step, do=what, **arguments)
        result = getattr(self, what)(**arguments) or {}
        self.log.add(client=self.number, step=self.step, done=what, **result)
        self.learn(what, arguments, result)

    def create(self, name, bytes, source=None):
        origin = None
        if source:
            kind, of = source
            origin = from_snapshot(self.snapshots[of]["id"]) if kind == "snapshot" else from_volume(self.volumes[of]["id"])
        volume = self.driver.csi.create(name, bytes, self.capability, source=origin, parameters=KINDS[self.kind])
        return {"id": volume.volume_id, "bytes": volume.capacity_bytes}

    def snapshot(self, name, volume):
        return {"id": self.driver.csi.snapshot(name, self.volumes[volume]["id"]).snapshot_id}

    def expand(self, volume, bytes):
        return {"bytes": self.driver.csi.expand(self.volumes[volume]["id"], bytes).capacity_bytes}

    def delete(self, volume):
        if volume in self.volumes:
            self.unstage(volume)
            self.driver.csi.delete(self.volumes[volume]["id"])

    def delete_snapshot(self, snapshot):
        if snapshot in self.snapshots:
            self.driver.csi.delete_snapshot(self.snapshots[snapshot]["id"])

    def write(self, volume, slot, seed):
        path = self.stage(volume)
        if not self.mounted:
            write(path, content(seed), slot * MiB)
            return
        with open(f"{path}/new", "wb") as file:
            file.write(content(seed))
            os.fsync(file.fileno())
        os.rename(f"{path}/new", f"{path}/slot-{slot}")
        directory = os.open(path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def stage(self, volume):
        if volume not in self.staged:
            self.staged[volume] = self.driver.use(self.volumes[volume]["id"], self.capability)
        return self.staged[volume]

    def unstage(self, volume):
        if self.staged.pop(volume, None):
            self.driver.release(self.volumes[volume]["id"])

    # --- what a step means

    def learn(self, what, arguments, result):
        if what == "create":
            source = arguments.get("source")
            of = (self.snapshots if source[0] == "snapshot" else self.volumes)[source[1]] if source else {"slots": [0] * SLOTS}
            self.volumes[arguments["name"]] = {**result, "slots": list(of["slots"]), "maybe": {}}
        elif what == "snapshot":
            of = self.volumes[arguments["volume"]]
            self.snapshots[arguments["name"]] = {**result, "bytes": of["bytes"], "slots": list(of["slots"]), "maybe": {}}
        elif what == "expand":
            self.volumes[arguments["volume"]].update(result)
        elif what == "write":
            self.volumes[arguments["volume"]]["slots"][arguments["slot"]] = arguments["seed"]
        elif what == "delete":
            self.volumes.pop(arguments["volume"], None)
        elif what == "delete_snapshot":
            self.snapshots.pop(arguments["snapshot"], None)

    def read_log(self):
        """The state at the power cut; returns the step that was under way, if there was one."""
        pending = None
        for line in self.log.lines:
            if line["client"] != self.number:
                continue
            line, self.step = dict(line), line["step"]
            del line["client"], line["step"]
            if "do" in line:
                pending = line.pop("do"), line
            elif "done" in line:
                self.learn(line.pop("done"), pending[1], line)
                pending = None
        return pending

    def repeat(self, pending):
        """What a Kubernetes would do: the same call again.  A write that was cut off may be there or not."""
        what, arguments = pending
        if what == "write":
            volume = self.volumes[arguments["volume"]]
            volume["maybe"] = {arguments["slot"]: arguments["seed"]}
        else:
            self.learn(what, arguments, getattr(self, what)(**arguments) or {})
            self.log.add(client=self.number, step=self.step, done=what,
                         **({key: value for key, value in self.last(what, arguments).items() if key in ("id", "bytes")}))

    def last(self, what, arguments):
        if what == "create":
            return self.volumes[arguments["name"]]
        if what == "snapshot":
            return {"id": self.snapshots[arguments["name"]]["id"]}
        return {"bytes": self.volumes[arguments["volume"]]["bytes"]} if what == "expand" else {}

    # --- looking

    def check(self):
        """How many volumes and snapshots were looked at; raises AssertionError."""
        for name, known in self.volumes.items():
            path = self.stage(name)
            self.check_files(name, known, path) if self.mounted else self.check_bytes(name, known, read(path))
            self.unstage(name)
        for name, known in self.snapshots.items():
            if self.mounted:
                self.check_snapshot_of_files(name, known)
            else:
                with self.driver.opened(known["id"]) as path:
                    self.check_bytes(name, known, read(path))
        return len(self.volumes) + len(self.snapshots)

    def check_bytes(self, name, known, found):
        assert len(found) == known["bytes"], f"{name}: {len(found)} bytes instead of {known['bytes']}"
        for slot, seed in enumerate(known["slots"]):
            piece, allowed = found[slot * MiB:slot * MiB + SLOT], {seed, known["maybe"].get(slot, seed)}
            pages = [{content(seed)[:PAGE] for seed in allowed}.__contains__(piece[at:at + PAGE]) for at in range(0, SLOT, PAGE)]
            assert all(pages), f"{name} ({known['id']}): slot {slot} is not what was written: {pages}"
            rest = found[slot * MiB + SLOT:(slot + 1) * MiB]
            assert rest.count(0) == len(rest), f"{name} ({known['id']}): behind slot {slot} there is something"
            # What was cut off is decided now.
            if slot in known["maybe"] and piece != content(known["maybe"][slot]):
                write_again = known["maybe"].pop(slot)
                self.do("write", volume=name, slot=slot, seed=write_again)
            elif slot in known["maybe"]:
                known["slots"][slot] = known["maybe"].pop(slot)
                self.log.add(client=self.number, step=self.step, done="write")
        rest = found[SLOTS * MiB:]
        assert rest.count(0) == len(rest), f"{name} ({known['id']}): its end is not zero"

    def check_files(self, name, known, path):
        for slot, seed in enumerate(known["slots"]):
            file = f"slot-{slot}"
            found = read_file(path, file) if os.path.exists(f"{path}/{file}") else b""
            allowed = [content(seed) if seed else b"" for seed in (seed, known["maybe"].get(slot, seed))]
            assert found in allowed, f"{name} ({known['id']}): {file} is not what was written ({len(found)} bytes)"
            if slot in known["maybe"]:
                self.do("write", volume=name, slot=slot, seed=known["maybe"].pop(slot))

    def check_snapshot_of_files(self, name, known):
        copy = self.driver.csi.create(f"check-{name}", known["bytes"], self.capability, source=from_snapshot(known["id"]),
                                      parameters=KINDS[self.kind]).volume_id
        self.check_files(name, known, self.driver.use(copy, self.capability))
        self.driver.release(copy)
        self.driver.csi.delete(copy)

    # --- churning

    def do_one(self):
        what, arguments = self.choose()
        self.do(what, **arguments)

    def choose(self):
        pick, name = self.random, f"{self.number}-{self.step}"
        volume = pick.choice(sorted(self.volumes)) if self.volumes else None
        snapshot = pick.choice(sorted(self.snapshots)) if self.snapshots else None
        size = MOUNTED if self.mounted else RAW
        choices = [("create", {"name": name, "bytes": size})] * (4 - len(self.volumes))
        if volume:
            known = self.volumes[volume]
            larger = known["bytes"] + pick.choice([0, 8 * MiB])
            choices += [("write", {"volume": volume, "slot": pick.randrange(SLOTS), "seed": pick.randrange(1, 2**40)})] * 6
            choices += [("snapshot", {"name": f"s-{name}", "volume": volume})] * (3 - len(self.snapshots))
            if known["bytes"] < 40 * MiB:
                choices += [("expand", {"volume": volume, "bytes": known["bytes"] + 4 * MiB})]
            if len(self.volumes) < 5:
                choices += [("create", {"name": name, "bytes": larger, "source": ["volume", volume]})]
            if len(self.volumes) > 1:
                choices += [("delete", {"volume": volume})] * max(1, len(self.volumes) - 2)
        if snapshot:
            if len(self.volumes) < 5:
                known = self.snapshots[snapshot]
                choices += [("create", {"name": name, "bytes": known["bytes"] + pick.choice([0, 8 * MiB]),
                                        "source": ["snapshot", snapshot]})]
            choices += [("delete_snapshot", {"snapshot": snapshot})] * len(self.snapshots)
        return pick.choice(choices)


def open_group():
    """The volume group, which the first boot makes."""
    if "main" not in {row["vg_name"] for row in groups.report("vgs", "-o", "vg_name")}:
        return Group("main", DISKS[:2], thin=2048 * MiB)
    group = Group.__new__(Group)
    group.name, group.paths = "main", DISKS[:2]
    return group


def check_group(group, clients):
    """No logical volume without an owner, none missing, and the thin pool and LVM agree."""
    expected = {known["id"] for client in clients for known in [*client.volumes.values(), *client.snapshots.values()]}
    machine.eventually(lambda: group.names() == expected | {"thin"}, 10)
    names = group.names() - {"thin"}
    assert not names - expected, f"without an owner: {sorted(names - expected)}"
    assert not expected - names, f"lost: {sorted(expected - names)}"
    assert groups.suspended() == [], f"suspended: {groups.suspended()}"
    groups.run("vgck", "main")
    pool = [name for name in groups.devices() if name in ("main-thin-tpool", "main-thin")]
    assert not pool or any(" rw " in groups.status(name) for name in pool), groups.status(pool[0])


def check_lists(driver, clients):
    assert set(driver.csi.volume_ids()) == {known["id"] for client in clients for known in client.volumes.values()}
    assert set(driver.csi.snapshot_ids()) == {known["id"] for client in clients for known in client.snapshots.values()}
    unhealthy = [entry.volume_id for entry in driver.csi.ControllerListVolumeHealth().entries]
    assert not unhealthy, f"unhealthy: {unhealthy}"


def run_client(client, failures):
    try:
        while True:
            client.do_one()
    except (grpc.RpcError, AssertionError, OSError) as error:
        failures.append(f"client {client.number} {CLIENTS[client.number]}, step {client.step}: "
                        f"{error.details() if hasattr(error, 'details') else error}")


def main(path, seed):
    group = open_group()
    driver = LvmDriver(tempfile.mkdtemp(), {"main": (group, "thinpool=thin,reserve=0")})
    driver.log = pathlib.Path(path).with_name("driver.log")  # also there after the power cut
    log = Log(path)
    driver.start()
    clients = [Client(number, driver, log) for number in range(len(CLIENTS))]
    pending = [client.read_log() for client in clients]
    for number, client in enumerate(clients):
        client.random = random.Random(seed * 10 + number)
        if pending[number]:
            until_ok(lambda client=client, number=number: client.repeat(pending[number]), 30, ("ABORTED", "UNAVAILABLE"))
    check_group(group, clients)
    check_lists(driver, clients)
    checked = sum(client.check() for client in clients)
    check_group(group, clients)
    under_way = ",".join(sorted(step[0] for step in pending if step)) or "nothing"
    print(f"whole: {checked} volumes and snapshots; cut off was: {under_way}", flush=True)
    failures = []
    threads = [threading.Thread(target=run_client, args=(client, failures), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    print("churning", flush=True)
    while not failures:
        threads[0].join(0.1)
    raise AssertionError("; ".join(failures))


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except grpc.RpcError as failure:
        print(f"FAILED: {failure.code().name} {failure.details()}", flush=True)
        sys.exit(1)
    except AssertionError as failure:
        print(f"FAILED: {failure}", flush=True)
        sys.exit(1)
