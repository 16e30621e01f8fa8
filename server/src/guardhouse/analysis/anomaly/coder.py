"""The context-mixing coder ``cm-1``: what a line costs, in thousandths of a bit, given the lines learned before.

A probability is mixed over context lengths by exact Witten-Bell back-off (Witten, Bell, "The zero-frequency problem",
1991; method C of PPM), from integer counts in hashed tables. Two generations of counts take the place of decaying
ones: the model always remembers between one and two of them. Every operation rounds once and the logarithm is a table,
so a cost is the same integer on every machine. The order of the lines inside a batch does not matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.cost_table import milli_bits
from guardhouse.analysis.anomaly.layout import Costs, Layout, lay_out, pieces

P: Final = np.uint64(0x9E3779B97F4A7C15)
Q: Final = np.uint64(0xC2B2AE3D27D4EB4F)
ROOT: Final = 0x1234567
_MIX, _TOP = np.uint64(29), np.uint64(40)
FEWEST_BITS, MOST_BITS, UNKNOWN_BITS = 14, 20, 18
ROTATE_LINES: Final = 50_000
CROWDED_SHARE: Final = 0.25
SLOTS_PER_PAIR: Final = 8
MOST_COUNTED: Final = 2**31
"""A table is rotated before a count can pass 32 bits."""
_MOST_DISTINCT: Final = 65_535

Lines = Sequence[Sequence[int]]
"""Byte strings, or rows of symbol numbers from 1 on."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is coded: the symbol that pads and ends a line, the probability before anything is known, the orders."""

    end: int
    start: float
    orders: tuple[int, ...]

    @property
    def reach(self) -> int:
        """How far back the longest context looks."""
        return max(self.orders)


BYTES: Final = Kind(end=10, start=1 / 256, orders=(0, 1, 2, 3, 5))
WORKFLOW: Final = Kind(end=0, start=1 / 512, orders=(0, 1, 2, 3, 4))
TRACE: Final = Kind(end=0, start=1 / 512, orders=(0, 1, 2, 3, 4, 6, 8))
BAG: Final = Kind(end=0, start=1 / 512, orders=(0, 1, 2))


class Slots(NamedTuple):
    """Of one order: the table cells of contexts and of context+symbol pairs, one per coded position."""

    order: int
    contexts: NDArray[np.int64]
    pairs: NDArray[np.int64]


class _Counts:
    """The tables of one order: what scoring reads (both generations), and the current generation's own share.

    While there is no older generation the two are the same arrays.
    """

    SEEN = ("pair", "context", "distinct")
    OWN = ("pair_now", "context_now", "distinct_now", "distinct_new")

    def __init__(self, size: int) -> None:
        self.pair = self.pair_now = np.zeros(size, np.uint32)
        self.context = self.context_now = np.zeros(size, np.uint32)
        self.distinct = self.distinct_now = self.distinct_new = np.zeros(size, np.uint16)

    @property
    def alone(self) -> bool:
        """Whether there is no older generation."""
        return self.pair is self.pair_now

    def begin(self, bits: int) -> "_Counts":
        """The tables of the next generation, with this one as the older."""
        made = _Counts(1 << bits)
        made.pair = _resized(self.pair_now, bits)
        made.context = _resized(self.context_now, bits)
        made.distinct = _resized(self.distinct_now, bits)
        made.distinct_new = np.zeros_like(made.distinct)
        return made

    def to_state(self) -> dict[str, Any]:
        """The tables, each once."""
        return {name: getattr(self, name) for name in (self.SEEN if self.alone else self.SEEN + self.OWN)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "_Counts":
        """The tables that ``to_state`` gave."""
        made = cls(0)
        made.pair = made.pair_now = state["pair"]
        made.context = made.context_now = state["context"]
        made.distinct = made.distinct_now = made.distinct_new = state["distinct"]
        for name in cls.OWN:
            if name in state:
                setattr(made, name, state[name])
        return made


class Coder:
    """A model of lines of one kind, with ``2**table_bits`` cells per table. Not safe for two threads."""

    def __init__(self, kind: Kind = BYTES, table_bits: int = UNKNOWN_BITS) -> None:
        self.kind = kind
        self.table_bits = table_bits
        self.learned_lines = 0
        """Lines that the current generation learned, without their weights."""
        self._counts = {order: _Counts(1 << table_bits) for order in kind.orders}

    # -- scoring -------------------------------------------------------------------------------------------------

    def costs(self, lines: Lines) -> Costs:
        """What each symbol of each line costs, the end included, with the model as it stands."""
        parts = []
        for piece in pieces(lines, self.kind.reach):
            layout = lay_out(piece, self.kind.end, self.kind.reach)
            p = np.full(layout.padded.size - layout.reach, self.kind.start)
            for slots in self._all_slots(layout):
                counts = self._counts[slots.order]
                seen = counts.context.take(slots.contexts).astype(np.float64)
                distinct = counts.distinct.take(slots.contexts).astype(np.float64)
                both = counts.pair.take(slots.pairs).astype(np.float64)
                _back_off(p, both, seen, distinct)
            coded = p.take(layout.places - layout.reach)
            parts.append(Costs(milli_bits(coded), layout.starts, layout.lengths))
        return Costs.joined(parts)

    def leave_one_out(self, lines: Lines) -> Costs:
        """What each line would cost had it been learned once less; every line must have been learned.

        The line's own counts are taken off as a whole, so the costs equal those of a model fitted without it.
        """
        parts = []
        for piece in pieces(lines, self.kind.reach):
            layout = lay_out(piece, self.kind.end, self.kind.reach)
            rows = np.repeat(np.arange(len(piece), dtype=np.int64), layout.lengths)
            p = np.full(layout.size, self.kind.start)
            for slots in self._slots(layout):
                _back_off(p, *self._without(slots, rows))
            parts.append(Costs(milli_bits(p), layout.starts, layout.lengths))
        return Costs.joined(parts)

    def slots(self, line: Sequence[int]) -> list[Slots]:
        """The table cells that scoring this line reads, per order: what an auditor needs to recompute its cost."""
        layout = lay_out([line], self.kind.end, self.kind.reach)
        return [
            Slots(one.order, np.broadcast_to(one.contexts, one.pairs.shape), one.pairs)
            for one in self._slots(layout)
        ]

    def counts(self, slots: Slots) -> NDArray[np.int64]:
        """Of each position of an order: (pair count, context count, distinct symbols), shape (n, 3)."""
        counts = self._counts[slots.order]
        return np.stack(
            [
                counts.pair[slots.pairs].astype(np.int64),
                counts.context[slots.contexts].astype(np.int64),
                counts.distinct[slots.contexts].astype(np.int64),
            ],
            axis=1,
        )

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, lines: Lines, weights: Sequence[int] | None = None) -> None:
        """Learn distinct lines, each as often as its weight (1 without weights)."""
        heavy = np.ones(len(lines), np.uint32) if weights is None else np.asarray(weights, np.uint32)
        done = 0
        found: list[tuple[list[Slots], NDArray[np.uint32]]] = []
        for piece in pieces(lines, self.kind.reach):
            layout = lay_out(piece, self.kind.end, self.kind.reach)
            weight = np.repeat(heavy[done : done + len(piece)], layout.lengths)
            found.append((list(self._slots(layout)), weight))
            done += len(piece)
        fresh: dict[int, list[NDArray[np.int64]]] = {order: [] for order in self.kind.orders}
        for every, _ in found:
            for slots in every:
                fresh[slots.order].append(self._unseen(slots))
        for every, weight in found:
            for slots in every:
                self._add(slots, weight)
        for order, keys in fresh.items():
            self._count_distinct(self._counts[order], np.concatenate(keys) if keys else np.empty(0, np.int64))
        self.learned_lines += len(lines)

    def crowded(self) -> bool:
        """Whether the current generation must end early: a table is a quarter full, or a count nears its limit."""
        size = 1 << self.table_bits
        return any(
            np.count_nonzero(counts.pair_now) > CROWDED_SHARE * size or counts.context.max() >= MOST_COUNTED
            for counts in self._counts.values()
        )

    def rotate(self) -> None:
        """End a generation: the current one becomes the previous one, and what was previous is forgotten.

        The tables take the smallest size that holds eight cells for each pair of the longest order. Growing repeats
        the older generation's cells, which leaves its answers as they are; shrinking adds cells up.
        """
        bits = _bits_for(int(np.count_nonzero(self._counts[self.kind.reach].pair_now)))
        self._counts = {order: counts.begin(bits) for order, counts in self._counts.items()}
        self.table_bits = bits
        self.learned_lines = 0

    # -- state ---------------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """The model as numbers and arrays for ``snapshot``."""
        return {
            "end": self.kind.end,
            "start": self.kind.start,
            "orders": list(self.kind.orders),
            "table_bits": self.table_bits,
            "learned_lines": self.learned_lines,
            "counts": [self._counts[order].to_state() for order in self.kind.orders],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The model that ``to_state`` described."""
        kind = Kind(state["end"], state["start"], tuple(state["orders"]))
        made = cls(kind, FEWEST_BITS)
        made.table_bits = state["table_bits"]
        made.learned_lines = state["learned_lines"]
        tables = zip(kind.orders, state["counts"], strict=True)
        made._counts = {order: _Counts.from_state(arrays) for order, arrays in tables}
        return made

    def frozen(self) -> Self:
        """A copy for scoring alone: learning the original does not change it."""
        state = self.to_state()
        state["counts"] = [
            {name: getattr(counts, name).copy() for name in _Counts.SEEN} for counts in self._counts.values()
        ]
        return self.from_state(state)

    # -- inside --------------------------------------------------------------------------------------------------

    def _slots(self, layout: Layout) -> Iterator[Slots]:
        """The cells of every order, one per coded position."""
        coded = layout.places - layout.reach
        for order, contexts, pairs in self._all_slots(layout):
            yield Slots(order, contexts.take(coded) if order else contexts, pairs.take(coded))

    def _all_slots(self, layout: Layout) -> Iterator[Slots]:
        """The cells of every order, shortest first, the padding between lines too; order 0 has one context."""
        mask = np.uint64((1 << self.table_bits) - 1)
        padded = layout.padded
        own = padded[layout.reach :] + np.uint64(1)
        own *= Q
        h = np.full(1, ROOT, np.uint64)
        spare = np.empty_like(own)
        for order in range(self.kind.reach + 1):
            if order:
                before = padded[layout.reach - order : padded.size - order] + np.uint64(1009 * order + 1)
                before ^= h
                before *= P
                h = before
                np.right_shift(h, _MIX, out=spare)
                h ^= spare
            if order in self._counts:
                contexts = h ^ np.uint64(7919 * order)
                pairs = own + contexts
                pairs *= P
                contexts *= Q
                contexts >>= _TOP
                contexts &= mask
                pairs >>= _TOP
                pairs &= mask
                yield Slots(order, contexts.view(np.int64), pairs.view(np.int64))

    def _without(self, slots: Slots, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
        """Counts of pairs, contexts and distinct symbols with each row's own share taken off."""
        counts = self._counts[slots.order]
        contexts = np.broadcast_to(slots.contexts, slots.pairs.shape)
        rest = counts.pair.take(slots.pairs).astype(np.int64) - _occurrences(
            rows, slots.pairs, self.table_bits
        )
        seen = counts.context.take(contexts).astype(np.int64) - _occurrences(rows, contexts, self.table_bits)
        distinct = counts.distinct.take(contexts).astype(np.int64)
        row_context = (rows << self.table_bits) | contexts
        pair_of = (row_context << self.table_bits) | slots.pairs
        vanished = np.unique(pair_of[rest == 0]) >> self.table_bits
        keys, times = np.unique(vanished, return_counts=True)
        if keys.size:
            place = np.minimum(np.searchsorted(keys, row_context), keys.size - 1)
            distinct -= np.where(keys[place] == row_context, times[place], 0)
        return rest.astype(np.float64), seen.astype(np.float64), np.maximum(distinct, 0).astype(np.float64)

    def _unseen(self, slots: Slots) -> NDArray[np.int64]:
        """Pairs that the current generation lacks, as ``context << 20 | pair``, without repeats."""
        lacking = self._counts[slots.order].pair_now.take(slots.pairs) == 0
        contexts = np.broadcast_to(slots.contexts, slots.pairs.shape)
        return np.unique((contexts[lacking] << MOST_BITS) | slots.pairs[lacking])

    def _add(self, slots: Slots, weight: NDArray[np.uint32]) -> None:
        counts = self._counts[slots.order]
        amount = weight if slots.order else weight.sum(dtype=np.uint32, keepdims=True)
        np.add.at(counts.pair, slots.pairs, weight)
        np.add.at(counts.context, slots.contexts, amount)
        if not counts.alone:
            np.add.at(counts.pair_now, slots.pairs, weight)
            np.add.at(counts.context_now, slots.contexts, amount)

    @staticmethod
    def _count_distinct(counts: _Counts, keys: NDArray[np.int64]) -> None:
        keys = np.unique(keys)
        contexts = keys >> MOST_BITS
        pairs = keys & ((1 << MOST_BITS) - 1)
        _grow(counts.distinct_now, contexts)
        if counts.alone:
            return
        new = contexts[counts.pair[pairs] == counts.pair_now[pairs]]
        _grow(counts.distinct_new, new)
        _grow(counts.distinct, new)


def _bits_for(pairs: int) -> int:
    """Bits of the smallest table with eight cells for each pair of the longest order."""
    wanted = max(1, SLOTS_PER_PAIR * pairs - 1).bit_length()
    return min(MOST_BITS, max(FEWEST_BITS, wanted))


def _back_off(
    p: NDArray[np.float64],
    both: NDArray[np.float64],
    seen: NDArray[np.float64],
    distinct: NDArray[np.float64],
) -> None:
    """Mix one order into the probabilities, in place; where the context is unknown they stay."""
    top = np.minimum(both, seen)
    top += distinct * p
    np.divide(top, seen + distinct, out=p, where=seen > 0)


def _occurrences(rows: NDArray[np.int64], cells: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """How often each position's cell is used in its row."""
    _, place, times = np.unique((rows << bits) | cells, return_inverse=True, return_counts=True)
    found: NDArray[np.int64] = times[place]
    return found


def _grow(table: NDArray[np.uint16], cells: NDArray[np.int64]) -> None:
    """Add one to each named cell as often as it is named, up to the largest number it can hold."""
    where, times = np.unique(cells, return_counts=True)
    table[where] = np.minimum(table[where].astype(np.int64) + times, _MOST_DISTINCT)


def _resized(table: NDArray[Any], bits: int) -> NDArray[Any]:
    """A table for another number of cells: repeated to grow, folded and added up to shrink."""
    size = 1 << bits
    if size >= table.size:
        return np.tile(table, size // table.size)
    folded: NDArray[np.int64] = table.astype(np.int64).reshape(-1, size).sum(axis=0)
    shrunk: NDArray[Any] = np.minimum(folded, np.iinfo(table.dtype).max).astype(table.dtype)
    return shrunk
