"""Reads every audit log of the development data in place: counts of events and the programs that they name."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from guard_agent.watch.audit_log import read_audit
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.recorded_log import find_logs
from guard_agent.watch.strace import open_log

# What each own capture holds: execs, calls, forks and exits, and the programs by name.
CAPTURES = {
    "benign_find": ({"call": 10, "exec": 3}, "bash find ls xargs"),
    "benign_gcc": (
        {"call": 3, "exec": 5},
        "bash cc1 collect2 x86_64-linux-gnu-as x86_64-linux-gnu-gcc-12 x86_64-linux-gnu-ld.bfd",
    ),
    "benign_git": ({"call": 14, "exec": 3}, "bash git rm"),
    "read_shadow": ({"call": 4, "exec": 1}, "bash cat"),
    "reverse_shell_loopback": ({"call": 13, "exec": 3}, "auditctl bash dash id python3.11"),
}
# The parser logs: lines, events.
PARSER_LOGS = {
    "audit-rhel6": (2, 1),
    "audit-rhel7": (50, 3),
    "audit-ubuntu14": (1, 0),
    "audit-ubuntu16": (3, 0),
    "audit-ubuntu17": (1, 1),
    "test2": (10, 1),
    "test3": (17, 7),
}


def read(path: Path) -> tuple[list[dict[str, Any]], ReadReport]:
    if not path.exists():
        pytest.skip(f"SKIPPED: these development data have no {path.name}")
    report = ReadReport()
    events = list(read_audit(open_log(path), report=report))
    assert report.lines == report.events + report.unreadable + sum(report.without_event.values())
    return events, report


@pytest.mark.parametrize("name", CAPTURES)
def test_own_captures_give_these_events(shared_data: Path, name: str) -> None:
    path = shared_data / "syscall/auditd-samples/captured-here" / f"{name}.audit.log"
    events, report = read(path)
    kinds, programs = CAPTURES[name]
    assert Counter(event["kind"] for event in events) == kinds
    assert sorted({event["exe"].rpartition("/")[2] for event in events if "exe" in event}) == programs.split()
    assert report.unreadable == 0
    assert all("ppid" in event for event in {event["pid"]: event for event in reversed(events)}.values())


@pytest.mark.parametrize("name", PARSER_LOGS)
def test_logs_of_many_kernels_are_read(shared_data: Path, name: str) -> None:
    path = shared_data / "syscall/auditd-samples/go-libaudit/auparse/testdata" / f"{name}.log"
    events, report = read(path)
    assert (report.lines, report.events) == PARSER_LOGS[name]
    assert report.unreadable == (name == "audit-rhel7")  # its one line without a head
    assert [found.format for found in find_logs([path])] == ["auditd"]
    assert len(events) == report.events


def test_calls_of_many_kernels_are_rebuilt(shared_data: Path) -> None:
    calls: Counter[str] = Counter()
    files = sorted((shared_data / "syscall/auditd-samples/go-libaudit/aucoalesce/testdata").glob("*.yaml"))
    assert files
    for path in files:
        records = [
            line.strip() for line in path.read_text().splitlines() if line.lstrip().startswith("type=")
        ]
        report = ReadReport()
        for event in read_audit(records, report=report):
            calls[event["syscall"]] += 1
            assert event["kind"] in ("call", "exec", "fork", "exit")
        assert report.unreadable == 0
    for name in ("execve", "connect", "accept", "listen", "rename", "unlink", "mknod", "adjtimex", "linkat"):
        assert calls[name], (name, calls)
