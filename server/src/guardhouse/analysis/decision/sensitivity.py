"""How firm a decision is: what would have to change, by how much, for another option to win.

Everything here is exact or repeatable: intervals in closed form, and draws from a counter that the inputs seed, with
only the four operations and the square root, which IEEE 754 fixes to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.splitmix import uniform
from guardhouse.analysis.decision.model import MILLI, WHOLE, Criterion, Model, on_scale, weights_of

DRAWS: Final = 4_096
WEIGHT_SPREAD: Final = 0.3  # weights are drawn within ± 30 %


@dataclass(frozen=True, slots=True)
class WeightSpan:
    """Between which weights (micro-units) of one criterion the winner stays, the others keeping their proportions."""

    criterion: str
    weight: int
    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Flip:
    """The smallest change of one score, in thousandths of its scale, that lets another option draw level."""

    option: str
    criterion: str
    change_milli: int
    winner: str


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How firm the winner stands; ``reliability_milli`` is the share of draws that it wins."""

    winner: str
    reliability_milli: int
    weights: tuple[WeightSpan, ...]
    flip: Flip | None
    without: tuple[tuple[str, str], ...]
    dominated: tuple[tuple[str, str], ...]


def examine(model: Model, options: Sequence[str], seed: int) -> Sensitivity:
    """Examine a decision between options that are wholly known and not vetoed.

    Args:
        model: The decision.
        options: Which of its options compete; each has every score.
        seed: Of the draws.
    """
    weights = weights_of(model.criteria)
    table = [
        [on_scale(model.scores[option, one.name].likely, one) for one in model.criteria] for option in options
    ]
    winner = _winner(table, weights)
    return Sensitivity(
        options[winner],
        _reliability(model, options, winner, seed),
        tuple(
            WeightSpan(one.name, weights[i], *_span(table, weights, i, winner))
            for i, one in enumerate(model.criteria)
        ),
        _flip(model.criteria, options, table, weights, winner),
        tuple(_without(model.criteria, options, table, weights)),
        tuple(_dominated(options, table)),
    )


def _values(table: Sequence[Sequence[int]], weights: Sequence[int]) -> list[int]:
    return [sum(w * s for w, s in zip(weights, row, strict=True)) for row in table]


def _winner(table: Sequence[Sequence[int]], weights: Sequence[int]) -> int:
    values = _values(table, weights)
    return values.index(max(values))


def _span(table: Sequence[Sequence[int]], weights: Sequence[int], i: int, winner: int) -> tuple[int, int]:
    """Return for which weights t of criterion i no rival passes the winner: t * s_i + (1 - t) * the rest is linear."""
    others = WHOLE - weights[i]
    low, high = 0.0, 1.0
    for rival, row in enumerate(table):
        if rival == winner:
            continue
        at_all = table[winner][i] - row[i]  # lead at t = 1
        rest = sum(
            w * (a - b) for j, (w, a, b) in enumerate(zip(weights, table[winner], row, strict=True)) if j != i
        )
        at_none = rest / others if others else 0.0  # lead at t = 0
        slope = at_all - at_none
        if slope > 0:
            low = max(low, -at_none / slope)
        elif slope < 0:
            high = min(high, at_none / -slope)
    return round(low * WHOLE), round(high * WHOLE)


def _flip(
    criteria: Sequence[Criterion],
    options: Sequence[str],
    table: Sequence[Sequence[int]],
    weights: Sequence[int],
    winner: int,
) -> Flip | None:
    values = _values(table, weights)
    best: Flip | None = None
    for rival, row in enumerate(table):
        lead = values[winner] - values[rival]
        for i, criterion in enumerate(criteria):
            if rival == winner or weights[i] == 0:
                continue
            needed = -(-lead // weights[i])
            for option, room, sign in (
                (options[rival], MILLI - row[i], 1),
                (options[winner], table[winner][i], -1),
            ):
                if needed <= room and (best is None or needed < abs(best.change_milli)):
                    best = Flip(option, criterion.name, sign * needed, options[rival])
    return best


def _without(
    criteria: Sequence[Criterion],
    options: Sequence[str],
    table: Sequence[Sequence[int]],
    weights: Sequence[int],
) -> list[tuple[str, str]]:
    """Return the winner when one criterion is left out, for each of them."""
    found = []
    for i, criterion in enumerate(criteria):
        left = [0 if j == i else weight for j, weight in enumerate(weights)]
        if any(left):
            found.append((criterion.name, options[_winner(table, left)]))
    return found


def _dominated(options: Sequence[str], table: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
    """Return options that another one is nowhere worse and somewhere better than, with the first such one."""
    found = []
    for name, row in zip(options, table, strict=True):
        for other, better in zip(options, table, strict=True):
            if row != better and all(a <= b for a, b in zip(row, better, strict=True)):
                found.append((name, other))
                break
    return found


def _reliability(model: Model, options: Sequence[str], winner: int, seed: int) -> int:
    """Return the share of draws in which the winner wins: weights ± 30 % renormalised, scores triangular."""
    n, m = len(options), len(model.criteria)
    drawn = uniform(seed, 0, DRAWS * m * (n + 1)).reshape(DRAWS, n + 1, m)
    base = np.array(weights_of(model.criteria), dtype=np.float64)
    weights = base * (1.0 - WEIGHT_SPREAD + 2.0 * WEIGHT_SPREAD * drawn[:, 0, :])
    weights = weights / weights.sum(axis=1, keepdims=True)
    values = np.empty((DRAWS, n))
    for k, option in enumerate(options):
        total = np.zeros(DRAWS)
        for j, criterion in enumerate(model.criteria):
            total = total + weights[:, j] * _triangular(model, option, criterion, drawn[:, k + 1, j])
        values[:, k] = total
    wins = int(np.count_nonzero(values[:, winner] >= values.max(axis=1)))
    return round(MILLI * wins / DRAWS)


def _triangular(
    model: Model, option: str, criterion: Criterion, u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw a score on its scale by the inverse of the triangular distribution."""
    score = model.scores[option, criterion.name]
    low, high = sorted((on_scale(score.low, criterion), on_scale(score.high, criterion)))
    mode = on_scale(score.likely, criterion)
    if low == high:
        return np.full_like(u, float(low))
    span, below = float(high - low), float(mode - low)
    rising = low + np.sqrt(u * span * below)
    falling = high - np.sqrt((1.0 - u) * span * (span - below))
    return np.where(u * span < below, rising, falling)
