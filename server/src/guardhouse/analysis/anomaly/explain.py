"""Why a line is unusual: bits per byte on the raw text, the stretches that hold them, the nearest usual line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.coder import BYTES, Coder
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.fitting import Learned
from guardhouse.analysis.anomaly.mask import Traced
from guardhouse.analysis.anomaly.tail import p_of

SHARE: Final = 0.8
"""Part of the excess that the named spans hold together."""
GAP: Final = 3
"""Spans with at most so many cheaper bytes between them are one."""
_MILLI: Final = 1000
_POWERS: Final = (
    (2, "100"),
    (3, "1,000"),
    (4, "10,000"),
    (5, "100,000"),
    (6, "1 million"),
    (7, "10 million"),
    (8, "100 million"),
    (9, "1 billion"),
    (10, "10 billion"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the raw line with the bits it costs, and its share of the line's excess."""

    start: int
    end: int
    text: str
    milli_bits: int
    share: float


@dataclass(frozen=True, slots=True)
class Part:
    """One ``path=value`` of a record: its cost, and the mean cost of a part."""

    path: str
    milli_bits: int


@dataclass(frozen=True, slots=True)
class Nearest:
    """The known line with most words in common, the words each has alone, and the share in common."""

    line: str
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    overlap: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The heat map (one cost per masked byte, the end of the line last), the spans, and the parts of a record."""

    text: str
    masked: str
    milli_bits: NDArray[np.int64]
    usual_milli: int
    spans: tuple[Span, ...]
    parts: tuple[Part, ...]

    @property
    def total_milli(self) -> int:
        """What the line costs."""
        return int(self.milli_bits.sum())


def explain_line(learned: Learned, event: Event) -> Explanation:
    """Explain one event by the rolling model; with ``zstd-1`` a ``cm-1`` model of its dictionary does it."""
    traced = learned.reader.trace(event)
    coder = learned.model.coder
    if not isinstance(coder, Coder):
        lines = coder.lines()
        coder = Coder(BYTES)
        coder.learn(lines)
    costs = coder.costs([traced.masked]).milli
    usual = learned.model.tails[0].median
    return Explanation(
        text=traced.raw.decode(errors="replace"),
        masked=traced.masked.decode(errors="replace"),
        milli_bits=costs,
        usual_milli=usual,
        spans=spans(traced, costs, int(costs.sum()) - usual),
        parts=_parts(traced.masked, costs) if event.body is not None else (),
    )


def spans(traced: Traced, costs: NDArray[np.int64], excess: int) -> tuple[Span, ...]:
    """The fewest stretches that hold four fifths of the excess, dearest first; none where there is no excess.

    Stretches of bytes that cost more than the mean are grown over small gaps, then taken by their cost above the mean.
    """
    if excess <= 0 or not traced.masked:
        return ()
    body = costs[: len(traced.masked)]
    mean = int(body.sum()) // max(1, body.size)
    found = sorted(
        _dear_runs(body, mean), key=lambda run: (-(_sum(body, run) - mean * (run[1] - run[0])), run)
    )
    held, chosen = 0, []
    for begin, end in found:
        cost = _sum(body, (begin, end))
        start, stop = traced.raw_span(begin, end)
        text = traced.raw[start:stop].decode(errors="replace")
        chosen.append(Span(start, stop, text, cost, round(min(1.0, cost / excess), 3)))
        held += cost
        if held >= SHARE * excess:
            break
    return tuple(chosen)


def nearest_normal(masked: str, known: Iterable[bytes]) -> Nearest | None:
    """The known line with the highest overlap of words (Jaccard); None when nothing is known."""
    words = set(masked.split())
    best: tuple[float, str, set[str]] | None = None
    for line in known:
        text = line.decode(errors="replace")
        other = set(text.split())
        overlap = len(words & other) / max(1, len(words | other))
        if best is None or (overlap, text) > (best[0], best[1]):
            best = overlap, text, other
    if best is None:
        return None
    overlap, text, other = best
    return Nearest(text, tuple(sorted(other - words)), tuple(sorted(words - other)), round(overlap, 3))


def sentence(
    stream: str, explanation: Explanation, surprise: int, nearest: Nearest | None, noun: str = "line"
) -> str:
    """One sentence for a person: how much longer than usual, how rare, which characters, what is usual instead."""
    excess = explanation.total_milli - explanation.usual_milli
    said = (
        f"`{stream}` wrote a {noun} {_bits(excess)} longer to describe than usual (chance {chance(surprise)})"
        if excess > 0
        else f"`{stream}` wrote a {noun} that is unusual (chance {chance(surprise)})"
    )
    if explanation.spans:
        first = explanation.spans[0]
        said += (
            f": {len(first.text)} characters `{first.text}` carry {first.milli_bits // _MILLI} of "
            f"{_bits(explanation.total_milli)}"
        )
    if nearest is not None:
        said += f"; the nearest usual {noun} is `{nearest.line}`"
    return said + "."


def chance(surprise: int) -> str:
    """A p-value in words: ``2 in 10 million``."""
    p = p_of(surprise)
    for power, name in _POWERS:
        if p >= 10.0**-power:
            return f"{max(1, round(p * 10**power))} in {name}"
    return "less than 1 in 10 billion"


def _bits(milli: int) -> str:
    return f"{round(milli / _MILLI)} bits"


def _sum(costs: NDArray[np.int64], run: tuple[int, int]) -> int:
    return int(costs[run[0] : run[1]].sum())


def _dear_runs(costs: NDArray[np.int64], mean: int) -> list[tuple[int, int]]:
    """Runs of bytes above the mean, joined over small gaps."""
    runs: list[tuple[int, int]] = []
    for place in np.flatnonzero(costs > mean).tolist():
        if runs and place - runs[-1][1] <= GAP:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs


def _parts(masked: bytes, costs: NDArray[np.int64]) -> tuple[Part, ...]:
    """The cost of each ``path=value`` of a record's line, the separator behind it included."""
    found: list[Part] = []
    at = 0
    pieces: Sequence[bytes] = masked.split(b"|")
    for piece in pieces:
        end = at + len(piece) + 1
        path = piece.partition(b"=")[0].decode(errors="replace")
        found.append(Part(path, int(costs[at:end].sum())))
        at = end
    return tuple(found)
