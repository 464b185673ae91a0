"""Counts one run of csi-sanity and says what is wrong with it.

usage: judge.py TITLE REPORT.json CHECKS EXPECTED-SKIPS COUNTS

REPORT is ginkgo's --json-report, CHECKS has a line "ok NAME" or "FAIL NAME:
DETAIL" for each check made after the run. A spec that is skipped or pending
must be in EXPECTED-SKIPS, and what is listed there must not have run. The
numbers of passed, failed and skipped go to COUNTS.
"""
import json
import sys


def read_specs(path):
    """All specs as {name: (state, message)}; hooks of the suite too if they failed."""
    with open(path) as report:
        suites = json.load(report)
    specs = {}
    for suite in suites:
        for spec in suite["SpecReports"] or []:
            if spec["LeafNodeType"] == "It" or spec["State"] not in ("passed", "skipped"):
                name = " ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]])
                failure = spec.get("Failure") or {}
                where = failure.get("Location", {})
                message = f'{failure.get("Message", "")} ({where.get("FileName", "").split("/")[-1]}:{where.get("LineNumber", "")})'
                specs[name] = (spec["State"], message)
    return specs


def read_lines(path):
    with open(path) as lines:
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def compare_skips(skipped, expected):
    """What is wrong with the set of skipped specs; empty if nothing is."""
    return ([f"skipped, but not in expected-skips: {name}" for name in sorted(skipped - expected)] +
            [f"in expected-skips, but it ran: {name}" for name in sorted(expected - skipped)])


def main(title, report, checks, expected_skips, counts):
    try:
        specs = read_specs(report)
    except (OSError, ValueError) as error:
        specs, troubles = {}, [f"csi-sanity made no report: {error}"]
    else:
        troubles = []
    passed = {name for name, (state, _) in specs.items() if state == "passed"}
    skipped = {name for name, (state, _) in specs.items() if state in ("skipped", "pending")}
    failed = {name: message for name, (state, message) in specs.items() if name not in passed | skipped}
    for name, message in sorted(failed.items()):
        print(f"FAIL {title}: {name}\n    " + message.replace("\n", "\n    "))
    if specs:
        troubles += compare_skips(skipped, set(read_lines(expected_skips)))
    after = read_lines(checks)
    troubles += [line.removeprefix("FAIL ") for line in after if line.startswith("FAIL ")]
    for trouble in troubles:
        print(f"FAIL {title}: {trouble}")
    verdict = "FAIL" if failed or troubles else "PASS"
    print(f"{verdict} {title}: {len(passed)} passed {len(failed)} failed {len(skipped)} skipped")
    good_checks = sum(line.startswith("ok ") for line in after)
    with open(counts, "w") as file:
        print(len(passed) + good_checks, len(failed) + len(troubles), len(skipped), file=file)


if __name__ == "__main__":
    main(*sys.argv[1:])
