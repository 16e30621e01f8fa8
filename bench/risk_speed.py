"""Speed of risk scoring on one core: the engine with and without its memo, beside the toy weight table.

The stream is synthetic (fixed seed): 40 processes of a web service with a learned baseline, calls drawn
from a second-order chain, one call in eight with a path, forks and execs of shells now and then. Engine and
toy take the same decoded events, interleaved, medians of the rounds. Usage: `python bench/risk_speed.py
[--seconds N]`; with `--seconds` rounds go on for that long, else there are five.
"""

import argparse
import gc
import json
import random
import sys
import time
from statistics import median

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.learn import RunCollector, learn
from guardhouse.analysis.risk.legacy_score import WEIGHTS
from guardhouse.analysis.risk.profile import Profile, ProfileSet
from guardhouse.analysis.risk.rules import RuleSet

EVENTS = 200_000
ROUNDS = 5
PROCESSES = 40
MUST, GOAL = 200_000, 600_000
EPOCH_US = 1_767_225_600_000_000
CALLS = (
    "read",
    "write",
    "futex",
    "epoll_wait",
    "recvfrom",
    "sendto",
    "newfstatat",
    "lseek",
    "fcntl",
    "mmap",
    "brk",
    "close",
    "openat",
    "poll",
    "getpid",
    "rt_sigaction",
    "accept4",
    "pread64",
    "pwrite64",
    "ioctl",
)


def stream(count: int, seed: int, processes: int = PROCESSES) -> list[RiskEvent]:
    """A service's events in position order."""
    chance = random.Random(seed)
    out: list[RiskEvent] = []
    state: dict[int, int] = dict.fromkeys(range(processes), 0)
    for position in range(1, count + 1):
        number = chance.randrange(processes)
        pid = 1000 + number
        if chance.random() < 0.85:
            state[number] = (state[number] * 5 + 1) % len(CALLS)
        else:
            state[number] = chance.randrange(len(CALLS))
        call = CALLS[state[number]]
        args: dict[str, object] | None = None
        if call == "openat":
            folder = chance.choice(("/srv/app/static", "/usr/lib/python3", "/etc/ssl", "/var/lib/app"))
            args = {"path": f"{folder}/f{chance.randrange(60)}", "flags": ["O_RDONLY", "O_CLOEXEC"]}
        elif call in ("read", "write", "close"):
            args = {"fd": chance.randrange(3, 20)}
        out.append(
            RiskEvent(
                position,
                position.to_bytes(16, "big"),
                EPOCH_US + position * 50,
                "call",
                pid,
                pid,
                1,
                900_000 + number,
                "boot",
                "/srv/app/bin/server",
                None,
                call,
                3,
                None,
                args,
                alphabet="bpf.full.v1",
            )
        )
    return out


class UncachedProfile(Profile):
    """A profile whose memo stays empty: every call computes its surprise."""

    __slots__ = ()

    def bits(self, key: int) -> int:
        """Compute, never remember."""
        value = super().bits(key)
        self.memo.clear()
        return value


class Uncached(ProfileSet):
    """The same baselines without a memo."""

    def newest(self, exe: str, alphabet: str) -> Profile | None:
        """The profile, uncached."""
        built = super().newest(exe, alphabet)
        if built is None or isinstance(built, UncachedProfile):
            return built
        plain = UncachedProfile(
            exe, alphabet, self.group, self.version, built.baseline, self.everyone[alphabet]
        )
        self._built[(exe, alphabet)] = plain
        return plain


def toy(events: list[RiskEvent]) -> dict[int | None, list[int]]:
    """The toy: a weight table and a mean per process."""
    sums: dict[int | None, list[int]] = {}
    for event in events:
        held = sums.get(event.pid)
        if held is None:
            held = sums[event.pid] = [0, 0]
        held[0] += WEIGHTS.get(event.call or "", 2)
        held[1] += 1
        min(100.0, 10 * held[0] / held[1])
    return sums


def rate(events: list[RiskEvent], profiles: ProfileSet | None) -> float:
    """Events per second through a fresh engine."""
    engine = AgentEngine(RuleSet.builtin(), profiles)
    started = time.process_time()
    apply = engine.apply
    for event in events:
        apply(event)
    return len(events) / (time.process_time() - started)


def toy_rate(events: list[RiskEvent]) -> float:
    """Events per second through the toy."""
    started = time.process_time()
    toy(events)
    return len(events) / (time.process_time() - started)


def main() -> int:
    """Print the rounds and one JSON line; 1 when the must is missed."""
    collector = RunCollector(AgentEngine(RuleSet.builtin()), "bench")
    for event in stream(40_000, 1):
        collector.observe(event)
    profiles = learn(None, collector.finish(), "bench")
    uncached = Uncached.unpack(profiles.pack())
    events = stream(EVENTS, 2)
    gc.collect()
    gc.freeze()
    rows: list[tuple[float, float, float, float]] = []
    asked = argparse.ArgumentParser(description="Speed of risk scoring on one core.")
    asked.add_argument("--seconds", type=float, default=None, help="how long rounds go on")
    seconds = asked.parse_args().seconds
    until = None if seconds is None else time.monotonic() + seconds
    while len(rows) < ROUNDS if until is None else not rows or time.monotonic() < until:
        row = (rate(events, profiles), rate(events, uncached), rate(events, None), toy_rate(events))
        rows.append(row)
        print(
            f"round {len(rows)}: memo {row[0]:,.0f}  no memo {row[1]:,.0f}  no baseline {row[2]:,.0f}  "
            f"toy {row[3]:,.0f} events/s"
        )
    memo, plain, bare, anchor = (median(row[column] for row in rows) for column in range(4))
    print(
        f"median: memo {memo:,.0f}  no memo {plain:,.0f}  no baseline {bare:,.0f}  toy {anchor:,.0f} events/s"
    )
    ok = memo >= MUST and plain >= MUST
    print(
        json.dumps(
            {
                "bench": "risk_speed",
                "ours": round(memo),
                "anchor": round(anchor),
                "ratio": round(memo / anchor, 3),
                "unit": "events/s",
                "must": MUST,
                "goal": GOAL,
                "ok": ok,
                "without_memo": round(plain),
            }
        )
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
