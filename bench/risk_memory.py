"""Memory that the risk engine holds per live process, as the operating system counts it.

A population of live processes: forked, most of them executed, two dozen calls each; one in ten has a socket, one in
twenty several threads, one in fifty evidence, all of them a baseline. Events are made on the way and forgotten, so
that what is left is the engine's. Usage: `python bench/risk_memory.py [--processes 100000] [--seconds N]`; with
`--seconds` the population is what can be made in that time.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.learn import RunCollector, learn
from guardhouse.analysis.risk.profile import ProfileSet
from guardhouse.analysis.risk.rules import RuleSet

EPOCH_US = 1_767_225_600_000_000
CALLS = ("read", "write", "futex", "newfstatat", "mmap", "close")
STEP = 1_000
MUST, GOAL = 1_024, 700
MUST_MB = 150


def life(first: int, number: int) -> Iterator[RiskEvent]:
    """The events of one process, from `first` on; its parent is process 1500 of the agent."""
    pid = 2_000 + number

    def event(kind: str, call: str | None, args: dict[str, Any] | None = None, tid: int = 0) -> RiskEvent:
        return RiskEvent(
            position, position.to_bytes(16, "big"), EPOCH_US + position * 100, kind, pid, tid or pid, 1500, first,
            "boot", "/usr/bin/cc", "cc", call, 0, None, args, alphabet="bpf.full.v1",
        )  # fmt: skip

    position = first
    yield RiskEvent(
        position, position.to_bytes(16, "big"), EPOCH_US + position * 100, "fork", 1500, 1500, 1, 7, "boot",
        "/usr/bin/make", child_pid=pid, child_start=first, alphabet="bpf.full.v1",
    )  # fmt: skip
    for step in range(24):
        position += 1
        if step == 0 and number % 4:
            yield event("exec", "execve")
        elif step == 5 and number % 10 == 0:
            address = {"family": "inet", "ip": f"203.0.113.{number % 250}", "port": 443}
            yield event("call", "connect", {"fd": 7, "addr": address})
        elif step == 9 and number % 50 == 0:
            yield event("call", "openat", {"path": "/etc/shadow", "flags": ["O_RDONLY"]})
        else:
            tid = pid + step % 3 if number % 20 == 0 else pid
            yield event("call", CALLS[step % len(CALLS)], None, tid)


def baseline() -> ProfileSet:
    """What two hundred such processes do."""
    collector = RunCollector(AgentEngine(RuleSet.builtin()), "bench")
    for number in range(200):
        for event in life(number * 25 + 1, number):
            collector.observe(event)
    return learn(None, collector.finish(), "bench")


def grow(processes: int, seconds: float | None) -> tuple[int, int]:
    """(live processes, bytes): how much larger this operating system process is once they all live."""
    profiles = baseline()
    engine = AgentEngine(RuleSet.builtin(), profiles)
    for event in life(1, 0):  # plans, tables and what else is there once
        engine.apply(event)
    gc.collect()
    gc.freeze()
    here = psutil.Process()
    before = here.memory_info().rss
    began = time.monotonic()
    alive = len(engine.instances.states)
    for number in range(1, processes):
        for event in life(number * 25 + 1, number):
            engine.apply(event)
        if number % (STEP // 25) == 0:
            engine.take_dirty()
        if seconds is not None and time.monotonic() - began > seconds:
            break
    engine.take_dirty()
    gc.collect()
    return len(engine.instances.states) - alive, here.memory_info().rss - before


def main() -> int:
    """Print the mean and one JSON line; 1 when the must is missed."""
    asked = argparse.ArgumentParser(description="Memory per live process in the risk engine.")
    asked.add_argument("--processes", type=int, default=100_000)
    asked.add_argument("--seconds", type=float, default=None, help="stop making processes after this time")
    words = asked.parse_args()
    alive, held = grow(words.processes, words.seconds)
    mean = held / alive
    of_100_k = mean * 100_000 / 1e6
    print(
        f"{alive:,} live processes: {held / 1e6:.1f} MB, {mean:,.0f} bytes each; 100,000 hold {of_100_k:.0f} MB"
    )
    ok = mean <= MUST and of_100_k <= MUST_MB
    row = {
        "bench": "risk_memory",
        "ours": round(mean),
        "anchor": None,
        "ratio": None,
        "unit": "bytes/process",
    }
    print(json.dumps({**row, "must": MUST, "goal": GOAL, "ok": ok, "megabytes_of_100000": round(of_100_k)}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
