"""Every rule once by each way in: native events through the door's own judge, and the text of a trace.

A collector is a function from a rule to what the engine reads; another one (audit records) is a line in `WAYS`.
What a collector cannot say is listed with the reason, so that a new rule fails here until somebody has looked.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from guard_agent.watch.strace import read_strace
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.rule import Rule
from guardhouse.analysis.risk.rule_tests import hits_of
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.short_events import expand_events
from guardhouse.events.write_process import KIND_NAMES, Fields
from guardhouse.foundation.clock import microseconds
from guardhouse.ingest.host_items import Batch, HostEvent, decode_item, judge
from server.tests.analysis.risk.benign_day import BENIGN_DAY

RULES = RuleSet.builtin()
TRACES = Path(__file__).with_name("rules.strace")
Collected = Iterator[RiskEvent]
_WIRE = {"call": "syscall"}
_MEMBERS = ("tid", "ppid", "start", "exe", "comm", "call", "ret", "errno", "child_pid", "child_start", "code")


def wire_items(rule: Rule, number: int) -> list[dict[str, Any]]:
    """One of a rule's own tests in the words of `POST /events`."""
    return [wire_item(event) for event in expand_events(rule.tests[number]["events"])]


def wire_item(event: RiskEvent) -> dict[str, Any]:
    item: dict[str, Any] = {"kind": event.kind, "pid": event.pid, "seq": event.position}
    item["timestamp"] = event.occurred_us * 1000
    item |= {_WIRE.get(name, name): value for name in _MEMBERS if (value := getattr(event, name)) is not None}
    item |= {} if event.args is None else {"args": event.args}
    return item | ({} if event.names is None else {"names": list(event.names)})


def native(rule: Rule) -> Collected:
    """The first hitting test as a client sends it: through JSON, the verdict per item, and the stored form."""
    number = next(n for n, test in enumerate(rule.tests) if test["hits"])
    yield from through_the_door(wire_items(rule, number))


def through_the_door(items: list[dict[str, Any]]) -> Collected:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    decoded = [decode_item(json.dumps(item).encode()) for item in items]
    assert all(isinstance(item, HostEvent) for item in decoded), decoded
    batch = Batch("t", "web-1", "s", "k", at, datetime(2025, 12, 30, tzinfo=UTC))
    verdicts = judge(batch, decoded)
    assert verdicts.errors == {}
    unpack = msgspec.msgpack.Decoder(Fields).decode
    for position, event in enumerate(verdicts.events, 1):
        f = Fields() if event.fields is None else unpack(event.fields)
        yield RiskEvent(
            position=position,
            event_id=event.event_id,
            occurred_us=microseconds(event.occurred_at),
            kind=KIND_NAMES[event.kind],
            boot_id="b",
            pid=event.pid,
            tid=event.tid,
            start=event.start,
            call=event.call,
            ret=event.ret,
            names=None if f.names is None else tuple(f.names),
            ppid=f.ppid,
            exe=f.exe,
            comm=f.comm,
            errno=f.errno,
            args=f.args,
            child_pid=f.child_pid,
            child_start=f.child_start,
            code=f.code,
        )


def traces() -> dict[str, list[str]]:
    """The traces by rule, lines behind `# rule_id`: a millisecond apart, repetitions written out."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in TRACES.read_text("ascii").splitlines():
        if line.startswith("# "):
            lines = found[line[2:]] = []
        elif not line.startswith("##"):
            times, text = (line.split(" ", 1)) if line.startswith("x") else ("x1", line)
            for number in range(int(times[1:])):
                pid, act = text.replace("{n}", str(number)).split(" ", 1)
                lines.append(f"{pid} 1767225600.{len(lines) + 1:03d}000 {act}")
    return found


def strace(rule: Rule) -> Collected:
    """What the agent reads out of a trace's text, as the server hands it to the engine."""
    for position, item in enumerate(read_strace(traces()[rule.id]), 1):
        yield RiskEvent(
            position=position,
            event_id=position.to_bytes(16, "big"),
            occurred_us=int(item.get("timestamp", 0)) // 1000,
            kind=item.get("kind", "call"),
            boot_id="b",
            call=item.get("syscall"),
            names=tuple(item["names"]) if item.get("names") else None,
            **{
                name: item[name]
                for name in ("pid", "tid", "ppid", "start", "exe", "comm", "ret", "errno", "args", "child_pid",
                             "child_start", "code", "alphabet")
                if name in item
            },
        )  # fmt: skip


WAYS: dict[str, Callable[[Rule], Collected]] = {"native": native, "strace": strace}
CANNOT: dict[tuple[str, str], str] = {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted(RULES.by_id))
def test_every_rule_hits_by_every_way_in(way: str, name: str) -> None:
    if (way, name) in CANNOT:
        pytest.skip(CANNOT[way, name])
    rule = RULES.by_id[name]
    assert rule.evidence_id in hits_of(RULES, WAYS[way](rule))


def test_a_benign_day_of_native_events_raises_nothing() -> None:
    """Package upgrade, build, backup, login, container start, log rotation, through the door's own judge."""
    events = list(expand_events(BENIGN_DAY))
    found = hits_of(RULES, through_the_door([wire_item(event) for event in events]))
    assert found == {}
