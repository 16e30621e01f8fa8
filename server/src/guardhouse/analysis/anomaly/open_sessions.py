"""Steps gathered into sessions: a session ends by its last step, by ten minutes of silence, or when it is too long.

Times are event-time µs. Silence is counted from the newest time of the stream at which a step came, so neither late
steps nor one from the future cut a session into pieces.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

import numpy as np

IDLE_US: Final = 600_000_000
LONGEST: Final = 10_000
MOST_OPEN: Final = 50_000
PIECE: Final = 256


class Step(NamedTuple):
    """One step. `symbol` is from 1 on; steps with `order_us` above 0 are put in that order when the session closes."""

    seq: int
    at_us: int
    key: str
    symbol: int
    order_us: int = 0
    end: bool = False
    entity: str = ""


class Session(NamedTuple):
    """A closed session, or a piece of one that goes on.

    `closed` is end, idle, full, crowded or piece; a piece has the last 256 symbols behind some that lead up to them.
    """

    key: str
    symbols: tuple[int, ...]
    first_seq: int
    last_seq: int
    first_us: int
    last_us: int
    closed: str = "end"
    entity: str = ""


class _Open:
    __slots__ = ("entity", "first_seq", "first_us", "heard_us", "last_seq", "last_us", "orders", "symbols")

    def __init__(self, step: Step) -> None:
        self.symbols: list[int] = []
        self.orders: list[int] = []
        self.first_seq = self.last_seq = step.seq
        self.first_us = self.last_us = self.heard_us = step.at_us
        self.entity = step.entity

    def session(self, key: str, closed: str, symbols: list[int] | None = None) -> Session:
        if symbols is None:
            symbols = self.symbols
            if any(self.orders):
                places = sorted(range(len(symbols)), key=self.orders.__getitem__)
                symbols = [symbols[place] for place in places]
        seqs, times = (self.first_seq, self.last_seq), (self.first_us, self.last_us)
        return Session(key, tuple(symbols), *seqs, *times, closed, self.entity)


class OpenSessions:
    """The sessions of a stream that are not closed yet, the longest silent first."""

    def __init__(self) -> None:
        self.reach: int | None = None
        """Symbols before a piece that are handed out with it; None: pieces are not handed out."""
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._now_us = 0

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._open)

    def observe(self, step: Step) -> Iterator[Session]:
        """Take a step; gives the sessions that it closes, idle ones first, and a piece when one is full."""
        self._now_us = max(self._now_us, step.at_us)
        yield from self.close_idle(self._now_us)
        held = self._open.get(step.key)
        if held is None:
            if len(self._open) >= MOST_OPEN:
                oldest, left = self._open.popitem(last=False)
                yield left.session(oldest, "crowded")
            held = self._open[step.key] = _Open(step)
        self._open.move_to_end(step.key)
        held.symbols.append(step.symbol)
        held.orders.append(step.order_us)
        held.last_seq = step.seq
        held.last_us = max(held.last_us, step.at_us)
        held.heard_us = self._now_us
        if step.end or len(held.symbols) >= LONGEST:
            del self._open[step.key]
            yield held.session(step.key, "end" if step.end else "full")
        elif self.reach is not None and len(held.symbols) % PIECE == 0 and not step.order_us:
            yield held.session(step.key, "piece", held.symbols[-PIECE - self.reach :])

    def close_idle(self, now_us: int) -> Iterator[Session]:
        """Close what has been silent for ten minutes at an event time."""
        while self._open:
            key, held = next(iter(self._open.items()))
            if held.heard_us + IDLE_US > now_us:
                return
            del self._open[key]
            yield held.session(key, "idle")

    def to_state(self) -> dict[str, Any]:
        """The open sessions for `snapshot`."""
        every = self._open.values()
        return {
            "reach": self.reach,
            "now_us": self._now_us,
            "keys": list(self._open),
            "entities": [held.entity for held in every],
            "places": np.array(
                [
                    [
                        held.first_seq,
                        held.last_seq,
                        held.first_us,
                        held.last_us,
                        held.heard_us,
                        len(held.symbols),
                    ]
                    for held in every
                ],
                np.int64,
            ).reshape(-1, 6),
            "symbols": np.array([symbol for held in every for symbol in held.symbols], np.int64),
            "orders": np.array([order for held in every for order in held.orders], np.int64),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The open sessions that `to_state` described."""
        made, at = cls(), 0
        made.reach, made._now_us = state["reach"], state["now_us"]
        symbols, orders = state["symbols"].tolist(), state["orders"].tolist()
        for key, entity, place in zip(
            state["keys"], state["entities"], state["places"].tolist(), strict=True
        ):
            first_seq, last_seq, first_us, last_us, heard_us, length = place
            held = _Open(Step(first_seq, first_us, key, 0, entity=entity))
            held.last_seq, held.last_us, held.heard_us = last_seq, last_us, heard_us
            held.symbols, held.orders = symbols[at : at + length], orders[at : at + length]
            made._open[key] = held
            at += length
        return made
