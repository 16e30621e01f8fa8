"""Audit records of calls that are not complete yet, by serial; bounded in number and bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from guard_agent.watch.audit_call import Record
from guard_agent.watch.pending import bytes_held

MAX_PENDING: Final = 2048
MAX_PENDING_BYTES: Final = 8 * 1024 * 1024
MAX_CALL_BYTES: Final = 256 * 1024
WAIT_NS: Final = 2_000_000_000
"""How long the records of one call are waited for when nothing says that they are all there."""

Serial = tuple[int, int]


@dataclass(slots=True)
class Waiting:
    """The records of one serial so far; `since_ns` is when the first of them was received."""

    ns: int
    since_ns: int
    has_call: bool = False
    size: int = 0
    records: list[Record] = field(default_factory=list)


class PendingRecords:
    """What waits for its end, oldest first."""

    def __init__(self, max_calls: int = MAX_PENDING, max_bytes: int = MAX_PENDING_BYTES) -> None:
        self._max_calls, self._max_bytes = max_calls, max_bytes
        self._by_serial: dict[Serial, Waiting] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._by_serial)

    @property
    def is_full(self) -> bool:
        """Tell whether more waits than may: `take_due` hands the oldest over."""
        return len(self._by_serial) > self._max_calls or self._bytes > self._max_bytes

    def add(self, serial: Serial, ns: int, received_ns: int, record: Record, *, is_call: bool) -> bool:
        """Hold one record; False when its call has more text than a call may have."""
        waiting = self._by_serial.get(serial)
        if waiting is None:
            waiting = self._by_serial[serial] = Waiting(ns, received_ns)
        size = bytes_held(record[1]) + 128
        if waiting.size + size > MAX_CALL_BYTES:
            return False
        waiting.records.append(record)
        waiting.has_call |= is_call
        waiting.size += size
        self._bytes += size
        return True

    def take(self, serial: Serial) -> Waiting | None:
        """Hand over the records of a serial whose end has come; without its SYSCALL record it goes on waiting."""
        waiting = self._by_serial.get(serial)
        if waiting is None or not waiting.has_call:
            return None
        return self._pop(serial)

    def take_due(self, now_ns: int) -> Iterator[Waiting]:
        """Hand over, oldest first, what has waited 2 s, what comes from a later time, and what is too much."""
        while self._by_serial:
            serial, waiting = next(iter(self._by_serial.items()))
            if abs(now_ns - waiting.since_ns) < WAIT_NS and not self.is_full:
                return
            yield self._pop(serial)

    def take_all(self) -> Iterator[Waiting]:
        """Hand over everything, oldest first."""
        while self._by_serial:
            yield self._pop(next(iter(self._by_serial)))

    def _pop(self, serial: Serial) -> Waiting:
        waiting = self._by_serial.pop(serial)
        self._bytes -= waiting.size
        return waiting
