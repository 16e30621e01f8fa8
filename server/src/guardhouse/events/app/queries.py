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
class Share:
    """How many user agents a network's events name, and whether they are over a share of the project's."""

    user_agents: int
    over: bool


@dataclass(frozen=True, slots=True)
class Burst:
    """What an address did within a window: events, endpoints they were at, and ids of the newest of them."""

    events: int
    endpoints: int
    ids: list[UUID]


@dataclass(frozen=True, slots=True)
class TypedEvent:
    """When an address was where."""

    at: datetime
    ip: str
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class TypeShare:
    """How many events were seen since an instant, and how many of them are of one type."""

    since: datetime
    events: int
    of_type: int


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Events that agree in where they came from, how, and what they were after."""

    address: str | None
    country: str | None
    user_agent: str | None
    endpoint: str | None
    event_class: str
    count: int


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


# As analysis.abuse.echo has it.
_NO_ECHO: Final = (
    "NOT (event_type = 'ip_banned' AND coalesce(reason, '') LIKE 'dynamic_rule%')"
    " AND NOT (event_type = 'ip_blocked' AND coalesce(metadata->>'filter_type', '') = 'banned')"
    " AND event_type NOT LIKE 'dynamic\\_rule\\_%' AND event_type NOT LIKE 'emergency\\_mode\\_%'"
)


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


async def count_type(
    tx: Tx, owner: tuple[int, int], event_type: str, since: datetime, limit: int
) -> TypeShare:
    """Count the newest events of a project, ``limit`` rows at most, with what was rolled up in the same time.

    ``owner``: numbers of tenant and project.
    """
    rows = await tx.fetch_row(
        "SELECT count(*), count(*) FILTER (WHERE event_type = $4), min(occurred_at)"
        " FROM (SELECT event_type, occurred_at FROM events WHERE tenant_no = $1 AND project_no = $2"
        " AND occurred_at >= $3 ORDER BY event_id DESC LIMIT $5) AS e",
        *owner,
        since,
        event_type,
        limit,
    )
    stored, of_type, oldest = (0, 0, None) if rows is None else rows
    begin: datetime = oldest if oldest is not None and stored == limit else since
    rolled = await tx.fetch_row(
        "SELECT coalesce(sum(count), 0)::bigint, coalesce(sum(count) FILTER (WHERE event_type = $4), 0)::bigint"
        " FROM event_rollups WHERE tenant_no = $1 AND project_no = $2 AND minute >= $3",
        *owner,
        begin.replace(second=0, microsecond=0),
        event_type,
    )
    noise, of_noise = (0, 0) if rolled is None else rolled
    return TypeShare(begin, stored + noise, of_type + of_noise)


async def group_newest(
    tx: Tx, owner: tuple[int, int], since: datetime, limit: int
) -> tuple[list[EventGroup], bool]:
    """Return the newest events of a project since an instant in groups, and whether these are all of them.

    ``owner``: numbers of tenant and project.
    """
    rows = await tx.fetch(
        "SELECT coalesce(host(ip), ip_text), country, user_agent, endpoint, class, count(*) FROM (SELECT ip, ip_text,"
        " country, user_agent, endpoint, class FROM events WHERE tenant_no = $1 AND project_no = $2"
        " AND occurred_at >= $3 ORDER BY event_id DESC LIMIT $4) AS e GROUP BY 1, 2, 3, 4, 5",
        *owner,
        since,
        limit,
    )
    groups = [EventGroup(*tuple(row)) for row in rows]
    return groups, sum(group.count for group in groups) < limit


async def measure_share(
    tx: Tx, owner: tuple[int, int], network: object, since: datetime, one_in: int
) -> Share:
    """Tell whether a network made more than one in so many of a project's events from ``since`` on.

    ``owner``: numbers of tenant and project. No more events of the project are counted than that needs.
    """
    own = await tx.fetch_row(
        "SELECT count(*) AS events, count(DISTINCT user_agent) AS agents FROM events WHERE tenant_no = $1"
        " AND project_no = $2 AND ip <<= $3 AND occurred_at >= $4",
        *owner,
        network,
        since,
    )
    events, agents = (own["events"], own["agents"]) if own is not None else (0, 0)
    enough = events * one_in
    counted = await tx.fetch_value(
        "SELECT count(*) FROM (SELECT FROM events WHERE tenant_no = $1 AND project_no = $2 AND occurred_at >= $3"
        " LIMIT $4) AS e",
        *owner,
        since,
        enough,
    )
    return Share(agents, counted < enough)


async def list_typed(
    tx: Tx, owner: tuple[int, int], types: Sequence[str], since: datetime, limit: int
) -> list[TypedEvent]:
    """Return events of some types with an address, in order, without what our own rules caused.

    ``owner``: numbers of tenant and project.
    """
    rows = await tx.fetch(
        "SELECT occurred_at, host(ip), endpoint FROM events WHERE tenant_no = $1 AND project_no = $2"
        f" AND ip IS NOT NULL AND occurred_at >= $3 AND event_type = ANY($4) AND {_NO_ECHO}"
        " ORDER BY occurred_at, event_id LIMIT $5",
        *owner,
        since,
        list(types),
        limit,
    )
    return [TypedEvent(*tuple(row)) for row in rows]


async def find_burst(
    tx: Tx, owner: tuple[int, int], network: object, types: Sequence[str], since: datetime
) -> Burst:
    """Return what a network did of some types from ``since`` on, without what our own rules caused."""
    row = await tx.fetch_row(
        "SELECT count(*), count(DISTINCT endpoint), (array_agg(event_id ORDER BY occurred_at DESC))[1:10] FROM events"
        " WHERE tenant_no = $1 AND project_no = $2 AND ip <<= $3 AND occurred_at >= $4 AND event_type = ANY($5)"
        f" AND {_NO_ECHO}",
        *owner,
        network,
        since,
        list(types),
    )
    return Burst(0, 0, []) if row is None else Burst(row[0], row[1], row[2] or [])


def _event(row: Any) -> StoredAppEvent:
    return StoredAppEvent(row[0].bytes, *tuple(row)[1:])
