"""What channels said, and every statement on it: a tally per channel, and what was said of each subject."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    or_,
    select,
    text,
)

from guardhouse.foundation.database import Tx, metadata
from guardhouse.notices.kind import Severity
from guardhouse.webhooks.channels.hold import Known, Tally
from guardhouse.webhooks.store import Endpoint, load_endpoints, webhook_endpoints

_INSTANT: Final = DateTime(timezone=True)

channel_tallies = Table(
    "channel_tallies",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("hour_at", _INSTANT),
    Column("sent", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("held_since", _INSTANT),
    Column("held_worst", Text, nullable=False),
    Column("due_at", _INSTANT),
    CheckConstraint("held_worst IN ('info', 'low', 'medium', 'high', 'critical')", name="held_worst"),
    Index("channel_tallies_tenant_id_idx", "tenant_id"),
    Index("channel_tallies_due_idx", "due_at", postgresql_where=text("held > 0")),
)

channel_subjects = Table(
    "channel_subjects",
    metadata,
    Column("endpoint_id", Uuid, nullable=False),
    Column("subject", Text, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("severity", Text, nullable=False),
    Column("told_at", _INSTANT, nullable=False),
    Column("open", Boolean, nullable=False),
    PrimaryKeyConstraint("endpoint_id", "subject"),
    CheckConstraint("severity IN ('info', 'low', 'medium', 'high', 'critical')", name="severity"),
    Index("channel_subjects_tenant_id_idx", "tenant_id"),
    Index("channel_subjects_told_at_idx", "told_at"),
)

Place = tuple[UUID, str]  # channel and subject


async def list_channels(tx: Tx, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Endpoint]:
    """Return channels of a tenant, oldest first."""
    table = webhook_endpoints
    wanted = select(table.c.id).where(
        table.c.tenant_id == tenant_id,
        or_(
            table.c.channel.not_in(("webhook", "adhoc")),
            table.c.channel_config["is"].as_string() == "channel",
        ),
    )
    if after is not None:
        wanted = wanted.where(table.c.id > after)
    ids = [row[0] for row in await tx.execute(wanted.order_by(table.c.id).limit(limit))]
    return sorted(await load_endpoints(tx, ids), key=lambda endpoint: endpoint.id)


async def lock_tallies(tx: Tx, channels: Sequence[UUID]) -> dict[UUID, Tally]:
    """Return what channels said lately, held against summaries until the end of the transaction."""
    rows = await tx.fetch(
        "SELECT endpoint_id, hour_at, sent, held, held_since, held_worst, due_at FROM channel_tallies"
        " WHERE endpoint_id = ANY ($1::uuid[]) ORDER BY endpoint_id FOR UPDATE",
        list(channels),
    )
    return {
        row["endpoint_id"]: Tally(
            row["hour_at"],
            row["sent"],
            row["held"],
            row["held_since"],
            Severity(row["held_worst"]),
            row["due_at"],
        )
        for row in rows
    }


async def load_subjects(tx: Tx, places: Sequence[Place]) -> dict[Place, Known]:
    """Return what channels said of subjects."""
    rows = await tx.fetch(
        "SELECT s.endpoint_id, s.subject, s.severity, s.told_at, s.open FROM channel_subjects s"
        " JOIN unnest($1::uuid[], $2::text[]) AS n (endpoint_id, subject) USING (endpoint_id, subject)",
        [channel for channel, _ in places],
        [subject for _, subject in places],
    )
    return {
        (row["endpoint_id"], row["subject"]): Known(Severity(row["severity"]), row["told_at"], row["open"])
        for row in rows
    }


async def save_tallies(tx: Tx, tallies: Mapping[tuple[UUID, UUID], Tally]) -> None:
    """Write what channels said, by channel and tenant."""
    await tx.run_many(
        "INSERT INTO channel_tallies (endpoint_id, tenant_id, hour_at, sent, held, held_since, held_worst, due_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (endpoint_id) DO UPDATE SET"
        " hour_at = excluded.hour_at, sent = excluded.sent, held = excluded.held, held_since = excluded.held_since,"
        " held_worst = excluded.held_worst, due_at = excluded.due_at",
        [
            (*ids, t.hour_at, t.sent, t.held, t.held_since, t.held_worst.value, t.due_at)
            for ids, t in sorted(tallies.items())
        ],
    )


async def save_subjects(tx: Tx, subjects: Mapping[tuple[UUID, str, UUID], Known]) -> None:
    """Write what channels said of subjects, by channel, subject and tenant."""
    await tx.run_many(
        "INSERT INTO channel_subjects (endpoint_id, subject, tenant_id, severity, told_at, open)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (endpoint_id, subject) DO UPDATE SET"
        " severity = excluded.severity, told_at = excluded.told_at, open = excluded.open",
        [(*ids, known.severity.value, known.told_at, known.open) for ids, known in sorted(subjects.items())],
    )


async def take_due(tx: Tx, now: datetime, limit: int) -> list[tuple[UUID, UUID, Tally]]:
    """Empty what waits in channels whose summary is due; returns channel, tenant and what there was."""
    rows = await tx.fetch(
        "WITH due AS (SELECT * FROM channel_tallies WHERE held > 0 AND due_at <= $1 ORDER BY due_at LIMIT $2"
        " FOR UPDATE SKIP LOCKED) UPDATE channel_tallies t SET held = 0, held_since = NULL, due_at = NULL,"
        " held_worst = 'info' FROM due WHERE t.endpoint_id = due.endpoint_id"
        " RETURNING due.endpoint_id, due.tenant_id, due.held, due.held_since, due.held_worst",
        now,
        limit,
    )
    return [
        (
            row["endpoint_id"],
            row["tenant_id"],
            Tally(held=row["held"], held_since=row["held_since"], held_worst=Severity(row["held_worst"])),
        )
        for row in rows
    ]


async def forget(tx: Tx, endpoint_id: UUID) -> None:
    """Remove what a channel said."""
    await tx.run("DELETE FROM channel_subjects WHERE endpoint_id = $1", endpoint_id)
    await tx.run("DELETE FROM channel_tallies WHERE endpoint_id = $1", endpoint_id)


async def prune(tx: Tx, before: datetime, limit: int) -> int:
    """Remove up to ``limit`` subjects that nothing was said of since; returns how many went."""
    return await tx.delete_before("channel_subjects", "told_at", before, limit)
