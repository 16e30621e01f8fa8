"""The delivery ledger of one process: what it captured, what became of it, and what of that nobody can account for.

A client counts; the server counts what it stored for that client. All counters run since the start of the process,
and the ledger with the highest ``seq`` stands (agents.md §2.9, §3.9).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_COUNT: Final = (1 << 53) - 1  # what every JSON reader keeps exact
MAX_NAMES: Final = 32
MAX_NAME: Final = 32
_PLAIN: Final = ("captured", "delivered", "duplicates", "rejected", "merged")
_SPLIT: Final = ("dropped", "pending")


class Lane(msgspec.Struct, frozen=True):
    """One lane as the client counts it: ``dropped`` by reason, ``pending`` by place."""

    captured: int = 0
    delivered: int = 0
    duplicates: int = 0
    rejected: int = 0
    merged: int = 0
    dropped: dict[str, int] = {}
    pending: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Items that are still to be delivered."""
        return sum(self.pending.values())


class Ledger(msgspec.Struct, frozen=True):
    """Both lanes of a process."""

    events: Lane = Lane()
    metrics: Lane = Lane()

    @property
    def waiting(self) -> int:
        """Items of both lanes that are still to be delivered."""
        return self.events.waiting + self.metrics.waiting


class Received(msgspec.Struct, frozen=True, omit_defaults=True):
    """One lane as the server counts it: verdicts given to the items of a process."""

    stored: int = 0
    rolled_up: int = 0
    duplicates: int = 0
    rejected: int = 0

    @property
    def kept(self) -> int:
        """Items that are here: as a row, or in a roll-up."""
        return self.stored + self.rolled_up

    @property
    def total(self) -> int:
        """Items received, copies among them."""
        return self.kept + self.duplicates + self.rejected

    def __add__(self, more: "Received") -> "Received":
        """Return both together."""
        return Received(
            self.stored + more.stored,
            self.rolled_up + more.rolled_up,
            self.duplicates + more.duplicates,
            self.rejected + more.rejected,
        )


class Account(msgspec.Struct):
    """Where everything captured is. The parts and ``unaccounted`` add up to ``captured``, always."""

    captured: int = 0
    stored: int = 0
    rolled_up: int = 0
    duplicates: int = 0
    rejected: int = 0
    merged: int = 0
    dropped: dict[str, int] = {}
    pending: int = 0
    unaccounted: int = 0

    def add(self, more: "Account") -> None:
        """Add the account of another process."""
        for name in (
            "captured",
            "stored",
            "rolled_up",
            "duplicates",
            "rejected",
            "merged",
            "pending",
            "unaccounted",
        ):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        for reason, count in more.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count


def settle(lane: Lane, received: Received) -> Account:
    """Lay the client's count beside the server's.

    The client says ``delivered`` of what an answer called new, and ``duplicates`` of what an answer called known.
    An answer that was lost turns the first into the second, so what is here beyond ``delivered`` is taken off the
    duplicates, and then off what the client still waits for. What it calls delivered and is not here, and what
    its own figures leave open, is unaccounted (negative: more is here than was captured).
    """
    ahead = max(0, received.kept - lane.delivered)
    known = min(ahead, lane.duplicates)
    arrived = min(ahead - known, lane.waiting)
    account = Account(
        captured=lane.captured,
        stored=received.stored,
        rolled_up=received.rolled_up,
        duplicates=lane.duplicates - known,
        rejected=lane.rejected,
        merged=lane.merged,
        dropped={reason: count for reason, count in lane.dropped.items() if count},
        pending=lane.waiting - arrived,
    )
    account.unaccounted = (
        account.captured
        - (account.stored + account.rolled_up + account.duplicates + account.rejected + account.merged)
        - (sum(account.dropped.values()) + account.pending)
    )
    return account


def is_backwards(ledger: Ledger, earlier: Ledger) -> bool:
    """Tell whether a later ledger has less of something that can only grow."""
    return any(
        after.captured < before.captured
        or after.delivered < before.delivered
        or after.duplicates < before.duplicates
        or after.rejected < before.rejected
        or sum(after.dropped.values()) < sum(before.dropped.values())
        for after, before in ((ledger.events, earlier.events), (ledger.metrics, earlier.metrics))
    )


def read_ledger(value: Any) -> Ledger | None:
    """Return a ledger as sent; None when a figure in it is no count.

    What is absent is 0; names that are not known here are left out.
    """
    if not isinstance(value, Mapping):
        return None
    lanes = []
    for name in ("events", "metrics"):
        lane = _read_lane(value.get(name, {}))
        if lane is None:
            return None
        lanes.append(lane)
    return Ledger(*lanes)


def read_seq(value: Any) -> int | None:
    """Return the number of a ledger; None when it is none."""
    return value if _is_count(value) else None


def _read_lane(value: Any) -> Lane | None:
    if not isinstance(value, Mapping):
        return None
    plain = {name: value.get(name, 0) for name in _PLAIN}
    split = {name: value.get(name, {}) for name in _SPLIT}
    if not all(map(_is_count, plain.values())) or not all(map(_are_counts, split.values())):
        return None
    return Lane(**plain, **split)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _are_counts(value: Any) -> bool:
    if not isinstance(value, Mapping) or len(value) > MAX_NAMES:
        return False
    return all(
        len(name) <= MAX_NAME and name.isidentifier() and _is_count(count) for name, count in value.items()
    )
