"""A row per request, gathered in memory and written in batches off the request's path.

At most a second of rows is lost with the process; rows that cannot be kept are counted, and nobody waits for them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from prometheus_client import Counter

from guardhouse.identity.caller import Caller

MOST_ROWS: Final = 100_000
BATCH_ROWS: Final = 500
OLDEST: Final = timedelta(minutes=30)  # a day is summed an hour after its end: nothing may come later

DROPPED: Final = Counter("guardhouse_usage_rows_dropped_total", "Requests that usage does not know of.")
DROPPED.inc(0)


class Judged(NamedTuple):
    """What a request had judged: texts by decision, those that are attacks, the highest score (thousandths).

    ``channel`` and ``cached`` are those of all its texts, None when they differ; ``degraded``: of any.
    """

    items: int
    channel: str | None
    decisions: Mapping[str, int]
    threat_types: Sequence[str]
    malicious_count: int
    max_score_milli: int | None
    degraded: bool
    cached: bool | None


class UsageRow(NamedTuple):
    """One request, in the order of ``store.COPIED``."""

    at: datetime
    tenant_id: UUID
    kind: str
    credential: str
    project_id: UUID | None
    method: str
    endpoint: str
    status: int
    request_bytes: int
    response_time_us: int
    items: int
    channel: str | None = None
    decisions: str | None = None
    threat_types: list[str] | None = None
    malicious_count: int | None = None
    max_score_milli: int | None = None
    degraded: bool | None = None
    cached: bool | None = None


class UsageLog:
    """Rows of this process that wait to be written."""

    def __init__(self) -> None:
        self.full = asyncio.Event()
        self._rows: list[UsageRow] = []

    def __len__(self) -> int:
        """Return how many rows wait."""
        return len(self._rows)

    def note(
        self,
        at: datetime,
        caller: Caller,
        request: tuple[str, str, int, int, int],
        judged: Judged | None = None,
    ) -> None:
        """Keep a request: method, endpoint, status, bytes, microseconds until its answer began."""
        rows = self._rows
        if len(rows) >= MOST_ROWS:
            DROPPED.inc()
            return
        row = UsageRow(
            at, caller.tenant.id, caller.kind, caller.credential_id, caller.project_id, *request, items=1
        )
        rows.append(row if judged is None else with_judged(row, judged))
        if len(rows) >= BATCH_ROWS:
            self.full.set()

    def take(self, now: datetime) -> dict[date, list[UsageRow]]:
        """Take what waits, by day; rows too old for sums that may have been made are dropped and counted."""
        self.full.clear()
        rows, self._rows = self._rows, []
        days: dict[date, list[UsageRow]] = defaultdict(list)
        edge = now - OLDEST
        for row in rows:
            if row.at >= edge:
                days[row.at.date()].append(row)
            else:
                DROPPED.inc()
        return days

    def give_back(self, rows: Sequence[UsageRow]) -> None:
        """Keep rows that could not be written for the next time, as far as there is room."""
        room = max(0, MOST_ROWS - len(self._rows))
        self._rows[:0] = rows[:room]
        DROPPED.inc(max(0, len(rows) - room))


def with_judged(row: UsageRow, judged: Judged) -> UsageRow:
    """Return a row that tells of the texts that were judged."""
    return row._replace(
        items=judged.items,
        channel=judged.channel,
        decisions=msgspec.json.encode(judged.decisions).decode(),
        threat_types=list(judged.threat_types),
        malicious_count=judged.malicious_count,
        max_score_milli=judged.max_score_milli,
        degraded=judged.degraded,
        cached=judged.cached,
    )
