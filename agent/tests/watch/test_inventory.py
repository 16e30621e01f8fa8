"""The inventory: who runs already, whose child, since when, and who listens."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard_agent.watch.inventory import Event, listening_inodes, read_exe, read_stat, take_inventory

LISTENER = """
import socket, sys
made = socket.create_server(("127.0.0.1", 0))
print(made.getsockname()[1], made.fileno(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator["subprocess.Popen[str]"]:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", LISTENER, "--password=hunter2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield child
    child.communicate()


def test_running_processes_are_told_once_with_their_parent(listener: "subprocess.Popen[str]") -> None:
    assert listener.stdout is not None
    port, number = listener.stdout.readline().split()
    events = list(take_inventory(ns=7))
    inventory = [event for event in events if event["kind"] == "inventory"]
    assert len({event["pid"] for event in inventory}) == len(inventory)
    assert os.getpid() not in {event["pid"] for event in inventory}
    found = next(event for event in inventory if event["pid"] == listener.pid)
    stat = read_stat(listener.pid)
    assert stat is not None
    assert (found["ppid"], found["start"], found["timestamp"]) == (os.getpid(), stat[2], 7)
    assert found["exe"] == str(Path(sys.executable).resolve())
    assert found["args"]["argv"][-1] == "--password=hunter2"  # redacted by the intake, as every argv is
    listens = [event for event in events if event["kind"] == "call" and event["pid"] == listener.pid]
    assert listens == [
        {
            "kind": "call",
            "timestamp": 7,
            "pid": listener.pid,
            "start": stat[2],
            "syscall": "listen",
            "args": {"fd": int(number), "fd_kind": "inet"},
            "ret": 0,
            "metadata": {"inventory": f"tcp:{port}"},
        }
    ]


def test_a_name_may_hold_brackets_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "42").mkdir()
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "42" / "stat").write_text(f"42 (a) b) (c) S {fields}\n")
    assert read_stat(42, tmp_path) == ("a) b) (c", 4, 22)


@pytest.mark.parametrize("text", ["", "42", "42 (sh", "42 (sh) S", "42 (sh) S x y z", ") ("])
def test_a_process_that_cannot_be_read_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "stat").write_text(text)
    assert read_stat(42, tmp_path) is None
    assert read_stat(43, tmp_path) is None
    assert read_exe(43, tmp_path) is None
    assert list(take_inventory(1, tmp_path)) == []


def test_listening_sockets_come_from_both_tables(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    head = "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode\n"
    row = "0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 {} 1\n"
    (tmp_path / "net" / "tcp").write_text(
        head + row.format("0100007F:1F90", "0A", 777) + row.format("0100007F:0016", "01", 778)
    )
    (tmp_path / "net" / "tcp6").write_text(head + row.format("0" * 32 + ":0050", "0A", 779) + "rubbish\n")
    assert listening_inodes(tmp_path) == {"777": "tcp:8080", "779": "tcp6:80"}
    with socket.create_server(("127.0.0.1", 0)) as made:
        inode = str(os.fstat(made.fileno()).st_ino)
        assert listening_inodes()[inode] == f"tcp:{made.getsockname()[1]}"


def test_threads_of_the_kernel_are_left_out() -> None:
    events: list[Event] = list(take_inventory())
    assert not {event["pid"] for event in events if event.get("ppid") == 2 or event["pid"] == 2}
