"""Failures of authentication, per address: whoever fails thirty times in a minute is told nothing more for a while.

A good credential is served from any address: many clients may share one, and a key cannot be found by trying.
"""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final

from guardhouse.foundation.errors import Problem
from guardhouse.identity.addresses import plain_address

ALLOWED: Final = 30
WINDOW_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 900.0
ADDRESSES: Final = 10_000
_NETWORK_BITS: Final = 64  # what one IPv6 host can move about in


class TooManyFailures(Problem):
    """Too many credentials failed from one address; why this one failed is not said any more."""

    status, code, title = 429, "too_many_failures", "Too many failures"
    remediation = "Correct the credential; further failures are told apart after the seconds in Retry-After."

    def __init__(self, seconds: float) -> None:
        super().__init__(
            "Too many credentials have failed from this address.",
            headers={"Retry-After": str(max(1, math.ceil(seconds)))},
        )


@dataclass(slots=True)
class _Address:
    times: deque[float] = field(default_factory=deque)
    closed_until: float = -math.inf
    pause_seconds: float = FIRST_PAUSE_SECONDS


class Failures:
    """The failures that one process saw. Addresses that were quiet longest are forgotten first."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    def count(self, address: str | None) -> None:
        """Count one failure.

        Raises:
            TooManyFailures: the address has failed too often; what fails meanwhile is not counted.
        """
        name = network_of(address)
        seen = self._addresses.setdefault(name, _Address())
        self._addresses.move_to_end(name)
        if len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)
        now = self._monotonic()
        if now < seen.closed_until:
            raise TooManyFailures(seen.closed_until - now)
        if now - seen.closed_until > LONGEST_PAUSE_SECONDS:
            seen.pause_seconds = FIRST_PAUSE_SECONDS
        while seen.times and now - seen.times[0] >= WINDOW_SECONDS:
            seen.times.popleft()
        seen.times.append(now)
        if len(seen.times) >= ALLOWED:
            seen.times.clear()
            seen.closed_until = now + seen.pause_seconds
            seen.pause_seconds = min(seen.pause_seconds * 2, LONGEST_PAUSE_SECONDS)


def network_of(address: str | None) -> str:
    """Return what counts as one address: itself, or the /64 of an IPv6 address."""
    found = plain_address(address)
    if isinstance(found, IPv6Address):
        return f"{IPv6Address(int(found) >> _NETWORK_BITS << _NETWORK_BITS)}/{_NETWORK_BITS}"
    return str(found)
