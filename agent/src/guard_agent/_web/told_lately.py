"""How often the same thing is reported: a flood of refusals or of missing pages must not become a flood of events."""

import threading

_MOST_KEYS = 10_000


class ToldLately:
    """Lets one report per key through in `pause_seconds`, with the number of those before it that were not."""

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def ask(self, key: tuple[str, str], now: float) -> int | None:
        """Return how many reports of `key` were held back since the last one, None to hold this one back too."""
        with self._lock:
            since, held = self._told.get(key, (float("-inf"), 0))
            if now - since < self._pause_seconds:
                self._told[key] = (since, held + 1)
                return None
            if len(self._told) >= _MOST_KEYS:
                self._told.clear()
            self._told[key] = (now, 0)
            return held


class Bursts:
    """Tells when an address has done something `at_least` times within `window_seconds`, once per burst."""

    def __init__(self, at_least: int, window_seconds: float) -> None:
        self._at_least = at_least
        self._window_seconds = window_seconds
        self._lock = threading.Lock()
        self._seen: dict[str, list[float]] = {}

    def add(self, address: str, now: float) -> int | None:
        """Note one; return the count when it makes a burst. The next burst is counted from there."""
        with self._lock:
            times = self._seen.setdefault(address, [])
            while times and times[0] <= now - self._window_seconds:
                del times[0]
            times.append(now)
            if len(times) >= self._at_least:
                del self._seen[address]
                return len(times)
            if len(self._seen) > _MOST_KEYS:
                del self._seen[next(iter(self._seen))]
            return None
