"""Makes the days that segments may be written to; a door calls it where no worker has done so."""

from datetime import datetime
from typing import Final

from guardhouse.events import partitions
from guardhouse.foundation.database import Tx

PARENT: Final = "stream_segments"


async def make_days(tx: Tx, now: datetime) -> None:
    """Make every day that may be written now."""
    await partitions.ensure_days(tx, now.date(), (PARENT,))
