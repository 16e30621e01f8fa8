"""Every way the limits turn a call away; each tells the truth about when to come back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from guardhouse.foundation.errors import Problem, Unavailable
from guardhouse.usage.policy import Policy, Verdict
from guardhouse.usage.rate_fields import rate_fields, retry_after


class RateLimitExceeded(Problem):
    """Too many calls within a short time; `violated-policies` names the limits, Retry-After when to come back."""

    status, code, title = 429, "rate_limit_exceeded", "Rate limit exceeded"
    remediation = (
        "Wait the seconds in Retry-After; a refused call costs nothing. RateLimit tells what is left."
    )


class QuotaExceeded(Problem):
    """The calls of any 24 hours are used up; `violated-policies` names the limits, Retry-After when to come back."""

    status, code, title = 429, "quota_exceeded", "Quota exceeded"
    remediation = "Wait the seconds in Retry-After, or ask an admin for a higher limit per day."


class BatchOverLimit(Problem):
    """One call costs more than a limit allows at all: waiting would not help; `limit` is what may come at once."""

    status, code, title = 413, "batch_over_limit", "Batch over the limit"
    remediation = "Split the batch into calls of at most `limit` items."


class LimiterAway(Unavailable):
    """The shared rate limits cannot be asked, and the setting `GUARDHOUSE_RATE_LIMIT_FALLBACK` is `closed`."""

    status, code, title = 503, "rate_limiter_away", "Rate limiter away"


def refusal(verdict: Verdict, cost: int, now: datetime, *, compat: bool) -> Problem:
    """Return the problem for a call that was not admitted."""
    seconds = retry_after(verdict)
    violated = verdict.violated
    if seconds is None:
        smallest = min(policy.limit for policy in violated)
        return BatchOverLimit(
            f"The call costs {cost}, at most {smallest} may come at once.", limit=smallest, cost=cost
        )
    names = " and ".join(f"{policy.limit} per {_span(policy)}" for policy in violated)
    extensions: dict[str, Any] = {"violated-policies": [policy.name for policy in violated]}
    detail = f"No more than {names}; the next call passes in {seconds} s."
    headers = {"Retry-After": str(seconds), **rate_fields(verdict, now, compat=compat)}
    if _longest(verdict).is_quota:
        return QuotaExceeded(detail, headers=headers, retry_after_seconds=seconds, **extensions)
    return RateLimitExceeded(detail, headers=headers, retry_after_seconds=seconds, **extensions)


def _longest(verdict: Verdict) -> Policy:
    pairs: Sequence[tuple[int, Policy]] = [
        (reading.wait, policy) for policy, reading in zip(verdict.policies, verdict.readings, strict=True)
    ]
    return max(pairs, key=lambda pair: pair[0])[1]


def _span(policy: Policy) -> str:
    return {60: "minute", 86_400: "day"}.get(policy.seconds, f"{policy.seconds} s")
