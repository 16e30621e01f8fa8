"""Rate limits by a sliding window: the count of the running window and of the one before it, weighted by its overlap.

Exact for steady traffic and at most off by the unevenness of the window before ("How we built rate limiting capable of
scaling to millions of domains", Cloudflare, 2017); it needs three numbers per key, however high the limit.
"""

import threading

_MOST_KEYS = 50_000


class SlidingWindow:
    """Counts per key. Safe from any thread; forgets the keys that have been silent longest when there are too many."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def take(self, key: tuple[str, str], limit: int, window_seconds: int, now: float) -> float:
        """Count a request of `key` at `now`; return 0.0, or the seconds to wait where it is one too many.

        A refused request is not counted, so a client that keeps asking gets its share all the same.
        """
        number = int(now // window_seconds)
        passed = now / window_seconds - number
        with self._lock:
            of, running, before = self._counts.pop(key, (number, 0, 0))
            if of == number - 1:
                running, before = 0, running
            elif of != number:
                running = before = 0
            estimate = before * (1 - passed) + running
            refused = estimate + 1 > limit
            self._counts[key] = (number, running if refused else running + 1, before)
            if len(self._counts) > _MOST_KEYS:
                self._forget()
        return _wait(limit, running, before, passed) * window_seconds if refused else 0.0

    def _forget(self) -> None:
        """Drop the older half; a key goes to the end whenever it is counted."""
        for key in list(self._counts)[: _MOST_KEYS // 2]:
            del self._counts[key]


def _wait(limit: int, running: int, before: int, passed: float) -> float:
    """Return the part of a window until one more request fits."""
    if running + 1 <= limit and before:
        return max(0.0, 1 - (limit - running - 1) / before - passed)
    # What runs now must first become the window before, and then shrink.
    return 1 - passed + (max(0.0, 1 - (limit - 1) / running) if running and limit > 0 else 0.0)
