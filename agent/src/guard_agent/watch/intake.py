"""The last step before the spool: redact, hold the agent's own CPU use down, count what is left out."""

import time
from collections.abc import Callable
from typing import Any, Final

from guard_agent.watch import loss as lost
from guard_agent.watch.cpu_limit import BEGIN, CpuLimit
from guard_agent.watch.loss import Loss
from guard_agent.watch.redact import Redactor
from guard_agent.watch.spool import Spool, is_plain

CHECK_SECONDS: Final = 1.0

Event = dict[str, Any]
Say = Callable[[str], None]


class Intake:
    """Takes the events of one collector; `give_way` says which of them are left out while the limit holds."""

    def __init__(
        self,
        spool: Spool,
        redactor: Redactor,
        limit: CpuLimit,
        say: Say,
        give_way: Callable[[Event], bool] = is_plain,
    ) -> None:
        self._spool, self._redact, self._limit, self._say = spool, redactor.event, limit, say
        self._give_way = give_way
        self._checked_at = 0.0

    @property
    def limited(self) -> bool:
        """Tell whether the self limit holds now."""
        return self._limit.limited

    def take(self, events: list[Event]) -> None:
        """Put events into the spool; while the limit holds those that give way are counted as lost."""
        change = self._check()
        if change is not None:
            self._tell(change)
        if self._limit.limited and events:
            kept = [event for event in events if not self._give_way(event)]
            shed = sum(len(event.get("names", (0,))) for event in events) - sum(
                len(event.get("names", (0,))) for event in kept
            )
            self.count_lost(lost.CPU_LIMIT, shed)
            events = kept
        redact = self._redact
        self._spool.append([redact(event) for event in events])

    def count_lost(self, where: str, count: int) -> None:
        """Count events that were lost before they came here."""
        if count > 0:
            now = time.time_ns()
            self._spool.count_loss(Loss(where, count, now, now))

    def _check(self) -> str | None:
        now = time.monotonic()
        if now - self._checked_at < CHECK_SECONDS:
            return None
        self._checked_at = now
        return self._limit.check(now, time.process_time())

    def _tell(self, change: str) -> None:
        if change == BEGIN:
            self._say(
                f"used more than {self._limit.percent:g} % of a core for 10 s: only security events are kept for now,"
                " the rest is counted as lost (--cpu-limit)"
            )
        else:
            self._say("the CPU limit is over: everything is kept again")
