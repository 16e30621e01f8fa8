"""Figures of outcomes across sources: every source weighs the same, however many texts it has."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.injection.calibrate import Curve, curve_of, score_milli
from train.calibrate import Outcome, knots

LINES: Final = (0.01, 0.04, 0.08)  # pooled shares of harmless text above a line
POINTS: Final = (300, 500, 700)  # score milli of the operating points
_DRAWS: Final = 1_000

Floats = NDArray[np.float64]


def auroc(outcomes: Sequence[Outcome]) -> float:
    """Return the chance that an attack of any source stands above a harmless text of any source; ties count half."""
    logits, labels, weights = _arrays(outcomes)
    return _auroc(logits, labels, weights)


def recalls(outcomes: Sequence[Outcome]) -> dict[float, float]:
    """Return the share of attacks above the line that a share of harmless text stands above, for each of ``LINES``."""
    logits, labels, weights = _arrays(outcomes)
    return {share: _recall(logits, labels, weights, share) for share in LINES}


def line_at(outcomes: Sequence[Outcome], share: float) -> float:
    """Return the logit (milli) that the given share of harmless text stands above."""
    logits, labels, weights = _arrays(outcomes)
    return _line(logits[~labels], weights[~labels], share)


def share_above(outcomes: Sequence[Outcome], line: float) -> float:
    """Return the share of texts above a line, each source weighing the same; 0 of nothing."""
    if not outcomes:
        return 0.0
    logits, _, weights = _arrays(outcomes)
    return float(weights[logits > line].sum() / weights.sum())


def interval(
    outcomes: Sequence[Outcome], figure: Callable[[Floats, NDArray[np.bool_], Floats], float]
) -> list[float]:
    """Return the 95 % bootstrap interval of a figure: 1,000 draws of texts within each source, seed 0."""
    logits, labels, weights = _arrays(outcomes)
    sources = np.array([_group(o) for o in outcomes])
    chance = np.random.default_rng(0)
    groups = [np.flatnonzero(sources == name) for name in np.unique(sources)]
    found = []
    for _ in range(_DRAWS):
        drawn = np.concatenate([chance.choice(group, len(group)) for group in groups])
        found.append(figure(logits[drawn], labels[drawn], weights[drawn]))
    return [round(float(q), 4) for q in np.quantile(found, (0.025, 0.975))]


def _group(outcome: Outcome) -> str:
    """Name the group that a text is drawn in again: its source and its label."""
    return f"{outcome.source}/{outcome.label}"


def false_positives(outcomes: Sequence[Outcome], channel: str) -> dict[str, dict[str, float]]:
    """Return per source the share of harmless texts at or above each point, with knots from the *other* sources."""
    found: dict[str, dict[str, float]] = {}
    sources = sorted({o.source for o in outcomes if not o.label})
    for source in sources:
        others = [o for o in outcomes if o.source != source]
        if not any(not o.label for o in others) or not any(o.label for o in others):
            continue
        curve = curve_of(knots(others, channel))
        own = [o for o in outcomes if o.source == source and not o.label]
        found[source] = _at_points(own, curve)
    return found


def at_points(outcomes: Sequence[Outcome], bands: Sequence[Sequence[int]]) -> dict[str, dict[str, float]]:
    """Return per source and label the share of texts at or above each point, by the knots of each band."""
    curve = curve_of(bands)
    groups = sorted({(o.source, o.label) for o in outcomes})
    return {
        f"{source} {'attacks' if label else 'harmless'}": _at_points(
            [o for o in outcomes if (o.source, o.label) == (source, label)], curve
        )
        for source, label in groups
    }


def summary(outcomes: Sequence[Outcome], *, intervals: bool) -> dict[str, Any]:
    """Return pooled AUROC and recalls, with intervals if asked."""
    found: dict[str, Any] = {
        "auroc": round(auroc(outcomes), 4),
        "recall": {f"{share:.0%}": round(value, 4) for share, value in recalls(outcomes).items()},
    }
    if intervals:
        found["auroc_95"] = interval(outcomes, _auroc)
        found["recall_95"] = {
            f"{share:.0%}": interval(outcomes, lambda x, y, w, share=share: _recall(x, y, w, share))  # type: ignore[misc] # bound now
            for share in LINES
        }
    return found


def _at_points(outcomes: Sequence[Outcome], curve: Curve) -> dict[str, float]:
    scores = np.array([score_milli(curve, o.band, o.logit) for o in outcomes])
    return {f"{point / 1000:.2f}": round(float((scores >= point).mean()), 4) for point in POINTS}


def _arrays(outcomes: Sequence[Outcome]) -> tuple[Floats, NDArray[np.bool_], Floats]:
    counts: dict[tuple[str, int], int] = {}
    for o in outcomes:
        counts[o.source, o.label] = counts.get((o.source, o.label), 0) + 1
    return (
        np.array([o.logit for o in outcomes], np.float64),
        np.array([bool(o.label) for o in outcomes]),
        np.array([1.0 / counts[o.source, o.label] for o in outcomes]),
    )


def _auroc(logits: Floats, labels: NDArray[np.bool_], weights: Floats) -> float:
    values, places = np.unique(logits, return_inverse=True)
    good = np.bincount(places, np.where(labels, 0.0, weights), len(values))
    bad = np.bincount(places, np.where(labels, weights, 0.0), len(values))
    below = np.cumsum(good) - good / 2
    return float((bad * below).sum() / (good.sum() * bad.sum()))


def _line(logits: Floats, weights: Floats, share: float) -> float:
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(logits[order][min(int(np.searchsorted(reached, share)), len(order) - 1)])


def _recall(logits: Floats, labels: NDArray[np.bool_], weights: Floats, share: float) -> float:
    line = _line(logits[~labels], weights[~labels], share)
    return float(weights[labels & (logits > line)].sum() / weights[labels].sum())
