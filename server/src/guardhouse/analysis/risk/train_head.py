"""Training a verdict head: logistic regression on what confirmed and harmless runs have shown by and by.

A run is learned at prefixes of 10 to 400 calls and whole: whole runs alone make a head that fails while a run
is going on. Invariants: the same runs in any order give the same head; equal runs never lie on both sides of a
split, nor do runs of one group (an incident, a recording).
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, gcd, sqrt
from typing import Final

from guardhouse.analysis.risk.head import (
    FIRST_JUDGED,
    MAX_REMEMBERED,
    MAX_WORDS,
    Head,
    HeadTrace,
    grams,
)
from guardhouse.analysis.risk.tables import MICRO

PREFIXES: Final = (10, 20, 50, 100, 200, 400)
LEAST_CONFIRMED: Final = 50
LEAST_HARMLESS: Final = 500
LEAST_AUC: Final = 0.90
FOLDS: Final = 5
LEAST_RUNS: Final = 2  # distinct runs that have shown a gram before it is worth a weight
STRENGTH: Final = 1e-4  # of L2, per example
EPOCHS: Final = 15


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """One run as people judged it: the grams of its calls in order (`surprise.gram`), and what it belongs to."""

    group: str
    keys: tuple[int, ...]
    confirmed: bool


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head, and how well heads made the same way tell runs apart that they have not seen (0..1)."""

    head: Head
    auc: float
    confirmed: int
    harmless: int

    @property
    def good(self) -> bool:
        """Whether it may speak after its time in shadow."""
        return self.auc >= LEAST_AUC


def train_head(runs: Iterable[JudgedRun], version: int, alphabet: str) -> TrainedHead | None:
    """Return a head from judged runs of one alphabet; None while they are too few."""
    given = list(runs)
    confirmed = sum(run.confirmed for run in given)
    harmless = len(given) - confirmed
    if confirmed < LEAST_CONFIRMED or harmless < LEAST_HARMLESS:
        return None
    kept = distinct_runs(given)
    return TrainedHead(fit(kept, version, alphabet), left_out_auc(kept, alphabet), confirmed, harmless)


def distinct_runs(runs: Iterable[JudgedRun]) -> list[JudgedRun]:
    """Return each distinct run once, in an order of their own; runs judged both ways say nothing and go."""
    by_keys: dict[tuple[int, ...], JudgedRun] = {}
    torn: set[tuple[int, ...]] = set()
    for run in sorted(runs, key=lambda run: (run.group, run.keys)):
        held = by_keys.setdefault(run.keys, run)
        if held.confirmed != run.confirmed:
            torn.add(run.keys)
    return [run for keys, run in by_keys.items() if keys not in torn and len(keys) >= FIRST_JUDGED]


def left_out_auc(runs: Sequence[JudgedRun], alphabet: str) -> float:
    """Return how well runs are told apart by heads of the other four fifths: the area under the curve, 0..1.

    A run counts with its highest score, as the engine would hold it.
    """
    harmless: list[int] = []
    confirmed: list[int] = []
    for fold in range(FOLDS):
        left = [run for run in runs if _fold(run) == fold]
        head = fit([run for run in runs if _fold(run) != fold], 0, alphabet)
        for run in left:
            (confirmed if run.confirmed else harmless).append(highest_score(head, run.keys))
    return area(harmless, confirmed)


def _fold(run: JudgedRun) -> int:
    return zlib.crc32(run.group.encode()) % FOLDS


def highest_score(head: Head, keys: Iterable[int]) -> int:
    """Return the highest score of a run in millionths while it goes on, from its tenth call."""
    trace = HeadTrace(head)
    best: int | None = None
    for key in keys:
        if trace.follow(key):
            best = trace.score if best is None else max(best, trace.score)
    return trace.score if best is None else best


def area(low: Sequence[float], high: Sequence[float]) -> float:
    """Return the probability that one of `high` lies over one of `low`, ties half; 0 when either is empty."""
    if not low or not high:
        return 0.0
    ranked = sorted([(value, 0) for value in low] + [(value, 1) for value in high])
    wins = 0.0
    below = at = 0
    while at < len(ranked):
        end = at
        ones = 0
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            ones += ranked[end][1]
            end += 1
        zeros = end - at - ones
        wins += ones * (below + zeros / 2)
        below += zeros
        at = end
    return wins / (len(low) * len(high))


def fit(runs: Sequence[JudgedRun], version: int, alphabet: str) -> Head:
    """Return the head of some distinct runs: the grams that most of them share, weighed by logistic regression."""
    shown = [(_shown(run.keys), run.confirmed) for run in runs]
    spread = Counter(word for (words, _), _ in shown for word in words)
    common = sorted((word for word, n in spread.items() if n >= LEAST_RUNS), key=lambda w: (-spread[w], w))
    places = {word: place for place, word in enumerate(sorted(common[:MAX_WORDS]))}
    examples: list[tuple[list[int], bool]] = []
    for (words, cuts), confirmed in shown:
        known = [(place, at) for at, word in enumerate(words) if (place := places.get(word)) is not None]
        ends = sorted({sum(at < cut for _, at in known) for cut in cuts})
        examples += [([place for place, _ in known[:end][:MAX_REMEMBERED]], confirmed) for end in ends]
    weights, bias = _regress(examples, len(places))
    micro = {word: round(weights[place] * MICRO) for word, place in places.items()}
    return Head(version, alphabet, round(bias * MICRO), micro)


def _shown(keys: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the distinct grams of a run as they came, and how many there were at each prefix and at the end."""
    words: dict[int, None] = {}
    cuts: list[int] = []
    for calls, key in enumerate(keys, start=1):
        for word in grams(key):
            words.setdefault(word)
        if calls in PREFIXES:
            cuts.append(len(words))
    return list(words), [*cuts, len(words)]


def _regress(examples: Sequence[tuple[list[int], bool]], width: int) -> tuple[list[float], float]:
    """Return weights and bias that minimise the mean logistic loss + STRENGTH/2 times the weights' squares.

    Stochastic dual coordinate ascent in a fixed order (S. Shalev-Shwartz, T. Zhang, JMLR 14, 2013). The bias is a
    weight too, of a column that is always 1. Classes weigh as they come: what is mostly harmless starts below 0.
    """
    weights = [0.0] * width
    bias = 0.0
    scale = STRENGTH * len(examples)
    rate = 1.0 / (1.0 + 2.0 / (4.0 * scale)) if examples else 0.0
    duals = [0.0] * len(examples)
    step = _stride(len(examples))
    for turn in range(EPOCHS * len(examples)):
        at = turn * step % len(examples)
        places, confirmed = examples[at]
        sign = 1.0 if confirmed else -1.0
        root = 1.0 / sqrt(len(places)) if places else 0.0
        margin = sign * (bias + root * sum([weights[place] for place in places]))
        moved = (1.0 / (1.0 + exp(min(margin, 700.0))) - duals[at]) * rate
        duals[at] += moved
        change = sign * moved / scale
        bias += change
        change *= root
        for place in places:
            weights[place] += change
    return weights, bias


def _stride(count: int) -> int:
    """Return a step that visits all of `count` places, far apart: near the golden section, sharing no divisor."""
    step = max(1, int(count * 0.618))
    while gcd(step, count) != 1:
        step += 1
    return step
