"""Background jobs: declare a handler, put work into its queue in the caller's own transaction.

A job is a hint: the domain row is the truth, a job may run again, and handlers are idempotent. A handler
raises only ``Retry`` or ``GiveUp``; anything else is a bug, tried again with growing pauses and then dead.
"""

import hashlib
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar, get_type_hints

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation import correlation
from guardhouse.foundation.database import TenantKey, Tx, metadata
from guardhouse.foundation.resources import Resources

P = TypeVar("P")
PLATFORM_KEY: Final = "platform"  # the fairness key of jobs that belong to no tenant

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("tenant_id", Uuid),
    Column("tenant_no", BigInteger),
    Column("fairness_key", Text(collation="C"), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("unique_key", Text),
    Column("state", Text, nullable=False),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("lease_until", DateTime(timezone=True)),
    Column("worker_id", Uuid),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("reason", Text),
    Column("correlation_id", Text, nullable=False),
    Column("trace_id", Text),
    CheckConstraint("state IN ('waiting', 'ready', 'running', 'dead')", name="state"),
    Index("jobs_ready_idx", "fairness_key", "priority", "id", postgresql_where=text("state = 'ready'")),
    Index("jobs_waiting_idx", "run_at", postgresql_where=text("state = 'waiting'")),
    Index("jobs_running_idx", "lease_until", postgresql_where=text("state = 'running'")),
    Index("jobs_dead_idx", "name", "id", postgresql_where=text("state = 'dead'")),
    Index(
        "jobs_unique_key_idx",
        "tenant_id",
        "name",
        "unique_key",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("unique_key IS NOT NULL"),
    ),
)

job_schedules = Table(
    "job_schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next_at", DateTime(timezone=True), nullable=False),
    Column("last_job", BigInteger),
)


class Retry(Exception):  # noqa: N818 - an order to the worker, not an error
    """Run this job again after so many seconds. Does not count as a failure; look at ``attempt`` to stop."""

    def __init__(self, after_seconds: float, reason: str = "") -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds
        self.reason = reason


class GiveUp(Exception):  # noqa: N818 - as Retry
    """This job can never succeed: keep it as a dead letter with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Priority(IntEnum):
    """Order among the jobs of one fairness key; no priority passes another key's turn."""

    URGENT = 0
    NORMAL = 1
    BULK = 2


@dataclass(frozen=True, slots=True)
class Backoff:
    """After failure n (from 1) wait ``first`` seconds, then twice as long up to ``longest``, ± 20 %."""

    failures: int = 8
    first_seconds: float = 1.0
    longest_seconds: float = 3600.0

    def seconds(self, job_id: int, failure: int) -> float:
        """Return the pause after a failure; the jitter is derived from job and failure, so it is repeatable."""
        pause = math.ldexp(self.first_seconds, min(failure - 1, 40))
        digest = hashlib.blake2b(f"{job_id}:{failure}".encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "big") / 2**64
        return min(pause, self.longest_seconds) * (0.8 + 0.4 * share)


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job in the hands of a worker. ``attempt`` counts claims and fences the lease; ``failures`` counts bugs."""

    id: int
    name: str
    payload: str
    tenant: TenantKey | None
    fairness_key: str
    attempt: int
    failures: int
    run_at: datetime
    correlation_id: str
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a handler gets: the process's resources and its claimed job."""

    resources: Resources
    job: ClaimedJob

    @property
    def attempt(self) -> int:
        """Return which run of this job it is, from 1."""
        return self.job.attempt

    @property
    def tenant(self) -> TenantKey | None:
        """Return the tenant that the job belongs to."""
        return self.job.tenant

    @property
    def correlation_id(self) -> str:
        """Return the id of the request that caused the job."""
        return self.job.correlation_id


@dataclass(frozen=True, slots=True)
class Job(Generic[P]):
    """A declared job: its name in the table, its handler, and how it is leased and retried."""

    name: str
    handler: Callable[[JobContext, P], Awaitable[None]]
    payload_type: Any
    lease_seconds: float
    retry: Backoff
    every_seconds: float | None = None

    async def run(self, context: JobContext) -> None:
        """Decode the payload and run the handler.

        Raises:
            GiveUp: the payload is not what the handler takes, or the handler says so.
            Retry: the handler says so.
        """
        try:
            payload = msgspec.json.decode(context.job.payload, type=self.payload_type)
        except msgspec.ValidationError as error:
            raise GiveUp(f"payload: {error}") from error
        await self.handler(context, payload)


def job(
    name: str, *, lease_seconds: float = 30.0, retry: Backoff | None = None
) -> Callable[[Callable[[JobContext, P], Awaitable[None]]], Job[P]]:
    """Declare a handler ``async def h(context, payload)``; the payload is decoded as annotated."""

    def declare(handler: Callable[[JobContext, P], Awaitable[None]]) -> Job[P]:
        _, payload = inspect.signature(handler).parameters
        return Job(name, handler, get_type_hints(handler)[payload], lease_seconds, retry or Backoff())

    return declare


def every(
    seconds: float, name: str, *, lease_seconds: float = 60.0
) -> Callable[[Callable[[JobContext], Awaitable[None]]], Job[None]]:
    """Declare a schedule: one worker of all runs ``async def h(context)`` each so many seconds, never two at once."""

    def declare(handler: Callable[[JobContext], Awaitable[None]]) -> Job[None]:
        async def run(context: JobContext, _payload: None) -> None:
            await handler(context)

        return Job(name, run, None, lease_seconds, Backoff(failures=3), every_seconds=seconds)

    return declare


@dataclass(frozen=True, slots=True)
class When:
    """How a job is queued. Absent: at once, normal, in the turn of its tenant, as often as enqueued.

    ``unique_key``: while a job of this name and tenant with the same key has not begun, another adds nothing.
    """

    run_at: datetime | None = None
    fairness_key: str | None = None
    unique_key: str | None = None
    priority: Priority = Priority.NORMAL


NOW: Final = When()

_ENQUEUE: Final = """
WITH made AS (
    INSERT INTO jobs (name, payload, tenant_id, tenant_no, fairness_key, priority, unique_key, state, run_at,
                      correlation_id, trace_id)
    SELECT $1, payload::jsonb, $3, $4, $5, $6, $7,
           CASE WHEN $8::timestamptz IS NULL THEN 'ready' ELSE 'waiting' END, coalesce($8, now()), $9, $10
    FROM unnest($2::text[]) AS payload
    ON CONFLICT DO NOTHING
    RETURNING id
), told AS (SELECT pg_notify('jobs', '') WHERE $8::timestamptz IS NULL AND EXISTS (SELECT FROM made))
SELECT id FROM made LEFT JOIN told ON true ORDER BY id
"""


async def enqueue(
    tx: Tx, job: Job[P], payload: P, *, tenant: TenantKey | None = None, when: When = NOW
) -> int | None:
    """Queue one job in the caller's transaction and return its id, or None when its unique key waits already.

    ``tenant`` is the transaction's own where it has one.
    """
    ids = await enqueue_all(tx, job, [payload], tenant=tenant, when=when)
    return ids[0] if ids else None


async def enqueue_all(
    tx: Tx, job: Job[P], payloads: Sequence[P], *, tenant: TenantKey | None = None, when: When = NOW
) -> list[int]:
    """Queue jobs of one kind in one round trip and return their ids."""
    owner = tx.tenant or tenant
    rows = await tx.fetch(
        _ENQUEUE,
        job.name,
        [msgspec.json.encode(payload).decode() for payload in payloads],
        owner.id if owner else None,
        owner.no if owner else None,
        when.fairness_key or (str(owner.id) if owner else PLATFORM_KEY),
        when.priority,
        when.unique_key,
        when.run_at,
        correlation.current(),
        correlation.trace_id(),
    )
    return [row["id"] for row in rows]
