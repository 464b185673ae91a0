"""Prints what measure_lvm.py measured: tables of absolute values and ratios, then the goals.

usage: report_lvm.py OUT     reads OUT/lvm-*.jsonl, writes OUT/results-lvm.jsonl

Values and ratios are as in report.py. A goal about calls of Plinth that were not measured or failed even once is
missed; a goal that needs a peer is skipped without it.
"""
import glob
import json
import os
import statistics
import sys

from report import Measured, Report, megabytes, milliseconds, number, spread

CALLS = [("create-delete", "CreateVolume"), ("create-delete", "DeleteVolume"), ("snapshot", "CreateSnapshot"),
         ("snapshot", "DeleteSnapshot")]
KINDS = ("thin", "thick")
CANDIDATES = ("raw", "plinth", "lvmd", "metal")
GOAL_PRESENT = (10, 1000)
MEMORY = ("at rest", "after the load")
MOST_RAW, MOST_LVMD, MOST_MEMORY = 1.1, 0.5, 14

# Commands that Plinth may start for a call: section, operation, call.
MOST_COMMANDS = [
    *((f"count-{kind}", *call, 1) for kind in KINDS for call in CALLS[:3]),
    ("count-thin", "restore", "CreateVolume.restore", 1), ("count-thin", "clone", "CreateVolume.clone", 1),
    *((f"count-{kind}", "expand", "ControllerExpandVolume", 1) for kind in KINDS),
    *((f"count-{kind}", "publish", "NodeStageVolume", 1) for kind in KINDS),
    *((f"count-{kind}-mounted", "create-delete", "CreateVolume", 2) for kind in KINDS),
    ("count-thin", "list", "ListVolumes.all", 0), ("count-thin", "list-snapshots", "ListSnapshots.all", 0),
    ("count-thin", "capacity", "GetCapacity", 0), ("count-thin", "stats", "NodeGetVolumeStats", 0),
    ("count-thin", "get-volume", "ControllerGetVolume", 0), ("count-thin", "volume-health", "ControllerGetVolumeHealth", 0),
    ("count-thin", "node-health", "NodeGetVolumeHealth", 0), ("count-thin", "storage-health", "NodeGetStorageHealth", 0),
    ("count-thin", "probe", "Probe", 0)]


class LvmReport(Report):
    def __init__(self, measured, results):
        super().__init__(measured, results)
        self.labels = {key[4] for key in measured.rounds}
        self.present = sorted({int(key[0].removeprefix("memory-")) for key in measured.rounds if key[0].startswith("memory-")})

    def goal_of_ratios(self, text, ratios, failed, good, needs=None):
        if needs and needs not in self.labels:
            self.goal(text, f"{needs} was not given", None)
        elif failed or not ratios:
            self.goal(text, f"{failed} calls failed" if failed else "nothing", False)
        else:
            self.goal(text, "{} times ({})".format(*spread(ratios)), good(statistics.median(ratios)))


def rates(report, section, run, op, clients):
    """Plinth's turns a second over those of raw commands, of the rounds that have both."""
    ours, raw = (report.m.rows(section, label, run, op, clients) for label in ("plinth", "raw"))
    return sorted(ours[i]["ops_per_s"] / raw[i]["ops_per_s"] for i in ours if i in raw and raw[i]["ops_per_s"])


def fastest(report, section, run, op, clients):
    """Plinth's fastest call of all rounds over the fastest raw command: what is left where noise only adds."""
    ours, raw = ([line["min_us"] for line in report.m.rows(section, label, run, op, clients).values() if line.get("min_us")]
                 for label in ("plinth", "raw"))
    return f"{min(ours) / min(raw):.2f}" if ours and raw and clients == 1 else "-"


def calls(report):
    header = ["", "LVs", "clients", "raw", "Plinth", "lvmd", "metal", "Plinth/raw", "range", "of fastest", "lvmd/raw", "metal/raw", "Plinth/lvmd", "Plinth/metal"]
    for kind in KINDS:
        rows = []
        for clients in (1, 16):
            for run, op in CALLS:
                for present in report.present:
                    key = (f"{kind}-{present}", run, op, clients)
                    if not any(report.m.rows(key[0], label, *key[1:]) for label in CANDIDATES):
                        continue
                    values = [milliseconds(report.m.value(key[0], label, *key[1:])) for label in CANDIDATES]
                    ratio = {pair: spread(report.m.ratios(*key, *pair)) for pair in
                             [("plinth", "raw"), ("lvmd", "raw"), ("metal", "raw"), ("plinth", "lvmd"), ("plinth", "metal")]}
                    rows.append([op, f"{present:,}", str(clients), *values, *ratio["plinth", "raw"], fastest(report, *key), *(cells[0] for cells in list(ratio.values())[1:])])
        report.table(kind, f"Raw block volumes of 64 MiB, {kind}: p50 in ms and ratios", header, rows)


def turns(report):
    rows = []
    for kind in KINDS:
        for present in report.present:
            for run, op in (CALLS[0], CALLS[2]):
                cells = [report.m.value(f"{kind}-{present}", label, run, op, clients, field=lambda line: line["ops_per_s"])
                         for label in CANDIDATES for clients in (1, 16)]
                if any(cells):
                    rows.append([f"{kind} {run}", f"{present:,}", *(number(each, 2) for each in cells)])
    report.table("turns", "Turns (make and remove) a second with 1 and with 16 clients", ["", "LVs", *(
        f"{label} {clients}" for label in ("raw", "Plinth", "lvmd", "metal") for clients in (1, 16))], rows)


def goals(report):
    for present in GOAL_PRESENT:
        for kind in KINDS:
            for run, op in CALLS[:3]:
                key = (f"{kind}-{present}", run, op, 1)
                failed = report.m.failures(key[0], "plinth", *key[1:])
                text = f"{op}, {kind}, {present:,} LVs: at most"
                report.goal_of_ratios(f"{text} {MOST_RAW} times one raw command", report.m.ratios(*key, "plinth", "raw"), failed,
                                      lambda ratio: ratio <= MOST_RAW)
                if (kind, run) != ("thick", "snapshot"): # lvmd has none
                    report.goal_of_ratios(f"{text} {MOST_LVMD} of lvmd", report.m.ratios(*key, "plinth", "lvmd"), failed,
                                          lambda ratio: ratio <= MOST_LVMD, needs="lvmd")
    for present in GOAL_PRESENT:
        for kind in KINDS:
            for run, op in (CALLS[0], CALLS[2]):
                key = (f"{kind}-{present}", run, op, 16)
                failed = report.m.failures(key[0], "plinth", *key[1:])
                report.goal_of_ratios(f"{kind} {run}, {present:,} LVs: 16 clients do at least as many turns a second as 16 raw commands",
                                      rates(report, *key), failed, lambda ratio: ratio >= 1)


def zeroing(report):
    sections = {(int(present), int(size)): f"zeroing-{size}-{present}" for name, size, present in
                (key[0].split("-") for key in report.m.rounds if key[0].startswith("zeroing-"))}
    sections |= {(present, 64): f"thick-{present}" for present in report.present}
    rows = []
    for (present, size), section in sorted(sections.items()):
        key = ("create-delete", "CreateVolume", 1)
        values = [milliseconds(report.m.value(section, label, *key)) for label in ("raw", "plinth")]
        rows.append([f"{size} MiB", f"{present:,}", *values, *spread(report.m.ratios(section, *key, "plinth", "raw"))])
    report.table("zeroing", "CreateVolume of a thick block volume by its size (a raw command clears the first 4 KiB only): p50 in ms",
                 ["", "LVs", "raw", "Plinth", "Plinth/raw", "range"], rows)


def commands(report):
    """How many lvm processes each call starts."""
    counted = {}
    for (section, run, op, _, label), rounds in report.m.rounds.items():
        if section.startswith("count-") and not op.startswith("cycle"):
            counted[section, run, op, label] = max(line.get("counted", 0) for line in rounds.values())
    rows = []
    for section, run, op in dict.fromkeys(key[:3] for key in counted):
        cells = [counted.get((section, run, op, label)) for label in ("plinth", "lvmd", "metal")]
        rows.append([f"{section.removeprefix('count-').replace('-', ', ')}: {op}", *("-" if cell is None else f"{cell:g}" for cell in cells)])
    report.table("commands", "lvm processes started for one call", ["", "Plinth", "lvmd", "metal"], sorted(rows))
    for section, run, op, most in MOST_COMMANDS:
        got, failed = counted.get((section, run, op, "plinth")), report.m.failures(section, "plinth", run, op, 1)
        report.goal(f"{section.removeprefix('count-').replace('-', ', ')}: {op} starts at most {most} lvm", f"{failed} calls failed" if failed else
                    "nothing" if got is None else f"{got:g}", got is not None and not failed and got <= most)


def memory(report):
    rows = []
    for present in report.present:
        for when in MEMORY:
            values = [report.m.value(f"memory-{present}", label, "memory", when, 1, field=megabytes) for label in ("plinth", "lvmd", "metal")]
            rows.append([f"{when}, {present:,} LVs", *(number(value, 1) for value in values)])
    report.table("memory", "Resident memory in MB", ["", "Plinth", "lvmd", "metal"], rows)
    unlisted = report.m.failures("present-1000", "plinth", "list", "ListVolumes.all", 1)
    listed = report.m.rows("present-1000", "plinth", "list", "ListVolumes.all", 1) and not unlisted
    for when in MEMORY:
        ours = report.m.value("memory-1000", "plinth", "memory", when, 1, field=megabytes)
        report.goal(f"resident memory with 1,000 LVs {when}: at most {MOST_MEMORY} MB",
                    "nothing" if ours is None else f"{ours:.1f} MB" if listed else f"{ours:.1f} MB, but Plinth does not list the volumes",
                    ours is not None and bool(listed) and ours <= MOST_MEMORY)


def failures(report):
    for (section, run, op, clients, label), rounds in report.m.rounds.items():
        errors = sum(line["errors"] for line in rounds.values())
        if errors:
            first = next(line.get("first_error", "") for line in rounds.values() if line["errors"])
            print(f"failed: {label}, {section} {run} with {clients} clients: {errors} of {sum(line['n'] for line in rounds.values())} {op}: {first}")


def main(out):
    lines = []
    for path in glob.glob(os.path.join(glob.escape(str(out)), "lvm-*.jsonl")):
        with open(path) as file:
            lines += map(json.loads, file)
    with open(os.path.join(out, "results-lvm.jsonl"), "w") as results:
        report = LvmReport(Measured(lines), results)
        for part in (calls, turns, zeroing, commands, memory, goals, failures):
            part(report)
        print(f"\n{report.counts['ok']} goals ok, {report.counts['MISSED']} MISSED, {report.counts['skip']} skipped")


if __name__ == "__main__":
    main(*sys.argv[1:])
