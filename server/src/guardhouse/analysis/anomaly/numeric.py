"""Numeric fields of records: how far a value lies from those seen before, both ways and inside gaps.

A value becomes ``sign(x) ln(1 + |x|)``, then a z-score within its group; the score is the mean distance to the ten
nearest reference values. Everything after the logarithm is integer arithmetic in millionths.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.tail import SIZE, Reservoir, Tail

MOST_FIELDS: Final = 16
NEAREST: Final = 10
FLOOR: Final = 20
"""Smallest mean excess of the tail of distances, in thousandths."""
_MILLION: Final = 1_000_000
_SOFT: Final = 100_000
"""What is added to a standard deviation, in millionths, so that constant fields have z-scores."""
_FEWEST_VALUES: Final = 20
_GROUPS: Final = (2, 50)
_LEAST_EFFECT: Final = 0.05
_REPEATS: Final = 0.95
"""Explained share of the variance from which one field repeats another."""
_LEAST_REPEATED: Final = 4
"""Records per value, on average, from which a string field can be seen to determine a number."""
_MISSING: Final = np.iinfo(np.int64).min
_NONE: Final = np.empty(0, np.int64)


def scaled(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """``sign(x) ln(1 + |x|)`` in millionths; NaN (no value) stays apart as the smallest integer."""
    known = ~np.isnan(values)
    given = np.where(known, values, 0.0)
    found = np.round(np.sign(given) * np.log1p(np.abs(given)) * _MILLION).astype(np.int64)
    return np.where(known, found, _MISSING)


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and standard deviation of scaled values, in millionths."""

    count: int
    mean: int
    deviation: int

    @classmethod
    def of(cls, values: NDArray[np.int64]) -> "Moments":
        """The moments of values, by exact integer sums."""
        given = [int(value) for value in values]
        if not given:
            return cls(0, 0, 0)
        mean = sum(given) // len(given)
        return cls(len(given), mean, isqrt(sum((value - mean) ** 2 for value in given) // len(given)))

    def z(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The z-scores of values, in millionths."""
        return np.round((values - self.mean) * (_MILLION / (self.deviation + _SOFT))).astype(np.int64)


class Field:
    """One numeric field: moments by group, reference values, reservoir of scores and its frozen tail."""

    def __init__(self, path: str, grouping: str = "", share: float = 1.0) -> None:
        self.path = path
        self.share = share
        """Part of the numeric weight; fields that repeat each other have one part together."""
        self.grouping = grouping
        """Path of the string field whose value is the group; empty when there is none."""
        self.overall = Moments(0, 0, 0)
        self.groups: dict[str, Moments] = {}
        self.reference = _NONE
        self.reservoir = Reservoir(FLOOR)
        self.tail: Tail = self.reservoir.tail(1.0)

    def fit(self, values: NDArray[np.int64], groups: Sequence[str]) -> None:
        """Take moments and reference from scaled values."""
        known = values != _MISSING
        self.overall = Moments.of(values[known])
        self.groups = {}
        if self.grouping:
            names = np.array(groups, dtype=object)
            for name in sorted(set(groups)):
                of_group = Moments.of(values[known & (names == name)])
                if name and of_group.count >= _FEWEST_VALUES:
                    self.groups[name] = of_group
        self.reference = self.z(values, groups)[known][-SIZE:]

    def z(self, values: NDArray[np.int64], groups: Sequence[str]) -> NDArray[np.int64]:
        """z-scores by group; meaningless where the value is missing."""
        given = np.where(values == _MISSING, self.overall.mean, values)
        found = self.overall.z(given)
        if self.groups:
            names = np.array(groups, dtype=object)
            for name in set(groups) & self.groups.keys():
                mine = names == name
                found[mine] = self.groups[name].z(given[mine])
        return found

    def scores(self, z: NDArray[np.int64]) -> NDArray[np.int64]:
        """Mean distance to the ten nearest reference values, in thousandths."""
        ordered = np.sort(self.reference)
        near = min(NEAREST, ordered.size)
        if not near:
            return np.zeros(z.size, np.int64)
        at = np.searchsorted(ordered, z)
        reach = np.clip(at[:, None] + np.arange(-near, near), 0, ordered.size - 1)
        distance = np.abs(ordered[reach] - z[:, None])
        outside = (at[:, None] + np.arange(-near, near) < 0) | (
            at[:, None] + np.arange(-near, near) >= ordered.size
        )
        distance[outside] = np.iinfo(np.int64).max
        distance.sort(axis=1)
        found: NDArray[np.int64] = distance[:, :near].sum(axis=1) // (near * 1000)
        return found

    def admit(self, z: NDArray[np.int64]) -> None:
        """Add reference values; the oldest leave."""
        self.reference = np.concatenate([self.reference, z])[-SIZE:]

    def freeze(self, guard: float) -> None:
        """Make the tail of the reservoir as it is now."""
        self.tail = self.reservoir.tail(guard)

    def to_state(self) -> dict[str, Any]:
        """The field for ``snapshot``."""
        return {
            "path": self.path,
            "share": self.share,
            "grouping": self.grouping,
            "overall": [self.overall.count, self.overall.mean, self.overall.deviation],
            "groups": {name: [m.count, m.mean, m.deviation] for name, m in self.groups.items()},
            "reference": self.reference,
            "reservoir": self.reservoir.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The field that ``to_state`` described; its tail is made by ``freeze``."""
        made = cls(state["path"], state["grouping"], state["share"])
        made.overall = Moments(*state["overall"])
        made.groups = {name: Moments(*moments) for name, moments in state["groups"].items()}
        made.reference = state["reference"]
        made.reservoir = Reservoir.from_state(state["reservoir"])
        return made


def columns(fields: Sequence[str], records: Sequence[Mapping[str, float]]) -> NDArray[np.int64]:
    """Scaled values of fields (rows) over records (columns)."""
    if not fields or not records:
        return np.full((len(fields), len(records)), _MISSING)
    nan = float("nan")
    return scaled(np.array([[record.get(path, nan) for record in records] for path in fields], np.float64))


def is_known(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a scaled value is given."""
    known: NDArray[np.bool_] = values != _MISSING
    return known


def choose_fields(
    records: Sequence[Mapping[str, float]], strings: Sequence[Mapping[str, str]]
) -> list[Field]:
    """The at most 16 numeric fields to watch, the most varying first, each with the grouping that explains it best."""
    count: Counter[str] = Counter(path for record in records for path in record)
    paths = sorted(path for path, times in count.items() if times >= _FEWEST_VALUES)
    values = columns(paths, records)
    spread = {
        path: Moments.of(row[row != _MISSING]).deviation for path, row in zip(paths, values, strict=True)
    }
    row_of = {path: number for number, path in enumerate(paths)}
    chosen = sorted(paths, key=lambda path: (-spread[path], path))[:MOST_FIELDS]
    candidates = _groupings(strings)
    rows = [values[row_of[path]] for path in chosen]
    return [
        Field(path, _best_grouping(row, candidates), share)
        for path, row, share in zip(chosen, rows, _shares(rows, strings), strict=True)
    ]


def _shares(rows: Sequence[NDArray[np.int64]], strings: Sequence[Mapping[str, str]]) -> list[float]:
    """Equal parts for fields that say different things; those that repeat each other divide one part.

    Fields repeat each other when they rise and fall together, or when one string field determines them.
    """
    decided_by = [_determining(row, strings) for row in rows]
    cluster = list(range(len(rows)))
    for one in range(len(rows)):
        for other in range(one):
            same = decided_by[one] & decided_by[other] or _together(rows[one], rows[other])
            if same and cluster[one] != cluster[other]:
                left, right = cluster[one], cluster[other]
                cluster = [right if number == left else number for number in cluster]
    sizes = Counter(cluster)
    return [1 / (len(sizes) * sizes[number]) for number in cluster]


def _determining(row: NDArray[np.int64], strings: Sequence[Mapping[str, str]]) -> set[str]:
    """String fields, repeated often enough to tell, whose value leaves a number hardly any freedom."""
    found = set()
    for path in sorted({path for record in strings for path in record}):
        column = [record.get(path, "") for record in strings]
        repeated = len(set(column)) * _LEAST_REPEATED <= len(column)
        if repeated and _effect(row, column) >= _REPEATS:
            found.add(path)
    return found


def _together(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether the correlation of two fields is almost 1, or -1, where both are given."""
    known = (one != _MISSING) & (other != _MISSING)
    left, right = one[known].astype(np.float64), other[known].astype(np.float64)
    if left.size < _FEWEST_VALUES:
        return False
    left, right = left - left.mean(), right - right.mean()
    square = float((left * left).sum() * (right * right).sum())
    return square > 0 and float((left * right).sum()) ** 2 >= _REPEATS * square


def _groupings(strings: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """String fields with 2 to 50 values and 20 samples per value on average, as columns."""
    found = {}
    for path in sorted({path for record in strings for path in record}):
        column = [record.get(path, "") for record in strings]
        names = set(column) - {""}
        given = sum(1 for name in column if name)
        if _GROUPS[0] <= len(names) <= _GROUPS[1] and given >= _FEWEST_VALUES * len(names):
            found[path] = column
    return found


def _best_grouping(values: NDArray[np.int64], candidates: Mapping[str, list[str]]) -> str:
    """The grouping with the largest adjusted share of explained variance, if that is above 0.05."""
    best, best_effect = "", _LEAST_EFFECT
    for path, column in candidates.items():
        effect = _effect(values, column)
        if effect > best_effect:
            best, best_effect = path, effect
    return best


def _effect(values: NDArray[np.int64], column: list[str]) -> float:
    """Adjusted eta squared: ``1 - (1 - eta^2) (N - 1) / (N - G)``."""
    names = np.array(column, dtype=object)
    known = (values != _MISSING) & (names != "")
    given, names = values[known].astype(np.float64), names[known]
    groups = sorted(set(names))
    total = float(((given - given.mean()) ** 2).sum()) if given.size else 0.0
    if total <= 0 or given.size <= len(groups):
        return 0.0
    within = 0.0
    for name in groups:
        mine = given[names == name]
        within += float(((mine - mine.mean()) ** 2).sum())
    return float(1 - within / total * (given.size - 1) / (given.size - len(groups)))
