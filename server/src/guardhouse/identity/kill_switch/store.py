"""The one row that holds the platform's mode; no tenant's transaction sees it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Table, Text, text

from guardhouse.foundation.database import Tx, metadata

CHANNEL: Final = "platform"

platform_mode = Table(
    "platform_mode",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("mode", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("until", DateTime(timezone=True)),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("only_row", name="only_row"),
    CheckConstraint("mode IN ('NORMAL', 'SAFE_MODE', 'HARD_STOP')", name="mode"),
)


@dataclass(frozen=True, slots=True)
class ModeRow:
    """The mode as it was set. ``version`` counts changes; ``until`` is when it ends by itself."""

    mode: str
    reason: str
    until: datetime | None
    changed_at: datetime
    changed_by: str
    version: int = 0


async def read(tx: Tx) -> ModeRow | None:
    """Return the row; None when the mode was never changed."""
    row = await tx.fetch_row("SELECT mode, reason, until, changed_at, changed_by, version FROM platform_mode")
    return None if row is None else ModeRow(**row)


async def write(tx: Tx, row: ModeRow) -> int:
    """Set the mode, tell every process at commit, and return the new version."""
    version: int = await tx.fetch_value(
        "INSERT INTO platform_mode AS m (mode, reason, until, changed_at, changed_by, version)"
        " VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT (only_row) DO UPDATE SET mode = excluded.mode,"
        " reason = excluded.reason, until = excluded.until, changed_at = excluded.changed_at,"
        " changed_by = excluded.changed_by, version = m.version + 1 RETURNING version",
        row.mode,
        row.reason,
        row.until,
        row.changed_at,
        row.changed_by,
    )
    await tx.run("SELECT pg_notify($1, '')", CHANNEL)
    return version
