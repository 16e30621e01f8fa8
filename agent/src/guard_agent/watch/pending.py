"""Calls that a log has begun and not finished: their first half, and which of them are inside fork.

Bounded in number and bytes: a hostile log cannot fill the memory. Beyond it a call loses its first half.
"""

from dataclasses import dataclass
from typing import Final

MAX_PENDING: Final = 8_192
MAX_PENDING_BYTES: Final = 16 * 1024 * 1024


def bytes_held(text: str) -> int:
    """Return how much memory the characters of a text may take: four bytes each when one is beyond ASCII."""
    return len(text) if text.isascii() else 4 * len(text)


@dataclass(frozen=True, slots=True)
class Pending:
    """The first half of a call: its name and the arguments printed so far."""

    name: str
    text: str


class PendingCalls:
    """First halves by the thread that will finish them."""

    def __init__(self, max_calls: int = MAX_PENDING, max_bytes: int = MAX_PENDING_BYTES) -> None:
        self._max_calls, self._max_bytes = max_calls, max_bytes
        self._calls: dict[int, Pending] = {}
        self._bytes = 0
        self._forking: dict[int, None] = {}
        self._born: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, tid: int, name: str, text: str, *, forks: bool) -> None:
        """Hold a first half."""
        self.take(tid)
        size = bytes_held(text)
        if len(self._calls) < self._max_calls and self._bytes + size <= self._max_bytes:
            self._calls[tid] = Pending(name, text)
            self._bytes += size
            if forks:
                self._forking[tid] = None

    def take(self, tid: int) -> Pending | None:
        """Hand a first half over; the thread is not inside fork any more."""
        self._forking.pop(tid, None)
        pending = self._calls.pop(tid, None)
        if pending is not None:
            self._bytes -= bytes_held(pending.text)
        return pending

    def only_fork(self) -> tuple[int, Pending] | None:
        """Return the one thread inside fork whose child has not spoken; None for none or several."""
        if len(self._forking) != 1:
            return None
        tid = next(iter(self._forking))
        return tid, self._calls[tid]

    @property
    def any_fork(self) -> bool:
        """Tell whether some thread is inside fork and its child has not spoken."""
        return bool(self._forking)

    def take_fork(self, parent_tid: int) -> None:
        """Note that what a clone makes has spoken; the clone itself goes on."""
        self._forking.pop(parent_tid, None)

    def bear(self, parent_tid: int, child: int) -> None:
        """Note that the child of a fork has spoken before the fork returned."""
        self.take_fork(parent_tid)
        if len(self._born) < self._max_calls:
            self._born[parent_tid] = child

    def take_born(self, parent_tid: int) -> int | None:
        """Return the child that spoke before its parent's fork returned, once."""
        return self._born.pop(parent_tid, None)
