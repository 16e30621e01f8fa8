"""Words about limits: noticed on the request's path, said off it, each no more often than it is promised."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.notices.publish import Origin, publish, take_turn
from guardhouse.notices.usage_kinds import RateLimitReached, UsageThreshold
from guardhouse.usage import store

REFUSED_PAUSE: Final = timedelta(minutes=5)
THRESHOLD_PAUSE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Word:
    """One notice to be, of one tenant, noticed at an instant."""

    tenant_id: UUID
    data: RateLimitReached | UsageThreshold
    at: datetime
    correlation_id: str

    @property
    def name(self) -> str:
        """What makes two words the same, beside their subject."""
        if isinstance(self.data, UsageThreshold):
            return f"{self.data.kind} {self.data.policy} {self.data.percent}"
        return self.data.kind

    @property
    def pause(self) -> timedelta:
        """How long the same is not said again."""
        return THRESHOLD_PAUSE if isinstance(self.data, UsageThreshold) else REFUSED_PAUSE


async def tell(tx: Tx, word: Word) -> bool:
    """Publish a word, unless this or another process said the same within its pause; tells whether it did."""
    await take_turn(tx, word.tenant_id, word.data.subject)
    number = await store.claim_word(tx, word.tenant_id, word.data.subject, word.name, word.at, word.pause)
    if number is None:
        return False
    await publish(
        tx,
        word.data,
        tenant_id=word.tenant_id,
        subject_seq=number,
        origin=Origin(correlation_id=word.correlation_id),
    )
    return True
