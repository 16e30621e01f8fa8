"""Whole runs of the agent as a program: a real strace, a real server on loopback, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.tests.watch.conftest import Programs, Receiver, Run, Scripted, wait_for
from guard_agent.watch.alphabet import CALL_SET, trace_expression
from guard_agent.watch.launch import StraceMissingError, find_strace, strace_command, strace_options
from guard_agent.watch.record import start_of

CALLS = 5_000


def test_a_command_is_reported_and_its_output_and_status_are_its_own(
    strace: str, run: Run, receiver: Receiver
) -> None:
    assert strace
    done = run("watch", "--", "sh", "-c", "echo out; echo err >&2; id >/dev/null; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert "err\n" in done.stderr
    events = receiver.events()
    assert (
        f"guardhouse-agent: {len(events)} events of 2 processes: {len(events)} stored, 0 lost" in done.stderr
    )
    shell, fork, tool = (event for event in events if event["kind"] in ("exec", "fork"))
    assert shell["args"]["argv"][:2] == ["sh", "-c"]
    assert (fork["child_pid"], fork["child_start"]) == (tool["pid"], tool["start"])
    assert (tool["ppid"], tool["exe"]) == (shell["pid"], "/usr/bin/id")
    assert [event["code"] for event in events if event["kind"] == "exit"] == [0, 3]
    assert {event.get("syscall") for event in events} - {None} <= CALL_SET
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    now = time.time_ns()
    assert all(now - 120 * 10**9 < event["timestamp"] <= now for event in events)


def test_a_server_on_this_machine_needs_nothing_else(
    strace: str, run: Run, receiver: Receiver, tmp_path: Path
) -> None:
    assert strace
    ready = tmp_path / "ready.json"
    ready.write_text(
        json.dumps({"url": receiver.url, "admin_key": "gh_live_admin", "tenant": "t", "pid": os.getpid()})
    )
    ready.chmod(0o600)
    here = {"GUARDHOUSE_READY_FILE": str(ready), "GUARDHOUSE_AGENT_KEY": "", "GUARDHOUSE_URL": ""}
    first = run("watch", "--", "sh", "-c", "id; cat /etc/hosts", **here)
    assert first.returncode == 0, first.stderr
    assert "enrolled this host as" in first.stderr
    second = run("watch", "--exec", "--", "true", **here)
    assert "enrolled" not in second.stderr
    assert (
        len({stream for stream, _ in receiver.stored}) == 1
    )  # the second run goes on with the first one's stream


@pytest.mark.parametrize("mode", ["set", "full"])
def test_exactly_n_calls_are_stored(strace: str, run: Run, receiver: Receiver, mode: str) -> None:
    assert strace
    work = f"""
import os
for n in range({CALLS}):
    try:
        os.unlink('/nowhere/' + str(n))
    except OSError:
        os.getppid()
"""
    options = ["--all-calls"] if mode == "full" else []
    done = run("watch", *options, "--", sys.executable, "-c", work)
    assert done.returncode == 0, done.stderr
    assert ", 0 lost" in done.stderr
    events = receiver.events()
    gone = [
        event
        for event in events
        if event.get("syscall") == "unlink" and event["args"]["path"].startswith("/nowhere/")
    ]
    assert [event["args"]["path"] for event in gone] == [f"/nowhere/{n}" for n in range(CALLS)]
    assert all(event["errno"] == "ENOENT" for event in gone)
    folded = sum(event["names"].count("getppid") for event in events if event["kind"] == "calls")
    assert folded == (CALLS if mode == "full" else 0)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_an_unreachable_server_leaves_the_events_for_the_next_run(
    strace: str, run: Run, receiver: Receiver
) -> None:
    assert strace
    away = run("watch", "--", "true", GUARDHOUSE_URL="http://127.0.0.1:1")
    assert away.returncode == 0
    assert "cannot reach http://127.0.0.1:1: connection refused" in away.stderr
    assert "wait in" in away.stderr
    assert receiver.events() == []
    again = run("watch", "--", "true")
    events = receiver.events()
    assert len([event for event in events if event["kind"] == "exec"]) == 2, again.stderr
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_kill_9_while_sending_then_every_event_arrives_with_its_number(
    strace: str, programs: Programs, run: Run, receiver: Receiver
) -> None:
    assert strace
    receiver.script = [Scripted(503, {"Retry-After": "0"}, after_store=n % 2 == 0) for n in range(10_000)]
    child = programs.start("watch", "--", "sh", "-c", "while sleep 0.01; do :; done")
    wait_for(lambda: len(receiver.requests) >= 3)
    child.kill()
    child.wait(20)
    stored = dict(receiver.stored)
    (shell,) = (
        event["pid"] for event in receiver.events() if event.get("args", {}).get("argv", [""])[0] == "sh"
    )
    time.sleep(0.5)
    wait_for(lambda: is_running(shell))  # the command lives on without its watcher
    os.kill(shell, signal.SIGKILL)
    child.communicate(timeout=20)
    wait_for(lambda: not list((Path(programs.environment["GUARDHOUSE_AGENT_STATE_DIR"]) / "runs").iterdir()))
    receiver.script = []
    done = run("watch", "--", "true")
    assert done.returncode == 0, done.stderr
    events = receiver.events()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert len({stream for stream, _ in receiver.stored}) == 1
    assert all(receiver.stored[place] == event for place, event in stored.items())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "RSD"
    except OSError:
        return False


def test_sigterm_ends_the_command_and_the_agent_within_five_seconds(
    strace: str, programs: Programs, receiver: Receiver
) -> None:
    assert strace
    child = programs.start("watch", "--", "sleep", "60")
    wait_for(receiver.events)
    begin = time.monotonic()
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=10)
    assert time.monotonic() - begin < 5
    assert child.returncode == 128 + signal.SIGTERM
    assert receiver.events()[-1]["kind"] == "exit"
    assert receiver.events()[-1]["metadata"] == {"signal": "SIGTERM"}
    assert "0 lost" in err


def test_a_command_that_ignores_sigterm_is_killed(
    strace: str, programs: Programs, receiver: Receiver
) -> None:
    assert strace
    child = programs.start("watch", "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    begin = time.monotonic()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=15)
    assert time.monotonic() - begin < 6
    assert child.returncode == 128 + signal.SIGKILL
    assert receiver.events()


def test_sigint_reaches_the_command(strace: str, programs: Programs, receiver: Receiver) -> None:
    assert strace
    child = programs.start(
        "watch", "--", "sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=15)
    assert child.returncode == 9
    assert receiver.events()


def test_strace_missing_says_how_to_get_it(run: Run, tmp_path: Path) -> None:
    done = run("watch", "--", "true", PATH=str(tmp_path))
    assert done.returncode == 127
    for part in ("apt install strace", "dnf install strace", "pacman -S strace"):
        assert part in done.stderr
    with pytest.raises(StraceMissingError):
        find_strace({"PATH": str(tmp_path)})


def test_a_command_that_does_not_exist(strace: str, run: Run) -> None:
    assert strace
    done = run("watch", "--", "/no/such/program")
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr


def test_command_line_of_strace(strace: str) -> None:
    argv = strace_command(strace, Path("/f"), ["a", "-b"], all_calls=False)
    assert argv[:9] == [strace, "-f", "-q", "-ttt", "-yy", "-s", "256", "-o", "/f"]
    assert argv[argv.index("-e") + 1] == "trace=" + trace_expression()
    assert argv[-3:] == ["--", "a", "-b"]
    assert ("--seccomp-bpf" in argv) == ("--seccomp-bpf" in strace_options(strace))
    assert "-e" not in strace_command(strace, Path("/f"), ["a"], all_calls=True)
    checked = subprocess.run(
        [strace, "-e", f"trace={trace_expression()}", "true"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_start_is_the_kernels_where_the_process_lives() -> None:
    assert start_of(os.getpid(), 5) == start_of(os.getpid(), 6) > 6
    assert start_of(4_194_304, 77) == 77
