"""Reads every strace log of the development data in place, and prints what became of the lines."""

from collections import Counter
from pathlib import Path

import pytest

from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace import alphabet_of, open_log, read_strace


@pytest.mark.parametrize("folder", ["service-runs", "strace"])
def test_no_line_is_left_unexplained(shared_data: Path, folder: str) -> None:
    kinds: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    lines = 0
    paths = sorted((shared_data / "syscall" / folder).rglob("*.gz"))
    assert paths
    for path in paths:
        report = ReadReport()
        last = 0
        for event in read_strace(open_log(path), report=report):
            kinds[event["kind"]] += 1
            assert event["timestamp"] >= last
            last = event["timestamp"]
        assert report.unreadable == 0, (path.name, list(report.kept))
        assert report.lines + report.forks_ahead == report.events + sum(report.without_event.values())
        assert alphabet_of(open_log(path)) == "strace.full.v1"
        lines += report.lines
        explained += report.without_event
    counts = f"events {dict(kinds)}, without one {dict(explained)}"
    print(f"{folder}: {len(paths)} logs, {lines} lines, {counts}")


def test_every_child_is_born_before_it_acts(shared_data: Path) -> None:
    for path in sorted((shared_data / "syscall").glob("s*/**/*.gz")):
        born: set[tuple[int, int]] = set()
        strangers: set[tuple[int, int]] = set()
        for event in read_strace(open_log(path)):
            who = (event["pid"], event["start"])
            if event["kind"] == "fork":
                born.add((event["child_pid"], event["child_start"]))
            if who not in born:
                strangers.add(who)
        assert len(strangers) == 1, (path.name, strangers)  # the first process alone has no parent


def test_folding_loses_no_call(shared_data: Path) -> None:
    for path in sorted((shared_data / "syscall" / "strace").rglob("*.gz")):
        plain = [e["syscall"] for e in read_strace(open_log(path)) if "syscall" in e]
        folded: list[str] = []
        for event in read_strace(open_log(path), fold=True):
            folded += (
                event["names"]
                if event["kind"] == "calls"
                else [event["syscall"]]
                if "syscall" in event
                else []
            )
        assert folded == plain, path.name
