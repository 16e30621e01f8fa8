import os
from pathlib import Path

import pytest

from agent.tests.watch.conftest import KEY, Receiver, Scripted
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.deliver import send_leftovers
from guard_agent.watch.spool import Spool
from guard_agent.watch.stream import SpoolBusyError, Stream, read_stream
from guard_agent.watch.streams import boot_id, close_spool, leftovers, open_live, spool_folder

EVENT = {"kind": "exec", "timestamp": 1, "pid": 1, "syscall": "execve"}


def test_a_live_stream_is_used_again_and_a_busy_one_is_left_alone(tmp_path: Path) -> None:
    first = open_live(tmp_path, "web-1", "strace.set.v1")
    beside = open_live(tmp_path, "web-1", "strace.set.v1")
    other = open_live(tmp_path, "web-1", "strace.full.v1")
    assert len({first.stream.stream, beside.stream.stream, other.stream.stream}) == 3
    assert first.stream.boot_id == boot_id()
    for spool in (first, beside, other):
        close_spool(spool)
    again = open_live(tmp_path, "web-1", "strace.set.v1")
    assert again.stream in (first.stream, beside.stream)
    close_spool(again)


def test_a_stream_of_an_earlier_boot_is_sent_and_removed(tmp_path: Path, receiver: Receiver) -> None:
    old = Spool(
        spool_folder(tmp_path) / "old", Stream("old", KEY.agent_id, "another boot", "a", {"source": "live"})
    )
    old.append([dict(EVENT) for _ in range(3)])
    close_spool(old)
    receiver.script = [Scripted(503)]
    said: list[str] = []
    send_leftovers(Credentials(receiver.url, KEY), tmp_path, said.append)
    assert [event["seq"] for event in receiver.events()] == [1, 2, 3]
    assert said == ["sent 3 events that an earlier run had left on disk"]
    assert not list(spool_folder(tmp_path).iterdir())


def test_leftovers_of_others_busy_ones_and_half_read_imports_stay(tmp_path: Path) -> None:
    for name, agent_id, about in (
        ("a", "other", {}),
        ("b", "web-1", {"complete": False}),
        ("c", "web-1", {}),
    ):
        Spool(spool_folder(tmp_path) / name, Stream(name, agent_id, "b", "x", about)).close()
    (spool_folder(tmp_path) / "no spool").mkdir()
    found = [spool.stream.stream for spool in leftovers(tmp_path, "web-1")]
    assert found == ["c"]
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path / "nothing")


def test_one_folder_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", Stream("s", "web-1", "b", "a"))
    with pytest.raises(SpoolBusyError):
        Spool(tmp_path / "s")
    spool.close()
    (tmp_path / "s" / "stream.json").write_text("rubbish")
    assert read_stream(tmp_path / "s") is None


def test_the_state_folder_is_private(tmp_path: Path) -> None:
    spool = open_live(tmp_path / "state", "web-1", "a")
    spool.append([dict(EVENT)])
    for path in spool.folder.iterdir():
        if path.name != "stream.json":
            assert path.stat().st_mode & 0o077 == 0, path
    assert spool.folder.stat().st_mode & 0o777 == 0o700
    assert os.access(spool.folder, os.W_OK)
    close_spool(spool)
