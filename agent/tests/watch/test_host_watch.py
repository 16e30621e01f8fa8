"""The default mode as a program: this host's audit system, a real server on loopback, real signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.conftest import Programs, Receiver, wait_for
from guard_agent.watch.audit_netlink import AuditControl
from guard_agent.watch.audit_rule import key_of, unpack_rule
from guard_agent.watch.audit_settings import FILE_NAME
from guard_agent.watch.proc_connector import ProcConnector

Event = dict[str, Any]
MARK = "guardhouse-test-mark"
TRIES = 3
PATIENCE = 90.0  # the whole host is watched, other tests included
# A daemon of another house: it holds the record socket and reads.
DAEMON = """
import sys, time
from guard_agent.watch.audit_netlink import AuditControl, AuditReader
reader = AuditReader()
reader.take_records()
AuditControl().set(enabled=1)
print("ready", flush=True)
while sys.stdin.isatty() or not __import__("select").select([sys.stdin], [], [], 0.01)[0]:
    reader.read(10000)
AuditControl().set(enabled=0)
reader.close()
"""


def start(programs: Programs, *options: str) -> "subprocess.Popen[str]":
    agent = programs.start("watch", "--cpu-limit", "0", *options)
    assert agent.stderr is not None
    line = agent.stderr.readline()
    while "watching this host" not in line:
        assert line, "the agent ended before it watched"
        line = agent.stderr.readline()
    return agent


def work(text: str) -> int:
    """Run a shell with a mark in its arguments; return its pid."""
    child = subprocess.Popen(["/bin/sh", "-c", f"{text}; exit 7", MARK])
    child.wait(30)
    return child.pid


def marked(receiver: Receiver) -> list[Event]:
    return [
        event
        for event in receiver.events()
        if event["kind"] == "exec" and MARK in event.get("args", {}).get("argv", ())
    ]


def ended(receiver: Receiver, pid: int) -> bool:
    return any(event["kind"] == "exit" and event["pid"] == pid for event in receiver.events())


def test_a_process_is_told_whole_and_in_order_and_we_are_not(
    audit: AuditControl, connector: ProcConnector, programs: Programs, receiver: Receiver
) -> None:
    connector.close()  # it works here; the agent has one of its own
    watching = start(programs)
    assert audit.status().pid == watching.pid
    pids = []
    for _ in range(TRIES):  # the kernel may lose records of a host that does far more than we can read
        pids.append(work("/usr/bin/env id >/dev/null; cat /etc/shadow >/dev/null 2>&1"))
        wait_for(lambda: ended(receiver, pids[-1]), PATIENCE)
        if len(marked(receiver)) == len(pids):
            break
    watching.send_signal(signal.SIGTERM)
    _, err = watching.communicate(timeout=90)
    assert watching.returncode == 0
    assert "audit rules removed, settings are as found" in err
    events = receiver.events()
    assert watching.pid not in {event.get("pid") for event in events}
    if "0 lost" not in err:
        assert any(event["kind"] == "loss" for event in events)
        if len(marked(receiver)) < len(pids):
            pytest.skip(f"this machine is too busy to be watched whole: {err.splitlines()[-1]}")
    is_whole_story(events, pids[-1])
    inventory = [event for event in events if event["kind"] == "inventory"]
    assert {1, os.getpid()} <= {event["pid"] for event in inventory}


def is_whole_story(events: list[Event], pid: int) -> None:
    """Check birth, program, two children and end of a shell, each where it belongs."""
    ours = [event for event in events if event.get("pid") == pid or event.get("child_pid") == pid]
    assert [event["kind"] for event in ours if event["kind"] != "call"] == [
        "fork",
        "exec",
        "fork",
        "fork",
        "exit",
    ]
    birth, end = ours[0], ours[-1]
    program = next(event for event in ours if event["kind"] == "exec")
    assert (birth["pid"], birth["child_start"]) == (os.getpid(), program["start"])
    assert program["exe"] == str(Path("/bin/sh").resolve())
    assert program["args"]["argv"][-1] == MARK
    assert end["code"] == 7
    children = {event["child_pid"] for event in ours if event["kind"] == "fork" and event["pid"] == pid}
    told = [event for event in events if event.get("pid") in children]
    assert {event["exe"].rpartition("/")[2] for event in told if event["kind"] == "exec"} >= {"id", "cat"}
    assert any(event.get("args", {}).get("path") == "/etc/shadow" for event in told)
    for child in children:
        born = next(index for index, event in enumerate(events) if event.get("child_pid") == child)
        assert born < min(index for index, event in enumerate(events) if event.get("pid") == child)


def test_after_a_kill_cleanup_puts_everything_back(
    audit: AuditControl, programs: Programs, environment: dict[str, str]
) -> None:
    before = audit.status()
    agent = start(programs)
    assert any(key_of(unpack_rule(data)) == "guardhouse" for data in audit.list_rules())
    state = Path(environment["GUARDHOUSE_AGENT_STATE_DIR"])
    refused = programs.start("watch", "--cleanup")
    _, err = refused.communicate(timeout=90)
    assert (refused.returncode, "stop it, it puts everything back itself" in err) == (69, True)
    agent.kill()
    agent.wait(30)
    assert (state / FILE_NAME).exists()
    cleanup = programs.start("watch", "--cleanup")
    _, err = cleanup.communicate(timeout=90)
    assert cleanup.returncode == 0
    assert "audit rules removed, settings are as found" in err
    after = audit.status()
    assert (after.enabled, after.backlog_limit, after.wait_time, after.pid) == (
        before.enabled,
        before.backlog_limit,
        before.wait_time,
        0,
    )
    assert audit.list_rules() == []
    assert not (state / FILE_NAME).exists()


def test_after_a_kill_the_next_start_puts_back_what_the_first_one_found(
    audit: AuditControl, programs: Programs
) -> None:
    before = audit.status()
    first = start(programs)
    first.kill()
    first.wait(30)
    second = programs.start("watch")
    assert second.stderr is not None
    assert "an agent that was killed had left audit changed" in second.stderr.readline()
    assert "watching this host" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=90)
    assert second.returncode == 0
    after = audit.status()
    assert (after.enabled, after.backlog_limit) == (before.enabled, before.backlog_limit)


@pytest.fixture
def daemon(audit: AuditControl) -> Iterator["subprocess.Popen[str]"]:
    before = audit.status()
    child = subprocess.Popen(
        [sys.executable, "-c", DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child
    child.communicate("end\n", timeout=90)
    audit.set(enabled=before.enabled)


def test_a_daemon_keeps_its_socket_and_we_read_beside_it(
    daemon: "subprocess.Popen[str]", audit: AuditControl, programs: Programs, receiver: Receiver
) -> None:
    agent = programs.start("watch", "--add-rules", "--cpu-limit", "0")
    assert agent.stderr is not None
    assert "the audit multicast group, beside the audit daemon" in agent.stderr.readline()
    assert audit.status().pid == daemon.pid
    pid = work("true")
    wait_for(lambda: marked(receiver), PATIENCE)
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate(timeout=90)
    assert "audit rules removed, settings are as found" in err
    assert audit.status().pid == daemon.pid
    assert audit.status().enabled == 1
    assert marked(receiver)[0]["pid"] == pid
    assert agent.pid not in {event.get("pid") for event in receiver.events()}


def test_without_our_rules_a_daemons_host_is_watched_by_its_processes(
    daemon: "subprocess.Popen[str]", audit: AuditControl, programs: Programs, receiver: Receiver
) -> None:
    assert daemon.pid == audit.status().pid
    agent = programs.start("watch")
    assert agent.stderr is not None
    agent.stderr.readline()
    assert "--add-rules adds ours beside them" in agent.stderr.readline()
    child = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)

    def kinds() -> list[str]:
        return [event["kind"] for event in receiver.events() if event.get("pid") == child.pid]

    wait_for(lambda: "exec" in kinds(), PATIENCE)  # named while it lives: later nobody could
    child.communicate(b"\n")
    wait_for(lambda: "exit" in kinds(), PATIENCE)
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=90)
    assert [kind for kind in kinds() if kind != "inventory"] == ["exec", "exit"]
    assert audit.list_rules() == []
