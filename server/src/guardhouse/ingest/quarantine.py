"""What cannot be read is kept, so that a later, better reader can try again: single items, and whole bodies."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.ingest import store
from guardhouse.ingest.parse_telemetry import Rejected
from guardhouse.ingest.store import Owner, Unread

PROJECT_BYTES: Final = 64 << 20
BODY_BYTES: Final = 1 << 20
ITEM_BYTES: Final = 1 << 20


async def keep_items(
    tx: Tx, owner: Owner, batch_id: str | None, rejected: Sequence[Rejected], now: datetime
) -> None:
    """Put rejected items of a batch into quarantine, the first mebibyte of each."""
    rows = [
        Unread(item.kind, batch_id, item.index, item.code, item.detail, item.raw[:ITEM_BYTES])
        for item in rejected
    ]
    await _keep(tx, owner, rows, now)


async def keep_body(tx: Tx, owner: Owner, code: str, detail: str, raw: bytes, now: datetime) -> None:
    """Put the first mebibyte of a body that is no batch into quarantine."""
    await _keep(tx, owner, [Unread("body", None, None, code, detail, raw[:BODY_BYTES])], now)


async def _keep(tx: Tx, owner: Owner, rows: Sequence[Unread], now: datetime) -> None:
    if not rows:
        return
    held = await store.add_unread(tx, owner, rows, now)
    if held > PROJECT_BYTES:
        await store.drop_oldest_unread(tx, owner, held - PROJECT_BYTES)
