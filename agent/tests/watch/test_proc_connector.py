"""The process connector: its messages as the kernel lays them out, its numbers, and a real process."""

import os
import select
import struct
import subprocess
import time

import pytest

from guard_agent.watch.proc_connector import EXEC, EXIT, FORK, UID, ProcConnector, ProcessEvent


def message(number: int, what: int, *numbers: int, cpu: int = 0, ns: int = 5) -> bytes:
    shape = "=2i2I" if what in (UID, EXIT) else f"={len(numbers)}i"
    event = struct.pack("=IIQ", what, cpu, ns) + struct.pack(shape, *numbers) + b"\0" * 16
    connector = struct.pack("=IIIIHH", 1, 1, number, 0, len(event), 0)
    return struct.pack("=IHHII", 36 + len(event), 3, 0, 0, 0) + connector + event


@pytest.fixture
def deaf() -> ProcConnector:
    """A connector without its socket: only what it reads is looked at."""
    made = ProcConnector.__new__(ProcConnector)
    made.lost = 0
    made._next = {}
    return made


def test_messages_are_read(deaf: ProcConnector) -> None:
    assert deaf.parse(message(0, FORK, 10, 10, 11, 11)) == ProcessEvent(FORK, 5, 10, 10, (11, 11))
    assert deaf.parse(message(1, EXEC, 11, 11)) == ProcessEvent(EXEC, 5, 11, 11, ())
    assert deaf.parse(message(2, UID, 11, 11, 1000, 0)) == ProcessEvent(UID, 5, 11, 11, (1000, 0))
    assert deaf.parse(message(3, EXIT, 11, 11, 768, 17)) == ProcessEvent(EXIT, 5, 11, 11, (768, 17))
    assert deaf.parse(message(4, 0x200, 11, 11)) is None  # a new name: no use for it, but no loss either
    assert deaf.parse(message(5, EXEC, 11, 11)) is not None
    assert deaf.lost == 0


def test_what_is_missing_is_counted_per_cpu(deaf: ProcConnector) -> None:
    for number, cpu in ((7, 0), (3, 1), (8, 0), (11, 0), (4, 1), (10, 1)):
        deaf.parse(message(number, EXEC, 1, 1, cpu=cpu))
    assert deaf.lost == 2 + 5
    deaf._next = {0: 0xFFFF_FFFF}
    deaf.parse(message(0xFFFF_FFFF, EXEC, 1, 1))
    deaf.parse(message(0, EXEC, 1, 1))
    assert deaf.lost == 2 + 5


@pytest.mark.parametrize("size", range(0, 70, 7))
def test_a_short_message_is_left_out(deaf: ProcConnector, size: int) -> None:
    whole = message(0, FORK, 10, 10, 11, 11)
    assert deaf.parse(whole[: min(size, 67)]) is None


def test_a_real_process_is_born_runs_and_dies(connector: ProcConnector) -> None:
    child = subprocess.Popen(["sh", "-c", "exit 3"])
    child.wait()
    seen: list[ProcessEvent] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any(e.what == EXIT and e.pid == child.pid for e in seen):
        select.select([connector], [], [], 0.2)
        seen += connector.read()
    ours = [event for event in seen if child.pid in (event.pid, *event.numbers)]
    assert [event.what for event in ours] == [FORK, EXEC, EXIT]
    assert (ours[0].pid, ours[0].numbers) == (os.getpid(), (child.pid, child.pid))
    assert ours[2].numbers[0] == 3 << 8
    assert ours[0].ns < ours[1].ns < ours[2].ns
