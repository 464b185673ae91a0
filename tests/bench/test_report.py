"""What report.py says of measurements made up here."""
import report
from made_up import Judge, line

judge = Judge(report, "calls.jsonl", "results.jsonl")
goals, missed = judge.goals, judge.missed


def good_lines(peer=True):
    """A measurement that meets every goal."""
    lines = [line("plinth-1000", "memory", "idle", "idle", rss=13000)]
    for label in ("plinth", "plinth-1000"):
        lines.append(line(label, "start", "start", "start.serving", p50=9000))
    compared = [(s, r, o, c) for s, r, o in report.FASTER for c in report.CLIENTS]
    compared += [(s, r, o, c) for s, r, o, _ in report.TIMES for c in report.CLIENTS] + [("calls", "publish", "cycle", c) for c in report.CLIENTS]
    for section, run, op, clients in compared:
        suffix = "-1000" if section == "lists" else ""
        for turn in (1, 2, 3):
            lines.append(line("plinth" + suffix, section, run, op, clients, turn=turn))
            if peer:
                lines.append(line("peer" + suffix, section, run, op, clients, p50=20000, turn=turn))
                if section == "copies":
                    lines.append(line("peer-outside", section, run, op, clients, p50=20000, turn=turn))
    for label in ("plinth-10", "plinth-1000"):
        lines.append(line(label, "growth", "probe", "Probe"))
    for fs in ("ext4", "xfs"):
        lines.append(line("plinth", f"mounted-{fs}", "create-delete", "CreateVolume", p50=110))
        lines.append(line("mkfs", f"mounted-{fs}", "mkfs", f"mkfs.{fs}", p50=100))
    return lines


def test_all_goals_met(tmp_path, capsys):
    found = goals(good_lines(), tmp_path, capsys)
    assert set(found.values()) == {"ok"}
    assert len(found) == 2 + 2 + 2 * len(report.FASTER) + 1 + 2 * 3 + 1 + len(report.CONCURRENT) + 1 + 2


def test_without_a_peer_only_its_goals_are_skipped(tmp_path, capsys):
    found = goals(good_lines(peer=False), tmp_path, capsys)
    assert "MISSED" not in found.values()
    assert sum(verdict == "skip" for verdict in found.values()) == 2 * len(report.FASTER) + 1 + 2 * 3 + 1
    assert all("peer" in text for text, verdict in found.items() if verdict == "skip")


def test_nothing_measured_is_nothing_met(tmp_path, capsys):
    found = goals([line("peer", "calls", "probe", "Probe")], tmp_path, capsys)
    assert set(found.values()) == {"MISSED"}


def test_a_failed_call_misses_its_goal(tmp_path, capsys):
    lines = good_lines()
    next(each for each in lines if each["label"] == "plinth" and each["op"] == "Probe")["errors"] = 1
    assert missed(lines, tmp_path, capsys) == ["Probe, 1 client: faster than the peer"]


def test_the_ratio_is_the_median_of_the_rounds(tmp_path, capsys):
    lines = good_lines()
    peer = [each for each in lines if each["label"] == "peer" and each["op"] == "Probe" and each["clients"] == 1]
    peer[0]["p50_us"] = 1
    assert missed(lines, tmp_path, capsys) == []
    peer[1]["p50_us"] = 99
    assert missed(lines, tmp_path, capsys) == ["Probe, 1 client: faster than the peer"]


def test_each_limit(tmp_path, capsys):
    def check(change, text):
        lines = good_lines()
        change(lines)
        assert [each for each in missed(lines, tmp_path, capsys) if text not in each] == []
        assert missed(lines, tmp_path, capsys)

    def set_where(field, value, **where):
        def change(lines):
            for each in lines:
                if all(each[key] == wanted for key, wanted in where.items()):
                    each[field] = value
        return change

    heavy = {"after": {"rss_kib": 14000}}
    check(set_where("server", heavy, section="memory"), "resident memory after")
    check(set_where("server", heavy, section="start", label="plinth"), "resident memory at rest")
    check(set_where("p50_us", 10001, section="start", label="plinth"), "no volumes: below 10 ms")
    check(set_where("p50_us", 200001, section="start", label="plinth-1000"), "1,000 volumes: below 200 ms")
    check(set_where("p50_us", 121, section="growth", label="plinth-1000"), "at most 1.2 times what it costs with 10")
    check(set_where("p50_us", 121, section="mounted-xfs", label="plinth"), "mounted xfs")
    check(set_where("p50_us", 9999, section="copies", label="peer", op="CreateSnapshot"), "CreateSnapshot")
    check(set_where("ops_per_s", 1, run="stats", clients=16, label="plinth"), "stats: 16 clients do more")
