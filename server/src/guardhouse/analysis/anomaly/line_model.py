"""The rolling model of a stream's lines: costs, rarity of each distinct line, and which lines were ever learned.

Model and reservoirs are frozen inside an epoch, so a line has one score per epoch and is scored once (the memo).
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.coder import BYTES, ROTATE_LINES, UNKNOWN_BITS, Coder
from guardhouse.analysis.anomaly.dictionary import DictionaryCoder
from guardhouse.analysis.anomaly.tail import TWO, Reservoir, Tail, surprise_of

LineCoder = Coder | DictionaryCoder
FLOOR: Final = 1000
"""Smallest mean excess of the tail of code lengths, in thousandths of a bit."""
NOVEL_SIZE: Final = 500
FEWEST_NOVEL: Final = 20
USUAL: Final = 4096
USUAL_LONGEST: Final = 1024
RECENT: Final = 8192
REMEMBERED: Final = 65_536
"""Events over which the rate of first sightings is taken: lately, and as far back as is remembered."""
GENERATION_US: Final = 7 * 86_400_000_000


def coder_named(name: str, table_bits: int = UNKNOWN_BITS) -> LineCoder:
    """An empty coder: ``cm`` or ``zstd``."""
    return DictionaryCoder() if name == "zstd" else Coder(BYTES, table_bits)


def families_of(coder: LineCoder) -> tuple[str, ...]:
    """The names of what ``line_scores`` gives."""
    return ("text.total",) if isinstance(coder, DictionaryCoder) else ("text.total", "text.maxrun")


def line_scores(coder: LineCoder, lines: Sequence[bytes]) -> NDArray[np.int64]:
    """The families' scores of lines: shape (families, lines)."""
    if isinstance(coder, DictionaryCoder):
        alone: NDArray[np.int64] = coder.totals(lines).reshape(1, -1)
        return alone
    costs = coder.costs(lines)
    both: NDArray[np.int64] = np.stack([costs.totals(), costs.dearest_run()])
    return both


def line_surprise(tails: Sequence[Tail], scores: NDArray[np.int64]) -> NDArray[np.int64]:
    """The surprise of the smallest p of the families, times their number."""
    found = tails[0].surprise(scores[0])
    for tail, row in zip(tails[1:], scores[1:], strict=True):
        found = np.maximum(np.maximum(found, tail.surprise(row)) - TWO, 0)
    return found


def fingerprint(line: bytes) -> int:
    """The number of a masked line, below 2^63: its template."""
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "big") >> 1


class LineModel:
    """Coder, reservoirs, memory of learned lines, and the distinct lines of the running epoch."""

    def __init__(self, coder: LineCoder) -> None:
        self.coder = coder
        self.families = families_of(coder)
        self.reservoirs = [Reservoir(FLOOR) for _ in self.families]
        self.novel = [Reservoir(FLOOR, NOVEL_SIZE) for _ in self.families]
        self.known: set[int] = set()
        self.known_before: set[int] = set()
        self.usual: dict[int, bytes] = {}
        """The lines learned last, by template, for explanations."""
        self.generation_us: int | None = None
        """Event time at which the current generation began."""
        self.recent = np.zeros(0, np.bool_)
        """Of the last events: whether each was the first sighting of its line."""
        self.freeze(1.0)

    def freeze(self, guard: float) -> None:
        """Begin an epoch: tails as the reservoirs are now, no line scored yet."""
        self.tails = [reservoir.tail(guard) for reservoir in self.reservoirs]
        self.novel_tails = [reservoir.tail(guard) for reservoir in self.novel]
        self.rate_surprise = surprise_of(self._first_sighting_rate())
        self._numbers: dict[bytes, int] = {}
        self.lines: list[bytes] = []
        self.templates: list[int] = []
        self.scores = np.empty((len(self.families), 0), np.int64)
        self.surprise = np.empty(0, np.int64)
        self.fresh = np.empty(0, np.bool_)
        """Of each distinct line: never learned."""

    def _first_sighting_rate(self) -> float:
        """How usual a first sighting is: lately, but never less than what all remembered events let us say.

        The estimate of Krichevsky and Trofimov, (k + 1/2) / (n + 1): after n events without any, one more has half the
        p-value of 1 / (n + 1), so that a lone new line passes the control of false discoveries over an epoch.
        """
        lately = self.recent[-RECENT:]
        all_along = (int(np.count_nonzero(self.recent)) + 0.5) / (self.recent.size + 1)
        return max(int(np.count_nonzero(lately)) / max(1, lately.size), all_along)

    def look_up(self, lines: Sequence[bytes]) -> NDArray[np.int64]:
        """The numbers of lines among the epoch's distinct lines; those not met before are scored."""
        numbers = self._numbers
        missing = [line for line in dict.fromkeys(lines) if line not in numbers]
        if missing:
            self._score(missing)
        return np.fromiter(map(numbers.__getitem__, lines), np.int64, len(lines))

    def keep_first(self, size: int) -> None:
        """Forget all but the first distinct lines of the epoch: those that were only asked about came after them."""
        for line in self.lines[size:]:
            del self._numbers[line]
        self.lines, self.templates = self.lines[:size], self.templates[:size]
        self.scores, self.surprise = self.scores[:, :size], self.surprise[:size]
        self.fresh = self.fresh[:size]

    def learn(self, lines: Sequence[bytes], weights: Sequence[int], templates: Sequence[int]) -> None:
        """Learn distinct lines and remember that they were."""
        self.coder.learn(lines, weights)
        self.known.update(templates)
        for template, line in zip(templates, lines, strict=True):
            if len(line) <= USUAL_LONGEST:
                self.usual.pop(template, None)
                self.usual[template] = line
        while len(self.usual) > USUAL:
            self.usual.pop(next(iter(self.usual)))

    def rotate_if_due(self, time_us: int) -> bool:
        """End the generation when it has its lines and its days, or when its tables fill up."""
        if self.generation_us is None:
            self.generation_us = time_us
        old = self.coder.learned_lines >= ROTATE_LINES and time_us - self.generation_us >= GENERATION_US
        if not old and not self.coder.crowded():
            return False
        self.coder.rotate()
        self.known_before, self.known = self.known, set()
        self.generation_us = time_us
        return True

    def note_sightings(self, first: NDArray[np.bool_]) -> None:
        """Keep of the last events which were first sightings."""
        self.recent = np.concatenate([self.recent, first])[-REMEMBERED:]

    def _score(self, missing: list[bytes]) -> None:
        scores = line_scores(self.coder, missing)
        templates = [fingerprint(line) for line in missing]
        known, before = self.known, self.known_before
        fresh = np.fromiter((t not in known and t not in before for t in templates), np.bool_, len(templates))
        surprise = line_surprise(self.tails, scores)
        bounded = np.minimum(surprise, self.rate_surprise + self._novel_surprise(scores))
        for line in missing:
            self._numbers[line] = len(self._numbers)
        self.lines += missing
        self.templates += templates
        self.scores = np.concatenate([self.scores, scores], axis=1)
        self.surprise = np.concatenate([self.surprise, np.where(fresh, bounded, surprise)])
        self.fresh = np.concatenate([self.fresh, fresh])

    def _novel_surprise(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """The surprise of a first sighting among first sightings."""
        held = len(self.novel[0])
        if held < FEWEST_NOVEL:
            return np.full(scores.shape[1], surprise_of(1 / (1 + held)))
        return line_surprise(self.novel_tails, scores)

    def to_state(self) -> dict[str, Any]:
        """The model for ``snapshot``, without what an epoch can make again."""
        return {
            "coder": self.coder.to_state(),
            "zstd": isinstance(self.coder, DictionaryCoder),
            "reservoirs": [reservoir.to_state() for reservoir in self.reservoirs],
            "novel": [reservoir.to_state() for reservoir in self.novel],
            "known": np.array(sorted(self.known), np.int64),
            "usual": list(self.usual.values()),
            "known_before": np.array(sorted(self.known_before), np.int64),
            "generation_us": self.generation_us,
            "recent": self.recent,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], guard: float) -> Self:
        """The model that ``to_state`` described, frozen with the guard that its epoch began with."""
        read: Callable[[dict[str, Any]], LineCoder] = (
            DictionaryCoder.from_state if state["zstd"] else Coder.from_state
        )
        made = cls(read(state["coder"]))
        made.reservoirs = [Reservoir.from_state(one) for one in state["reservoirs"]]
        made.novel = [Reservoir.from_state(one) for one in state["novel"]]
        made.known = set(state["known"].tolist())
        made.known_before = set(state["known_before"].tolist())
        made.usual = {fingerprint(line): line for line in state["usual"]}
        made.generation_us = state["generation_us"]
        made.recent = state["recent"]
        made.freeze(guard)
        return made
