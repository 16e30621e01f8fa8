"""Hold the agent's own CPU use below a share of one core: over it for 10 s it limits itself, later it tries again.

The first limit lasts 60 s; each time the limit is needed again at once it lasts twice as long, up to an hour.
"""

from dataclasses import dataclass
from typing import Final

DEFAULT_PERCENT: Final = 25.0
OVER_SECONDS: Final = 10.0
FIRST_REST_SECONDS: Final = 60.0
LAST_REST_SECONDS: Final = 3600.0

BEGIN: Final = "begin"
END: Final = "end"


@dataclass(slots=True)
class CpuLimit:
    """Tells when to limit; give it the clock and the CPU seconds used so far, about once a second.

    `percent` is of one core; 0 or less never limits.
    """

    percent: float = DEFAULT_PERCENT
    limited: bool = False
    _at: float | None = None
    _used: float = 0.0
    _over_since: float | None = None
    _until: float = 0.0
    _rest: float = 0.0

    def check(self, now: float, used: float) -> str | None:
        """Return BEGIN when the limit begins, END when it ends, else None; both arguments in seconds."""
        if self.percent <= 0:
            return None
        before, used_before = self._at, self._used
        self._at, self._used = now, used
        if before is None or now <= before:
            return None
        if self.limited:
            return self._maybe_end(now)
        if (used - used_before) / (now - before) * 100 <= self.percent:
            self._over_since = None
            return None
        if self._over_since is None:
            self._over_since = before
        if now - self._over_since < OVER_SECONDS:
            return None
        again = self._rest and now - self._until < self._rest
        self._rest = min(LAST_REST_SECONDS, self._rest * 2) if again else FIRST_REST_SECONDS
        self.limited, self._until, self._over_since = True, now + self._rest, None
        return BEGIN

    def _maybe_end(self, now: float) -> str | None:
        if now < self._until:
            return None
        self.limited = False
        return END
