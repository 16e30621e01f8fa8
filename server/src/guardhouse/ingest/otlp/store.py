"""Receipts of exports: table and statements."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Index, LargeBinary, PrimaryKeyConstraint, Table

from guardhouse.foundation.database import Tx, metadata

otlp_receipts = Table(
    "otlp_receipts",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("tenant_no", "sha256"),
    Index("otlp_receipts_received_at_idx", "received_at"),
)


async def take_receipt(tx: Tx, tenant_no: int, sha256: bytes, now: datetime, since: datetime) -> bool:
    """Note an export; False when the same one came since an instant. Waits for one that is being stored."""
    taken = await tx.fetch_value(
        "INSERT INTO otlp_receipts (tenant_no, sha256, received_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (tenant_no, sha256) DO UPDATE SET received_at = excluded.received_at"
        " WHERE otlp_receipts.received_at < $4 RETURNING true",
        tenant_no,
        sha256,
        now,
        since,
    )
    return taken is not None


async def forget_receipts(tx: Tx, before: datetime) -> None:
    """Forget exports of all tenants that came before an instant."""
    await tx.run("DELETE FROM otlp_receipts WHERE received_at < $1", before)
