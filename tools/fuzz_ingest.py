"""Fuzz what reads telemetry: bodies of hosts and of the three formats, mutated from good ones, for a length of time.

    .venv/bin/python tools/fuzz_ingest.py --seconds 600 --seed 7 [--samples FOLDER]

Two promises are checked on every body: whatever is sent is read or refused by a problem, and an item that is good is
taken however broken the others are. A body that breaks one is written to `out/fuzz-ingest-*.bin`, and the exit is 1.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.datastructures import Headers, QueryParams

from guardhouse.foundation.errors import Problem
from guardhouse.ingest.host_batch import read_batch
from guardhouse.ingest.host_items import MAX_EVENTS, Batch, HostEvent, judge
from guardhouse.ingest.import_alerts import FORMATS, as_events, read_alert
from guardhouse.ingest.split_alerts import split_alerts

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = Batch("tenant", "agent", "stream", "key", NOW, NOW - timedelta(days=7))
GOOD = {
    "host": b'{"pid":7,"syscall":"read","timestamp":1767225600000000000,"metadata":{"good":1}}',
    "falco": b'{"rule":"good","time":"2026-01-01T00:00:00Z","output_fields":{"proc.pid":7}}',
    "tetragon": b'{"process_exit":{"process":{"exec_id":"bjoxOjc=","pid":7}},"time":"2026-01-01T00:00:00Z"}',
    "tracee": b'{"eventName":"good","hostProcessId":7,"timestamp":1767225600000000000}',
}
SEEDS = {
    "host": [
        b'{"kind":"exec","pid":1,"start":5,"exe":"/bin/sh","args":{"path":"/bin/sh","argv":["sh","-c"]}}',
        b'{"kind":"calls","pid":1,"names":["read","write"],"timestamp":"2026-01-01T00:00:00.5Z","seq":1}',
        b'{"kind":"finding","rule":"r","tags":["T1059"]}',
    ],
    "falco": [
        b'{"rule":"r","priority":"Notice","time":"2026-01-01T00:00:00Z","hostname":"n","tags":["mitre_execution"],"output_fields":{"proc.pid":7,"container.id":"host","evt.time":1767225600000000000}}'
    ],
    "tetragon": [
        b'{"process_kprobe":{"process":{"pid":7,"exec_id":"bjoxOjc=","parent_exec_id":"bjoyOjg=","flags":"execve","pod":{"container":{"id":"x://y"}}},"parent":{"pid":7},"function_name":"sys_openat","args":[{"int_arg":-100},{"string_arg":"/x"},{"sock_arg":{"daddr":"1.2.3.4","dport":1}}],"return":{"int_arg":-1}},"node_name":"n"}',
        b'{"rate_limit_info":{"number_of_dropped_process_events":"3"}}',
    ],
    "tracee": [
        b'{"eventName":"connect","hostProcessId":7,"threadStartTime":5,"args":[{"name":"addr","value":{"sa_family":"AF_INET","sin_addr":"1.2.3.4","sin_port":"1"}},{"name":"argv","value":["a"]}],"returnValue":0}',
        b'{"name":"x","workload":{"process":{"hostPid":7,"thread":{}}},"data":[{"name":"pid","int32":1}],"threat":{"severity":"HIGH","mitre":{"technique":{"id":"T1620"}}}}',
    ],
}
WORDS = [
    b"NaN", b"-Infinity", b"null", b"\\u0000", b"\\ud800", b"\xff", b"\x00", b"{", b"}", b"[", b"]", b'"', b",", b":",
    b"1e999", b"-1", b"99999999999999999999999", b"true", b'"\\', b"\n", b"[" * 2000, b'{"a":' * 1200, b"9" * 5000,
    b'"2026-13-01T00:00:00Z"', b'"0001-01-01T00:00:00+23:59"', b"\xef\xbb\xbf",
]  # fmt: skip


def mutate(chance: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    """Return a seed with one to eight changes: bytes flipped, cut, doubled, swapped for others' or for odd words."""
    text = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(0, len(text))
        end = min(len(text), at + chance.randint(0, 40))
        match chance.randint(0, 5):
            case 0:
                text[at:end] = b""
            case 1:
                text[at:at] = chance.choice(WORDS)
            case 2:
                text[at:end] = chance.choice(WORDS)
            case 3 if at < len(text):
                text[at] ^= 1 << chance.randint(0, 7)
            case 4:
                other = chance.choice(others)
                begin = chance.randint(0, len(other))
                text[at:at] = other[begin : begin + chance.randint(0, 200)]
            case _:
                text[at:at] = text[at:end] * chance.randint(1, 3)
    return bytes(text)


def read_host(items: list[bytes]) -> int:
    """Read lines of a host batch; returns how often the good item was taken."""
    headers = Headers({"content-type": "application/x-ndjson"})
    batch = read_batch(headers, QueryParams("agent_id=a&stream=s"), b"\n".join(items))
    verdicts = judge(FACTS, batch.items)
    good = [
        i
        for i, item in enumerate(batch.items)
        if isinstance(item, HostEvent) and item.metadata == {"good": 1}
    ]
    return sum(event.index in good for event in verdicts.events)


def reads(named: str) -> Callable[[list[bytes]], int]:
    """Return what reads lines of a format, and counts how often the good item was taken."""

    def read(items: list[bytes]) -> int:
        raws = split_alerts(b"\n".join(items), said_lines=True)
        events = as_events(named, raws, [read_alert(raw, FORMATS[named]) for raw in raws], None)
        taken = {event.index for event in judge(FACTS, events).events}
        return sum(raw == GOOD[named] and index in taken for index, raw in enumerate(raws))

    return read


READ = {"host": read_host} | {named: reads(named) for named in FORMATS}


def read_anything(named: str, body: bytes) -> None:
    """Read a body whose shape is anybody's guess: it is read or refused, and nothing else happens."""
    try:
        if named == "host":
            judge(
                FACTS, read_batch(Headers({"content-type": "application/json"}), QueryParams(""), body).items
            )
        else:
            raws = split_alerts(body, said_lines=False)[:MAX_EVENTS]
            events = as_events(named, raws, [read_alert(raw, FORMATS[named]) for raw in raws], None)
            judge(FACTS, events)
    except Problem:
        pass


def main() -> int:
    """Run for the time asked for and return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--samples", type=Path, help="folder of events of Tetragon, one JSON document per file"
    )
    asked = parser.parse_args()
    chance = random.Random(asked.seed)  # noqa: S311 - not a secret
    if asked.samples is not None:
        SEEDS["tetragon"] += [path.read_bytes() for path in sorted(asked.samples.glob("*.json"))]
    every = [seed for seeds in SEEDS.values() for seed in seeds]
    counted: Counter[str] = Counter()
    until = time.monotonic() + asked.seconds
    while time.monotonic() < until:
        named = chance.choice(sorted(READ))
        broken = [mutate(chance, chance.choice(SEEDS[named]), every) for _ in range(chance.randint(1, 6))]
        lines = [line for item in broken for line in item.split(b"\n")]
        items = [*lines, GOOD[named]]
        chance.shuffle(items)
        body = chance.choice([b"[" + b",".join(broken) + b"]", *broken])
        try:
            read_anything(named, body)
            fault = lost_in(named, items, lines)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
            fault = f"{type(error).__name__}: {error}"
        if fault:
            return _tell(named, items, body, fault)
        counted[named] += 1
    print(json.dumps({"bodies": dict(sorted(counted.items())), "seed": asked.seed, "seconds": asked.seconds}))
    return 0


def lost_in(named: str, items: list[bytes], lines: list[bytes]) -> str:
    """Say whether a good item was lost among the broken ones; "" when none was."""
    wanted = 1 + sum(line.strip() == GOOD[named] for line in lines)
    taken = READ[named](items)
    return "" if taken >= wanted else f"a good item was lost: {taken} of {wanted}"


def _tell(named: str, items: list[bytes], body: bytes, fault: str) -> int:
    folder = ROOT / "out"
    folder.mkdir(exist_ok=True)
    path = folder / f"fuzz-ingest-{named}.bin"
    path.write_bytes(b"\n".join(items) + b"\n-- body --\n" + body)
    print(f"{named}: {fault[:300]}; the body is in {path}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
