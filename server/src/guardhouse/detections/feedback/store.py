"""Feedback on detections: table and statements; one row per detection and caller, the latest."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, DateTime, PrimaryKeyConstraint, Table, Text, Uuid

from guardhouse.foundation.database import Tx, metadata

detection_feedback = Table(
    "detection_feedback",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("detection_id", Uuid, nullable=False),
    Column("given_by", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("comment", Text),
    Column("text", Text),
    Column("given_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("tenant_id", "detection_id", "given_by"),
    CheckConstraint("label IN ('attack', 'benign', 'unsure')", name="label"),
)


@dataclass(frozen=True, slots=True)
class Feedback:
    """One caller's word on a detection; ``text`` where it was handed over with it."""

    detection_id: UUID
    given_by: str
    label: str
    comment: str | None
    text: str | None
    given_at: datetime


async def put_feedback(tx: Tx, tenant_id: UUID, given: Feedback) -> None:
    """Store a caller's word in the place of an earlier one."""
    await tx.run(
        "INSERT INTO detection_feedback (tenant_id, detection_id, given_by, label, comment, text, given_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, detection_id, given_by) DO UPDATE SET"
        " label = excluded.label, comment = excluded.comment, text = excluded.text, given_at = excluded.given_at",
        tenant_id,
        given.detection_id,
        given.given_by,
        given.label,
        given.comment,
        given.text,
        given.given_at,
    )


async def prune(tx: Tx, before: datetime, limit: int) -> int:
    """Delete words of before an instant on detections that are gone, at most ``limit``; returns how many."""
    tag = await tx.run(
        "DELETE FROM detection_feedback WHERE ctid = ANY (ARRAY(SELECT f.ctid FROM detection_feedback f"
        " WHERE f.given_at < $1 AND NOT EXISTS"
        " (SELECT FROM detections d WHERE d.tenant_id = f.tenant_id AND d.id = f.detection_id) LIMIT $2))",
        before,
        limit,
    )
    return int(tag.rpartition(" ")[2])
