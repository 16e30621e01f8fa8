"""Which addresses ask most, in bounded memory: Space-Saving of Metwally, Agrawal and El Abbadi (ICDT 2005).

A count is never too low, and too high by at most its `over`; who made more than 1/200 of the requests is in the table.
"""

import threading
from typing import Any

ENTRIES = 200


class HeavyHitters:
    """Counts the requests of one minute per address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[str, int] = {}
        self._over: dict[str, int] = {}
        self._total = 0
        self._last: dict[str, Any] | None = None

    def count(self, address: str, now: float) -> None:
        """Count one request of `address` at `now` (seconds since 1970)."""
        minute = int(now // 60)
        with self._lock:
            if minute != self._minute:
                self._turn(minute)
            self._total += 1
            counts = self._counts
            if address in counts:
                counts[address] += 1
            elif len(counts) < ENTRIES:
                counts[address] = 1
            else:
                least = min(counts, key=counts.__getitem__)
                bound = counts.pop(least)
                self._over.pop(least, None)
                counts[address], self._over[address] = bound + 1, bound

    def report(self, now: float) -> dict[str, Any] | None:
        """Return the last minute with requests: `{minute, total, top: [{address, count, over}]}`; None before."""
        with self._lock:
            if int(now // 60) != self._minute:
                self._turn(int(now // 60))
            return self._last

    def _turn(self, minute: int) -> None:
        if self._counts:
            ranked = sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0]))
            self._last = {
                "minute": self._minute * 60,
                "total": self._total,
                "top": [
                    {"address": key, "count": count, "over": self._over.get(key, 0)} for key, count in ranked
                ],
            }
        self._minute, self._total, self._counts, self._over = minute, 0, {}, {}
