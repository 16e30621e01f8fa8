"""Count the audit events that never came, by the serial numbers that are missing.

The kernel numbers events without a gap. When a reader falls behind, a kernel that was not booted with `audit=1`
drops records without counting them (`kauditd_hold_skb` of kernel/audit.c), so its own counter is not enough.
"""

from collections import deque
from typing import Final

from guard_agent.watch.audit_netlink import Record
from guard_agent.watch.audit_text import TYPES

PATIENCE: Final = 10
"""How many calls of `take` a number may be late: records that were sent again overtake others."""
SYSCALL: Final = frozenset((TYPES["SYSCALL"], "SYSCALL"))
_MAX_RECENT: Final = 4_096
# Records that only ever follow the one of their call.
_PARTS: Final = frozenset(
    kind
    for name, number in TYPES.items()
    if name not in ("SYSCALL", "LOGIN", "CONFIG_CHANGE", "URINGOP")
    for kind in (name, number)
)


class SerialGaps:
    """Counts events that are missing between the first and the last that came."""

    def __init__(self) -> None:
        self._first = self._last = self._seen = self._told = 0
        self._recent: dict[int, None] = {}
        self._missing: deque[int] = deque(maxlen=PATIENCE)

    def look(self, records: list[Record]) -> None:
        """Look at records; each event is counted once."""
        for kind, text in records:
            if kind in SYSCALL:
                serial = serial_of(text)
                if serial not in self._recent:
                    self._count(serial)
            elif kind not in _PARTS:
                self._count_rare(serial_of(text))

    def take(self, *, at_once: bool = False) -> int:
        """Return how many events are missing that were not told before; `at_once`: nothing will come any more."""
        if self._seen:
            self._missing.append(self._last - self._first + 1 - self._seen)
        full = at_once or len(self._missing) == PATIENCE
        surely = min(self._missing, default=0) if full else 0
        count = max(0, surely - self._told)
        self._told += count
        return count

    def _count(self, serial: int) -> None:
        if not self._seen:
            self._first = self._last = serial
        if serial >= self._first:  # older ones were under way when we began
            self._seen += 1
            self._last = max(self._last, serial)

    def _count_rare(self, serial: int) -> None:
        """Count an event that may have a record of its call beside this one."""
        if serial and serial not in self._recent:
            self._count(serial)
            self._recent[serial] = None
            if len(self._recent) > _MAX_RECENT:
                del self._recent[next(iter(self._recent))]


def serial_of(text: bytes | str) -> int:
    """Return the serial number in `audit(seconds.milliseconds:serial): …`, 0 when there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    at = raw.find(b":") + 1
    try:
        return int(raw[at : raw.index(b")", at)])
    except ValueError:
        return 0
