"""Tables of usage, and the statements that write them; what only reads is in ``queries``.

The log is written by COPY into the partition of its day, which row-level security does not check: the tenant of a
row comes from the identified caller alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

usage_log = Table(
    "usage_log",
    metadata,
    Column("at", _INSTANT, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("project_id", Uuid),
    Column("method", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_time_us", BigInteger, nullable=False),
    Column("items", Integer, nullable=False),
    Column("channel", Text),
    Column("decisions", JSONB),
    Column("threat_types", ARRAY(Text)),
    Column("malicious_count", Integer),
    Column("max_score_milli", Integer),
    Column("degraded", Boolean),
    Column("cached", Boolean),
    Index("usage_log_tenant_id_at_idx", "tenant_id", "at"),
    Index("usage_log_tenant_id_credential_at_idx", "tenant_id", "credential", "at"),
    Index("usage_log_judged_later_idx", "tenant_id", "at", postgresql_where=text("status = 0")),
    postgresql_partition_by="RANGE (at)",
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("client_errors", BigInteger, nullable=False),
    Column("server_errors", BigInteger, nullable=False),
    Column("limited", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_time_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "day", "kind", "credential", "method", "endpoint"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("summed_at", _INSTANT, nullable=False),
)

usage_told = Table(
    "usage_told",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("told_at", _INSTANT, nullable=False),
    Column("times", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "subject", "kind"),
)

plans = Table(
    "plans",
    metadata,
    Column("name", Text, primary_key=True),
    Column("requests_per_minute", Integer),
    Column("requests_per_day", Integer),
    Column("version", Integer, nullable=False),
    CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
    CheckConstraint("requests_per_day > 0", name="requests_per_day"),
)

tenant_plans = Table(
    "tenant_plans",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), primary_key=True),
    Column("plan", Text, ForeignKey("plans.name"), nullable=False),
    Column("changed_at", _INSTANT, nullable=False),
)

api_processes = Table(
    "api_processes",
    metadata,
    Column("process_id", Uuid, primary_key=True),
    Column("seen_at", _INSTANT, nullable=False),
)

COPIED: Final = (
    "at",
    "tenant_id",
    "kind",
    "credential",
    "project_id",
    "method",
    "endpoint",
    "status",
    "request_bytes",
    "response_time_us",
    "items",
    "channel",
    "decisions",
    "threat_types",
    "malicious_count",
    "max_score_milli",
    "degraded",
    "cached",
)
JUDGED_LATER: Final = 0  # the status of a row that is no request: see ``judged_later``
REQUESTS: Final = f"status > {JUDGED_LATER}"
# What is summed, of the log and of the days alike.
SUMS: Final = """
count(*) AS requests,
count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
count(*) FILTER (WHERE status >= 500) AS server_errors,
count(*) FILTER (WHERE status = 429) AS limited,
sum(items)::bigint AS items, sum(request_bytes)::bigint AS request_bytes,
sum(response_time_us)::bigint AS response_time_us
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """The ceilings of a tenant in calls; None = none."""

    name: str
    per_minute: int | None
    per_day: int | None
    version: int


async def write_log(tx: Tx, day: date, rows: Sequence[Sequence[object]]) -> None:
    """COPY rows of one day into its partition, in the order of ``COPIED``."""
    await tx.copy(f"usage_log_p{day:%Y%m%d}", COPIED, rows)


async def create_days(tx: Tx, today: date, *, ahead: int) -> int:
    """Make the partitions of the log from yesterday on; returns how many were new."""
    made: int = await tx.fetch_value(
        "SELECT count(*) FILTER (WHERE guardhouse_create_day('usage_log', $1::date + step))"
        " FROM generate_series(-1, $2::int) AS step",
        today,
        ahead,
    )
    return made


async def has_day(tx: Tx, day: date) -> bool:
    """Tell whether the log has a partition for a day."""
    return await tx.fetch_value("SELECT to_regclass($1) IS NOT NULL", f"usage_log_p{day:%Y%m%d}") is True


async def list_days(tx: Tx) -> list[date]:
    """Return the days that the log has partitions for, oldest first."""
    rows = await tx.fetch(
        "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS day FROM pg_inherits"
        " WHERE inhparent = 'usage_log'::regclass ORDER BY day"
    )
    return [row["day"] for row in rows]


async def drop_day(tx: Tx, day: date) -> None:
    """Drop one day of the log."""
    await tx.run("SELECT guardhouse_drop_day('usage_log', $1::date)", day)


async def sum_day(tx: Tx, day: date, now: datetime) -> bool:
    """Write the sums of one whole day, once; False when that was done before."""
    new = await tx.fetch_value(
        "INSERT INTO usage_days (day, summed_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
        day,
        now,
    )
    if not new:
        return False
    await tx.run(
        "INSERT INTO usage_daily (tenant_id, day, kind, credential, method, endpoint, requests, client_errors,"
        " server_errors, limited, items, request_bytes, response_time_us)"
        f" SELECT tenant_id, $1::date, kind, credential, method, endpoint, {SUMS} FROM usage_log"
        " WHERE at >= $1::date::timestamp AT TIME ZONE 'UTC'"
        f" AND at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC' AND {REQUESTS}"
        " GROUP BY tenant_id, kind, credential, method, endpoint",
        day,
    )
    return True


async def worker_rate(tx: Tx, tenant_id: UUID, since: datetime, rows: int) -> float | None:
    """Return texts per second over the newest rows that the worker wrote since an instant; None without any."""
    found: float | None = await tx.fetch_value(
        "SELECT sum(items) * 1e6 / nullif(sum(response_time_us), 0) FROM (SELECT items, response_time_us"
        f" FROM usage_log WHERE tenant_id = $1 AND at >= $2 AND status = {JUDGED_LATER}"
        " ORDER BY at DESC LIMIT $3) AS newest",
        tenant_id,
        since,
        rows,
    )
    return None if found is None else float(found)


async def claim_word(
    tx: Tx, tenant_id: UUID, subject: str, kind: str, now: datetime, pause: timedelta
) -> int | None:
    """Return the number of this word among those of its subject; None: the same was said less than ``pause`` ago."""
    claimed = await tx.fetch_value(
        "INSERT INTO usage_told AS told (tenant_id, subject, kind, told_at, times) VALUES ($1, $2, $3, $4, 1)"
        " ON CONFLICT (tenant_id, subject, kind) DO UPDATE SET told_at = excluded.told_at, times = told.times + 1"
        " WHERE told.told_at <= excluded.told_at - $5::interval RETURNING true",
        tenant_id,
        subject,
        kind,
        now,
        pause,
    )
    if not claimed:
        return None
    number: int = await tx.fetch_value(
        "SELECT sum(times)::bigint FROM usage_told WHERE tenant_id = $1 AND subject = $2", tenant_id, subject
    )
    return number


_PLAN: Final = "p.name, p.requests_per_minute AS per_minute, p.requests_per_day AS per_day, p.version"


async def find_plan_of(tx: Tx, tenant_id: UUID) -> Plan | None:
    """Return the plan that a tenant was given."""
    row = await tx.fetch_row(
        f"SELECT {_PLAN} FROM tenant_plans t JOIN plans p ON p.name = t.plan WHERE t.tenant_id = $1",
        tenant_id,
    )
    return None if row is None else Plan(**row)


async def find_plan(tx: Tx, name: str, *, lock: bool = False) -> Plan | None:
    """Return a plan by name."""
    row = await tx.fetch_row(
        f"SELECT {_PLAN} FROM plans p WHERE p.name = $1" + (" FOR UPDATE" if lock else ""), name
    )
    return None if row is None else Plan(**row)


async def list_plans(tx: Tx) -> list[Plan]:
    """Return every plan, by name."""
    return [Plan(**row) for row in await tx.fetch(f"SELECT {_PLAN} FROM plans p ORDER BY p.name")]


async def put_plan(tx: Tx, plan: Plan) -> None:
    """Insert or replace a plan."""
    await tx.run(
        "INSERT INTO plans (name, requests_per_minute, requests_per_day, version) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (name) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,"
        " requests_per_day = excluded.requests_per_day, version = excluded.version",
        plan.name,
        plan.per_minute,
        plan.per_day,
        plan.version,
    )


async def set_plan_of(tx: Tx, tenant_id: UUID, plan: str, now: datetime) -> None:
    """Put a tenant on a plan."""
    await tx.run(
        "INSERT INTO tenant_plans (tenant_id, plan, changed_at) VALUES ($1, $2, $3) ON CONFLICT (tenant_id)"
        " DO UPDATE SET plan = excluded.plan, changed_at = excluded.changed_at",
        tenant_id,
        plan,
        now,
    )


async def notify_plans(tx: Tx) -> None:
    """Tell every process, at commit, that plans have changed."""
    await tx.run("SELECT pg_notify('plans', '')")


async def beat(tx: Tx, process_id: UUID, life: timedelta) -> list[UUID]:
    """Say that a process lives, forget those that do not, and return the living in a fixed order.

    The database's clock judges, whatever the machines' clocks say.
    """
    fresh = await tx.fetch_value(
        "INSERT INTO api_processes (process_id, seen_at) VALUES ($1, now())"
        " ON CONFLICT (process_id) DO UPDATE SET seen_at = excluded.seen_at RETURNING xmax = 0",
        process_id,
    )
    gone = await tx.run("DELETE FROM api_processes WHERE seen_at < now() - $1::interval", life)
    if fresh or not gone.endswith(" 0"):
        await tx.run("SELECT pg_notify('api_processes', '')")
    rows = await tx.fetch("SELECT process_id FROM api_processes ORDER BY process_id")
    return [row["process_id"] for row in rows]


async def end_process(tx: Tx, process_id: UUID) -> None:
    """Forget a process that stops."""
    await tx.run("DELETE FROM api_processes WHERE process_id = $1", process_id)
    await tx.run("SELECT pg_notify('api_processes', '')")


async def plan_names(tx: Tx, tenants: Sequence[UUID]) -> dict[UUID, str]:
    """Return the names of the plans that tenants were given."""
    rows = await tx.fetch(
        "SELECT tenant_id, plan FROM tenant_plans WHERE tenant_id = ANY ($1::uuid[])", tenants
    )
    return {row[0]: row[1] for row in rows}
