"""What is to be decided: options, criteria with their declared scales, and scores between the two.

Scales are declared, not taken from the data: an option that joins or leaves cannot turn the order of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

MILLI: Final = 1_000
WHOLE: Final = 1_000_000  # all weights together, in micro-units


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that matters: its scale, which end is good, its weight or rank, and where it vetoes.

    ``veto``: an option whose likely score is worse than this is out, whatever else it offers.
    """

    name: str
    low: float = 0.0
    high: float = 10.0
    direction: Literal["max", "min"] = "max"
    weight: float | None = None
    rank: int | None = None
    veto: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """A score that is not certain: at least, most likely, at most."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class Model:
    """Options by name, criteria, and scores by (option, criterion); a pair without one is unknown."""

    options: Sequence[str]
    criteria: Sequence[Criterion]
    scores: Mapping[tuple[str, str], Spread] = field(default_factory=dict)


def weights_of(criteria: Sequence[Criterion]) -> list[int]:
    """Return the weights in micro-units, which sum to a million exactly.

    Given weights are taken in proportion; ranks become rank-order-centroid weights (Barron and Barrett, 1996);
    with neither, all weigh the same.
    """
    if any(one.weight is not None for one in criteria):
        raw = [one.weight or 0.0 for one in criteria]
    elif any(one.rank is not None for one in criteria):
        places = sorted(range(len(criteria)), key=lambda i: (_rank(criteria[i]), i))
        raw = [0.0] * len(criteria)
        for place, number in enumerate(places, 1):
            raw[number] = sum(1.0 / k for k in range(place, len(criteria) + 1)) / len(criteria)
    else:
        raw = [1.0] * len(criteria)
    return _to_sum(raw)


def _rank(criterion: Criterion) -> int:
    return criterion.rank if criterion.rank is not None else 1_000


def _to_sum(raw: Sequence[float]) -> list[int]:
    """Scale to a million; what rounding leaves over goes to the largest remainders, the first of equals first."""
    total = sum(raw)
    exact = [part / total * WHOLE for part in raw] if total > 0 else [WHOLE / len(raw)] * len(raw)
    whole = [int(part) for part in exact]
    order = sorted(range(len(raw)), key=lambda i: (whole[i] - exact[i], i))
    for number in order[: WHOLE - sum(whole)]:
        whole[number] += 1
    return whole


def on_scale(score: float, criterion: Criterion) -> int:
    """Return a score as thousandths of its declared scale, the good end being 1,000."""
    share = (score - criterion.low) / (criterion.high - criterion.low)
    share = share if criterion.direction == "max" else 1.0 - share
    return round(MILLI * min(1.0, max(0.0, share)))
