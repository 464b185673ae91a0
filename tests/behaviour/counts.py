"""What a run prints at its end, and the counts for the script that started it."""
import os
import pathlib
import sys

import pytest

results, reasons, unreached = {}, {}, set()


def pytest_runtest_logreport(report):
    if "unreached" in dict(report.user_properties):
        unreached.add(report.nodeid)
    if report.failed:
        results[report.nodeid] = "failed"
    elif report.skipped:
        results.setdefault(report.nodeid, "skipped")
        reasons[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    elif report.when == "call":
        results.setdefault(report.nodeid, "passed")


def pytest_collectreport(report):
    if report.failed:
        results[report.nodeid] = "failed"


def pytest_report_teststatus(report):
    """A fault point that an operation does not pass is no test."""
    if report.when == "call" and report.passed and "unreached" in dict(report.user_properties):
        return "not passed through", "", "NOT PASSED THROUGH"
    return None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    world = sys.modules.get("world")
    for line in world.table() if world is not None else ():
        terminalreporter.write_line(f"killed at {line}")
    for nodeid, reason in reasons.items():
        terminalreporter.write_line(f"skip {nodeid}: {reason.removeprefix('Skipped: ')}")


def pytest_unconfigure():
    kept = [result for nodeid, result in results.items() if result != "passed" or nodeid not in unreached]
    counts = " ".join(str(kept.count(word)) for word in ("passed", "failed", "skipped"))
    (pathlib.Path(os.environ["PLINTH_WORK"]) / "counts").write_text(counts + "\n")
