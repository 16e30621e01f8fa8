"""Processes that end in every way: what an application captured is on disk or delivered, once, and counted."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.tests.app.conftest import MakeAgent, adds_up, event
from agent.tests.app.sink import Request, Script, Sink, wait_for

PRELUDE = """
import os, signal, sys, time, threading
from datetime import UTC, datetime
from guard_agent.client import GuardAgentHandler
from guard_agent.config import AgentConfig
from guard_agent.models import SecurityEvent

signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts the tests may ignore it

def event(name, kind="access_denied"):
    return SecurityEvent(timestamp=datetime.now(UTC), event_type=kind, reason=str(name))

def agent_for(**settings):
    url, state = sys.argv[1:3]
    return GuardAgentHandler(AgentConfig(
        api_key="gh_live_0123456789", endpoint=url, project_id="shop", state_dir=state, flush_interval=30,
        timeout=5, backoff_factor=0.05, **settings))

def ready():
    print("ready", flush=True)

def live():
    while True:  # a signal that comes just before a long sleep begins would not end it
        time.sleep(0.02)
"""


class Running:
    """A program with an agent, in a process of its own."""

    def __init__(self, sink: Sink, state_dir: Path, program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + program, sink.url, str(state_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> "Running":
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == "ready\n", (line, self.process.communicate(timeout=30))
        return self

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        self.out, self.err = self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def run(sink: Sink, state_dir: Path) -> Iterator[Any]:
    started: list[Running] = []

    def start(program: str) -> Running:
        started.append(Running(sink, state_dir, program))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()


def dead(request: Request) -> Script | None:
    return Script(reset=True) if request.method == "POST" else None


def heir(sink: Sink, make_agent: MakeAgent, expected: int) -> None:
    """Start another process's agent over the same state and wait until it has delivered what it found."""
    sink.choose = lambda _: None
    make_agent(sink, durability="auto", flush_interval=30)
    wait_for(lambda: len(sink.names()) >= expected)


@pytest.mark.parametrize("settings", ["durability='strict'", "durability='strict', spool_fsync='always'"])
def test_strict_items_survive_a_kill_right_after_the_call(
    sink: Sink, make_agent: MakeAgent, run: Any, settings: str
) -> None:
    sink.choose = dead
    running = run(f"""
agent = agent_for({settings})
for number in range(300):
    agent.send_event(event(number))
os.kill(os.getpid(), signal.SIGKILL)
""")
    assert running.end() == -signal.SIGKILL, running.err
    heir(sink, make_agent, 300)
    assert sorted(map(int, sink.names())) == list(range(300))


def test_a_killed_process_loses_nothing_that_is_older_than_a_tick_and_its_ledger_is_closed(
    native_sink: Sink, state_dir: Path, make_agent: MakeAgent
) -> None:
    sink = native_sink
    sink.choose = lambda request: Script(503) if request.method == "POST" else None
    running = Running(
        sink,
        state_dir,
        """
agent = agent_for()
for number in range(1000):
    agent.send_event(event(number, "pattern_detected" if number % 7 == 0 else "access_denied"))
while agent.ledger()["events"]["pending"]["memory"] or not agent._engine.account.native:
    time.sleep(0.01)
ready()
live()
""",
    ).ready()
    running.end(signal.SIGKILL)
    before = len(sink.batches)
    heir(sink, make_agent, 1000)
    assert sorted(map(int, sink.names())) == list(range(1000))

    def farewells() -> list[dict[str, Any]]:
        told = [request.document["guardhouse"] for request in sink.of("/api/v1/status")]
        return [about for about in told if about["ended"]]

    wait_for(farewells)
    (about,) = farewells()
    assert about["ledger"]["events"]["captured"] == about["ledger"]["events"]["delivered"] == 1000
    assert adds_up(about["ledger"])
    senders = {batch.headers["x-guardhouse-instance"] for batch in sink.batches[before:]}
    assert senders == {about["instance_id"]}
    spool = next((state_dir / "spool").iterdir())
    wait_for(lambda: not (spool / about["instance_id"]).exists())
    assert not (spool / about["instance_id"]).exists()


@pytest.mark.parametrize("moment", range(6))
def test_whenever_it_is_killed_nothing_is_stored_twice_and_nothing_on_disk_is_lost(
    sink: Sink, make_agent: MakeAgent, run: Any, moment: int
) -> None:
    running = run("""
agent = agent_for(max_batch_items=20)
for number in range(100_000):
    agent.send_event(event(number, "pattern_detected"))
    if number == 50:
        ready()
    time.sleep(0.0005)
""").ready()
    time.sleep(0.05 * moment)  # the moment of the kill, not a wait for anything
    running.end(signal.SIGKILL)
    before = len(sink.names())
    agent = make_agent(sink, durability="auto", flush_interval=30)
    wait_for(lambda: agent.get_stats()["spool"]["bytes"] == 0)
    names = sink.names()
    assert len(set(names)) == len(names) >= before
    assert sorted(map(int, names)) == list(range(len(names)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("alive", [True, False])
def test_a_signal_leaves_nothing_in_memory_and_the_exit_as_it_was(
    sink: Sink, make_agent: MakeAgent, run: Any, number: int, *, alive: bool
) -> None:
    sink.choose = (lambda _: None) if alive else dead
    running = run("""
agent = agent_for()
agent.start()
for number in range(200):
    agent.send_event(event(number))
agent.send_event(event(200, "penetration_attempt"))
ready()
live()
""").ready()
    code = running.end(number)
    assert code == -number, running.err
    if alive:
        assert len(sink.names()) == 201
        return
    assert sink.names() == []
    heir(sink, make_agent, 201)
    assert sorted(map(int, sink.names())) == list(range(201))


@pytest.mark.parametrize("first", ["agent", "server"])
def test_the_handler_of_a_server_is_called_whichever_came_first(
    sink: Sink, make_agent: MakeAgent, run: Any, first: str
) -> None:
    """A server that ends without `atexit`, as some do when they raise the signal again."""
    sink.choose = dead
    installs = "signal.signal(signal.SIGTERM, lambda *_: stopping.set())"
    starts = "agent.start()"
    steps = "\n".join([starts, installs] if first == "agent" else [installs, starts])
    running = run(f"""
stopping = threading.Event()
agent = agent_for()
{steps}
for number in range(100):
    agent.send_event(event(number))
ready()
while not stopping.is_set():
    time.sleep(0.005)
agent.send_event(event(100))  # a request that was still being answered
os._exit(7)
""").ready()
    assert running.end(signal.SIGTERM) == 7, running.err
    heir(sink, make_agent, 101)
    assert sorted(map(int, sink.names())) == list(range(101))


def test_an_ignored_signal_stays_ignored_and_a_process_ends_by_itself(sink: Sink, run: Any) -> None:
    running = run("""
signal.signal(signal.SIGINT, signal.SIG_IGN)
agent = agent_for(durability="memory")
agent.start()
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
os.kill(os.getpid(), signal.SIGINT)
for number in range(5):
    agent.send_event(event(number))
""")
    assert running.end() == 0, running.err
    assert running.err == ""
    assert sorted(sink.names()) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("before", [True, False])
def test_after_a_fork_both_processes_send_their_own_events_once(
    sink: Sink, run: Any, *, before: bool
) -> None:
    running = run(f"""
agent = agent_for(shutdown_timeout=20)
if {before}:
    agent.start()
    agent.send_event(event("parent before"))
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        agent.send_event(event(f"child {{number}}"))
        agent.send_event(event(f"child attack {{number}}", "penetration_attempt"))
        agent.stop()
        print(agent.ledger()["events"], agent.get_stats()["lanes"], file=sys.stderr, flush=True)
        os._exit(0 if agent.ledger()["events"]["delivered"] == 2 else 3)
    children.append(child)
agent.send_event(event("parent after"))
codes = [os.waitpid(child, 0)[1] for child in children]
agent.stop()
print(codes, agent.get_stats()["worker"], flush=True)
""")
    assert running.end() == 0, running.err
    assert running.out.startswith("[0, 0, 0]"), running.err
    wanted = [f"child {n}" for n in range(3)] + [f"child attack {n}" for n in range(3)] + ["parent after"]
    assert sorted(sink.names()) == sorted(wanted + (["parent before"] if before else []))


def test_a_process_that_forks_while_it_works_hangs_neither_itself_nor_its_children(
    sink: Sink, make_agent: MakeAgent, run: Any
) -> None:
    running = run("""
agent = agent_for(shutdown_timeout=20)
agent.start()
stopped = threading.Event()

def capture(name):
    number = 0
    while not stopped.is_set():
        agent.send_event(event(f"{name} {number}"))
        number += 1
        time.sleep(0.002)

threads = [threading.Thread(target=capture, args=(n,)) for n in range(2)]
for thread in threads:
    thread.start()
codes = []
for number in range(4):
    child = os.fork()
    if child == 0:
        agent.send_event(event(f"child {number}"))
        agent.stop()
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
stopped.set()
for thread in threads:
    thread.join()
agent.stop()
print(codes, agent.ledger()["events"]["captured"], flush=True)
""")
    assert running.end() == 0, running.err
    codes, _, captured = running.out.rpartition(" ")
    assert codes == str([0] * 4)
    heir(sink, make_agent, int(captured) + 4)  # what a child could not send in its time is on disk
    names = sink.names()
    assert len(set(names)) == len(names)
    assert sorted(name for name in names if name.startswith("child")) == [f"child {n}" for n in range(4)]
    assert len(names) == int(captured) + 4


def test_a_worker_that_died_is_replaced_at_the_next_call(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    engine = agent._engine
    assert engine is not None
    loop = engine.worker._loop
    assert loop is not None
    engine.worker.call(loop.stop)
    wait_for(lambda: not engine.worker.alive)
    assert agent.health_check() is False
    agent.send_event(event("after"))
    wait_for(sink.names)
    assert sink.names() == ["after"]
    assert agent.get_stats()["worker"] == {"alive": True, "restarts": 1}


def test_two_processes_share_one_state_folder(sink: Sink, run: Any) -> None:
    program = """
agent = agent_for(shutdown_timeout=20)
for number in range(50):
    agent.send_event(event(f"{os.getpid()} {number}"))
agent.stop()
assert agent.ledger()["events"]["delivered"] == 50, agent.ledger()
"""
    both = [run(program), run(program)]
    assert [running.end() for running in both] == [0, 0], [running.err for running in both]
    assert len(set(sink.names())) == len(sink.names()) == 100
