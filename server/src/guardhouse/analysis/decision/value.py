"""What each option is worth: the weighted sum of its scores in thousandths, and TOPSIS beside it.

TOPSIS (Hwang and Yoon, 1981) asks how near an option is to the best and how far from the worst. Where the two
disagree that is told; they are not averaged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guardhouse.analysis.decision.model import MILLI, WHOLE, Model, on_scale, weights_of


@dataclass(frozen=True, slots=True)
class Worth:
    """An option's value in thousandths: the least and the most it can be, and the likely one if all is known.

    ``points`` is what the order goes by: the value before it was rounded, or the middle of its span.
    """

    option: str
    least: int
    likely: int | None
    most: int
    closeness: int | None
    vetoed_by: str | None
    unknown: tuple[str, ...]
    points: int


def weigh(model: Model) -> list[Worth]:
    """Return what the options are worth, the best first; vetoed ones come last.

    An unknown score may be anything on its scale: it widens the span from least to most and leaves ``likely`` open.
    """
    weights = weights_of(model.criteria)
    near = _closeness(model, weights)
    found = [_worth(model, option, weights, near.get(option)) for option in model.options]
    return sorted(found, key=lambda one: (one.vetoed_by is not None, -one.points, one.option))


def _worth(model: Model, option: str, weights: Sequence[int], closeness: int | None) -> Worth:
    least = likely = most = 0
    unknown: list[str] = []
    vetoed: str | None = None
    for criterion, weight in zip(model.criteria, weights, strict=True):
        score = model.scores.get((option, criterion.name))
        if score is None:
            unknown.append(criterion.name)
            most += weight * MILLI
            continue
        ends = sorted((on_scale(score.low, criterion), on_scale(score.high, criterion)))
        least += weight * ends[0]
        likely += weight * on_scale(score.likely, criterion)
        most += weight * ends[1]
        if criterion.veto is not None and vetoed is None:
            worse = (
                score.likely < criterion.veto
                if criterion.direction == "max"
                else score.likely > criterion.veto
            )
            vetoed = criterion.name if worse else None
    return Worth(
        option,
        least // WHOLE,
        None if unknown else (likely + WHOLE // 2) // WHOLE,
        -(-most // WHOLE),
        closeness,
        vetoed,
        tuple(unknown),
        (least + most) // 2 if unknown else likely,
    )


def _closeness(model: Model, weights: Sequence[int]) -> dict[str, int]:
    """Return TOPSIS closeness in thousandths of the options that are wholly known."""
    table: dict[str, list[float]] = {}
    for option in model.options:
        scores = [model.scores.get((option, criterion.name)) for criterion in model.criteria]
        known = [score for score in scores if score is not None]
        if len(known) == len(model.criteria):
            table[option] = [
                on_scale(score.likely, criterion) * weight / WHOLE
                for score, criterion, weight in zip(known, model.criteria, weights, strict=True)
            ]
    found: dict[str, int] = {}
    for option, row in table.items():
        best = [max(column) for column in zip(*table.values(), strict=True)]
        worst = [min(column) for column in zip(*table.values(), strict=True)]
        to_best = math.sqrt(sum((a - b) ** 2 for a, b in zip(row, best, strict=True)))
        to_worst = math.sqrt(sum((a - b) ** 2 for a, b in zip(row, worst, strict=True)))
        both = to_best + to_worst
        found[option] = round(MILLI * to_worst / both) if both > 0 else MILLI
    return found
