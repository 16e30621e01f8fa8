"""Statements on replays and on what they find to send again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.webhooks.store import Endpoint


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay and where it stands: ``place`` is None before its first step."""

    id: UUID
    tenant_id: UUID
    endpoint_id: UUID
    number: int
    mode: str
    since: datetime
    until: datetime
    message_id: UUID | None
    state: str
    place: Mapping[str, Any] | None
    looked_at: int
    queued: int
    created_by: str
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of a replay's deliveries are in which state."""

    pending: int
    delivered: int
    exhausted: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Source:
    """A delivery of before; ``wanted``: the mode asks for it."""

    message_at: datetime
    number: int
    message_id: UUID
    kind: str
    subject: str
    wanted: bool


_COLUMNS: Final = (
    "SELECT id, tenant_id, endpoint_id, number, mode, since, until, message_id, state, place::text AS place, looked_at,"
    " queued, created_by, created_at, finished_at FROM webhook_replays"
)

# First deliveries of the range in order; those of a replay repeat them. ``failed`` wants the messages that gave up
# and arrived by no other delivery.
_SOURCES: Final = """
SELECT d.message_at, d.number, d.message_id, d.kind, d.subject,
       CASE WHEN $7 THEN d.state = 'exhausted' AND NOT EXISTS (
           SELECT FROM webhook_deliveries o WHERE o.endpoint_id = d.endpoint_id AND o.message_id = d.message_id
           AND o.message_at = d.message_at AND o.state IN ('delivered', 'pending')) ELSE true END AS wanted
FROM webhook_deliveries d
WHERE d.tenant_id = $1 AND d.endpoint_id = $2 AND d.message_at >= $3 AND d.message_at < $4
  AND (d.message_at, d.number) > ($5, $6) AND ($8::uuid IS NULL OR d.message_id = $8)
  AND NOT EXISTS (SELECT FROM webhook_deliveries o WHERE o.endpoint_id = d.endpoint_id
                  AND o.message_id = d.message_id AND o.message_at = d.message_at AND o.replay < d.replay)
ORDER BY d.message_at, d.number LIMIT $9
"""


async def add(tx: Tx, made: Replay) -> None:
    """Insert a replay."""
    await tx.run(
        "INSERT INTO webhook_replays (id, tenant_id, endpoint_id, number, mode, since, until, message_id, state,"
        " looked_at, queued, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10, $11)",
        made.id,
        made.tenant_id,
        made.endpoint_id,
        made.number,
        made.mode,
        made.since,
        made.until,
        made.message_id,
        made.state,
        made.created_by,
        made.created_at,
    )


async def find(tx: Tx, tenant_id: UUID, replay_id: UUID) -> Replay | None:
    """Return a replay of a tenant."""
    return _replay(await tx.fetch_row(_COLUMNS + " WHERE tenant_id = $1 AND id = $2", tenant_id, replay_id))


async def lock(tx: Tx, replay_id: UUID) -> Replay | None:
    """Return a replay and hold it until the end of the transaction."""
    return _replay(await tx.fetch_row(_COLUMNS + " WHERE id = $1 FOR UPDATE", replay_id))


async def move(tx: Tx, replay_id: UUID, place: Mapping[str, Any] | None, looked_at: int, queued: int) -> None:
    """Move a replay's place and add to its counts."""
    await tx.run(
        "UPDATE webhook_replays SET place = $2::text::jsonb, looked_at = looked_at + $3, queued = queued + $4"
        " WHERE id = $1",
        replay_id,
        None if place is None else json.dumps(place),
        looked_at,
        queued,
    )


async def end(tx: Tx, replay_id: UUID, state: str, now: datetime) -> None:
    """End a replay."""
    await tx.run(
        "UPDATE webhook_replays SET state = $2, finished_at = coalesce(finished_at, $3) WHERE id = $1",
        replay_id,
        state,
        now,
    )


async def progress(tx: Tx, found: Replay) -> Progress:
    """Count the deliveries of a replay by state."""
    rows = await tx.fetch(
        "SELECT state, count(*) AS n FROM webhook_deliveries"
        " WHERE tenant_id = $1 AND endpoint_id = $2 AND replay = $3 AND bulk AND message_at >= $4 AND message_at < $5"
        " GROUP BY state",
        found.tenant_id,
        found.endpoint_id,
        found.number,
        found.since,
        found.until,
    )
    by_state = {row["state"]: row["n"] for row in rows}
    return Progress(
        by_state.get("pending", 0),
        by_state.get("delivered", 0),
        by_state.get("exhausted", 0),
        by_state.get("cancelled", 0) + by_state.get("discarded", 0),
    )


async def list_sources(tx: Tx, found: Replay, limit: int) -> list[Source]:
    """Return the deliveries of before that come next in a replay, in order."""
    place = found.place
    rows = await tx.fetch(
        _SOURCES,
        found.tenant_id,
        found.endpoint_id,
        found.since,
        found.until,
        found.since if place is None else datetime.fromisoformat(place["at"]),
        -1 if place is None else place["number"],
        found.mode == "failed",
        found.message_id,
        limit,
    )
    return [Source(*row) for row in rows]


async def find_message(tx: Tx, endpoint: Endpoint, message_id: UUID) -> datetime | None:
    """Return the time of a message that an endpoint had, or None."""
    at: datetime | None = await tx.fetch_value(
        "SELECT message_at FROM webhook_deliveries WHERE tenant_id = $1 AND endpoint_id = $2 AND message_id = $3"
        " ORDER BY replay LIMIT 1",
        endpoint.tenant_id,
        endpoint.id,
        message_id,
    )
    return at


async def find_unfinished_or_delivered(
    tx: Tx, endpoint: Endpoint, message_ids: Sequence[UUID], since: datetime
) -> set[UUID]:
    """Return which messages an endpoint has, or will have by itself."""
    rows = await tx.fetch(
        "SELECT DISTINCT message_id FROM webhook_deliveries WHERE endpoint_id = $1 AND message_id = ANY ($2::uuid[])"
        " AND message_at >= $3 AND state IN ('delivered', 'pending')",
        endpoint.id,
        list(message_ids),
        since,
    )
    return {row["message_id"] for row in rows}


def _replay(row: Any) -> Replay | None:
    if row is None:
        return None
    values = dict(row)
    values["place"] = None if values["place"] is None else json.loads(values["place"])
    return Replay(**values)
