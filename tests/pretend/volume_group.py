"""A pretended volume group: what LVM's metadata would have is in $PRETEND_LVM/groups/NAME.json, the bytes of a logical volume in
data/<its UUID>, what device-mapper would know of an active one in devices/ (libdevmapper.c).  Physical volumes are files that
begin as LVM's do, so that changes can be seen from outside (pool/lvm_header.h)."""
import contextlib
import fcntl
import json
import os
import pathlib
import random
import shutil
import string
import struct

import loops

TOP = pathlib.Path(os.environ.get("PRETEND_LVM", "/nonexistent"))
MiB = 1 << 20
RAID = {"raid1": 0, "raid5": 1, "raid6": 2, "raid10": 0}  # devices with parity
FICLONE = 0x40049409


class Refused(Exception):
    """What LVM would say."""


def new_uuid():
    letters = [random.choice(string.ascii_letters + string.digits) for _ in range(32)]
    ends = (6, 10, 14, 18, 22, 26, 32)
    return "-".join("".join(letters[start:end]) for start, end in zip((0, *ends), ends))


def escaped(name):
    return name.replace("-", "--")


def clone(source, target):
    with open(source, "rb") as old, open(target, "wb") as new:
        try:
            fcntl.ioctl(new, FICLONE, old.fileno())
        except OSError:
            shutil.copyfile(source, target)


# --- physical volumes


def write_label(path, uuid, size):
    """LVM2's label, the header of the physical volume and its list of areas."""
    label = struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001")
    header = struct.pack("<32sQ", uuid.replace("-", "").encode(), size)
    areas = struct.pack("<QQQQQQQQ", MiB, 0, 0, 0, 4096, MiB - 4096, 0, 0)
    with open(path, "r+b") as file:
        file.seek(512)
        file.write((label + header + areas).ljust(512, b"\0"))


def write_place(path, sequence):
    """Where the present metadata would be: another place each time."""
    header = struct.pack("<I16sIQQQQII", 0, b" LVM2 x[5A%r0N*>", 1, 4096, MiB - 4096, 512 + sequence % 1000 * 512, 4096, sequence, 0)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(header)


# --- the group


class Group:
    """Open one with opened(): under its lock, written back if it has been changed."""

    def __init__(self, name, state):
        self.name, self.state, self.changed = name, state, False

    @classmethod
    @contextlib.contextmanager
    def opened(cls, name, write=True, new=None):
        (TOP / "groups").mkdir(parents=True, exist_ok=True)
        with open(TOP / "groups" / f"{name}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
            path = TOP / "groups" / f"{name}.json"
            if new is None and not path.exists():
                raise Refused(f'Volume group "{name}" not found')
            if new is not None and path.exists():
                raise Refused(f"A volume group called {name} already exists.")
            group = cls(name, new or json.loads(path.read_text()))
            yield group
            if group.changed or new is not None:
                group.write(path)

    @classmethod
    @contextlib.contextmanager
    def made(cls, name, paths, extent=4 * MiB):
        devices = []
        for path in paths:
            size = os.stat(path).st_size
            devices.append({"path": str(path), "uuid": new_uuid(), "extents": (size - MiB) // extent, "missing": False})
            write_label(path, devices[-1]["uuid"], size)
        state = {"uuid": new_uuid(), "tags": [], "extent": extent, "sequence": 0, "metadata": MiB - 4096, "devices": devices, "volumes": {},
                 "exported": False, "numbers": 0}
        with cls.opened(name, new=state) as group:
            yield group

    def write(self, path):
        self.state["sequence"] += 1
        for pool in self.volumes:
            if self.volumes[pool]["type"] == "thin-pool" and self.is_active(pool):
                self.show(pool)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self.state))
        new.rename(path)
        for device in self.state["devices"]:
            if not device["missing"] and os.path.exists(device["path"]):
                write_place(device["path"], self.state["sequence"])

    @property
    def volumes(self):
        return self.state["volumes"]

    @property
    def extent(self):
        return self.state["extent"]

    def find(self, name):
        if name not in self.volumes or self.volumes[name].get("parent"):
            raise Refused(f'Failed to find logical volume "{self.name}/{name}"')
        return self.volumes[name]

    def extents(self, size):
        return -(-size // self.extent)

    # --- allocation

    def used(self, path):
        return sorted((start, length) for volume in self.volumes.values() for where, start, length in volume["ranges"] if where == path)

    def free_ranges(self, allowed=None):
        """{path: [(start, length)]}"""
        found = {}
        for device in self.state["devices"]:
            ranges, at = [], 0
            for start, length in [*self.used(device["path"]), (device["extents"], 0)]:
                if start > at:
                    ranges.append((at, start - at))
                at = start + length
            if allowed is not None:
                wanted = [(start, end) for path, start, end in allowed if path == device["path"]]
                ranges = [(max(start, low), min(start + length, high + 1) - max(start, low)) for start, length in ranges
                          for low, high in wanted if min(start + length, high + 1) > max(start, low)]
            if ranges and not device["missing"]:
                found[device["path"]] = ranges
        return found

    def free(self):
        return sum(length for ranges in self.free_ranges().values() for _, length in ranges)

    def allocate(self, count, allowed=None, avoid=()):
        """Extents on any devices but those to avoid."""
        taken, left = [], count
        for path, ranges in self.free_ranges(allowed).items():
            for start, length in [] if path in avoid else ranges:
                piece = min(length, left)
                if piece:
                    taken.append([path, start, piece])
                    left -= piece
        if left:
            raise Refused(f'Volume group "{self.name}" has insufficient free space ({self.free()} extents): {count} required.')
        return taken

    def allocate_on_one(self, count, avoid, allowed=None):
        """All of it on one device."""
        for path, ranges in self.free_ranges(allowed).items():
            if path not in avoid and sum(length for _, length in ranges) >= count:
                return self.allocate(count, allowed, avoid={other["path"] for other in self.state["devices"]} - {path})
        raise Refused(f"Insufficient suitable allocatable extents for logical volume : {count} more required")

    # --- logical volumes

    def add(self, name, **more):
        if name in self.volumes:
            raise Refused(f'Logical Volume "{name}" already exists in volume group "{self.name}"')
        self.volumes[name] = {"uuid": new_uuid(), "bytes": 0, "type": "linear", "stripes": 1, "copies": 1, "pool": "", "origin": "",
                              "parent": "", "tags": [], "ranges": [], "read_only": False, "transaction": 0, **more}
        self.changed = True
        return self.volumes[name]

    def parts(self, name):
        return [part for part, volume in self.volumes.items() if volume["parent"] == name]

    def add_room(self, name, extents, allowed=None):
        """Gives a volume that many more extents of data."""
        volume = self.volumes[name]
        kind, stripes, copies = volume["type"], volume["stripes"], volume["copies"]
        if kind in ("thin", "snapshot") and volume["pool"]:
            return
        if kind not in RAID:
            if kind == "striped" and len(self.state["devices"]) < stripes:
                raise Refused(f"Number of stripes ({stripes}) must not exceed number of physical volumes ({len(self.state['devices'])})")
            if kind != "striped":
                volume["ranges"] += self.allocate(extents, allowed)
                return
            used = []
            for _ in range(stripes):
                taken = self.allocate_on_one(-(-extents // stripes), used, allowed)
                volume["ranges"] += taken
                used.append(taken[0][0])
            return
        data = stripes if kind != "raid1" else 1
        count = (data * copies if kind in ("raid1", "raid10") else data) + RAID[kind]
        if count > len(self.state["devices"]):
            raise Refused(f"Insufficient suitable allocatable extents for logical volume {name}: {extents} more required")
        each, used = -(-extents // data), []
        for number in range(count):
            image, metadata = f"{name}_rimage_{number}", f"{name}_rmeta_{number}"
            if image not in self.volumes:
                taken = self.allocate_on_one(each + 1, used, allowed)
                self.add(metadata, parent=name, ranges=self.allocate_on_one(1, used), bytes=self.extent)
                self.add(image, parent=name)
            taken = self.allocate_on_one(each, used, allowed)
            self.volumes[image]["ranges"] += taken
            self.volumes[image]["bytes"] += each * self.extent
            used.append(taken[0][0])

    def resize(self, name, size, allowed=None):
        volume = self.volumes[name]
        extents = self.extents(size)
        self.add_room(name, extents - volume["bytes"] // self.extent, allowed)
        volume["bytes"] = extents * self.extent
        self.changed = True
        os.makedirs(TOP / "data", exist_ok=True)
        with open(self.data(name), "ab") as file:
            file.truncate(volume["bytes"])
        if self.number(name) is not None:
            loops.notice_size(self.number(name))
            self.show(name, self.number(name))

    def data(self, name):
        return TOP / "data" / self.volumes[name]["uuid"]

    # --- devices

    def device_name(self, name):
        return f"{escaped(self.name)}-{escaped(name)}" + ("-tpool" if self.volumes[name]["type"] == "thin-pool" else "")

    def device(self, name):
        return TOP / "devices" / self.device_name(name)

    def is_active(self, name):
        return self.device(name).exists()

    def number(self, name):
        """Of its loop device; None if it has none."""
        if not self.is_active(name):
            return None
        major, minor = self.device(name).read_text().split()[1].split(":")
        return int(minor) if major == "7" else None

    def lines(self, name):
        """(target, status, table) as device-mapper would have them."""
        volume = self.volumes[name]
        sectors = volume["bytes"] // 512
        if volume["type"] == "thin-pool":
            used, metadata = (volume.get(key, 0) for key in ("data_used", "metadata_used"))
            return ("thin-pool", f"{volume['transaction']} {metadata // 4096}/{volume['metadata'] // 4096} {used // 65536}/{volume['bytes'] // 65536} - "
                    f"{volume.get('flags', 'rw no_discard_passdown queue_if_no_space')} - 1024", "253:1 253:2 128 0 0")
        if volume["pool"]:
            return "thin", f"{os.stat(self.data(name)).st_blocks} {sectors - 1}", "253:3 1"
        if volume["origin"]:
            return "snapshot", f"16/{sectors} 16", "253:4 253:5 P 8"
        if volume["type"] in RAID:
            count = len(self.parts(name)) // 2
            return "raid", f"{volume['type']} {count} {volume.get('health', 'A' * count)} {sectors}/{sectors} idle 0 0 -", "raid"
        return "linear", "", "8:0 2048"

    def show(self, name, number=None):
        volume, (target, status, table) = self.volumes[name], self.lines(name)
        uuid = "LVM-" + (self.state["uuid"] + volume["uuid"]).replace("-", "") + ("-tpool" if target == "thin-pool" else "")
        if number is None:
            self.state["numbers"] += 1
        where = f"7:{number}" if number is not None else f"253:{self.state['numbers'] % 1000}"
        path = self.device(name)
        new = TOP / "new" / path.name
        for folder in (new.parent, path.parent, TOP / "suspended"):
            folder.mkdir(exist_ok=True)
        new.write_text(f"{uuid} {where} {target} {'ro' if volume['read_only'] else 'rw'}\n{status}\n{table}\n")
        new.rename(path)

    def activate(self, name):
        volume = self.volumes[name]
        if volume["pool"]:
            self.activate(volume["pool"])
        elif volume["origin"]:
            self.activate(volume["origin"])
        if self.is_active(name):
            return
        self.show(name, None if volume["type"] == "thin-pool" else loops.bind(self.data(name), volume["read_only"]))

    def check_unused(self, name):
        number = self.number(name)
        if number is not None and loops.mount_of(number):
            raise Refused(f"Logical volume {self.name}/{name} contains a filesystem in use.")
        if number is not None and loops.opens(number):
            raise Refused(f"Logical volume {self.name}/{name} in use.")

    def deactivate(self, name):
        self.check_unused(name)
        number = self.number(name)
        if number is not None:
            loops.unbind(number)
        self.device(name).unlink(missing_ok=True)
        (TOP / "suspended" / self.device_name(name)).unlink(missing_ok=True)

    def cuts(self, name):
        return [cut for cut, volume in self.volumes.items() if volume["origin"] == name and not volume["pool"]]

    def remove(self, name):
        for other in self.cuts(name):
            self.remove(other)
        if self.volumes[name]["type"] == "thin-pool":
            for other in [other for other, volume in self.volumes.items() if volume["pool"] == name]:
                self.remove(other)
        self.deactivate(name)
        self.count_transaction(name)
        self.data(name).unlink(missing_ok=True)
        for part in self.parts(name):
            del self.volumes[part]
        del self.volumes[name]
        self.changed = True

    def count_transaction(self, name):
        pool = self.volumes[name]["pool"]
        if pool:
            self.volumes[pool]["transaction"] += 1
            if self.is_active(pool):
                self.show(pool)
