import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.conftest import KEY, Receiver, Scripted
from guard_agent.watch import import_log as import_module
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.import_log import Imported, ImportStoppedError, Job, import_log
from guard_agent.watch.recorded_log import RecordedLog, find_logs
from guard_agent.watch.streams import spool_folder

LOG = b"""10 1795305315.1 execve("/bin/sh", ["sh", "--token", "t0p"], 0x7ff) = 0
10 1795305315.2 brk(NULL) = 0x1
10 1795305315.3 vfork( <unfinished ...>
11 1795305315.4 execve("/bin/id", ["id"], 0x7ff) = 0
10 1795305315.5 <... vfork resumed>) = 11
11 1795305315.6 exit_group(0) = ?
10 1795305316.6 exit_group(0) = ?
"""
LAST = 1795305316_600000000


class Desk:
    """Imports files into one state folder; what is said is kept."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.state = folder / "state"
        self.receiver = receiver
        self.path = folder / "run.strace"
        self.path.write_bytes(LOG)
        self.said: list[str] = []
        self.more: list[Path] = []

    def send(self, **options: Any) -> Imported:
        return import_log(
            Job(self.log(), Credentials(self.receiver.url, KEY), self.state, **options), self.said.append
        )

    def log(self) -> RecordedLog:
        (log,) = find_logs([self.path, *self.more])
        return log

    def streams(self) -> set[str]:
        return {stream for stream, _ in self.receiver.stored}


@pytest.fixture
def desk(tmp_path: Path, receiver: Receiver) -> Desk:
    return Desk(tmp_path, receiver)


def test_a_log_arrives_in_order_and_without_secrets(desk: Desk) -> None:
    done = desk.send()
    events = desk.receiver.events()
    assert [event["kind"] for event in events] == ["exec", "calls", "fork", "exec", "exit", "exit"]
    assert events[0]["args"]["argv"] == ["sh", "--token", "[redacted]"]
    assert events[0]["start"] == events[0]["timestamp"] == 1795305315_100000000
    assert (done.totals.stored, done.lost, done.report.unreadable) == (6, 0, 0)
    assert not list(spool_folder(desk.state).iterdir())


def test_the_same_content_twice_is_only_duplicates(desk: Desk) -> None:
    first = desk.send()
    desk.path = desk.path.with_name("renamed.gz")
    desk.path.write_bytes(LOG)
    second = desk.send()
    assert first.stream == second.stream
    assert (second.totals.stored, second.totals.duplicates) == (0, 6)
    assert len(desk.streams()) == 1


def test_other_content_or_another_day_is_another_stream(desk: Desk) -> None:
    day_log = b"10 12:00:00 getpid() = 10\n"
    names = set()
    for content, midnight in (
        (LOG, 0),
        (LOG + b"10 1795305317.0 getpid() = 10\n", 0),
        (day_log, 0),
        (day_log, 86_400 * 10**9),
    ):
        desk.path.write_bytes(content)
        names.add(desk.send(midnight_ns=midnight).stream)
    assert len(names) == 4
    desk.path.write_bytes(LOG)
    assert desk.send(midnight_ns=86_400 * 10**9).stream in names  # -ttt needs no day


def test_shift_moves_the_last_event_to_now_and_keeps_distances(desk: Desk) -> None:
    before = time.time_ns()
    first = desk.send(shift=True)
    events = desk.receiver.events()
    assert before <= events[-1]["timestamp"] <= time.time_ns()
    shift = events[0]["metadata"]["shifted_ns"]
    assert [event["timestamp"] - shift for event in events][-1] == LAST
    assert {event["start"] - shift for event in events} == {1795305315_100000000, 1795305315_400000000}
    assert events[2]["child_start"] == events[3]["start"]
    second = desk.send(shift=True)
    assert second.stream != first.stream
    assert second.totals.stored == 6


def test_a_shifted_import_that_was_cut_short_goes_on_with_its_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module, "MAX_FAILURES", 0)
    desk.receiver.script = [Scripted(503, after_store=True)]
    with pytest.raises(ImportStoppedError, match="6 events wait on disk: run the same command again"):
        desk.send(shift=True)
    done = desk.send(shift=True)
    assert len(desk.streams()) == 1
    assert len(desk.receiver.events()) == 6
    assert done.stream in desk.streams()
    assert "going on with 6 events" in desk.said[-1]


def test_an_import_killed_while_reading_begins_again_with_its_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(import_module, "_mark_complete", _power_cut)
        with pytest.raises(KeyboardInterrupt):
            desk.send(shift=True)
    (folder,) = spool_folder(desk.state).iterdir()
    begun = json.loads((folder / "stream.json").read_text())
    done = desk.send(shift=True)
    assert done.stream == begun["stream"]
    assert desk.receiver.events()[0]["metadata"]["shifted_ns"] == begun["about"]["shift_ns"]


def _power_cut(_spool: Any) -> None:
    raise KeyboardInterrupt


def test_a_blocked_import_stops_at_once_and_keeps_the_events(desk: Desk) -> None:
    desk.receiver.agents.clear()
    with pytest.raises(ImportStoppedError, match="enrol this host again"):
        desk.send()
    assert len(desk.receiver.requests) == 1


def test_unreadable_lines_are_told_as_a_loss(desk: Desk) -> None:
    desk.path.write_bytes(LOG + b"rubbish\n" * 3)
    done = desk.send()
    (loss,) = [event for event in desk.receiver.events() if event["kind"] == "loss"]
    assert (loss["where"], loss["count"], done.lost) == ("collector.unreadable", 3, 3)


def test_a_log_larger_than_the_spool_is_sent_while_it_is_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module, "FULL_FROM", 0.0)
    monkeypatch.setattr(import_module, "CHUNK_EVENTS", 100)
    lines = [f'10 1795305315.{n:06d} unlink("/a{n}") = 0\n'.encode() for n in range(1050)]
    desk.path.write_bytes(gzip.compress(b"".join(lines)))
    done = desk.send()
    assert (done.totals.stored, done.lost) == (1050, 0)
    assert [event["seq"] for event in desk.receiver.events()] == list(range(1, 1051))


def test_a_development_log_twice(desk: Desk, shared_data: Path) -> None:
    desk.path = shared_data / "syscall" / "strace" / "attacklike" / "reverse_shell_loopback.strace.gz"
    first, second = desk.send(), desk.send()
    assert first.totals.stored == second.totals.duplicates == len(desk.receiver.events())
    shell = [event for event in desk.receiver.events() if event.get("exe") == "/bin/sh"]
    assert shell[0]["args"]["argv"] == ["sh", "-i"]
