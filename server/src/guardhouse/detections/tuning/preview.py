"""What a policy would have decided of what it judged in the last 24 hours: from stored scores, no text is needed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.detections.calibrations import store
from guardhouse.detections.calibrations.shift import shifted
from guardhouse.detections.calibrations.store import Calibration, Scored
from guardhouse.detections.decide import decide
from guardhouse.detections.policy import Policy
from guardhouse.foundation.database import Tx

SPAN: Final = timedelta(hours=24)
_TRUNCATED: Final = ("views_truncated",)


@dataclass(frozen=True, slots=True)
class Preview:
    """Decisions on the same texts, as they were made and as they would be."""

    since: datetime
    until: datetime
    before: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def texts(self) -> int:
        """How many texts were replayed."""
        return sum(self.before.values())


async def preview(tx: Tx, tenant_id: UUID, wanted: Policy, now: datetime) -> Preview:
    """Replay the scores that a policy's versions gave in the last 24 hours through what it might become."""
    span = (now - SPAN, now)
    scored = await store.count_scores(tx, tenant_id, wanted.id, span)
    ids = {one.calibration for one in scored if one.calibration} | {wanted.calibration or UUID(int=0)}
    known = await store.get_calibrations(tx, tenant_id, sorted(ids))
    return Preview(*span, _before(scored), decisions(scored, wanted, known))


def decisions(
    scored: Sequence[Scored], policy: Policy, calibrations: Mapping[UUID, Calibration]
) -> Mapping[str, int]:
    """Return how many of these texts a policy decides each way; calls' own thresholds are left aside."""
    found: Counter[str] = Counter()
    for one in scored:
        move = shift_of(calibrations, policy.calibration, one.channel) - shift_of(
            calibrations, one.calibration, one.channel
        )
        lines = policy.lines(one.channel, None, None)
        flags = _TRUNCATED if one.truncated else ()
        found[decide(shifted(one.score_milli, move), flags, lines)] += one.count
    return found


def shift_of(calibrations: Mapping[UUID, Calibration], chosen: UUID | None, channel: str) -> int:
    """Return by how much a calibration shifts a channel (thousandths of log-odds)."""
    found = calibrations.get(chosen) if chosen is not None else None
    part = None if found is None else found.channels.get(channel)
    return 0 if part is None else part.shift_milli


def _before(scored: Sequence[Scored]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for one in scored:
        found[one.would_decide] += one.count
    return found
