"""Which API processes live: each says so in a table every ten seconds, and takes its share of what they keep alone.

A process that has not been seen for thirty seconds is gone; until then the others keep less than they could.
"""

from datetime import timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.usage import store
from guardhouse.usage.local_windows import Share

BEAT_SECONDS: Final = 10.0
LIFE: Final = timedelta(seconds=30)


async def beat(tx: Tx, process_id: UUID) -> Share:
    """Say that this process lives and return its share."""
    living = await store.beat(tx, process_id, LIFE)
    return Share(len(living), living.index(process_id))


async def end(tx: Tx, process_id: UUID) -> None:
    """Say that this process stops."""
    await store.end_process(tx, process_id)
