"""How fast one project may report: beyond a soft limit its noise is rolled up harder, beyond a hard one a lane waits.

A lane is one of the doors for telemetry: a project that floods one of them keeps the others. Whoever would lose what
is refused (the oldest released client, which gives up) is never refused. Rules and status are not counted here.
"""

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from guardhouse.foundation.errors import Problem
from guardhouse.foundation.rate_window import MICROSECONDS
from guardhouse.settings import Settings
from guardhouse.usage.limits import Limiter
from guardhouse.usage.policy import Policy, minute
from guardhouse.usage.rate_fields import retry_after

Lane = Literal["events", "metrics", "envelopes"]
SPAN_SECONDS: Final = 10
"""Items per second are an average over any span of this length."""
_SPAN: Final = (SPAN_SECONDS * MICROSECONDS, 10_000)
LEAST_PAUSE, LONGEST_PAUSE = 5, 15


class TelemetryQuotaReached(Problem):
    """The project reports faster than it may on this path; others go on. Nothing was stored."""

    status, code, title = 429, "telemetry_quota_reached", "Telemetry quota reached"
    remediation = "Wait the seconds in Retry-After and send the batch again; send fewer and larger batches."


@dataclass(frozen=True, slots=True)
class Meter:
    """Counts one request of a project. ``project``: as the request calls it; ``patient``: it can wait."""

    limiter: Limiter
    settings: Settings
    tenant_id: UUID
    project: str
    lane: Lane
    patient: bool

    async def admit_request(self) -> None:
        """Count a request, before its body is read.

        Raises:
            TelemetryQuotaReached: the project has sent too many on this lane within a minute.
        """
        limit = self.settings.telemetry_requests_per_minute
        await self._take(
            minute(f"telemetry-{self.lane}", self._subject, limit, self._group), 1, "requests a minute"
        )

    async def admit_items(self, count: int) -> bool:
        """Count the items of a body; tells whether the project is over its soft limit.

        Raises:
            TelemetryQuotaReached: the project has sent too many on this lane within ten seconds.
        """
        if not count:
            return False
        hard, soft = self.settings.telemetry_hard_per_second, self.settings.telemetry_soft_per_second
        most = Policy(f"telemetry-items-{self.lane}", self._subject, hard * SPAN_SECONDS, *_SPAN, self._group)
        await self._take(most, count, "items in ten seconds")
        usual = Policy("telemetry-usual", self._subject, soft * SPAN_SECONDS, *_SPAN, self._group)
        return not (await self.limiter.take([usual], count)).admitted

    async def _take(self, policy: Policy, cost: int, what: str) -> None:
        verdict = await self.limiter.take([policy], cost)
        if verdict.admitted or not self.patient:
            return
        pause = min(LONGEST_PAUSE, max(LEAST_PAUSE, retry_after(verdict) or LONGEST_PAUSE))
        raise TelemetryQuotaReached(
            f"The project may send {policy.limit:,} {what} here.",
            headers={"Retry-After": str(pause)},
            retry_after_seconds=pause,
        )

    @property
    def _subject(self) -> str:
        return f"project:{self.tenant_id}:{self.project}"

    @property
    def _group(self) -> str:
        return str(self.tenant_id)
