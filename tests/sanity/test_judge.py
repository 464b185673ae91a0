"""What judge.py says of reports made up here."""
import importlib.util
import json
import pathlib

import pytest

spec = importlib.util.spec_from_file_location("judge", pathlib.Path(__file__).with_name("judge.py"))
judge = importlib.util.module_from_spec(spec)
spec.loader.exec_module(judge)


@pytest.fixture
def run(tmp_path, capsys):
    """run({spec: state}, ...) is what judge.py printed and the counts it wrote."""
    def run(states, expected=("Group skipped",), checks=("ok exit",), hooks=()):
        specs = [{"LeafNodeType": "It", "ContainerHierarchyTexts": ["Group"], "LeafNodeText": text, "State": state,
                  "Failure": {"Message": "why", "Location": {"FileName": "/x/node.go", "LineNumber": 7}}} for text, state in states.items()]
        specs += [{"LeafNodeType": "ReportAfterSuite", "ContainerHierarchyTexts": None, "LeafNodeText": "hook", "State": state} for state in hooks]
        (tmp_path / "report").write_text(json.dumps([{"SpecReports": specs}]))
        (tmp_path / "checks").write_text("\n".join(checks))
        (tmp_path / "expected").write_text("# comment\n\n" + "\n".join(expected))
        judge.main("cell", tmp_path / "report", tmp_path / "checks", tmp_path / "expected", tmp_path / "counts")
        return capsys.readouterr().out, tuple(map(int, (tmp_path / "counts").read_text().split()))
    return run


def test_a_good_run(run):
    assert run({"a": "passed", "b": "passed", "skipped": "skipped"}, hooks=("passed",)) == ("PASS cell: 2 passed 0 failed 1 skipped\n", (3, 0, 1))


def test_pending_specs_count_as_skipped(run):
    assert run({"a": "passed", "skipped": "pending"})[1] == (2, 0, 1)


@pytest.mark.parametrize("state", ["failed", "panicked", "timedout", "interrupted", "aborted"])
def test_every_other_state_is_a_failure(run, state):
    out, counts = run({"a": state, "skipped": "skipped"})
    assert "FAIL cell: Group a\n    why (node.go:7)\n" in out and counts == (1, 1, 1)


def test_a_failed_hook_of_the_suite_is_a_failure(run):
    assert run({"a": "passed", "skipped": "skipped"}, hooks=("failed",))[1] == (2, 1, 1)


def test_an_unexpected_skip_is_a_failure(run):
    out, counts = run({"a": "skipped", "skipped": "skipped"})
    assert "FAIL cell: skipped, but not in expected-skips: Group a\n" in out and counts == (1, 1, 2)


def test_an_expected_skip_that_ran_is_a_failure(run):
    out, counts = run({"skipped": "passed"})
    assert "FAIL cell: in expected-skips, but it ran: Group skipped\n" in out and counts == (2, 1, 0)


def test_a_failed_check_is_a_failure(run):
    out, counts = run({"a": "passed", "skipped": "skipped"}, checks=("ok exit", "FAIL no mount left: /x"))
    assert "FAIL cell: no mount left: /x\nFAIL cell: 1 passed" in out and counts == (2, 1, 1)


def test_no_report_is_a_failure(run, tmp_path, capsys):
    run({"a": "passed"}, expected=())
    (tmp_path / "report").unlink()
    judge.main("cell", tmp_path / "report", tmp_path / "checks", tmp_path / "expected", tmp_path / "counts")
    assert "csi-sanity made no report" in capsys.readouterr().out
    assert (tmp_path / "counts").read_text() == "1 1 0\n"
