"""Measurements made up for the tests of the reports, and what a report says of them."""
import json
import re


def line(label, section, run, op, clients=1, p50=100.0, turn=1, **more):
    server = {"after": {"rss_kib": more.pop("rss", 9000)}}
    return {"label": label, "section": section, "run": run, "op": op, "clients": clients, "round": turn, "n": 10, "errors": 0,
            "p50_us": p50, "p99_us": 2 * p50, "ops_per_s": clients * 1e6 / p50, "server": server} | more


class Judge:
    """A report with the names of the files that it reads and writes."""

    def __init__(self, report, calls, results):
        self.report, self.calls, self.results = report, calls, results

    def goals(self, lines, directory, capsys):
        """{text: verdict}"""
        (directory / self.calls).write_text("".join(json.dumps(each) + "\n" for each in lines))
        self.report.main(directory)
        found = dict(re.findall(r"^goal: (.*?)  measured: .*  (ok|MISSED|skip)$", capsys.readouterr().out, re.M))
        written = map(json.loads, (directory / self.results).read_text().splitlines())
        assert found == {each["goal"]: each["verdict"] for each in written if "goal" in each}
        return found

    def missed(self, lines, directory, capsys):
        return [text for text, verdict in self.goals(lines, directory, capsys).items() if verdict == "MISSED"]
