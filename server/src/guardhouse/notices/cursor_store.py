"""Statements on the places of durable readers of the log."""

from guardhouse.foundation.database import Tx
from guardhouse.notices.store import Position


async def get_cursor(tx: Tx, reader: str) -> Position | None:
    """Return where a reader stands, or None before its first step."""
    row = await tx.fetch_row("SELECT epoch, txid, id FROM notice_cursors WHERE reader = $1", reader)
    return None if row is None else Position(row["epoch"], row["txid"], row["id"])


async def add_cursor(tx: Tx, reader: str, at: Position) -> bool:
    """Write a reader's first place; False when it has one already."""
    return bool(
        await tx.fetch_value(
            "INSERT INTO notice_cursors (reader, epoch, txid, id) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (reader) DO NOTHING RETURNING true",
            reader,
            at.epoch,
            at.txid,
            at.id,
        )
    )


async def move_cursor(tx: Tx, reader: str, expected: Position, to: Position) -> bool:
    """Move a reader from where this step found it; False when somebody else has moved it."""
    return bool(
        await tx.fetch_value(
            "UPDATE notice_cursors SET epoch = $5, txid = $6, id = $7"
            " WHERE reader = $1 AND (epoch, txid, id) = ($2, $3::xid8, $4) RETURNING true",
            reader,
            expected.epoch,
            expected.txid,
            expected.id,
            to.epoch,
            to.txid,
            to.id,
        )
    )
