"""Bursts that no single line gives away: the five dearest events of each window, summed and ranked among past windows.

A window is told only when no event in it was a candidate of its own, and then no window that overlaps it.
"""

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.tail import CENSOR_P, Reservoir, Tail, surprise_of

TOP: Final = 5
FLOOR: Final = 1000
FEWEST: Final = 100
"""Windows that must be known before one is told."""
_CENSOR: Final = surprise_of(CENSOR_P)
_SHORTEST, _LONGEST, _SHARE = 25, 1024, 16


class JudgedWindow(NamedTuple):
    """A window that is told: its events, the sum of its five dearest in thousandths of a bit, and the surprise."""

    first_seq: int
    last_seq: int
    score: int
    surprise: int


class WindowScores:
    """The windows of a stream: `size` events every `hop` events."""

    def __init__(self, size: int, hop: int) -> None:
        self.size = size
        self.hop = hop
        self.reservoir = Reservoir(FLOOR)
        self._totals = np.empty(0, np.int64)
        self._candidates = np.empty(0, np.bool_)
        self._seqs = np.empty(0, np.int64)
        self._skip = 0  # events until the next window begins, counted from the first held one
        self._told_until = 0  # position of the last event that was told in a window
        self._tail: Tail | None = None
        self._refit_in = 0

    @property
    def median(self) -> int:
        """The middle score of the windows known when the present tail was made."""
        return self._tail.median if self._tail is not None else 0

    def observe(
        self,
        totals: NDArray[np.int64],
        candidates: NDArray[np.bool_],
        seqs: NDArray[np.int64],
        alert_surprise: int,
        guard: float,
    ) -> list[JudgedWindow]:
        """Take the events of a block: their code lengths, which were candidates, their positions; give what to tell."""
        positions = np.concatenate([self._seqs, seqs])
        held = np.concatenate([self._totals, totals])
        flags = np.concatenate([self._candidates, candidates])
        starts = np.arange(self._skip, held.size - self.size + 1, self.hop)
        told: list[JudgedWindow] = []
        if starts.size:
            top = min(TOP, self.size)
            views = sliding_window_view(held, self.size)[starts]
            scores = np.partition(views, self.size - top, axis=1)[:, self.size - top :].sum(axis=1)
            spoken = np.logical_or.reduce(sliding_window_view(flags, self.size)[starts], axis=1)
            spans = np.stack([positions[starts], positions[starts + self.size - 1]], axis=1)
            told = self._judge(spans, scores, spoken, alert_surprise, guard)
        keep = int(starts[-1]) + self.hop if starts.size else self._skip
        cut = min(keep, held.size)
        self._skip = keep - cut
        self._totals, self._candidates, self._seqs = held[cut:], flags[cut:], positions[cut:]
        return told

    def _judge(
        self,
        spans: NDArray[np.int64],
        scores: NDArray[np.int64],
        spoken: NDArray[np.bool_],
        alert_surprise: int,
        guard: float,
    ) -> list[JudgedWindow]:
        told: list[JudgedWindow] = []
        at = 0
        while at < scores.size:
            if self._refit_in == 0:
                self._tail = self.reservoir.tail(guard)
                self._refit_in = min(_LONGEST, max(_SHORTEST, len(self.reservoir) // _SHARE))
            part = slice(at, at + self._refit_in)
            told += self._judge_part(spans[part], scores[part], spoken[part], alert_surprise)
            self._refit_in -= scores[part].size
            at += scores[part].size
        return told

    def _judge_part(
        self,
        spans: NDArray[np.int64],
        scores: NDArray[np.int64],
        spoken: NDArray[np.bool_],
        alert_surprise: int,
    ) -> list[JudgedWindow]:
        """Judge windows by one tail, then admit those without candidates; what looks rare is cut off."""
        if self._tail is None:
            raise RuntimeError("windows are judged by a tail")
        surprise = self._tail.surprise(scores)
        told = []
        if self._tail.ordered.size >= FEWEST:
            for place in np.flatnonzero((surprise >= alert_surprise) & ~spoken).tolist():
                first, last = spans[place].tolist()
                if first > self._told_until:
                    self._told_until = last
                    told.append(JudgedWindow(first, last, int(scores[place]), int(surprise[place])))
        rare = surprise >= _CENSOR
        admitted = np.where(rare, np.minimum(scores, self._tail.cap()), scores)
        self.reservoir.admit(admitted[~spoken], rare[~spoken], spans[~spoken, 1])
        return told

    def to_state(self) -> dict[str, Any]:
        """Everything for `snapshot`; the tail is of the scores that were held when it was made."""
        tail = self._tail
        return {
            "size": self.size,
            "hop": self.hop,
            "reservoir": self.reservoir.to_state(),
            "totals": self._totals,
            "candidates": self._candidates,
            "seqs": self._seqs,
            "skip": self._skip,
            "told_until": self._told_until,
            "refit_in": self._refit_in,
            "tail": None if tail is None else {name: getattr(tail, name) for name in Tail.__slots__},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The windows that `to_state` described."""
        made = cls(state["size"], state["hop"])
        made.reservoir = Reservoir.from_state(state["reservoir"])
        made._totals, made._candidates, made._seqs = state["totals"], state["candidates"], state["seqs"]
        made._skip, made._told_until = state["skip"], state["told_until"]
        made._refit_in = state["refit_in"]
        made._tail = None if state["tail"] is None else Tail(**state["tail"])
        return made
