"""Previews: the table and its statements. The row is the truth; the job that fills it is a hint."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import metadata

_INSTANT = DateTime(timezone=True)

score_previews = Table(
    "score_previews",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("preview_id", Uuid, primary_key=True),
    Column("asked", JSONB, nullable=False),
    Column("since", _INSTANT, nullable=False),
    Column("until", _INSTANT, nullable=False),
    Column("state", Text, nullable=False),
    Column("result", JSONB),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("finished_at", _INSTANT),
    CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
    Index("score_previews_tenant_no_made_at_idx", "tenant_no", "made_at"),
)
