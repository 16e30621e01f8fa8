"""How usual a session is: its order of steps, and the set of them whatever their order, as code lengths.

Families: `sequence.mean` (a step's mean cost in order), `bag.peak` (the dearest step of the sorted session) and
`sequence.total`. A model is calibrated by four contiguous blocks, each scored by a model of the other three.
"""

from collections import Counter
from collections.abc import Container, Sequence
from statistics import median_low
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.coder import BAG, TRACE, WORKFLOW, Coder, Kind
from guardhouse.analysis.anomaly.decide import combine
from guardhouse.analysis.anomaly.open_sessions import PIECE
from guardhouse.analysis.anomaly.tail import Reservoir, Tail
from guardhouse.analysis.anomaly.warmup import MOST_WEIGHT, blocks

Symbols = tuple[int, ...]
FAMILIES: Final = ("sequence.mean", "bag.peak", "sequence.total")
FLOORS: Final = (50, 1000, 1000)
LONG: Final = 64
"""Median length of a session from which on sessions are traces and no workflows."""
WEIGHTS_OF_WORKFLOW: Final = (1 / 3, 1 / 3, 1 / 3)
WEIGHTS_OF_TRACE: Final = (0.8, 0.1, 0.1)
BAGS: Final = 256
LONGEST_BAG: Final = 512
CANDIDATES: Final = 256


class Dear(NamedTuple):
    """A step that costs much: its place, symbol, cost in thousandths of a bit, and the symbol that was expected."""

    place: int
    symbol: int
    milli_bits: int
    expected: int


class SessionWhy(NamedTuple):
    """Why a session is unusual: dearest steps, and what it lacks or has too much of beside the nearest usual one.

    `missing` and `surplus` are (symbol, how many); symbol 0 is the end of the session.
    """

    dearest: tuple[Dear, ...]
    missing: tuple[tuple[int, int], ...]
    surplus: tuple[tuple[int, int], ...]


class SessionModel:
    """Coders, reservoirs and usual bags. Frozen between `freeze` and what changes it."""

    def __init__(self, kind: Kind) -> None:
        self.sequence = Coder(kind)
        self.bag = Coder(BAG)
        self.reservoirs = [Reservoir(floor) for floor in FLOORS]
        self.bags: list[Symbols] = []
        """Of up to 256 learned sessions, the newest last: the sorted symbols."""
        self.tails: list[Tail] = []

    @property
    def is_trace(self) -> bool:
        """Whether sessions are long and judged mostly by their mean."""
        return self.sequence.kind == TRACE

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the families; they add up to 1."""
        return WEIGHTS_OF_TRACE if self.is_trace else WEIGHTS_OF_WORKFLOW

    @classmethod
    def fit(cls, sessions: Sequence[Symbols]) -> Self:
        """The model of some sessions, each in the order it came: calibrated by blocks, then taught all of them."""
        kind = TRACE if median_low([len(session) for session in sessions]) >= LONG else WORKFLOW
        model = cls(kind)
        places = np.arange(len(sessions), dtype=np.int64)
        for begin, end in blocks(len(sessions)):
            other = cls(kind)
            other.learn([*sessions[:begin], *sessions[end:]])
            scores = other.scores(sessions[begin:end])
            for reservoir, row in zip(model.reservoirs, scores, strict=True):
                reservoir.admit_plainly(row, places[begin:end])
        model.learn(sessions)
        return model

    def freeze(self, guard: float) -> None:
        """Take the tails as the reservoirs are now."""
        self.tails = [reservoir.tail(guard) for reservoir in self.reservoirs]

    def scores(self, sessions: Sequence[Symbols]) -> NDArray[np.int64]:
        """The families' scores, shape (3, sessions), in thousandths of a bit."""
        if not sessions:
            return np.empty((len(FAMILIES), 0), np.int64)
        ordered = self.sequence.costs(sessions)
        sorted_ones = self.bag.costs([sorted(session) for session in sessions])
        return np.stack([ordered.means(), sorted_ones.dearest(), ordered.totals()])

    def piece_means(self, pieces: Sequence[Symbols]) -> NDArray[np.int64]:
        """The mean cost of the last 256 symbols of each piece; what comes before them only leads up to them."""
        costs = self.sequence.costs(pieces)
        return np.array(
            [int(costs.of(row)[-PIECE - 1 : -1].sum()) // PIECE for row in range(len(pieces))], np.int64
        )

    def family_surprise(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """The surprise of each score in its family, shape (3, sessions)."""
        return np.stack([tail.surprise(row) for tail, row in zip(self.tails, scores, strict=True)])

    def combined(self, surprise: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weighted Bonferroni over the families that are given, the first ones: min(1, min p / w)."""
        return combine(list(surprise), self.weights[: len(surprise)])

    def learn(self, sessions: Sequence[Symbols]) -> None:
        """Learn sessions, equal ones once with their number as weight, 64 at most."""
        counts = Counter(sessions)
        if not counts:
            return
        weights = [min(count, MOST_WEIGHT) for count in counts.values()]
        self.sequence.learn(list(counts), weights)
        of_bags: Counter[Symbols] = Counter()
        for session, count in counts.items():
            of_bags[tuple(sorted(session))] += count
        self.bag.learn(list(of_bags), [min(count, MOST_WEIGHT) for count in of_bags.values()])
        usual = [bag for bag, _ in reversed(of_bags.most_common(BAGS)) if len(bag) <= LONGEST_BAG]
        known = set(usual)
        self.bags = [*(bag for bag in self.bags if bag not in known), *usual][-BAGS:]
        for coder in (self.sequence, self.bag):
            if coder.crowded():
                coder.rotate()

    # -- explanation -----------------------------------------------------------------------------------------------

    def explain(self, symbols: Symbols, known: Sequence[int], most: int = 3) -> SessionWhy:
        """Say what makes a session dear; `known` are the symbols among which the expected one is looked for."""
        costs = self.sequence.costs([symbols]).of(0)
        order = np.argsort(-costs, kind="stable")[:most]
        whole = (*symbols, self.sequence.kind.end)
        dearest = tuple(
            Dear(place, whole[place], int(costs[place]), self._expected(symbols[:place], known))
            for place in sorted(order.tolist())
        )
        missing, surplus = self._beside_nearest(symbols)
        return SessionWhy(dearest, missing, surplus)

    def shape(self, symbols: Symbols, known: Container[int]) -> tuple[int, int]:
        """What unusual sessions of one cause share: the dearest step as (symbol before it, symbol).

        The symbol before does not matter where the step itself is not known; it is 0 then.
        """
        place = int(np.argmax(self.sequence.costs([symbols]).of(0)))
        end = self.sequence.kind.end
        whole = (end, *symbols, end)
        symbol = whole[place + 1]
        return (whole[place] if symbol == end or symbol in known else end), symbol

    def _expected(self, before: Symbols, known: Sequence[int]) -> int:
        """The cheapest symbol after some; 0 is the end."""
        lead = before[-self.sequence.kind.reach :]
        choices = list(known[:CANDIDATES])
        costs = self.sequence.costs([(*lead, symbol) for symbol in choices] + [lead])
        of_choices = [int(costs.of(row)[len(lead)]) for row in range(len(choices) + 1)]
        best = of_choices.index(min(of_choices))
        return choices[best] if best < len(choices) else self.sequence.kind.end

    def _beside_nearest(self, symbols: Symbols) -> tuple[tuple[tuple[int, int], ...], ...]:
        own = Counter(symbols)
        if not self.bags:
            return (), ()
        usual = min(
            (Counter(bag) for bag in reversed(self.bags)), key=lambda bag: ((own - bag) + (bag - own)).total()
        )
        return tuple(sorted((usual - own).items())), tuple(sorted((own - usual).items()))

    # -- state -----------------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """The model for `snapshot`, without the tails."""
        return {
            "sequence": self.sequence.to_state(),
            "bag": self.bag.to_state(),
            "reservoirs": [reservoir.to_state() for reservoir in self.reservoirs],
            "bags": [list(bag) for bag in self.bags],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], guard: float) -> Self:
        """The model that `to_state` described, frozen with a guard."""
        model = cls(WORKFLOW)
        model.sequence, model.bag = Coder.from_state(state["sequence"]), Coder.from_state(state["bag"])
        model.reservoirs = [Reservoir.from_state(one) for one in state["reservoirs"]]
        model.bags = [tuple(bag) for bag in state["bags"]]
        model.freeze(guard)
        return model
