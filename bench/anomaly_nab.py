"""Series on a part of the Numenta Anomaly Benchmark: our series model beside a windowed Gaussian, scored by its rules.

Scoring (Lavin, Ahmad, "Evaluating real-time anomaly detection algorithms", 2015): the earliest detection in a labelled
window earns a scaled sigmoid of its place, later ones nothing; a detection outside costs by its distance behind the
window before; a missed window costs one. The first 15 % of a series (750 points at most) are probation. A corpus is
100 when every window is found at once and 0 when nothing is said. Our level is the balanced profile's, .32, for all
series and cost profiles; the anchor gets the best level for each. Nothing is fitted here.

Usage: `python bench/anomaly_nab.py`; the data lie in `../shared/data/anomaly/nab` or GUARDHOUSE_SHARED_DATA.
"""

import csv
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from guardhouse.analysis.anomaly.series import Series

ROOT = Path(__file__).parents[1]
LEVEL = 320
MUST = 68.0
LEAST_POINTS_PER_SECOND = 50_000
PROBATION, MOST_PROBATION_POINTS = 0.15, 5000


@dataclass(frozen=True)
class Labelled:
    """A series with its labelled windows as pairs of positions, both ends inside."""

    name: str
    times_us: list[int]
    values: list[float]
    windows: list[tuple[int, int]]


@dataclass(frozen=True)
class Costs:
    """What a found window earns, a false alarm and a missed window cost."""

    found: float
    false: float
    missed: float


def data_folder() -> Path | None:
    """Where the series lie, None where they do not."""
    named = os.environ.get("GUARDHOUSE_SHARED_DATA")
    places = [Path(named)] if named else [ROOT.parent / "shared/data", ROOT.parents[1] / "shared/data"]
    return next((place / "anomaly/nab" for place in places if (place / "anomaly/nab").is_dir()), None)


def load(folder: Path) -> list[Labelled]:
    """All labelled series of a folder."""
    labels = json.loads((folder / "labels/combined_windows.json").read_text())
    return [_series(folder / "data" / name, name, labels[name]) for name in sorted(labels)]


def _series(path: Path, name: str, windows: list[list[str]]) -> Labelled:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    times = [_microseconds(row["timestamp"]) for row in rows]
    places = [(times.index(_microseconds(begin)), times.index(_microseconds(end))) for begin, end in windows]
    return Labelled(name, times, [float(row["value"]) for row in rows], places)


def _microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def sigmoid(place: float) -> float:
    """1 far before the end of a window (-1), 0 at it, towards -1 behind it."""
    return -1.0 if place > 3 else 2 / (1 + math.exp(5 * place)) - 1


def score(series: Labelled, detected: Sequence[bool], costs: Costs) -> float:
    """The raw score of the detections in one series."""
    size = len(series.values)
    probation = math.floor(PROBATION * min(size, MOST_PROBATION_POINTS))
    best: dict[tuple[int, int], float] = {}
    total = 0.0
    for at in (at for at in range(probation, size) if detected[at]):
        inside = next((window for window in series.windows if window[0] <= at <= window[1]), None)
        if inside:
            place = -(inside[1] - at + 1) / (inside[1] - inside[0] + 1)
            best[inside] = max(best.get(inside, 0.0), costs.found * sigmoid(place) / sigmoid(-1))
            continue
        before = [window for window in series.windows if window[1] < at]
        behind = (at - before[-1][1]) / max(1, before[-1][1] - before[-1][0]) if before else math.inf
        total += costs.false * sigmoid(behind)
    return total + sum(best.get(window, -costs.missed) for window in series.windows)


def corpus_score(corpus: Iterable[Labelled], detections: Iterable[Sequence[bool]], costs: Costs) -> float:
    """0 for saying nothing, 100 for finding every window at its first point and nothing else."""
    every = list(corpus)
    raw = sum(score(series, said, costs) for series, said in zip(every, detections, strict=True))
    windows = sum(len(series.windows) for series in every)
    return 100 * (raw + costs.missed * windows) / ((costs.found + costs.missed) * windows)


def ours(series: Labelled) -> list[float]:
    """Our scores, in thousandths."""
    model = Series()
    return [
        float(model.observe(at, value).score)
        for at, value in zip(series.times_us, series.values, strict=True)
    ]


def windowed_gaussian(series: Labelled, size: int = 6400, step: int = 150) -> list[float]:
    """1 minus the tail probability under a Gaussian of the last 6,400 values that is taken anew every 150."""
    held: deque[float] = deque(maxlen=size)
    fresh: list[float] = []
    mean, deviation = 0.0, 1.0
    out = []
    for value in series.values:
        distance = abs(value - mean) / deviation if deviation > 0 else float(value != mean) * math.inf
        out.append(1 - 0.5 * math.erfc(distance / math.sqrt(2)) if held else 0.0)
        held.append(value)
        fresh.append(value)
        if len(fresh) >= step or len(held) < step:
            mean = math.fsum(held) / len(held)
            deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in held) / len(held)) or 0.000001
            fresh.clear()
    return out


def best_level(
    corpus: list[Labelled], scores: list[list[float]], costs: Costs, levels: Iterable[float]
) -> tuple[float, float]:
    """The level with the highest corpus score, and that score."""
    return max(
        (
            (level, corpus_score(corpus, [[s >= level for s in one] for one in scores], costs))
            for level in levels
        ),
        key=lambda pair: pair[1],
    )


def rate(corpus: list[Labelled], detector: Callable[[Labelled], list[float]]) -> float:
    """Points per second of processor time."""
    begun = time.process_time()
    for series in corpus:
        detector(series)
    return sum(len(series.values) for series in corpus) / (time.process_time() - begun)


def main() -> int:
    """Print the scores by profile and one JSON line; 1 when the must is missed."""
    folder = data_folder()
    if folder is None:
        print("the series are not here: ../shared/data/anomaly/nab")
        print(json.dumps({"bench": "anomaly_nab", "ok": None}))
        return 0
    corpus = load(folder)
    told = json.loads((folder / "config/profiles.json").read_text())
    profiles = {
        name: Costs(cost["tpWeight"], cost["fpWeight"], cost["fnWeight"])
        for name, cost in ((name, profile["CostMatrix"]) for name, profile in told.items())
    }
    mine, other = [ours(series) for series in corpus], [windowed_gaussian(series) for series in corpus]
    print(
        f"{len(corpus)} series, {sum(len(series.windows) for series in corpus)} windows; level {LEVEL / 1000}"
    )
    found: dict[str, tuple[float, float]] = {}
    for name, costs in profiles.items():
        fixed = corpus_score(corpus, [[one >= LEVEL for one in scores] for scores in mine], costs)
        free = best_level(corpus, mine, costs, range(200, 1000, 20))
        anchor = best_level(corpus, other, costs, (1 - 10.0**-n for n in range(2, 13)))
        found[name] = (fixed, anchor[1])
        print(
            f"{name:20} ours {fixed:5.1f}  (best level {free[0] / 1000}: {free[1]:.1f})   "
            f"windowed Gaussian at its best level {anchor[1]:5.1f}"
        )
    speed = rate(corpus, ours)
    print(
        f"series model: {speed:,.0f} points/s of one core; windowed Gaussian {rate(corpus, windowed_gaussian):,.0f}"
    )
    standard, baseline = found["standard"]
    ok = standard >= MUST and speed >= LEAST_POINTS_PER_SECOND
    print(
        json.dumps(
            {
                "bench": "anomaly_nab",
                "ours": round(standard, 1),
                "anchor": round(baseline, 1),
                "ratio": round(standard / baseline, 3) if baseline > 0 else None,
                "unit": "NAB score, standard profile, level .32",
                "must": MUST,
                "goal": None,
                "ok": ok,
                "points_per_second": round(speed),
            }
        )
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
