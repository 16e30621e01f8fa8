"""The load under which things are killed: senders that repeat whatever was not answered, and what they tell."""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import httpx

SENDERS = 3
PATIENCE_SECONDS = 120.0


@dataclass
class Told:
    """What one agent has sent and what was acknowledged of it."""

    sent: int = 0
    acknowledged: set[str] = field(default_factory=set)


class Agent(NamedTuple):
    """An agent as stored."""

    no: int
    name: str
    next_position: int
    tenant_id: UUID


class Load(threading.Thread):
    """Senders in a thread and an event loop of their own, until ``stop``; then each ends what it has begun."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        super().__init__(name="load")
        self.port = port
        self.key = key
        self.seed = seed
        self.stopped = threading.Event()
        self.told: dict[str, Told] = {}
        self.count: Counter[str] = Counter()
        self.faults: list[str] = []

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=20.0,
            trust_env=False,
            headers={"X-API-Key": self.key},
        ) as client:
            await asyncio.gather(*(self._sender(client, number) for number in range(SENDERS)))

    async def _sender(self, client: httpx.AsyncClient, number: int) -> None:
        draw = Random(f"{self.seed}/{number}")
        chapter = 0
        while not self.stopped.is_set():
            try:
                await self._chapter(client, draw, f"host-{number}-{chapter}")
            except Exception as error:  # noqa: BLE001 - a fault of the loop itself must be told, not lost
                self.faults.append(f"sender {number}: {error!r}")
                return
            chapter += 1

    async def _chapter(self, client: httpx.AsyncClient, draw: Random, agent: str) -> None:
        """Tell the short life of one host, some batches twice."""
        told = self.told[agent] = Told()
        events = story(draw)
        number = 0
        while events:
            size = draw.randint(1, 60)
            batch, events = events[:size], events[size:]
            body = json.dumps({"agent_id": agent, "stream": agent, "boot_id": "b", "events": batch}).encode()
            told.sent += len(batch)
            copies = 2 if draw.random() < 0.1 else 1
            answers = await asyncio.gather(
                *(self._send(client, body, f"{agent}-{number}") for _ in range(copies))
            )
            if draw.random() < 0.1:
                answers.append(await self._send(client, body, f"{agent}-{number}-again"))
            for answer in answers:
                told.acknowledged.update(r["id"] for r in answer["results"])
                if answer["errors"] or len(answer["results"]) != len(batch):
                    self.faults.append(f"{agent} batch {number}: {str(answer)[:300]}")
            if any(answer["results"] != answers[0]["results"] for answer in answers[1:copies]):
                self.faults.append(f"{agent} batch {number}: two answers under one key differ")
            number += 1
            self.count["batches"] += 1
            await asyncio.sleep(draw.random() * 0.15)

    async def _send(self, client: httpx.AsyncClient, body: bytes, key: str) -> dict[str, Any]:
        """Send until it is acknowledged, the same bytes under the same key."""
        headers = {"Idempotency-Key": key, "Content-Type": "application/json", "Guardhouse-Family": "host"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, text = 0, ""
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.post("/api/v1/events", content=body, headers=headers)
                status, text = answer.status_code, answer.text
                if status == httpx.codes.MULTI_STATUS:
                    self.count["replays"] += "idempotency-replayed" in answer.headers
                    found: dict[str, Any] = answer.json()
                    return found
            if status not in {0, 409, 503}:
                self.faults.append(f"{key}: {status} {text[:300]}")
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{key} was not taken within {PATIENCE_SECONDS:.0f} s, last {status} {text[:300]}"
                )
            self.count["retries"] += 1
            await asyncio.sleep(0.05)


def story(draw: Random) -> list[dict[str, Any]]:
    """Return the events of a host: daily work, and a server that is turned into a shell."""
    at = datetime.now(UTC) - timedelta(seconds=120)
    acts: list[dict[str, Any]] = [
        {"pid": 10, "start": 1, "kind": "exec", "exe": "/usr/sbin/app", "args": {"argv": ["app"]}},
        {
            "pid": 10,
            "start": 1,
            "syscall": "listen",
            "args": {"fd": 3, "addr": {"family": "inet", "port": 80}},
        },
    ]
    for n in range(draw.randint(40, 120)):
        call = draw.choice(["read", "write", "openat", "close", "sendto", "epoll_wait"])
        acts.append(
            {"pid": draw.choice([10, 20, 30]), "syscall": call, "args": {"path": f"/srv/{n % 7}"}, "ret": 0}
        )
    inet = {"fd": 7, "fd_kind": "inet"}
    address = {"addr": {"ip": "203.0.113.9", "port": 4444}}
    shell: list[dict[str, Any]] = [
        {"pid": 10, "start": 1, "kind": "fork", "child_pid": 11, "child_start": 2},
        {"pid": 11, "start": 2, "syscall": "connect", "args": inet | address},
        *({"pid": 11, "start": 2, "syscall": "dup2", "args": inet | {"newfd": n}, "ret": n} for n in range(3)),
        {"pid": 11, "start": 2, "syscall": "execve", "exe": "/bin/sh", "args": {"path": "/bin/sh"}},
    ]  # fmt: skip
    for n, tool in enumerate(("id", "uname", "whoami", "hostname", "ps", "ss", "lsmod")):
        path = f"/usr/bin/{tool}"
        shell += [
            {"pid": 11, "start": 2, "kind": "fork", "child_pid": 12 + n, "child_start": 3 + n},
            {"pid": 12 + n, "start": 3 + n, "syscall": "execve", "exe": path, "args": {"path": path}},
            {"pid": 12 + n, "start": 3 + n, "kind": "exit", "code": 0},
        ]  # fmt: skip
    place = draw.randrange(2, len(acts))
    acts[place:place] = shell
    for number, act in enumerate(acts):
        act["seq"] = number
        act["timestamp"] = (at + timedelta(milliseconds=100 * number)).isoformat()
    return acts
