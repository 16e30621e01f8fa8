"""Calibrations of tenants, the scores they are made of: table and statements. A calibration never changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Column, DateTime, Float, PrimaryKeyConstraint, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

tenant_calibrations = Table(
    "tenant_calibrations",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("calibration_id", Uuid, nullable=False),
    Column("policy_id", Uuid, nullable=False),
    Column("since", _INSTANT, nullable=False),
    Column("until", _INSTANT, nullable=False),
    Column("target_fpr", Float, nullable=False),
    Column("channels", JSONB, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "calibration_id"),
)


class ChannelShift(msgspec.Struct, frozen=True):
    """The shift of a channel (thousandths of log-odds), and how many harmless texts reached the line of how many."""

    shift_milli: int
    texts: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibration: by channel what is shifted, made of the texts of a span for a share at the block line."""

    id: UUID
    policy_id: UUID
    since: datetime
    until: datetime
    target_fpr: float
    channels: dict[str, ChannelShift]
    made_at: datetime
    made_by: str


@dataclass(frozen=True, slots=True)
class Scored:
    """How many stored verdicts of a channel have a score, what was decided, and by which calibration it was shifted."""

    channel: str
    score_milli: int
    truncated: bool
    would_decide: str
    calibration: UUID | None
    count: int


_SHOWN: Final = (
    "calibration_id, policy_id, since, until, target_fpr, channels::text AS channels, made_at, made_by"
)
# A text is harmless when somebody says so, or when its policy stood in the shadow and nobody says otherwise.
_HARMLESS: Final = """ AND (EXISTS (SELECT FROM detection_feedback f WHERE f.tenant_id = d.tenant_id
  AND f.detection_id = d.id AND f.label = 'benign') OR (v.body->>'shadow')::boolean)
 AND NOT EXISTS (SELECT FROM detection_feedback f WHERE f.tenant_id = d.tenant_id AND f.detection_id = d.id
  AND f.label <> 'benign')"""
_SCORED: Final = """
SELECT d.channel, d.score_milli, 'views_truncated' = ANY(d.flags) AS truncated, d.would_decide,
 (v.body->>'calibration')::uuid AS calibration, count(*)::int AS n
FROM detections d JOIN policy_versions v
  ON v.tenant_id = d.tenant_id AND v.policy_id = d.policy_id AND v.version = d.policy_version
WHERE d.tenant_id = $1 AND d.policy_id = $2 AND d.at >= $3 AND d.at < $4 AND d.score_milli IS NOT NULL{harmless}
GROUP BY 1, 2, 3, 4, 5"""


async def add_calibration(tx: Tx, tenant_id: UUID, made: Calibration) -> None:
    """Insert a calibration."""
    await tx.run(
        "INSERT INTO tenant_calibrations (tenant_id, calibration_id, policy_id, since, until, target_fpr, channels,"
        " made_at, made_by) VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9)",
        tenant_id,
        made.id,
        made.policy_id,
        made.since,
        made.until,
        made.target_fpr,
        msgspec.json.encode(made.channels).decode(),
        made.made_at,
        made.made_by,
    )


async def get_calibrations(tx: Tx, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Calibration]:
    """Return calibrations by their ids."""
    rows = await tx.fetch(
        f"SELECT {_SHOWN} FROM tenant_calibrations WHERE tenant_id = $1 AND calibration_id = ANY($2)",
        tenant_id,
        list(ids),
    )
    found = [_calibration(row) for row in rows]
    return {one.id: one for one in found}


async def count_scores(
    tx: Tx, tenant_id: UUID, policy_id: UUID, span: tuple[datetime, datetime], *, harmless: bool = False
) -> list[Scored]:
    """Return the stored scores of a policy within a span, counted; of harmless texts only, where asked."""
    sql = _SCORED.format(harmless=_HARMLESS if harmless else "")
    return [Scored(*row) for row in await tx.fetch(sql, tenant_id, policy_id, *span)]


def _calibration(row: Any) -> Calibration:
    one, policy, since, until, target, channels, *rest = tuple(row)
    shifts = msgspec.json.decode(channels, type=dict[str, ChannelShift])
    return Calibration(one, policy, since, until, target, shifts, *rest)
