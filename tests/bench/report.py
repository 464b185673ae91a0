"""Prints what measure.py measured: tables of absolute values and ratios, then the goals.

usage: report.py OUT     reads OUT/calls.jsonl, writes OUT/results.jsonl

A value is the median over the rounds of a round's median (p50); a ratio is the
median of the ratios of the rounds, for in one round all drivers met the same
noise, with the smallest and largest beside it. A goal about a call that failed
even once is missed. A goal that needs the peer is skipped without it.
"""
import json
import os
import statistics
import sys

CLIENTS = (1, 16)

# Must be faster than the peer, with 1 and with 16 clients: section, operation, call.
FASTER = [("calls", "probe", "Probe"), ("calls", "plugin-caps", "GetPluginCapabilities"),
          ("calls", "controller-caps", "ControllerGetCapabilities"), ("calls", "node-caps", "NodeGetCapabilities"),
          ("lists", "list", "ListVolumes.all"), ("lists", "list-snapshots", "ListSnapshots.all"),
          ("calls", "publish", "NodePublishVolume"), ("calls", "publish", "NodeUnpublishVolume"),
          ("calls", "lifecycle", "lifecycle")]

# Must be that many times as fast as the peer with 1 client.
TIMES = [("calls", "stats", "NodeGetVolumeStats", 10), ("copies", "snapshot", "CreateSnapshot", 100),
         ("copies", "restore", "CreateVolume.restore", 20), ("copies", "clone", "CreateVolume.clone", 5)]

# Where the peer keeps its volumes for the copies: the reflink pool helps it too (its cp clones by reflink there).
PLACES = {"peer": "on the same reflink pool", "peer-outside": "on the machine's own file system"}

# 16 clients must do more than 1: operation, and what it is.
CONCURRENT = [("stats", "stats"), ("publish", "publish and unpublish"), ("lifecycle", "a block volume's whole life")]

SECTION_TITLES = {
    "calls": "Calls: p50 in ms, and how many times as long the peer takes (volumes of the lifecycle are block)",
    "lists": "Lists with 1,000 volumes present: p50 in ms",
    "copies": "Snapshot, restore and clone of a volume with 100 MiB of random data: p50 in ms"}


class Measured:
    """The lines of calls.jsonl by what they are about."""

    def __init__(self, lines):
        self.rounds = {}
        for line in lines:
            key = (line["section"], line["run"], line["op"], line["clients"], line["label"])
            self.rounds.setdefault(key, {})[line["round"]] = line

    def keys(self, section):
        """(run, op, clients) of a section, in the order of measurement."""
        return list(dict.fromkeys(key[1:4] for key in self.rounds if key[0] == section))

    def rows(self, section, label, run, op, clients):
        return self.rounds.get((section, run, op, clients, label), {})

    def value(self, *key, field=lambda line: line["p50_us"]):
        """The median over the rounds, or None if no call succeeded."""
        values = [field(line) for line in self.rows(*key).values() if line["n"] > line["errors"]]
        return statistics.median(values) if values else None

    def ratios(self, section, run, op, clients, over, under):
        """Ratios of p50 of label `over` to label `under`, of the rounds that have both, sorted."""
        a, b = (self.rows(section, label, run, op, clients) for label in (over, under))
        return sorted(a[i]["p50_us"] / b[i]["p50_us"] for i in a if i in b and a[i].get("p50_us") and b[i].get("p50_us"))

    def failures(self, section, label, run, op, clients):
        return sum(line["errors"] for line in self.rows(section, label, run, op, clients).values())


class Report:
    def __init__(self, measured, results):
        self.m, self.results, self.counts = measured, results, {"ok": 0, "MISSED": 0, "skip": 0}
        self.with_peer = any(key[4] == "peer" for key in measured.rounds)

    def write(self, **row):
        self.results.write(json.dumps(row) + "\n")

    def goal(self, text, measured, good):
        """good is None if it could not be measured for want of the peer."""
        verdict = "skip" if good is None else "ok" if good else "MISSED"
        self.counts[verdict] += 1
        print(f"goal: {text}  measured: {measured}  {verdict}")
        self.write(goal=text, measured=measured, verdict=verdict)

    def table(self, name, title, header, rows):
        """rows: lists of strings; the first column is text, the rest are numbers."""
        print(f"\n{title}")
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        for row in [header, *rows]:
            print("  " + row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:])))
        for row in rows:
            self.write(table=name, **dict(zip(header, row)))


def number(value, digits=3):
    return "-" if value is None else f"{value:,.{digits}f}"


def milliseconds(value):
    return number(None if value is None else value / 1000)


def spread(ratios):
    """"median", "smallest-largest"; the row has "-" where there is nothing."""
    if not ratios:
        return ["-", "-"]
    return [f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}"]


def megabytes(line):
    return line["server"]["after"]["rss_kib"] * 1024 / 1e6


MEMORY = [("at rest, no volumes", "start", "start", "start.serving", ""),
          ("at rest, 1,000 volumes", "start", "start", "start.serving", "-1000"),
          ("after 10,000 calls, no volumes", "memory", "idle", "idle", ""),
          ("after 10,000 calls, 1,000 volumes", "memory", "idle", "idle", "-1000")]


def memory(report):
    cells = {}
    for title, section, run, op, suffix in MEMORY:
        cells[title] = [report.m.value(section, label + suffix, run, op, 1, field=megabytes) for label in ("plinth", "peer", "null")]
    report.table("memory", "Resident memory in MB", ["", "Plinth", "peer", "null"],
                 [[title, *(number(value, 1) for value in values)] for title, values in cells.items()])
    for title, most in zip(cells, (10, None, None, 14)):
        if most:
            ours = cells[title][0]
            report.goal(f"resident memory {title}: at most {most} MB", f"{number(ours, 1)} MB", ours is not None and ours <= most)


def starts(report):
    rows, goals = [], []
    for title, suffix, most in (("no volumes", "", 10), ("1,000 volumes", "-1000", 200)):
        values = [report.m.value("start", label + suffix, "start", "start.serving", 1) for label in ("plinth", "peer", "null")]
        rows.append([title, *map(milliseconds, values)])
        goals.append((f"start to first answered Probe, {title}: below {most} ms", values[0], most))
    report.table("start", "Start to the first answered Probe: p50 in ms", ["", "Plinth", "peer", "null"], rows)
    for text, value, most in goals:
        report.goal(text, milliseconds(value) + " ms", value is not None and value < most * 1000)


def call_table(report, section):
    """Our and the peer's calls of a section side by side."""
    suffix = "-1000" if section == "lists" else ""
    rows = []
    for run, op, clients in report.m.keys(section):
        ours = report.m.rows(section, "plinth" + suffix, run, op, clients)
        if not ours:
            continue # ControllerPublishVolume and its like, of the peer only
        p50 = [milliseconds(report.m.value(section, label, run, op, clients)) for label in ("plinth" + suffix, "peer" + suffix, "null")]
        ratios = report.m.ratios(section, run, op, clients, "peer" + suffix, "plinth" + suffix)
        p99 = [milliseconds(report.m.value(section, label + suffix, run, op, clients, field=lambda line: line["p99_us"])) for label in ("plinth", "peer")]
        rows.append([f"{run}: {op}" if run != op.lower() else op, str(clients), *p50, *spread(ratios), *p99])
    report.table(section, SECTION_TITLES[section], ["", "clients", "Plinth", "peer", "null", "peer/Plinth", "range", "Plinth p99", "peer p99"], rows)


def copies_outside(report):
    rows = []
    for run, op, clients in report.m.keys("copies"):
        values = [report.m.value("copies", label, run, op, clients) for label in ("plinth", "peer-outside")]
        if op.startswith("Create") and values[1]:
            rows.append([op, *map(milliseconds, values), *spread(report.m.ratios("copies", run, op, clients, "peer-outside", "plinth"))])
    if rows:
        report.table("copies-outside", f"The same with the peer {PLACES['peer-outside']}: p50 in ms",
                     ["", "Plinth", "peer", "peer/Plinth", "range"], rows)


def against_peer(report, section, run, op, clients, least, text, peer="peer"):
    """A goal of being more than `least` times as fast as the peer (at least, if it is more than 1)."""
    suffix = "-1000" if section == "lists" else ""
    failed = report.m.failures(section, "plinth" + suffix, run, op, clients)
    ratios = report.m.ratios(section, run, op, clients, peer + suffix, "plinth" + suffix)
    if failed:
        report.goal(text, f"{failed} calls failed", False)
    elif not ratios and report.with_peer:
        report.goal(text, "nothing", False)
    elif not ratios:
        report.goal(text, "no PEER was given", None)
    else:
        ratio = statistics.median(ratios)
        report.goal(text, f"{ratio:.2f} times", ratio >= least if least > 1 else ratio > 1)


def compare_calls(report):
    for section in ("calls", "lists", "copies"):
        call_table(report, section)
    copies_outside(report)
    for section, run, op in FASTER:
        for clients in CLIENTS:
            name = "a block volume's whole life" if run == "lifecycle" else op
            against_peer(report, section, run, op, clients, 1, f"{name}, {clients} client{'s' if clients > 1 else ''}: faster than the peer")
    for section, run, op, least in TIMES:
        if section == "copies":
            for peer, place in PLACES.items():
                against_peer(report, section, run, op, 1, least, f"{op} of 100 MiB: at least {least} times as fast as the peer {place}", peer)
        else:
            against_peer(report, section, run, op, 1, least, f"{op}: at least {least} times as fast as the peer")
    against_peer(report, "calls", "stats", "NodeGetVolumeStats", 16, 1, "NodeGetVolumeStats, 16 clients: faster than the peer")


def concurrency(report):
    rows = []
    for run, title in CONCURRENT:
        op = {"stats": "NodeGetVolumeStats", "publish": "cycle"}.get(run, run)
        for label in ("plinth", "peer"):
            rate = [report.m.value("calls", label, run, op, clients, field=lambda line: line["ops_per_s"]) for clients in CLIENTS]
            if None not in rate:
                rows.append([f"{title}, {'Plinth' if label == 'plinth' else 'peer'}", *(number(r, 1) for r in rate), f"{rate[1] / rate[0]:.2f}"])
    report.table("concurrency", "Work of 16 clients against 1, each on a volume of its own: turns a second", ["", "1 client", "16 clients", "16/1"], rows)
    for run, title in CONCURRENT:
        ratio = next((row[3] for row in rows if row[0] == f"{title}, Plinth"), "-")
        report.goal(f"{title}: 16 clients do more work than 1", f"{ratio} times", ratio != "-" and float(ratio) > 1)


def growth(report):
    few, many, rows, over, failed = "plinth-10", "plinth-1000", [], [], []
    for run, op, clients in report.m.keys("growth"):
        ratios = report.m.ratios("growth", run, op, clients, many, few)
        values = [report.m.value("growth", label, run, op, clients) for label in (few, many)]
        rows.append([f"{run}: {op}", *map(milliseconds, values), *spread(ratios)])
        if sum(report.m.failures("growth", label, run, op, clients) for label in (few, many)):
            failed.append(op)
        elif not ratios or statistics.median(ratios) > 1.2:
            over.append(f"{run}: {op} {spread(ratios)[0]}")
    report.table("growth", "Each call with 10 and with 1,000 volumes present: p50 in ms (pages of 10)", ["", "10", "1,000", "1,000/10", "range"], rows)
    rows = [[title, *(milliseconds(report.m.value("present", label + suffix, "create-delete", "CreateVolume", 1)) for suffix in ("", "-10", "-1000"))]
            for title, label in (("Plinth (makes a file system)", "plinth"), ("peer (makes a directory)", "peer"))]
    report.table("present", "CreateVolume of a mounted volume with 0, 10 and 1,000 present: p50 in ms", ["", "0", "10", "1,000"], rows)
    trouble = ", ".join([f"{op} failed" for op in failed] + over)
    report.goal("with 1,000 volumes each call costs at most 1.2 times what it costs with 10", trouble or f"all {len(report.m.keys('growth'))} kinds",
                bool(report.m.keys("growth")) and not trouble)


def mounted(report):
    rows, goals = [], []
    for fs in ("ext4", "xfs"):
        section, create, mkfs = f"mounted-{fs}", ("create-delete", "CreateVolume", 1), ("mkfs", f"mkfs.{fs}", 1)
        ours, plain = report.m.rows(section, "plinth", *create), report.m.rows(section, "mkfs", *mkfs)
        ratios = sorted(ours[i]["p50_us"] / plain[i]["p50_us"] for i in ours if i in plain and ours[i]["p50_us"])
        failed = report.m.failures(section, "plinth", *create)
        rows.append([fs, milliseconds(report.m.value(section, "plinth", *create)), milliseconds(report.m.value(section, "mkfs", *mkfs)), *spread(ratios)])
        goals.append((f"CreateVolume of a mounted {fs} volume: at most 1.2 times its mkfs", f"{spread(ratios)[0]} times",
                      bool(ratios) and not failed and statistics.median(ratios) <= 1.2))
    report.table("mounted", "A mounted volume of 1 GiB: p50 in ms", ["", "CreateVolume", "plain mkfs", "ratio", "range"], rows)
    for goal in goals:
        report.goal(*goal)


def failures(report):
    for (section, run, op, clients, label), rounds in report.m.rounds.items():
        errors = sum(line["errors"] for line in rounds.values())
        if errors and label.startswith("plinth"):
            first = next(line.get("first_error", "") for line in rounds.values() if line["errors"])
            print(f"failed: {label}, {section} {run} with {clients} clients: {errors} of {sum(line['n'] for line in rounds.values())} {op}: {first}")


def main(out):
    with open(os.path.join(out, "calls.jsonl")) as lines, open(os.path.join(out, "results.jsonl"), "w") as results:
        report = Report(Measured(map(json.loads, lines)), results)
        for part in (memory, starts, compare_calls, concurrency, growth, mounted, failures):
            part(report)
        print(f"\n{report.counts['ok']} goals ok, {report.counts['MISSED']} MISSED, {report.counts['skip']} skipped")


if __name__ == "__main__":
    main(*sys.argv[1:])
