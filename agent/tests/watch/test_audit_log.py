"""Logs of auditd as files: their lines, their rotation, their format, and their import."""

import gzip
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.audit_lines import CWD, PEER, Record, call, path
from agent.tests.watch.conftest import KEY, Receiver
from guard_agent.watch.audit_log import read_audit, split_line
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.import_log import Imported, Job, import_log
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.recorded_log import find_logs

EXECVE: Record = ("EXECVE", 'argc=3 a0="sh" a1="--token" a2="t0p"')
EOE: Record = ("EOE", "")


def line(serial: int, record: Record, at: int = 1_795_305_000) -> str:
    kind, text = record
    return f"type={kind} msg=audit({at}.{serial:03d}:{serial}): {text}\n"


def log(*calls: list[Record], first: int = 1) -> list[str]:
    """A log of these calls, one serial each, the end of each included."""
    return [line(serial, record) for serial, records in enumerate(calls, first) for record in (*records, EOE)]


CALLS = [
    [call(59, exe='"/usr/bin/dash"'), EXECVE, CWD, path(0, "/bin/sh")],
    [call(42, 3, exe='"/usr/bin/dash"'), PEER],
    [call(105, 0, exe='"/usr/bin/dash"')],
    [call(231, 3, result="", exe='"/usr/bin/dash"')],
]
LINES = log(*CALLS)


class Desk:
    """Imports files into one state folder."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder, self.receiver, self.said = folder, receiver, list[str]()

    def write(self, name: str, lines: list[str]) -> Path:
        file = self.folder / name
        raw = "".join(lines).encode()
        file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return file

    def send(self, *files: Path, **options: Any) -> Imported:
        (found,) = find_logs(files)
        credentials = Credentials(self.receiver.url, KEY)
        return import_log(Job(found, credentials, self.folder / "state", **options), self.said.append)


@pytest.fixture
def desk(tmp_path: Path, receiver: Receiver) -> Desk:
    return Desk(tmp_path, receiver)


@pytest.mark.parametrize(
    "text",
    [
        "type=SYSCALL msg=audit(1.2:3): x",
        "node=web-1.example type=SYSCALL msg=audit(1.2:3): x",
        "Nov 30 10:00:00 web-1 audispd[33]: node=web-1 type=SYSCALL msg=audit(1.2:3): x",
        "[  891.613852] audit: type=SYSCALL audit(1.2:3): x",
    ],
)
def test_lines_are_split_however_they_came(text: str) -> None:
    assert split_line(text) == ("SYSCALL", "audit(1.2:3): x")


@pytest.mark.parametrize(
    "text", ["", "10 1.5 execve(1) = 0", "type=SYSCALL", 'x="type=PATH msg=audit(1.2:3): "']
)
def test_other_lines_are_no_records(text: str) -> None:
    assert split_line(text) is None


def test_the_kernels_own_lines_have_numbers_for_types() -> None:
    lines = ["audit: type=1300 audit(1.2:3): " + call(105)[1], "audit: type=1320 audit(1.2:3):"]
    assert [event["syscall"] for event in read_audit(lines)] == ["setuid"]


def test_a_log_arrives_in_order_and_without_secrets(desk: Desk) -> None:
    done = desk.send(desk.write("audit.log", LINES))
    events = desk.receiver.events()
    assert [event["kind"] for event in events] == ["exec", "call", "call", "exit"]
    assert events[0]["args"]["argv"] == ["sh", "--token", "[redacted]"]
    assert events[0]["exe"] == "/usr/bin/dash"
    assert (done.totals.stored, done.lost, done.report.unreadable) == (4, 0, 0)


def test_the_same_content_twice_is_only_duplicates(desk: Desk) -> None:
    first = desk.send(desk.write("audit.log", LINES))
    again = desk.send(desk.write("renamed.log", LINES))
    assert (again.stream, again.totals.duplicates, again.totals.stored) == (first.stream, 4, 0)


def test_rotated_files_are_one_log_whatever_their_order(desk: Desk) -> None:
    parts = [
        desk.write("audit.log", LINES[9:]),
        desk.write("audit.log.2.gz", LINES[:4]),  # a call's records go on in the next file
        desk.write("audit.log.1", LINES[4:9]),
    ]
    streams = set()
    for order in itertools.permutations(parts):
        streams.add(desk.send(*order).stream)
    events = desk.receiver.events()
    assert len(streams) == 1
    assert [event["kind"] for event in events] == ["exec", "call", "call", "exit"]
    assert len({event["start"] for event in events}) == 1
    assert "path" in events[0]["args"]


def test_a_rotated_copy_is_read_once(desk: Desk) -> None:
    alone = desk.send(desk.write("audit.log", LINES))
    twice = desk.send(desk.write("audit.log", LINES), desk.write("copy.log", LINES))
    assert (twice.stream, twice.totals.duplicates) == (alone.stream, 4)


def test_shift_moves_the_last_event_to_now(desk: Desk) -> None:
    desk.send(desk.write("audit.log", LINES), shift=True)
    events = desk.receiver.events()
    shift = events[0]["metadata"]["shifted_ns"]
    assert events[0]["timestamp"] - shift == 1_795_305_000_001_000_000
    assert events[-1]["timestamp"] - events[0]["timestamp"] == 3_000_000
    assert events[0]["start"] == events[0]["timestamp"]


def test_strace_and_audit_files_are_told_apart(desk: Desk) -> None:
    trace = desk.write("a.strace", ['10 1795305315.1 execve("/bin/sh", ["sh"], 0x7ff) = 0\n'])
    audit = desk.write("audit.log.gz", ["\n", "garbage\n", *LINES])
    assert [(found.format, found.paths) for found in find_logs([audit, trace])] == [
        ("strace", (trace,)),
        ("auditd", (audit,)),
    ]
    assert [found.format for found in find_logs([trace], "auditd")] == ["auditd"]
    (told, other) = find_logs([audit, trace])
    assert (told.needs_day(), other.needs_day()) == (False, False)


def test_a_log_of_our_rules_alone_has_our_alphabet(desk: Desk) -> None:
    foreign = [text.replace('key="guardhouse"', 'key="exec"') for text in LINES]
    both = [text.replace('key="guardhouse"', "key=65786563016775617264686F757365") for text in LINES]
    told = [
        find_logs([desk.write("a", lines)])[0].alphabet() for lines in (LINES, foreign, LINES + foreign, both)
    ]
    assert told == ["audit.v1", "auditd.v1", "auditd.v1", "audit.v1"]


def test_lines_that_cannot_be_read_are_counted_kept_and_told(desk: Desk) -> None:
    bad = [f"rubbish {n} {'x' * 2000}\n" for n in range(150)]
    mixed = [text for pair in itertools.zip_longest(bad, LINES, fillvalue="\n") for text in pair]
    done = desk.send(desk.write("audit.log", LINES + mixed))
    assert (done.report.unreadable, done.lost) == (150, 150)
    assert len(done.report.kept) == 100
    assert {len(text.encode()) for text in done.report.kept} == {1024}
    (loss,) = [event for event in desk.receiver.events() if event["kind"] == "loss"]
    assert (loss["where"], loss["count"]) == ("collector.unreadable", 150)


def test_enriched_lines_read_as_raw_ones() -> None:
    tail = '\x1dARCH=x86_64 SYSCALL=execve AUID="root" UID="root" pid=1 exe="/no"\n'
    rich = [text.rstrip("\n") + tail for text in LINES]
    assert list(read_audit(rich)) == list(read_audit(LINES))


def test_without_ends_calls_come_all_the_same() -> None:
    later = line(9, call(106), at=1_795_305_003)
    events = list(read_audit([text for text in LINES if "type=EOE" not in text] + [later]))
    assert [event["syscall"] for event in events] == ["execve", "connect", "setuid", "exit_group", "setgid"]


def test_one_wrong_time_costs_only_its_own_record() -> None:
    wrong = line(500, PEER, at=4_000_000_000)
    for at in range(len(LINES)):
        report = ReadReport()
        events = list(read_audit([*LINES[:at], wrong, *LINES[at:]], report=report))
        assert events == list(read_audit(LINES))
        assert report.lines == report.events + report.unreadable + sum(report.without_event.values())


def test_records_of_a_call_in_any_order_make_the_same_event() -> None:
    expected = list(read_audit(LINES))
    rng = random.Random(7)
    for _ in range(50):
        shuffled = list[str]()
        for records in CALLS:
            serial = CALLS.index(records) + 1
            body = [line(serial, record) for record in records]
            rng.shuffle(body)
            shuffled += [*body, line(serial, EOE)]
        assert list(read_audit(shuffled)) == expected


def test_a_line_longer_than_memory_should_hold_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    with file.open("wb") as out:
        out.write(b"type=EXECVE msg=audit(1.2:3): a0=" + b"41" * 5_000_000 + b"\n")
        out.write("".join(LINES).encode())
    (found,) = find_logs([file])
    assert [event["kind"] for event in found.events(fold=False, midnight_ns=0)] == [
        "exec",
        "call",
        "call",
        "exit",
    ]
