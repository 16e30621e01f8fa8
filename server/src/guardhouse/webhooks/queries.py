"""What the API reads of deliveries: lists, one with its attempts and bytes, dead letters, figures of endpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.database import Tx

RECENT: Final = 200  # tries that figures of an endpoint are taken from


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as shown."""

    id: UUID
    message_at: datetime
    number: int
    endpoint_id: UUID
    message_id: UUID
    replay: int
    kind: str
    subject: str
    ordered: bool
    state: str
    attempt: int
    tries: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try."""

    number: int
    at: datetime
    outcome: str
    status: int | None
    error: str | None
    latency_ms: float
    address: str | None
    signature: str
    answer: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """A stored message."""

    event_type: str
    format: str
    correlation_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Figures:
    """How an endpoint did lately: over its last 200 tries at most, and what waits."""

    tries: int
    success_share: float | None
    p95_ms: float | None
    pending: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Which deliveries to list, newest first, after a place."""

    endpoint_id: UUID | None = None
    state: str | None = None
    status: int | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    dead: bool = False
    after: tuple[datetime, int] | None = None


_COLUMNS: Final = (
    "d.id, d.message_at, d.number, d.endpoint_id, d.message_id, d.replay, d.kind, d.subject, d.ordered, d.state,"
    " d.attempt, d.tries, d.next_at, d.last_status, d.last_error, d.created_at, d.finished_at"
)
# A dead letter that was sent again is one no more: what is newer of the same message counts.
_DEAD: Final = (
    "d.state = 'exhausted' AND NOT EXISTS (SELECT FROM webhook_deliveries o WHERE o.endpoint_id = d.endpoint_id"
    " AND o.message_id = d.message_id AND o.message_at = d.message_at AND o.replay > d.replay)"
)


async def list_deliveries(tx: Tx, tenant_id: UUID, asked: Asked, limit: int) -> list[Delivery]:
    """Return deliveries of a tenant, the newest message first."""
    args: list[object] = [tenant_id]
    where = ["d.tenant_id = $1"]
    for condition, value in (
        ("d.endpoint_id = ${}", asked.endpoint_id),
        ("d.state = ${}", asked.state),
        ("d.last_status = ${}", asked.status),
        ("d.kind = ${}", asked.kind),
        ("d.message_at >= ${}", asked.since),
        ("d.message_at < ${}", asked.until),
    ):
        if value is not None:
            args.append(value)
            where.append(condition.format(len(args)))
    if asked.dead:
        where.append(_DEAD)
    if asked.after is not None:
        args += asked.after
        where.append(f"(d.message_at, d.number) < (${len(args) - 1}, ${len(args)})")
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM webhook_deliveries d WHERE {' AND '.join(where)}"
        f" ORDER BY d.message_at DESC, d.number DESC LIMIT {limit:d}",
        *args,
    )
    return [Delivery(*row) for row in rows]


async def get_delivery(tx: Tx, tenant_id: UUID, delivery_id: UUID) -> Delivery | None:
    """Return one delivery of a tenant."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM webhook_deliveries d WHERE d.tenant_id = $1 AND d.id = $2",
        tenant_id,
        delivery_id,
    )
    return None if row is None else Delivery(*row)


async def get_body(tx: Tx, tenant_id: UUID, found: Delivery) -> Body | None:
    """Return the message of a delivery."""
    row = await tx.fetch_row(
        "SELECT event_type, format, correlation_id, body FROM webhook_messages"
        " WHERE tenant_id = $1 AND id = $2 AND at = $3",
        tenant_id,
        found.message_id,
        found.message_at,
    )
    return None if row is None else Body(*row)


async def list_attempts(tx: Tx, tenant_id: UUID, found: Delivery) -> list[Attempt]:
    """Return the tries of a delivery, oldest first."""
    rows = await tx.fetch(
        "SELECT number, at, outcome, status, error, latency_ms, address, signature, answer FROM webhook_attempts"
        " WHERE tenant_id = $1 AND delivery_id = $2 AND message_at = $3 ORDER BY number",
        tenant_id,
        found.id,
        found.message_at,
    )
    return [Attempt(*row) for row in rows]


async def figures_of(tx: Tx, tenant_id: UUID, endpoints: Sequence[UUID]) -> dict[UUID, Figures]:
    """Return the figures of some endpoints."""
    rows = await tx.fetch(
        "SELECT e.id, t.tries, t.share, t.p95, p.pending FROM unnest($2::uuid[]) AS e (id)"
        " CROSS JOIN LATERAL (SELECT count(*) AS tries, avg((outcome = 'delivered')::int)::float8 AS share,"
        " percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95 FROM (SELECT outcome, latency_ms"
        f" FROM webhook_attempts WHERE tenant_id = $1 AND endpoint_id = e.id ORDER BY at DESC LIMIT {RECENT})"
        " AS recent) AS t CROSS JOIN LATERAL (SELECT count(*) AS pending FROM webhook_deliveries"
        " WHERE tenant_id = $1 AND endpoint_id = e.id AND state = 'pending') AS p",
        tenant_id,
        list(endpoints),
    )
    return {row["id"]: Figures(row["tries"], row["share"], row["p95"], row["pending"]) for row in rows}


async def list_dead_ids(tx: Tx, tenant_id: UUID, asked: Asked, limit: int) -> list[UUID]:
    """Return the ids of dead letters that a filter names."""
    found = await list_deliveries(tx, tenant_id, asked, limit)
    return [one.id for one in found]


def place_of(found: Delivery) -> tuple[Any, ...]:
    """Return the place of a delivery in its list, as a cursor carries it."""
    return (found.message_at.isoformat(), found.number)


async def list_thresholds(tx: Tx, tenant_id: UUID, kind: str) -> list[int | None]:
    """Return the different thresholds of endpoints that name a kind; None for one that chose none."""
    rows = await tx.fetch(
        "SELECT DISTINCT (filter->>'risk_threshold')::int AS threshold FROM webhook_endpoints"
        " WHERE tenant_id = $1 AND state IN ('active', 'throttled') AND kinds @> ARRAY[$2]",
        tenant_id,
        kind,
    )
    return [row["threshold"] for row in rows]
