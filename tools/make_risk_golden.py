"""Write the golden file of the risk engine.

What 10,000 synthetic events make it say, and a hash of its states.

The events come from a generator of our own (a 64-bit linear congruential sequence, no library), so the file
says the same on every machine and Python. Run without arguments to rewrite the file, with `--check` to
compare.
"""

# ruff: noqa: PLR2004, PLR0911, S108 - a table of chances in a hundred; the paths are data, nothing is written

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guardhouse.analysis.risk.effects import Effects
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.learn import RunCollector, learn
from guardhouse.analysis.risk.profile import ProfileSet
from guardhouse.analysis.risk.rules import RuleSet

TARGET = Path(__file__).parents[1] / "contract/vectors/risk_golden.jsonl"
EVENTS = 10_000
LEARNED = 6_000
EPOCH_US = 1_767_225_600_000_000
QUIET = ("read", "write", "futex", "mmap", "close", "newfstatat", "epoll_wait", "sendto", "recvfrom", "brk")
TOOLS = ("id", "whoami", "uname", "hostname", "ps", "ss", "df", "last", "tar", "gzip", "ls", "curl")
PATHS = (
    "/etc/shadow",
    "/etc/cron.d/x",
    "/srv/app/a.html",
    "/tmp/t1",
    "/usr/lib/libc.so.6",
    "/root/.ssh/id_rsa",
    "/etc/passwd",
    "/var/log/auth.log",
    "/home/u/notes.txt",
    "/etc/ld.so.preload",
)


class Chance:
    """Knuth's MMIX linear congruential generator; `pick(n)` is 0..n-1 from the high bits."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def pick(self, count: int) -> int:
        """A number from 0 to count - 1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % count


def synthetic(count: int, seed: int = 7, *, calm: bool = False) -> Iterator[RiskEvent]:
    """A machine's life: a service, shells, tools, and unless `calm` now and then an attack, a loss.

    An alert.
    """
    chance = Chance(seed)
    now_us = EPOCH_US
    children: list[tuple[int, int | None]] = []
    for position in range(1, count + 1):
        now_us += 1 + chance.pick(40_000) + (chance.pick(900) * 1_000_000 if chance.pick(60) == 0 else 0)
        fields = _step(chance, children, position, calm=calm)
        late = chance.pick(200) == 0
        yield RiskEvent(
            position=position,
            event_id=hashlib.sha256(f"{seed}:{position}".encode()).digest()[:16],
            occurred_us=now_us - (3_000_000 if late else 0),
            boot_id="b2" if position > count * 9 // 10 else "b1",
            late=late,
            alphabet="strace.full.v1",
            **fields,
        )


def _step(
    chance: Chance, children: list[tuple[int, int | None]], position: int, *, calm: bool
) -> dict[str, Any]:
    kind = chance.pick(100)
    if kind < 60:
        pid = 500 + chance.pick(3)
        return {
            "kind": "call",
            "pid": pid,
            "tid": pid + chance.pick(2),
            "ppid": 1,
            "start": pid * 10,
            "exe": "/srv/app/server",
            "call": QUIET[chance.pick(4 if calm else len(QUIET))],
            "ret": 0,
        }
    if kind < 66:
        pid = 500 + chance.pick(3)
        start = position if chance.pick(2) else None
        child = (1000 + chance.pick(50), start)
        children.append(child)
        del children[:-12]
        return {
            "kind": "fork",
            "pid": pid,
            "ppid": 1,
            "start": pid * 10,
            "exe": "/srv/app/server",
            "child_pid": child[0],
            "child_start": start,
            "ret": child[0],
        }
    if not children:
        return {"kind": "calls", "pid": 500, "tid": 500, "start": 5000, "names": ("read", "write", "read")}
    pid, start = children[chance.pick(len(children))]
    who: dict[str, Any] = {"pid": pid, "start": start}
    if kind < 74:
        tool = "sh" if chance.pick(2) else TOOLS[chance.pick(len(TOOLS))]
        exe = "/bin/sh" if calm else f"/usr/bin/{tool}"
        return {"kind": "exec", **who, "exe": exe, "args": {"path": exe, "argv": [tool]}, "ret": 0}
    if kind < 78:
        return {"kind": "exit", **who, "code": 0}
    if kind < 84:
        names = tuple(QUIET[chance.pick(len(QUIET))] for _ in range(chance.pick(20)))
        return {"kind": "calls", **who, "tid": pid, "names": names}
    if calm:
        return {"kind": "call", **who, "call": QUIET[chance.pick(5)], "ret": 0}
    return _trouble(chance, who, pid)


def _trouble(chance: Chance, who: dict[str, Any], pid: int) -> dict[str, Any]:
    kind = chance.pick(12)
    if kind < 5:
        flags = ["O_WRONLY", "O_CREAT"] if chance.pick(4) == 0 else ["O_RDONLY"]
        failed = chance.pick(5) == 0
        return {
            "kind": "call",
            **who,
            "call": "openat",
            "ret": -1 if failed else 3,
            "errno": "EACCES" if failed else None,
            "args": {"path": PATHS[chance.pick(len(PATHS))], "flags": flags},
        }
    if kind == 5:
        addr = {"family": "inet", "ip": f"203.0.113.{chance.pick(9)}", "port": 4444}
        return {"kind": "call", **who, "call": "connect", "args": {"fd": 3, "addr": addr}, "ret": 0}
    if kind == 6:
        return {"kind": "call", **who, "call": "dup2", "args": {"fd": 3, "newfd": chance.pick(3)}, "ret": 0}
    if kind == 7:
        args: dict[str, Any] = {
            "path": f"/home/u/{chance.pick(90)}.odt",
            "path2": f"/home/u/{chance.pick(3)}.odt.locked",
        }
        return {"kind": "call", **who, "call": "rename", "args": args, "ret": 0}
    if kind == 8:
        args = {"request": "PTRACE_ATTACH", "target_pid": pid + chance.pick(2)}
        return {"kind": "call", **who, "call": "ptrace", "args": args, "ret": 0}
    if kind == 9:
        extra = {"source": "falco", "rule": f"Rule {chance.pick(3)}", "priority": "Warning"}
        return {"kind": "finding", **who, "extra": extra}
    if kind == 10:
        return {"kind": "loss", "extra": {"count": chance.pick(30), "where": "kernel"}}
    return {"kind": "call", **who, "call": "fchmodat", "args": {"path": "/tmp/t1", "mode": 0o4755}, "ret": 0}


def learned() -> ProfileSet:
    """A baseline from a calm life, so that every family of evidence appears."""
    collector = RunCollector(AgentEngine(RuleSet.builtin()), "golden")
    for event in synthetic(LEARNED, 3, calm=True):
        collector.observe(event)
    return learn(None, collector.finish(), "golden", 1)


def lines_of(position: int, effects: Effects) -> Iterator[list[Any]]:
    """Effects as short JSON rows."""
    for row in effects.rows:
        key = f"{row.key.boot_id}:{row.key.pid}:{row.key.start}:{row.key.generation}"
        yield [
            "row",
            position,
            key,
            row.occurred_us - EPOCH_US,
            row.risk,
            row.tree_risk,
            row.risk_score,
            row.anomaly_score,
            row.band,
            "+".join(row.reasons),
        ]
    for news in effects.crossings:
        yield [
            "crossing",
            position,
            news.root.pid,
            news.direction,
            news.band,
            news.risk,
            news.evidence_id,
            news.nats,
        ]


def golden(count: int = EVENTS) -> list[str]:
    """The file's lines: every 8th line, every crossing that changes something, then the hashes of everything."""
    engine = AgentEngine(RuleSet.builtin(), learned())
    out = []
    every = hashlib.sha256()
    number = 0
    for event in synthetic(count):
        effects = engine.apply(event)
        if effects is None:
            continue
        for line in lines_of(event.position, effects):
            text = json.dumps(line, separators=(",", ":"))
            every.update(text.encode() + b"\n")
            number += 1
            changed = line[0] == "crossing" and line[3] != "update"
            if changed or number % 8 == 0:
                out.append(text)
    states = hashlib.sha256()
    for dirty in sorted(engine.take_dirty(), key=lambda item: item.key):
        states.update(dirty.packed)
    states.update(engine.pack_agent())
    tail = {
        "events": count,
        "rules": engine.rules.version,
        "lines": number,
        "lines_sha256": every.hexdigest(),
        "states": len(engine.instances.states),
        "states_sha256": states.hexdigest(),
    }
    return [*out, json.dumps(tail, separators=(",", ":"))]


def main() -> int:
    """Write or check the file; 1 when it differs."""
    text = "\n".join(golden()) + "\n"
    if "--check" in sys.argv[1:]:
        same = TARGET.exists() and TARGET.read_text("ascii") == text
        print("equal" if same else "DIFFERENT")
        return 0 if same else 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, "ascii")
    print(f"{TARGET.name}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
