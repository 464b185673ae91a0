"""What report_lvm.py says of measurements made up here."""
import re

import report_lvm as report
from made_up import Judge, line

judge = Judge(report, "lvm-10.jsonl", "results-lvm.jsonl")
goals, missed = judge.goals, judge.missed


def good_lines(peers=True, plinth=True):
    """A measurement that meets every goal."""
    lines = []
    slowness = {"raw": 100, **({"plinth": 99} if plinth else {}), **({"lvmd": 300, "metal": 300} if peers else {})}
    for label, p50 in slowness.items():
        for present in report.GOAL_PRESENT:
            for kind in report.KINDS:
                lines += [line(label, f"{kind}-{present}", run, op, clients, p50, turn)
                          for run, op in report.CALLS for clients in (1, 16) for turn in (1, 2, 3)]
    if plinth:
        lines += [line("plinth", *call, counted=most) for *call, most in report.MOST_COMMANDS]
        lines += [line("plinth", "memory-1000", "memory", when) for when in report.MEMORY]
        lines.append(line("plinth", "present-1000", "list", "ListVolumes.all"))
    return lines


def test_all_goals_met(tmp_path, capsys):
    found = goals(good_lines(), tmp_path, capsys)
    assert set(found.values()) == {"ok"}
    assert len(found) == 2 * (6 + 5) + 2 * 4 + len(report.MOST_COMMANDS) + 2


def test_without_lvmd_only_its_goals_are_skipped(tmp_path, capsys):
    found = goals(good_lines(peers=False), tmp_path, capsys)
    assert "MISSED" not in found.values()
    assert [text for text, verdict in found.items() if verdict == "skip"] == [text for text in found if "of lvmd" in text]


def test_without_plinth_nothing_is_met(tmp_path, capsys):
    assert set(goals(good_lines(plinth=False), tmp_path, capsys).values()) == {"MISSED"}


def test_each_limit(tmp_path, capsys):
    def check(text, number, field, value, **where):
        lines = good_lines()
        for each in lines:
            if all(each[key] == wanted for key, wanted in where.items()):
                each[field] = value
        found = missed(lines, tmp_path, capsys)
        assert [each for each in found if not re.search(text, each)] == []
        assert len(found) == number

    plinth = {"label": "plinth"}
    check("CreateVolume, thin, 1,000 LVs: at most 1.1 times one raw", 1, "p50_us", 111, section="thin-1000", op="CreateVolume", clients=1, **plinth)
    check("DeleteVolume, thick, 10 LVs: at most", 2, "p50_us", 151, section="thick-10", op="DeleteVolume", clients=1, **plinth)
    check("CreateSnapshot, thin, 10 LVs: at most", 2, "errors", 1, section="thin-10", op="CreateSnapshot", clients=1, **plinth)
    check("thick snapshot, 1,000 LVs: 16 clients", 1, "ops_per_s", 1, section="thick-1000", run="snapshot", clients=16, **plinth)
    check("thin: CreateVolume starts at most 1", 1, "counted", 2, section="count-thin", op="CreateVolume", **plinth)
    check("Probe starts at most 0", 1, "counted", 0.25, section="count-thin", op="Probe", **plinth)
    check("resident memory with 1,000 LVs at rest", 1, "server", {"after": {"rss_kib": 14000}}, section="memory-1000", op="at rest")
    check("resident memory", 2, "errors", 1, section="present-1000")
