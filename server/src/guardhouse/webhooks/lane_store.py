"""Statements on lanes (who sends for which endpoints, by lease) and on the days of the partitioned tables."""

from datetime import date, datetime
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.webhooks.store import SHARDS

FAN_OUT_LANE: Final = SHARDS  # the lane after the shards: who turns notices into deliveries
PARTITIONED: Final = ("webhook_messages", "webhook_deliveries", "webhook_attempts")


async def take_lanes(
    tx: Tx, owner: UUID, lanes: tuple[int, int], limit: int, now: datetime, until: datetime
) -> list[int]:
    """Renew this owner's lanes of a range and take free or lapsed ones up to ``limit``; returns what it holds."""
    rows = await tx.fetch(
        "WITH mine AS (SELECT lane FROM webhook_lanes WHERE owner = $1 AND lane BETWEEN $5 AND $6"
        " ORDER BY lane LIMIT $2 FOR UPDATE SKIP LOCKED),"
        " free AS (SELECT lane FROM webhook_lanes WHERE owner IS DISTINCT FROM $1 AND lane BETWEEN $5 AND $6"
        " AND (lease_until IS NULL OR lease_until < $3) ORDER BY lane"
        " LIMIT greatest(0, $2 - (SELECT count(*) FROM webhook_lanes WHERE owner = $1)) FOR UPDATE SKIP LOCKED)"
        " UPDATE webhook_lanes l SET owner = $1, lease_until = $4"
        " WHERE l.lane IN (SELECT lane FROM mine UNION SELECT lane FROM free) RETURNING l.lane",
        owner,
        limit,
        now,
        until,
        *lanes,
    )
    return sorted(row["lane"] for row in rows)


async def release_lanes(tx: Tx, owner: UUID) -> None:
    """Give every lane of this owner back."""
    await tx.run("UPDATE webhook_lanes SET owner = NULL, lease_until = NULL WHERE owner = $1", owner)


async def list_days(tx: Tx, parent: str) -> list[date]:
    """Return the days of a table that have a partition, oldest first."""
    rows = await tx.fetch(
        "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS day FROM pg_inherits"
        " WHERE inhparent = $1::text::regclass ORDER BY day",
        parent,
    )
    return [row["day"] for row in rows]


async def create_day(tx: Tx, parent: str, day: date) -> None:
    """Make the partition of one day."""
    await tx.run("SELECT guardhouse_create_webhook_day($1, $2)", parent, day)


async def drop_day(tx: Tx, parent: str, day: date) -> None:
    """Drop one day for good."""
    await tx.run("SELECT guardhouse_drop_day($1, $2)", parent, day)
