"""Many lines in one array, padded in front for the contexts and ended by one coded symbol; and their costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

RUN: Final = 8
"""Length of the stretch whose dearest place is a family of its own."""
_PIECE: Final = 16_384
"""Symbols worked on at once, so that the intermediate arrays stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Lines one after another. ``places`` are the coded positions in ``padded``; line i has ``lengths[i]`` of them."""

    padded: NDArray[np.uint64]
    reach: int
    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def size(self) -> int:
        """The number of coded symbols, ends included."""
        return int(self.places.size)


def lay_out(lines: Sequence[Sequence[int]], end: int, reach: int) -> Layout:
    """Lay out byte strings or rows of symbols, each behind ``reach`` padding symbols and before one end symbol."""
    lengths = np.fromiter((len(line) + 1 for line in lines), np.int64, len(lines))
    first = lines[0] if len(lines) else b""
    if isinstance(first, bytes):
        pad = bytes([end]) * reach
        joined = pad + (bytes([end]) + pad).join(lines) + bytes([end])  # type: ignore[arg-type] # all are bytes
        padded = np.frombuffer(joined, np.uint8).astype(np.uint64)
    else:
        padded = np.full(int(lengths.sum()) + reach * len(lines), end, np.uint64)
        at = 0
        for line in lines:
            padded[at + reach : at + reach + len(line)] = line
            at += reach + len(line) + 1
    starts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum()), dtype=np.int64)
    places += np.repeat(reach * np.arange(1, len(lines) + 1, dtype=np.int64), lengths)
    return Layout(padded, reach, places, starts, lengths)


def pieces(lines: Sequence[Sequence[int]], reach: int) -> Iterator[Sequence[Sequence[int]]]:
    """Cut lines into runs of about ``_PIECE`` symbols; a line is never cut."""
    begun = held = 0
    for number, line in enumerate(lines):
        held += len(line) + reach + 1
        if held >= _PIECE:
            yield lines[begun : number + 1]
            begun, held = number + 1, 0
    if begun < len(lines):
        yield lines[begun:]


@dataclass(frozen=True, slots=True)
class Costs:
    """Thousandths of a bit of every symbol of many lines; line i is ``milli[starts[i] : starts[i] + lengths[i]]``."""

    milli: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The costs of several batches as one."""
        if len(parts) == 1:
            return parts[0]
        none = np.empty(0, np.int64)
        lengths = np.concatenate([none, *(part.lengths for part in parts)])
        milli = np.concatenate([none, *(part.milli for part in parts)])
        return cls(milli, np.cumsum(lengths) - lengths, lengths)

    def of(self, line: int) -> NDArray[np.int64]:
        """The costs of one line's symbols; the last is its end."""
        return self.milli[self.starts[line] : self.starts[line] + self.lengths[line]]

    def totals(self) -> NDArray[np.int64]:
        """The sum of each line."""
        return _reduce(np.add, self.milli, self.starts)

    def dearest(self) -> NDArray[np.int64]:
        """The dearest symbol of each line."""
        return _reduce(np.maximum, self.milli, self.starts)

    def dearest_run(self, run: int = RUN) -> NDArray[np.int64]:
        """The largest sum over ``run`` consecutive symbols of each line (of all of them where it has fewer)."""
        sums = np.concatenate([[0], np.cumsum(self.milli)])
        here = np.arange(self.milli.size)
        stop = np.minimum(here + run, np.repeat(self.starts + self.lengths, self.lengths))
        return _reduce(np.maximum, sums[stop] - sums[here], self.starts)

    def means(self) -> NDArray[np.int64]:
        """The mean cost of a symbol of each line, rounded down."""
        return self.totals() // self.lengths


def _reduce(how: np.ufunc, numbers: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    if not starts.size:
        return np.empty(0, np.int64)
    reduced: NDArray[np.int64] = how.reduceat(numbers, starts)
    return reduced
