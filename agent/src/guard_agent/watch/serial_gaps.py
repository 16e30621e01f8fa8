"""Count the audit events that overran a socket, by the serial numbers that are missing after an overflow."""

from typing import Final

from guard_agent.watch.audit_netlink import Record

_RECORDS_AFTER: Final = 20_000


class SerialGaps:
    """Counts the events that overran a socket, by the serial numbers that are missing after an overflow."""

    def __init__(self) -> None:
        self._last = 0
        self._watched = 0
        self._seen: set[int] = set()
        self._from = 0
        self._untold = 0

    def overrun(self) -> None:
        """Note an overflow: the numbers of the next records are compared."""
        self._from = self._from or self._last
        self._watched = _RECORDS_AFTER

    def look(self, records: list[Record]) -> None:
        """Look at records in order."""
        if self._watched:
            for _, text in records:
                serial = serial_of(text)
                if serial > self._from:
                    self._seen.add(serial)
            self._watched -= len(records)
            if self._watched <= 0:
                self._settle()
        if records:
            self._last = max(self._last, serial_of(records[-1][1]))

    def take(self) -> int:
        """Return how many events are missing since the last call; an overflow counts for one at least."""
        if self._watched:
            self._settle()
        count, self._untold = self._untold, 0
        return count

    def _settle(self) -> None:
        missing = max(self._seen) - self._from - len(self._seen) if self._seen and self._from else 0
        self._untold += max(1, missing)
        self._seen.clear()
        self._watched = self._from = 0


def serial_of(text: bytes | str) -> int:
    """Return the serial number in `audit(seconds.milliseconds:serial): …`, 0 when there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    at = raw.find(b":") + 1
    try:
        return int(raw[at : raw.index(b")", at)])
    except ValueError:
        return 0
