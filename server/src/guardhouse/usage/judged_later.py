"""Texts that a request left to the worker: rows of the log that count as verdicts, and as no request.

The request's own row went out with its answer. A row of this kind tells what its texts turned out to be, how many
they were and how long the worker took for them; sums of requests leave it out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.usage import store
from guardhouse.usage.log import Judged, UsageRow, with_judged

METHOD: Final = "WORKER"
MEASURED: Final = timedelta(hours=1)
MEASURED_ROWS: Final = 20


async def write_judged_later(tx: Tx, now: datetime, rows: Sequence[tuple[UsageRow, Judged]]) -> None:
    """Write what requests left to the worker, in the transaction that ends their texts."""
    if not rows:
        return
    day = now.date()
    if not await store.has_day(tx, day):
        await store.create_days(tx, day, ahead=0)
    await store.write_log(tx, day, [with_judged(row, judged) for row, judged in rows])


def row_of(
    at: datetime, tenant_id: UUID, who: tuple[str, str, UUID | None], endpoint: str, took_us: int
) -> UsageRow:
    """Return a row without its verdicts; ``who``: kind, credential and project of the request's caller."""
    kind, credential, project_id = who
    return UsageRow(
        at, tenant_id, kind, credential, project_id, METHOD, endpoint, store.JUDGED_LATER, 0, took_us, 0
    )


async def texts_per_second(tx: Tx, tenant_id: UUID, now: datetime) -> float | None:
    """Return how many texts of a tenant a job of the worker judges in a second; None: none was measured lately."""
    return await store.worker_rate(tx, tenant_id, now - MEASURED, MEASURED_ROWS)
