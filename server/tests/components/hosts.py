"""Host agents for tests: what they report, how they send it, and how what they sent is scored."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import partitions
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores import apply, claim
from guardhouse.scores.apply import Engines
from guardhouse.scores.cooling.store import list_due
from guardhouse.scores.cooling.sweep import sweep
from guardhouse.scores.rules.rule_sets import RuleSets
from guardhouse.scores.store import LANES

EVENTS = "/api/v1/events"
EVERY_LANE = list(range(LANES))


def noon() -> SetClock:
    """Return a clock that stands at noon of today, far from both of its ends."""
    return SetClock(datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0))


@dataclass
class Host:
    """One agent under a key: sends batches, each under a key of its own unless told otherwise."""

    client: httpx.AsyncClient
    key: str
    id: str = "web-1"
    members: dict[str, Any] = field(default_factory=dict)
    sent: int = 0

    async def send(self, events: Any, *, key: str | None = None, **headers: str | None) -> httpx.Response:
        """Send a batch; bytes go as they are."""
        body = events if isinstance(events, bytes) else self.body(events)
        self.sent += 1
        named: dict[str, str | None] = {
            "x-api-key": self.key,
            "content-type": "application/json",
            "guardhouse-family": "host",
            "idempotency-key": key or f"{self.id}-{self.sent}",
        }
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            EVENTS, content=body, headers={name: value for name, value in named.items() if value is not None}
        )

    async def accepted(self, events: Sequence[Any], **options: Any) -> dict[str, Any]:
        """Send a batch that must be taken whole."""
        answer = await self.send(events, **options)
        assert answer.status_code == 207, answer.text
        said: dict[str, Any] = answer.json()
        assert (said["accepted"], said["errors"]) == (len(events), 0), said
        return said

    def body(self, events: Any) -> bytes:
        """Return the bytes of a batch."""
        return json.dumps({"agent_id": self.id} | self.members | {"events": events}).encode()


def call(name: str = "read", at: datetime | int | None = None, **members: Any) -> dict[str, Any]:
    """Return a call of process 100."""
    told = at.isoformat() if isinstance(at, datetime) else at
    return {"pid": 100, "syscall": name} | ({} if told is None else {"timestamp": told}) | members


def attack(at: datetime, *, first_pid: int = 4000, seq: int | None = None) -> list[dict[str, Any]]:
    """Return the events of a server that is turned into a remote shell, a second between acts."""
    server, shell = first_pid, first_pid + 1
    address = {"family": "inet", "ip": "203.0.113.9", "port": 4444}
    inet = {"fd": 7, "fd_kind": "inet"}
    acts: list[dict[str, Any]] = [
        {"pid": server, "start": 10, "kind": "exec", "exe": "/usr/bin/python3", "args": {"argv": ["python3"]}},
        {"pid": server, "start": 10, "syscall": "listen", "args": {"fd": 3, "addr": {"family": "inet", "port": 80}}},
        {"pid": server, "start": 10, "kind": "fork", "child_pid": shell, "child_start": 20},
        {"pid": shell, "start": 20, "syscall": "socket", "args": {"fd_kind": "inet"}, "ret": 7},
        {"pid": shell, "start": 20, "syscall": "connect", "args": inet | {"addr": address}, "ret": 0},
        *(
            {"pid": shell, "start": 20, "syscall": "dup2", "args": inet | {"newfd": n}, "ret": n}
            for n in range(3)
        ),
        {"pid": shell, "start": 20, "syscall": "execve", "exe": "/bin/sh", "args": {"path": "/bin/sh", "argv": ["sh"]}},
    ]  # fmt: skip
    for number, tool in enumerate(("id", "uname", "whoami", "hostname", "ps", "ss", "lsmod", "last")):
        pid, path = shell + 1 + number, f"/usr/bin/{tool}"
        acts += [
            {"pid": shell, "start": 20, "kind": "fork", "child_pid": pid, "child_start": 30 + number},
            {"pid": pid, "start": 30 + number, "syscall": "execve", "exe": path, "args": {"path": path}},
            {"pid": pid, "start": 30 + number, "kind": "exit", "code": 0},
        ]
    secret = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    acts += [{"pid": shell, "start": 20, "syscall": "openat", "args": secret, "ret": 3}]
    for number, act in enumerate(acts):
        act["timestamp"] = (at + timedelta(seconds=number)).isoformat()
        if seq is not None:
            act["seq"] = seq + number
    return acts


async def make_days(resources: Resources) -> None:
    """Make the partitions of every table for the present day of the clock."""
    async with system_transaction(resources.database) as tx:
        today = resources.clock.now().date()
        await partitions.ensure_days(tx, today, (*partitions.PARENTS, "scores"))


async def score_everything(resources: Resources, engines: Engines | None = None) -> int:
    """Score until nothing waits, as one worker with every lane would; returns the number of steps."""
    held = engines or Engines(RuleSet.builtin())
    steps = 0
    while True:
        async with system_transaction(resources.database) as tx:
            waiting = await claim.list_backlog(tx, EVERY_LANE)
        if not waiting:
            return steps
        for work in waiting:
            async with system_transaction(resources.database) as tx:
                await apply.apply_step(tx, held, work)
            steps += 1


async def cool_everything(resources: Resources) -> int:
    """Let every agent that is due cool, as a worker with every lane would; returns how many were."""
    async with system_transaction(resources.database) as tx:
        due = await list_due(tx, EVERY_LANE, resources.clock.now(), 1000, [])
    for work, now in due:
        async with system_transaction(resources.database) as tx:
            await sweep(tx, RuleSets(RuleSet.builtin()), work, now)
    return len(due)
