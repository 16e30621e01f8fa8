"""How an endpoint fares, in the memory of the dispatcher that owns it: breaker, pause asked for, days of failure.

Pure and driven by the clock it is given; what it knows is written to the endpoint's row, and read from there by
the next owner.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from guardhouse.foundation.clock import rfc3339
from guardhouse.webhooks.breaker import Breaker
from guardhouse.webhooks.failing import FINE, Failing
from guardhouse.webhooks.send import Delivered, Outcome, Rejected
from guardhouse.webhooks.store import Endpoint

Change = Literal["throttled", "recovered", "disabled"]
MAX_ERROR: Final = 200


@dataclass(slots=True)
class Condition:
    """State, reason and times of one endpoint."""

    state: str = "active"
    reason: str | None = None
    resume_at: datetime | None = None
    breaker: Breaker = field(default_factory=Breaker)
    failing: Failing = FINE
    last_error: str | None = None
    last_success_at: datetime | None = None
    last_tried_at: datetime | None = None

    def allows(self, now: datetime, in_flight: int) -> bool:
        """Tell whether one more delivery may go now."""
        if self.state == "disabled" or (self.resume_at is not None and now < self.resume_at):
            return False
        return self.breaker.allows(now, in_flight)

    def take_in(self, outcome: Outcome, now: datetime) -> Change | None:
        """Take in how a try went; returns what is different now."""
        if self.state == "disabled":
            return None
        self.last_tried_at = now
        if isinstance(outcome, Delivered):
            return self._succeed(now)
        return self._fail(outcome, now)

    def columns(self) -> dict[str, Any]:
        """Return this as it is stored with the endpoint."""
        breaker = self.breaker
        return {
            "state": self.state,
            "reason": self.reason,
            "resume_at": self.resume_at,
            "breaker": None
            if breaker.state == "closed"
            else {
                "state": breaker.state,
                "until": rfc3339(breaker.until) if breaker.until else None,
                "opened": breaker.opened,
            },
            "first_failure_at": self.failing.first_at,
            "last_failure_at": self.failing.last_at,
            "failing_since": self.failing.since,
            "last_error": self.last_error,
            "last_success_at": self.last_success_at,
            "last_tried_at": self.last_tried_at,
        }

    def _succeed(self, now: datetime) -> Change | None:
        self.failing = FINE
        self.last_success_at = now
        self.breaker.note(now, success=True)
        pausing = self.resume_at is not None and now < self.resume_at
        if self.state != "throttled" or self.breaker.state != "closed" or pausing:
            return None
        self.state, self.reason, self.resume_at = "active", None, None
        return "recovered"

    def _fail(self, outcome: Outcome, now: datetime) -> Change | None:
        self.failing = self.failing.fail(now)
        rejected = outcome if isinstance(outcome, Rejected) else None
        self.last_error = "" if isinstance(outcome, Delivered) else outcome.error[:MAX_ERROR]
        self.breaker.note(now, success=False)
        if rejected is not None and rejected.gone:
            return self._disable("gone")
        if self.failing.is_hopeless(now):
            return self._disable("failing")
        asked = None if rejected is None else rejected.retry_after
        if asked:
            until = now + timedelta(seconds=asked)
            self.resume_at = until if self.resume_at is None else max(until, self.resume_at)
        return self._throttle("retry_after" if asked else "breaker")

    def _disable(self, reason: str) -> Change:
        self.state, self.reason, self.resume_at = "disabled", reason, None
        return "disabled"

    def _throttle(self, reason: str) -> Change | None:
        if reason == "breaker" and self.breaker.state == "closed":
            return None
        was, self.state = self.state, "throttled"
        self.reason = reason
        return None if was == "throttled" else "throttled"

    @property
    def until(self) -> datetime | None:
        """When the next try is due, while throttled."""
        known = [found for found in (self.resume_at, self.breaker.until) if found is not None]
        return max(known, default=None)


def condition_of(endpoint: Endpoint) -> Condition:
    """Return the condition that an endpoint's row tells of."""
    stored = endpoint.breaker or {}
    until = stored.get("until")
    breaker = Breaker(
        state=stored.get("state", "closed"),
        until=datetime.fromisoformat(until) if until else None,
        opened=stored.get("opened", 0),
    )
    return Condition(
        state=endpoint.state,
        reason=endpoint.reason,
        resume_at=endpoint.resume_at,
        breaker=breaker,
        failing=Failing(endpoint.first_failure_at, endpoint.last_failure_at, endpoint.failing_since),
        last_error=endpoint.last_error,
        last_success_at=endpoint.last_success_at,
        last_tried_at=endpoint.last_tried_at,
    )
