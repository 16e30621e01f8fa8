"""The reading side of app events, for people. Plain SQL, values as arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.database import Tx


@dataclass(frozen=True, slots=True)
class StoredAppEvent:
    """One event of an in-app agent as stored."""

    event_id: bytes
    occurred_at: datetime
    received_at: datetime
    claimed_at: datetime | None
    project: str
    installation: str | None
    event_type: str
    event_class: str
    ip: str | None
    country: str | None
    user_agent: str | None
    action_taken: str | None
    reason: str | None
    endpoint: str | None
    method: str | None
    status_code: int | None
    response_time: float | None
    decorator_type: str | None
    rule_type: str | None
    pattern_matched: str | None
    handler_name: str | None
    metadata: dict[str, Any] | None
    extra: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """What an event says of where it came from and what it was after."""

    endpoint: str | None
    user_agent: str | None
    country: str | None
    installation: str | None


@dataclass(frozen=True, slots=True)
class AppEventFilter:
    """Which events a list shows; None = all."""

    project: str | None = None
    event_types: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


_SELECT: Final = """
SELECT e.event_id, e.occurred_at, e.received_at, e.claimed_at, p.slug, e.installation, e.event_type, e.class,
       coalesce(host(e.ip), e.ip_text), e.country, e.user_agent, e.action_taken, e.reason, e.endpoint, e.method,
       e.status_code, e.response_time, e.decorator_type, e.rule_type, e.pattern_matched, e.handler_name,
       e.metadata, e.extra
FROM events e JOIN projects p USING (project_no)
"""


async def list_newest(
    tx: Tx, tenant_no: int, wanted: AppEventFilter, limit: int, before: bytes | None = None
) -> list[StoredAppEvent]:
    """Return app events, newest id first."""
    tests: list[tuple[str, object]] = [
        ("e.tenant_no = ${}", tenant_no),
        ("p.slug = ${}", wanted.project),
        ("e.event_type = ANY(${}::text[])", None if wanted.event_types is None else list(wanted.event_types)),
        ("e.occurred_at >= ${}", wanted.since),
        ("e.occurred_at < ${}", wanted.until),
        ("e.event_id < ${}", None if before is None else UUID(bytes=before)),
    ]
    used = [(test, value) for test, value in tests if value is not None]
    where = " AND ".join(test.format(n) for n, (test, _) in enumerate(used, 1))
    rows = await tx.fetch(
        f"{_SELECT} WHERE {where} ORDER BY e.event_id DESC LIMIT {int(limit)}", *(value for _, value in used)
    )
    return [_event(row) for row in rows]


async def get_event(
    tx: Tx, tenant_no: int, event_id: bytes, since: datetime, until: datetime
) -> StoredAppEvent | None:
    """Return one app event; the bounds are the time inside its id, so that one partition is read."""
    row = await tx.fetch_row(
        f"{_SELECT} WHERE e.tenant_no = $1 AND e.event_id = $2 AND e.occurred_at >= $3 AND e.occurred_at < $4",
        tenant_no,
        UUID(bytes=event_id),
        since,
        until,
    )
    return None if row is None else _event(row)


async def list_by_network(
    tx: Tx, tenant_no: int, project_no: int, network: object, since: datetime, limit: int
) -> list[SeenEvent]:
    """Return the newest events of a project that came from a network, from ``since`` on."""
    rows = await tx.fetch(
        "SELECT endpoint, user_agent, country, installation FROM events WHERE tenant_no = $1 AND project_no = $2"
        " AND ip <<= $3 AND occurred_at >= $4 ORDER BY occurred_at DESC LIMIT $5",
        tenant_no,
        project_no,
        network,
        since,
        limit,
    )
    return [SeenEvent(*tuple(row)) for row in rows]


async def list_by_ids(
    tx: Tx, tenant_no: int, ids: Sequence[UUID], since: datetime, limit: int
) -> list[SeenEvent]:
    """Return events by their ids, those from ``since`` on."""
    rows = await tx.fetch(
        "SELECT endpoint, user_agent, country, installation FROM events WHERE tenant_no = $1"
        " AND event_id = ANY($2::uuid[]) AND occurred_at >= $3 ORDER BY occurred_at DESC LIMIT $4",
        tenant_no,
        list(ids),
        since,
        limit,
    )
    return [SeenEvent(*tuple(row)) for row in rows]


def _event(row: Any) -> StoredAppEvent:
    return StoredAppEvent(row[0].bytes, *tuple(row)[1:])
