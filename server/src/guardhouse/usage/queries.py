"""Statements that only read usage.

Days that are summed are read from their sums, the others from the log itself, so that every figure equals a SELECT
over the log as long as the log is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.usage.store import REQUESTS, SUMS

By = Literal["key", "endpoint", "day"]
# $1 tenant, $2 first and $3 last day, $4 one credential or NULL for all. Days are summed oldest first, so what comes
# after a tenant's newest sum is in the log alone.
_ROWS: Final = f"""
WITH lines AS (
  SELECT day, kind, credential, method, endpoint, requests, client_errors, server_errors, limited, items,
         request_bytes, response_time_us
  FROM usage_daily
  WHERE tenant_id = $1 AND day BETWEEN $2::date AND $3::date AND ($4::text IS NULL OR credential = $4)
  UNION ALL
  SELECT (at AT TIME ZONE 'UTC')::date, kind, credential, method, endpoint, {SUMS}
  FROM usage_log
  WHERE tenant_id = $1 AND ($4::text IS NULL OR credential = $4)
    AND at >= greatest($2::date, (SELECT max(day) + 1 FROM usage_daily WHERE tenant_id = $1))::timestamp
              AT TIME ZONE 'UTC'
    AND at < ($3::date + 1)::timestamp AT TIME ZONE 'UTC' AND {REQUESTS}
  GROUP BY 1, 2, 3, 4, 5
)
"""
_TOTALS: Final = """
coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(client_errors), 0)::bigint AS client_errors,
coalesce(sum(server_errors), 0)::bigint AS server_errors, coalesce(sum(limited), 0)::bigint AS limited,
coalesce(sum(items), 0)::bigint AS items, coalesce(sum(request_bytes), 0)::bigint AS request_bytes,
coalesce(sum(response_time_us), 0)::bigint AS response_time_us
"""
_GROUPS: Final[Mapping[By, tuple[str, str]]] = {
    "key": ("kind, credential", "requests DESC, kind, credential"),
    "endpoint": ("method, endpoint", "requests DESC, endpoint, method"),
    "day": ("day", "day"),
}
_RECENT: Final = f"""
SELECT {SUMS},
  (percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY response_time_us))::bigint[] AS percentiles
"""
BEGINNING: Final = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class Sums:
    """What many requests come to. ``limited`` are the 429, which are client errors too; times in microseconds."""

    requests: int
    client_errors: int
    server_errors: int
    limited: int
    items: int
    request_bytes: int
    response_time_us: int


@dataclass(frozen=True, slots=True)
class Recent:
    """Sums with the median and the 95th and 99th percentile of the times, or None without requests."""

    sums: Sums
    percentiles: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days, both included, of one tenant, and of one credential if named."""

    tenant_id: UUID
    first: date
    last: date
    credential: str | None = None


async def read_groups(tx: Tx, span: Span, by: By) -> list[tuple[tuple[Any, ...], Sums]]:
    """Return the sums of each group, in a fixed order."""
    columns, order = _GROUPS[by]
    rows = await tx.fetch(
        f"{_ROWS} SELECT {columns}, {_TOTALS} FROM lines GROUP BY {columns} ORDER BY {order}",
        span.tenant_id,
        span.first,
        span.last,
        span.credential,
    )
    names = columns.split(", ")
    return [(tuple(row[name] for name in names), _sums(row)) for row in rows]


async def read_total(tx: Tx, span: Span) -> Sums:
    """Return the sums of everything in a span."""
    row = await tx.fetch_row(
        f"{_ROWS} SELECT {_TOTALS} FROM lines", span.tenant_id, span.first, span.last, span.credential
    )
    return _sums(row)


async def read_totals_of(
    tx: Tx, span: Span, credentials: Sequence[str], since: datetime
) -> dict[str, tuple[int, int, int]]:
    """Return per credential: requests in the span, requests since an instant, and malicious items since then."""
    totals = await tx.fetch(
        f"{_ROWS} SELECT credential, {_TOTALS} FROM lines WHERE credential = ANY ($5) GROUP BY credential",
        span.tenant_id,
        span.first,
        span.last,
        span.credential,
        list(credentials),
    )
    recent = await tx.fetch(
        f"SELECT credential, count(*) FILTER (WHERE {REQUESTS}) AS requests,"
        " coalesce(sum(malicious_count), 0)::bigint AS malicious FROM usage_log"
        " WHERE tenant_id = $1 AND credential = ANY ($2) AND at >= $3 GROUP BY credential",
        span.tenant_id,
        list(credentials),
        since,
    )
    found = {row["credential"]: (row["requests"], row["malicious"]) for row in recent}
    return {row["credential"]: (row["requests"], *found.get(row["credential"], (0, 0))) for row in totals}


async def read_recent(tx: Tx, tenant_id: UUID, since: datetime) -> Recent:
    """Return what came since an instant."""
    row = await tx.fetch_row(
        f"{_RECENT} FROM usage_log WHERE tenant_id = $1 AND at >= $2 AND {REQUESTS}", tenant_id, since
    )
    return _recent(row)


async def read_routes(tx: Tx, tenant_id: UUID, since: datetime) -> list[tuple[str, str, Recent]]:
    """Return method, endpoint and what came to each since an instant, the busiest first."""
    rows = await tx.fetch(
        f"{_RECENT}, method, endpoint FROM usage_log WHERE tenant_id = $1 AND at >= $2 AND {REQUESTS}"
        " GROUP BY method, endpoint ORDER BY count(*) DESC, endpoint, method",
        tenant_id,
        since,
    )
    return [(row["method"], row["endpoint"], _recent(row)) for row in rows]


async def count_credentials(tx: Tx, tenant_id: UUID, kind: str, since: datetime) -> int:
    """Return how many credentials of a kind have called since an instant."""
    found: int = await tx.fetch_value(
        "SELECT count(DISTINCT credential) FROM usage_log WHERE tenant_id = $1 AND kind = $2 AND at >= $3",
        tenant_id,
        kind,
        since,
    )
    return found


async def count_requests(tx: Tx, tenant_id: UUID, credential: str, since: datetime) -> int:
    """Return how many requests of one credential came since an instant."""
    found: int = await tx.fetch_value(
        f"SELECT count(*) FROM usage_log WHERE tenant_id = $1 AND credential = $2 AND at >= $3 AND {REQUESTS}",
        tenant_id,
        credential,
        since,
    )
    return found


async def find_keys_by_prefix(tx: Tx, tenant_id: UUID, prefix: str) -> list[UUID]:
    """Return the ids of the keys whose text begins like this."""
    rows = await tx.fetch(
        "SELECT key_id FROM api_keys WHERE tenant_id = $1 AND prefix = $2 LIMIT 2", tenant_id, prefix
    )
    return [row["key_id"] for row in rows]


async def count_verdicts(
    tx: Tx, tenant_id: UUID, since: datetime, credential: str | None = None
) -> dict[str, dict[str, int]]:
    """Return requests by decision, by threat type, by channel and by hour of malicious items, since an instant."""
    where = "WHERE tenant_id = $1 AND at >= $2 AND ($3::text IS NULL OR credential = $3)"
    queries = {
        "decisions": "SELECT key AS name, sum(value::bigint)::bigint AS n FROM usage_log,"
        f" jsonb_each_text(decisions) {where} GROUP BY 1 ORDER BY 1",
        "threat_types": f"SELECT name, count(*) AS n FROM usage_log, unnest(threat_types) AS name {where}"
        " GROUP BY 1 ORDER BY 1",
        "channels": f"SELECT channel AS name, count(*) AS n FROM usage_log {where} AND channel IS NOT NULL"
        " GROUP BY 1 ORDER BY 1",
        "hours": """SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00:00"Z"') AS name,"""
        f" sum(malicious_count)::bigint AS n FROM usage_log {where} AND malicious_count > 0"
        " GROUP BY 1 ORDER BY 1",
    }
    return {
        what: {row["name"]: row["n"] for row in await tx.fetch(query, tenant_id, since, credential)}
        for what, query in queries.items()
    }


def add_up(parts: Iterable[Sums]) -> Sums:
    """Return the sums of all parts together."""
    columns = [[getattr(part, name) for name in Sums.__slots__] for part in parts]
    return Sums(*map(sum, zip(*columns, strict=True))) if columns else Sums(0, 0, 0, 0, 0, 0, 0)


def _sums(row: Any) -> Sums:
    return Sums(**{name: row[name] or 0 for name in Sums.__slots__})


def _recent(row: Any) -> Recent:
    found = row["percentiles"]
    return Recent(_sums(row), None if found is None else (found[0], found[1], found[2]))
