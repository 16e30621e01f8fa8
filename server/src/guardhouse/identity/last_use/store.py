"""The last use of keys, written in batches: one statement, no table of its own."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from guardhouse.foundation.database import Tx


async def mark_used(tx: Tx, used: Sequence[tuple[UUID, datetime, str | None]]) -> None:
    """Write the last use of many keys in one statement, in key order so that two writers cannot deadlock."""
    ordered = sorted(used, key=lambda use: use[0])
    await tx.run(
        "UPDATE api_keys k SET last_used_at = u.at, last_used_ip = u.ip"
        " FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS u(id, at, ip)"
        " WHERE k.key_id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)",
        *(list(column) for column in zip(*ordered, strict=True)),
    )
