"""Two witnesses, one story: forks before what children do, after what parents did; exits last; nobody twice."""

import os
from pathlib import Path
from typing import Any

import pytest

from guard_agent.watch.lineage import Lineage
from guard_agent.watch.proc_connector import EXEC, EXIT, FORK, UID, ProcessEvent
from guard_agent.watch.processes import Descriptor

AGENT, SERVER, CHILD, GRANDCHILD = 4_000_001, 4_000_002, 4_000_003, 4_000_004  # beyond any pid_max in use
S = 1_000_000_000

Event = dict[str, Any]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lineage(clock: Clock) -> Lineage:
    return made(clock)


def made(clock: Clock, *, audited: bool = True) -> Lineage:
    found = Lineage(AGENT, calls_are_audited=audited, hold_seconds=0.3 if audited else 0.0, monotonic=clock)
    found.clocks.wall_ahead_ns = found.clocks.boot_ahead_ns = 0
    found.seed({"pid": SERVER, "start": 55, "ppid": 1, "timestamp": S})
    return found


def fork(parent: int, child: int, ns: int = 10 * S, tid: int | None = None) -> ProcessEvent:
    return ProcessEvent(FORK, ns, parent, parent, (child if tid is None else tid, child))


def call(lineage: Lineage, pid: int, name: str, ns: int, kind: str = "call") -> Event:
    """What the assembler makes of a record: it asks the shared table for the process first."""
    process = lineage.table.find(pid) or lineage.table.add(pid, ns)
    return {"kind": kind, "pid": pid, "start": process.start, "timestamp": ns, "syscall": name}


def names(events: list[Event]) -> list[str]:
    return [f"{event.get('syscall') or event['kind']}:{event['pid'] - 4_000_000}" for event in events]


def test_a_fork_stands_between_what_the_parent_did_and_what_the_child_does(lineage: Lineage) -> None:
    """The child inherits the connection: told before its accept, the fork would give it nothing."""
    lineage.hear([fork(SERVER, CHILD)])
    told = lineage.merge([call(lineage, SERVER, "accept4", 9 * S)])
    told += lineage.merge([call(lineage, CHILD, "dup2", 10 * S)])
    told += lineage.merge([call(lineage, SERVER, "connect", 11 * S)])
    assert names(told) == ["accept4:2", "fork:2", "dup2:3", "connect:2"]
    assert (told[1]["child_pid"], told[1]["child_start"]) == (CHILD, told[2]["start"])
    assert told[1]["start"] == 55


def test_a_fork_stands_before_what_the_parent_does_later(lineage: Lineage) -> None:
    lineage.hear([fork(SERVER, CHILD)])
    told = lineage.merge([call(lineage, SERVER, "accept4", 11 * S)])
    assert names(told) == ["fork:2", "accept4:2"]


def test_a_grandchild_brings_both_forks(lineage: Lineage) -> None:
    lineage.hear([fork(SERVER, CHILD), fork(CHILD, GRANDCHILD)])
    told = lineage.merge([call(lineage, GRANDCHILD, "execve", 12 * S, "exec")])
    assert names(told) == ["fork:2", "fork:3", "execve:4"]
    assert told[1]["start"] == told[0]["child_start"]


def test_a_fork_without_calls_is_told_when_its_time_has_come(lineage: Lineage, clock: Clock) -> None:
    lineage.hear([fork(SERVER, CHILD), ProcessEvent(EXIT, 11 * S, CHILD, CHILD, (3 << 8, 17))])
    assert lineage.due(drained=True) == []
    clock.now += 0.4
    assert lineage.due(drained=False) == []  # audit has more to say first
    told = lineage.due(drained=True)
    assert names(told) == ["fork:2", "exit:3"]
    assert told[1]["code"] == 3
    assert told[1]["start"] == told[0]["child_start"]


def test_patience_with_audit_ends(lineage: Lineage, clock: Clock) -> None:
    lineage.hear([fork(SERVER, CHILD)])
    clock.now += 11
    assert names(lineage.due(drained=False)) == ["fork:2"]


def test_an_exit_comes_after_all_that_audit_still_tells(lineage: Lineage, clock: Clock) -> None:
    lineage.hear([fork(SERVER, CHILD), ProcessEvent(EXIT, 12 * S, CHILD, CHILD, (9, 17))])
    told = lineage.merge([call(lineage, CHILD, "unlink", 11 * S)])
    clock.now += 1
    told += lineage.due(drained=True)
    assert names(told) == ["fork:2", "unlink:3", "exit:3"]
    assert (told[2]["code"], told[2]["metadata"]) == (137, {"signal": "SIGKILL"})


def test_threads_are_no_processes(lineage: Lineage) -> None:
    lineage.hear([fork(SERVER, SERVER, tid=CHILD), ProcessEvent(EXIT, 12 * S, CHILD, SERVER, (0, 0))])
    assert lineage.finish() == []


def test_a_pid_that_is_used_again_is_another_process(lineage: Lineage) -> None:
    lineage.hear([fork(SERVER, CHILD, 10 * S), ProcessEvent(EXIT, 11 * S, CHILD, CHILD, (0, 17))])
    lineage.hear([fork(SERVER, CHILD, 99 * S)])
    told = lineage.merge([call(lineage, CHILD, "unlink", 100 * S)])
    assert names(told) == ["fork:2", "exit:3", "fork:2", "unlink:3"]
    starts = [event["child_start"] for event in told if "child_start" in event]
    assert starts[0] != starts[1]
    assert (told[1]["start"], told[3]["start"]) == (starts[0], starts[1])


def test_we_and_what_we_start_are_never_told(lineage: Lineage, clock: Clock) -> None:
    lineage.hear(
        [
            fork(AGENT, CHILD),
            ProcessEvent(EXEC, 11 * S, CHILD, CHILD, ()),
            fork(CHILD, GRANDCHILD),
            ProcessEvent(EXIT, 12 * S, GRANDCHILD, GRANDCHILD, (0, 17)),
            ProcessEvent(EXIT, 13 * S, CHILD, CHILD, (0, 17)),
        ]
    )
    clock.now += 1
    assert lineage.due(drained=True) == []
    lineage.hear([fork(SERVER, CHILD)])  # the pid is free again
    assert names(lineage.finish()) == ["fork:2"]


def test_audit_tells_an_exec_and_the_connector_only_what_audit_missed(lineage: Lineage, clock: Clock) -> None:
    lineage.hear([fork(SERVER, CHILD), ProcessEvent(EXEC, 11 * S, CHILD, CHILD, ())])
    told = lineage.merge([call(lineage, CHILD, "execve", 11 * S, "exec")])
    clock.now += 1
    told += lineage.due(drained=True)
    assert names(told) == ["fork:2", "execve:3"]
    lineage.hear(
        [ProcessEvent(EXEC, 12 * S, CHILD, CHILD, ())]
    )  # audit says nothing, and the process is gone
    assert lineage.finish() == []
    assert lineage.without_exe == 1


def test_without_audit_the_connector_tells_execs_and_users_at_once(clock: Clock) -> None:
    lineage = made(clock, audited=False)
    lineage.hear(
        [
            ProcessEvent(EXEC, 11 * S, os.getpid(), os.getpid(), ()),
            ProcessEvent(UID, 12 * S, os.getpid(), os.getpid(), (1000, 0)),
        ]
    )
    told = lineage.due(drained=True)
    assert [event["kind"] for event in told] == ["exec", "call"]
    assert told[0]["exe"] == str(Path("/proc/self/exe").readlink())
    assert (told[1]["syscall"], told[1]["args"]) == ("setresuid", {"uid": 0})


def test_the_dead_are_forgotten_in_the_end(lineage: Lineage, clock: Clock) -> None:
    for number in range(5_000):
        pid = CHILD + number
        lineage.hear([fork(SERVER, pid), ProcessEvent(EXIT, 11 * S, pid, pid, (0, 17))])
        clock.now += 1
        assert len(lineage.due(drained=True)) == 2
    assert len(lineage.table._by_pid) < 1_100
    assert not lineage.table.unborn
    assert not lineage._children


def test_descriptors_go_along_at_the_moment_of_the_fork(lineage: Lineage) -> None:
    lineage.hear([fork(SERVER, CHILD)])
    server = lineage.table.find(SERVER)
    assert server is not None
    server.descriptors[5] = Descriptor("inet")  # accepted after the fork was read, before it happened
    child = lineage.table.find(CHILD)
    assert child is not None
    assert child.descriptors == {5: Descriptor("inet")}
