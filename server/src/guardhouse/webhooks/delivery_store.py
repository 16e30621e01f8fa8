"""Statements on messages, deliveries and attempts: made by fan-out and replay, claimed and ended by the dispatcher.

A pending delivery with ``next_at`` is due then; without one it waits behind an earlier one of its subject (FIFO).
Who sends is settled by the lane's lease, not by a mark on the row; ``tries`` fences what a late sender records.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A rendered notice; ``at`` is the notice's time and names the day it is kept in."""

    id: UUID
    at: datetime
    tenant_id: UUID
    notice_id: UUID
    kind: str
    format: str
    event_type: str
    subject: str
    subject_seq: int
    severity: str
    correlation_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message for an endpoint. ``replay`` 0 is the first time; ``ordered``: after earlier ones of its subject."""

    id: UUID
    message_at: datetime
    tenant_id: UUID
    endpoint_id: UUID
    message_id: UUID
    replay: int
    kind: str
    subject: str
    ordered: bool


@dataclass(frozen=True, slots=True)
class Want:
    """How many due deliveries of an endpoint, live ones or replays, the dispatcher has room for."""

    endpoint_id: UUID
    bulk: bool
    room: int


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to make now, with its message. ``version`` is its endpoint's at that moment."""

    id: UUID
    message_at: datetime
    tenant_id: UUID
    endpoint_id: UUID
    message_id: UUID
    replay: int
    bulk: bool
    ordered: bool
    subject: str
    kind: str
    attempt: int
    tries: int
    format: str
    event_type: str
    severity: str
    correlation_id: str
    body: bytes = field(repr=False)
    version: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a try ended, as it is written: the delivery's next state and the attempt itself."""

    due: Due
    state: str
    next_at: datetime | None
    at: datetime
    outcome: str
    status: int | None
    error: str | None
    latency_ms: float
    address: str | None
    signature: str
    answer: bytes


_ADD_MESSAGES: Final = """
INSERT INTO webhook_messages (id, at, tenant_id, notice_id, kind, format, event_type, subject, subject_seq, severity,
                              correlation_id, body)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::bigint[], $10::text[], $11::text[], $12::bytea[])
ON CONFLICT DO NOTHING
RETURNING id
"""

# Where the place in line is decided: behind one of the table, or behind one of this very statement ($10).
_ADD_DELIVERIES: Final = """
INSERT INTO webhook_deliveries (id, message_at, tenant_id, endpoint_id, message_id, replay, kind, subject, ordered,
                                bulk, state, attempt, tries, next_at, created_at)
SELECT n.id, n.message_at, n.tenant_id, n.endpoint_id, n.message_id, n.replay, n.kind, n.subject, n.ordered,
       n.replay > 0, 'pending', 0, 0,
       CASE WHEN n.ordered AND (n.behind OR EXISTS (
           SELECT FROM webhook_deliveries d WHERE d.endpoint_id = n.endpoint_id AND d.subject = n.subject
           AND d.state = 'pending' AND d.ordered)) THEN NULL ELSE $11::timestamptz END, $11
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::int[], $7::text[], $8::text[],
            $9::boolean[], $10::boolean[]) WITH ORDINALITY
    AS n (id, message_at, tenant_id, endpoint_id, message_id, replay, kind, subject, ordered, behind, place)
ORDER BY n.place
ON CONFLICT DO NOTHING
RETURNING id, next_at IS NOT NULL AS due
"""

# A plan for any endpoint takes the few rows it expects by whatever index and sorts them; of an endpoint with a hundred
# thousand pending that reads them all, each time. Without sorts it can only follow the index of what is due.
_IN_ORDER: Final = "SET LOCAL enable_sort = off"
_CLAIM: Final = """
SELECT d.*, m.format, m.event_type, m.severity, m.correlation_id, m.body, e.version
FROM unnest($1::uuid[], $2::boolean[], $3::int[]) AS want (endpoint_id, bulk, room)
JOIN webhook_endpoints e ON e.id = want.endpoint_id AND e.state IN ('active', 'throttled')
CROSS JOIN LATERAL (
    SELECT id, message_at, tenant_id, endpoint_id, message_id, replay, bulk, ordered, subject, kind, attempt, tries
    FROM webhook_deliveries
    WHERE endpoint_id = want.endpoint_id AND bulk = want.bulk AND state = 'pending' AND next_at <= $4
      AND message_at >= $5 AND message_at < $6 AND id <> ALL ($7::uuid[])
    ORDER BY next_at, number LIMIT want.room) AS d
JOIN webhook_messages m ON m.id = d.message_id AND m.at = d.message_at AND m.at >= $5 AND m.at < $6
"""

# LATERAL with a limit, in the order of the index of what is pending: EXISTS would be planned as a join that reads all
# that is pending and puts it into a file.
_OLDEST: Final = """
SELECT day FROM generate_series($1::timestamptz, $2::timestamptz, '1 day') AS day
CROSS JOIN LATERAL (
    SELECT FROM webhook_deliveries
    WHERE state = 'pending' AND message_at >= day AND message_at < day + interval '1 day'
    ORDER BY endpoint_id, bulk, next_at, number LIMIT 1) AS pending
ORDER BY day LIMIT 1
"""

# The state is compared with a column, not a constant, so that no plan walks the whole index of what is pending.
_SETTLE: Final = """
UPDATE webhook_deliveries d
SET state = r.state, attempt = d.attempt + 1, tries = d.tries + 1, next_at = r.next_at, last_status = r.status,
    last_error = r.error, finished_at = CASE WHEN r.state = 'pending' THEN NULL ELSE r.at END
FROM unnest($1::uuid[], $2::timestamptz[], $3::int[], $4::text[], $5::timestamptz[], $6::int[], $7::text[],
            $8::timestamptz[], $11::text[]) AS r (id, message_at, tries, state, next_at, status, error, at, was)
WHERE d.id = r.id AND d.message_at = r.message_at AND d.tries = r.tries AND d.state = r.was
  AND d.message_at >= $9 AND d.message_at <= $10
RETURNING d.id
"""

_ADD_ATTEMPTS: Final = """
INSERT INTO webhook_attempts (delivery_id, message_at, number, tenant_id, endpoint_id, at, outcome, status, error,
                              latency_ms, address, signature, answer)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::int[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::text[],
                     $8::int[], $9::text[], $10::real[], $11::text[], $12::text[], $13::bytea[])
"""

# The first of each subject that waits is sent next, unless it is due already.
_PROMOTE: Final = """
UPDATE webhook_deliveries d SET next_at = $3
FROM unnest($1::uuid[], $2::text[]) AS line (endpoint_id, subject)
CROSS JOIN LATERAL (
    SELECT id, message_at FROM webhook_deliveries
    WHERE endpoint_id = line.endpoint_id AND subject = line.subject AND state = 'pending' AND ordered
    ORDER BY number LIMIT 1) AS head
WHERE d.id = head.id AND d.message_at = head.message_at AND d.next_at IS NULL
"""


async def add_messages(tx: Tx, messages: Sequence[NewMessage]) -> set[UUID]:
    """Insert messages and return those that are new; one that is there already stays as it is."""
    columns = [
        [getattr(message, name) for message in messages]
        for name in (
            "id", "at", "tenant_id", "notice_id", "kind", "format", "event_type", "subject", "subject_seq",
            "severity", "correlation_id", "body",
        )
    ]  # fmt: skip
    return {row["id"] for row in await tx.fetch(_ADD_MESSAGES, *columns)}


async def add_deliveries(tx: Tx, deliveries: Sequence[NewDelivery], now: datetime) -> dict[UUID, bool]:
    """Insert deliveries in the order given; returns for each new one whether it is due or behind its subject."""
    columns: list[list[object]] = [
        [getattr(delivery, name) for delivery in deliveries]
        for name in (
            "id", "message_at", "tenant_id", "endpoint_id", "message_id", "replay", "kind", "subject", "ordered",
        )
    ]  # fmt: skip
    seen: set[tuple[UUID, str]] = set()
    behind: list[object] = []
    for delivery in deliveries:
        line = (delivery.endpoint_id, delivery.subject)
        behind.append(line in seen)
        seen.add(line)
    return {row["id"]: row["due"] for row in await tx.fetch(_ADD_DELIVERIES, *columns, behind, now)}


async def claim(
    tx: Tx, wants: Sequence[Want], held: Sequence[UUID], now: datetime, days: tuple[datetime, datetime]
) -> list[Due]:
    """Return due deliveries per endpoint, oldest first, without those held already.

    ``days`` bound the messages looked at, so that the partitions of other days are not opened.
    """
    await tx.run(_IN_ORDER)
    rows = await tx.fetch(
        _CLAIM,
        [want.endpoint_id for want in wants],
        [want.bulk for want in wants],
        [want.room for want in wants],
        now,
        *days,
        list(held),
    )
    return [Due(*row) for row in rows]


async def oldest_pending_day(tx: Tx, first: datetime, last: datetime) -> datetime | None:
    """Return the first day between two that holds a pending delivery."""
    found: datetime | None = await tx.fetch_value(_OLDEST, first, last)
    return found


async def settle(tx: Tx, ended: Sequence[Ended]) -> set[UUID]:
    """Write how tries ended and return the deliveries this changed; what another sender recorded first stays."""
    days = [end.due.message_at for end in ended]
    rows = await tx.fetch(
        _SETTLE,
        [end.due.id for end in ended],
        days,
        [end.due.tries for end in ended],
        [end.state for end in ended],
        [end.next_at for end in ended],
        [end.status for end in ended],
        [end.error for end in ended],
        [end.at for end in ended],
        min(days),
        max(days),
        ["pending"] * len(ended),
    )
    ours = {row["id"] for row in rows}
    kept = [end for end in ended if end.due.id in ours]
    await tx.run(
        _ADD_ATTEMPTS,
        [end.due.id for end in kept],
        [end.due.message_at for end in kept],
        [end.due.tries + 1 for end in kept],
        [end.due.tenant_id for end in kept],
        [end.due.endpoint_id for end in kept],
        [end.at for end in kept],
        [end.outcome for end in kept],
        [end.status for end in kept],
        [end.error for end in kept],
        [end.latency_ms for end in kept],
        [end.address for end in kept],
        [end.signature for end in kept],
        [end.answer for end in kept],
    )
    return ours


async def promote(tx: Tx, lines: Sequence[tuple[UUID, str]], now: datetime) -> None:
    """Let the first waiting delivery of each (endpoint, subject) go."""
    if lines:
        await tx.run(_PROMOTE, [endpoint for endpoint, _ in lines], [subject for _, subject in lines], now)


async def order_pending(tx: Tx, endpoint_id: UUID, now: datetime, *, fifo: bool) -> None:
    """Bring what is pending into line when an endpoint begins or ceases to keep order."""
    await tx.run(
        "UPDATE webhook_deliveries SET ordered = $2, next_at = CASE WHEN $2 THEN NULL ELSE coalesce(next_at, $3) END"
        " WHERE endpoint_id = $1 AND state = 'pending' AND ordered <> $2",
        endpoint_id,
        fifo,
        now,
    )
    if fifo:
        await tx.run(
            "UPDATE webhook_deliveries d SET next_at = $2 FROM (SELECT DISTINCT ON (subject) id, message_at"
            " FROM webhook_deliveries WHERE endpoint_id = $1 AND state = 'pending' AND ordered"
            " ORDER BY subject, number) AS head WHERE d.id = head.id AND d.message_at = head.message_at",
            endpoint_id,
            now,
        )


async def endpoints_of(tx: Tx, tenant_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    """Return the endpoints that some deliveries of a tenant go to."""
    rows = await tx.fetch(
        "SELECT DISTINCT endpoint_id FROM webhook_deliveries WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) ORDER BY 1",
        tenant_id,
        list(ids),
    )
    return [row["endpoint_id"] for row in rows]


async def end_by_hand(
    tx: Tx, tenant_id: UUID, ids: Sequence[UUID], *, states: Sequence[str], to: str, now: datetime
) -> list[tuple[UUID, str]]:
    """Put deliveries in one of ``states`` into a final one; returns the (endpoint, subject) of each."""
    rows = await tx.fetch(
        "UPDATE webhook_deliveries SET state = $4, finished_at = $5"
        " WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND state = ANY ($3::text[])"
        " RETURNING endpoint_id, subject",
        tenant_id,
        list(ids),
        list(states),
        to,
        now,
    )
    return [(row["endpoint_id"], row["subject"]) for row in rows]


async def cancel_pending(
    tx: Tx, endpoint_id: UUID, *, replay: int | None, now: datetime, limit: int
) -> list[str]:
    """Cancel pending deliveries of an endpoint, of one replay or of all, at most so many; returns their subjects."""
    rows = await tx.fetch(
        "UPDATE webhook_deliveries d SET state = 'cancelled', finished_at = $3 FROM (SELECT id, message_at"
        " FROM webhook_deliveries WHERE endpoint_id = $1 AND state = 'pending'"
        " AND ($2::int IS NULL OR (bulk AND replay = $2)) LIMIT $4) AS picked"
        " WHERE d.id = picked.id AND d.message_at = picked.message_at AND d.state = 'pending' RETURNING d.subject",
        endpoint_id,
        replay,
        now,
        limit,
    )
    return [row["subject"] for row in rows]


async def begin_again(tx: Tx, tenant_id: UUID, delivery_id: UUID, now: datetime) -> bool:
    """Make a delivery that has not arrived due now, a finished one with its whole schedule; False: it cannot be.

    In an ordered line it keeps its place: behind what is under way, before all that came after it.
    """
    return bool(
        await tx.fetch_value(
            "UPDATE webhook_deliveries d SET state = 'pending', finished_at = NULL,"
            " attempt = CASE WHEN state = 'pending' THEN attempt ELSE 0 END,"
            " next_at = CASE WHEN state = 'pending' AND next_at IS NULL OR state <> 'pending' AND ordered AND EXISTS ("
            " SELECT FROM webhook_deliveries o WHERE o.endpoint_id = d.endpoint_id AND o.subject = d.subject"
            " AND o.state = 'pending' AND o.ordered) THEN NULL ELSE $3::timestamptz END"
            " WHERE tenant_id = $1 AND id = $2 AND state <> 'delivered' RETURNING true",
            tenant_id,
            delivery_id,
            now,
        )
    )


async def lock_ordered(tx: Tx, ids: Sequence[UUID]) -> None:
    """Hold FIFO endpoints against whoever adds or ends deliveries of theirs, until the end of the transaction."""
    if ids:
        await tx.fetch(
            "SELECT id FROM webhook_endpoints WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE",
            list(ids),
        )
