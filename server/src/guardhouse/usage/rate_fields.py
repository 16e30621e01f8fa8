"""The fields that tell a client its limits: RateLimit and RateLimit-Policy (structured fields), and the older pairs.

Source: draft-ietf-httpapi-ratelimit-headers; Retry-After RFC 9110 §10.2.3. A wait is rounded up, never down.
"""

from datetime import datetime
from typing import Final

from guardhouse.foundation.rate_window import MICROSECONDS
from guardhouse.usage.policy import Policy, Verdict

DEGRADED: Final = "Guardhouse-Degraded"
_PAIRS: Final = {"minute": "Minute", "day": "Day"}


def seconds_up(microseconds: int) -> int:
    """Return whole seconds, rounded up, at least one."""
    return max(1, -(-microseconds // MICROSECONDS))


def rate_fields(verdict: Verdict, now: datetime, *, compat: bool) -> dict[str, str]:
    """Return the fields of one answer; none when no policy applies."""
    fields = {DEGRADED: "rate-limit"} if verdict.degraded else {}
    if not verdict.policies:
        return fields
    pairs = list(zip(verdict.policies, verdict.readings, strict=True))
    fields["RateLimit-Policy"] = ", ".join(
        f'"{policy.name}";q={policy.limit};w={policy.seconds}' for policy, _ in pairs
    )
    fields["RateLimit"] = ", ".join(
        f'"{policy.name}";r={reading.left};t={seconds_up(reading.leaves) if reading.leaves else 0}'
        for policy, reading in pairs
    )
    if compat:
        fields |= _compat(verdict, now)
    return fields


def retry_after(verdict: Verdict) -> int | None:
    """Return the seconds after which a refused call will pass; None when it costs more than a limit allows at all."""
    waits = [reading.wait for reading in verdict.readings]
    return None if min(waits) < 0 else seconds_up(max(waits))


def _compat(verdict: Verdict, now: datetime) -> dict[str, str]:
    tightest, reading = min(
        zip(verdict.policies, verdict.readings, strict=True),
        key=lambda pair: (-pair[1].wait, pair[1].left, pair[0].span),
    )
    wait = max(reading.wait, reading.leaves)
    fields = {
        "X-RateLimit-Limit": str(tightest.limit),
        "X-RateLimit-Remaining": str(reading.left),
        "X-RateLimit-Reset": str(int(now.timestamp()) + (seconds_up(wait) if wait else 0)),
    }
    for policy, state in zip(verdict.policies, verdict.readings, strict=True):
        fields |= _pair(policy, state.left)
    return fields


def _pair(policy: Policy, left: int) -> dict[str, str]:
    name = _PAIRS.get(policy.name)
    if name is None:
        return {}
    return {f"X-RateLimit-Limit-{name}": str(policy.limit), f"X-RateLimit-Remaining-{name}": str(left)}
