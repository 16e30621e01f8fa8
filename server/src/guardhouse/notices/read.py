"""Read the log: after a position without loss or repeat, backwards as a list, and where it begins and ends."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.pages import InvalidCursor
from guardhouse.notices import cursor_store, store
from guardhouse.notices.store import Mark, Notice, Position, Slice

RESUME_DAYS: Final = 7
KEPT_DAYS: Final = 31  # the log keeps thirty days and the one that is being dropped
# A notice is written within its transaction and no transaction lives this long, so nothing that comes after
# a notice in the log is older than it by more.
SKEW: Final = timedelta(minutes=10)
_TEXT: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,19})\.([0-9]{1,18})", re.ASCII)

__all__ = ["Mark", "Notice", "Position", "Slice"]


def parse_position(text: str) -> Position:
    """Read the text form ``e.x.i``.

    Raises:
        InvalidCursor: it is not one.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidCursor("Last-Event-ID is not an id of this stream.", reason="tampered")
    epoch, txid, number = match.groups()
    return Position(int(epoch), int(txid), int(number))


async def read_after(tx: Tx, mark: Mark, limit: int) -> Slice:
    """Return up to ``limit`` notices of every tenant after a mark, in order."""
    return await store.read_after(tx, mark.position, since=mark.occurred_at - SKEW, limit=limit)


async def read_tenant_after(tx: Tx, tenant_id: UUID, mark: Mark, limit: int) -> Slice:
    """Return up to ``limit`` notices of one tenant after a mark, in order."""
    return await store.read_after(
        tx, mark.position, since=mark.occurred_at - SKEW, limit=limit, tenant_id=tenant_id
    )


async def newest(tx: Tx) -> Mark:
    """Return the end of the log."""
    return await store.newest(tx)


async def resume_at(tx: Tx, position: Position, now: datetime) -> tuple[Mark, bool]:
    """Return the mark to read on from, and whether notices after the position are gone (``reset``).

    Raises:
        InvalidCursor: the position was never given out by this database.
    """
    if await store.exists_beyond(tx, position):
        raise InvalidCursor("Last-Event-ID is not an id of this installation.", reason="unknown")
    lost = await store.lost_until(tx, RESUME_DAYS)
    reset = lost is not None and position < lost
    start = lost if reset and lost is not None else position
    found = await store.mark_at(tx, start)
    since = now - timedelta(days=RESUME_DAYS + 1) if found is None else found.occurred_at
    return Mark(start, since), reset


async def reader_mark(tx: Tx, reader: str, now: datetime) -> Mark:
    """Return where a durable reader goes on; one that is new begins at the end of the log."""
    at = await cursor_store.get_cursor(tx, reader)
    if at is None:
        await cursor_store.add_cursor(tx, reader, (await store.newest(tx)).position)
        at = await cursor_store.get_cursor(tx, reader)
    if at is None:
        raise RuntimeError(f"the cursor of {reader} was removed while it was made")
    found = await store.mark_at(tx, at)
    return Mark(at, now - timedelta(days=KEPT_DAYS) if found is None else found.occurred_at)


async def move_reader(tx: Tx, reader: str, expected: Position, to: Position) -> bool:
    """Move a durable reader in the transaction of its step; False when another process has done the step."""
    return await cursor_store.move_cursor(tx, reader, expected, to)


async def list_notices(
    tx: Tx, tenant_id: UUID, *, kinds: Sequence[str], before: Position | None, limit: int
) -> list[Notice]:
    """Return notices of a tenant, newest first."""
    return await store.read_before(tx, tenant_id, before=before, kinds=kinds, limit=limit)


async def keep_epoch(tx: Tx) -> bool:
    """Run once at the start of a process, before anything is published; tells whether a restore was found.

    A dump restored into a new cluster brings notices with larger transaction ids than the cluster will
    give out for a long time; without a new epoch every reader would wait for them.
    """
    return await store.raise_epoch(tx)
