"""What a person can recompute about an anomaly: compression, entropy, distance, a permutation test, ranks of blocks.

C(x) is the length of one zstd frame at level 3 without content size and checksum, C(empty) is 0. Everything here is a
pure function of the events, the seed and the version of libzstd. Events are shuffled, never bytes.
Sources: Cilibrasi, Vitanyi, "Clustering by compression" (2005) for the normalised compression distance (NCD); Besag,
Clifford, "Sequential Monte Carlo p-values" (1991) for stopping early.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import zstandard

from guardhouse.analysis.anomaly import splitmix

LEVEL: Final = 3
FEWEST_EVENTS: Final = 20
PERMUTATIONS: Final = 999
FEWEST_PERMUTATIONS, MOST_PERMUTATIONS = 99, 9_999
EXCEEDANCES: Final = 10
BLOCKS: Final = 8
LEAST_ENTROPY: Final = 0.001
_PLACES: Final = 6
_SEED_BYTES: Final = 8

Events = Sequence[bytes]


class Compressor:
    """Lengths of compressed events. Not safe for two threads."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(
            level=LEVEL, write_content_size=False, write_checksum=False, write_dict_id=False
        )

    def length(self, events: Events) -> int:
        """C() of the events joined by newlines, in bytes; 0 of no events and of one that is empty."""
        joined = b"\n".join(events)
        return len(self._zstd.compress(joined)) if joined else 0

    def distance(self, baseline: Events, window: Events) -> float:
        """The NCD of two runs of events, in [0, 1]; 0 when both are empty."""
        return ncd(self.length(baseline), self.length(window), self.length([*baseline, *window]))


def ncd(c_baseline: int, c_window: int, c_both: int) -> float:
    """The normalised compression distance of three compressed lengths, cut off at 0 and 1."""
    larger = max(c_baseline, c_window)
    return min(1.0, max(0.0, (c_both - min(c_baseline, c_window)) / larger)) if larger else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The events that are compared. `shrunk` says that there were fewer than asked for."""

    baseline: tuple[bytes, ...]
    window: tuple[bytes, ...]
    shrunk: bool


def take_sample(history: Events, baseline_size: int, window_size: int) -> Sample | None:
    """Cut the last events of a history into a window and the baseline before it.

    With too few events both shrink in proportion; under 20 events there is no glass box (None).
    """
    asked = baseline_size + window_size
    events = tuple(history[-asked:])
    if len(events) < FEWEST_EVENTS:
        return None
    window = max(1, (len(events) * window_size + asked // 2) // asked)
    return Sample(events[:-window], events[-window:], len(events) < asked)


def seed_of(stream_seed: int, first_seq: int, last_seq: int) -> int:
    """The seed of an anomaly's draws: the first 8 bytes of SHA-256 over three big-endian 64-bit numbers."""
    words = b"".join(number.to_bytes(_SEED_BYTES, "big") for number in (stream_seed, first_seq, last_seq))
    return int.from_bytes(hashlib.sha256(words).digest()[:_SEED_BYTES], "big")


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known before an anomaly is told. Ratios are |x| / C(x), entropies bits per byte, changes fractions."""

    c_baseline: int
    c_window: int
    c_combined: int
    ncd: float
    ratio_baseline: float
    ratio_window: float
    ratio_combined: float
    ratio_change: float
    entropy_baseline: float
    entropy_window: float
    entropy_change: float


def figures(sample: Sample, compressor: Compressor) -> Figures:
    """Compress the two parts and both together, and compare."""
    both = [*sample.baseline, *sample.window]
    c_baseline, c_window, c_both = (
        compressor.length(part) for part in (sample.baseline, sample.window, both)
    )
    baseline = _ratio(sample.baseline, c_baseline)
    window = _ratio(sample.window, c_window)
    entropy_baseline, entropy_window = entropy(sample.baseline), entropy(sample.window)
    return Figures(
        c_baseline=c_baseline,
        c_window=c_window,
        c_combined=c_both,
        ncd=round(ncd(c_baseline, c_window, c_both), _PLACES),
        ratio_baseline=baseline,
        ratio_window=window,
        ratio_combined=_ratio(both, c_both),
        ratio_change=round((window - baseline) / baseline, _PLACES) if baseline else 0.0,
        entropy_baseline=entropy_baseline,
        entropy_window=entropy_window,
        entropy_change=round(
            (entropy_window - entropy_baseline) / max(entropy_baseline, LEAST_ENTROPY), _PLACES
        ),
    )


def entropy(events: Events) -> float:
    """The entropy of the bytes of the events joined by newlines, in bits per byte."""
    joined = np.frombuffer(b"\n".join(events), np.uint8)
    if not joined.size:
        return 0.0
    counts = np.bincount(joined)
    share = counts[counts > 0] / joined.size
    return round(float(-(share * np.log2(share)).sum()) + 0.0, _PLACES)


def _ratio(events: Events, compressed: int) -> float:
    size = sum(map(len, events)) + max(0, len(events) - 1)
    return round(size / compressed, _PLACES) if compressed else 0.0


@dataclass(frozen=True, slots=True)
class Permutations:
    """The outcome of a permutation test: `exceedances` of `drawn` shuffles had an NCD at least as large."""

    p: float
    drawn: int
    exceedances: int
    stopped_early: bool


def permutation_test(
    sample: Sample, seed: int, permutations: int, compressor: Compressor, stop: int = EXCEEDANCES
) -> Permutations:
    """How often a random choice of the same events as window is as far from the rest: one-sided, on the NCD.

    Shuffle j, counted from 0, orders the pool by values j*n .. j*n + n-1 of SplitMix64.
    """
    pool = [*sample.baseline, *sample.window]
    size, cut = len(pool), len(sample.baseline)
    observed = compressor.distance(sample.baseline, sample.window)

    def reached() -> Iterator[bool]:
        for draw in range(permutations):
            mixed = [pool[place] for place in splitmix.shuffled(seed, size, draw * size).tolist()]
            yield compressor.distance(mixed[:cut], mixed[cut:]) >= observed

    return sequential_p(reached(), stop)


def sequential_p(reached: Iterable[bool], stop: int = EXCEEDANCES) -> Permutations:
    """(1 + k) / (1 + N) when k of N draws reached the observed value, stop / m when the last allowed did at draw m."""
    drawn = exceedances = 0
    for as_large in reached:
        drawn += 1
        exceedances += as_large
        if exceedances >= stop:
            return Permutations(exceedances / drawn, drawn, exceedances, stopped_early=True)
    return Permutations((1 + exceedances) / (1 + drawn), drawn, exceedances, stopped_early=False)


def ncd_balanced(sample: Sample, seed: int, compressor: Compressor) -> float:
    """The median NCD between the window and 8 seeded blocks of the baseline that are as long as it.

    The NCD of very unequal sizes tends to 1 whatever they hold; that of equal sizes does not.
    """
    size = min(len(sample.window), len(sample.baseline))
    places = len(sample.baseline) - size + 1
    starts = range(places) if places <= BLOCKS else splitmix.shuffled(seed, places)[:BLOCKS].tolist()
    distances = [
        compressor.distance(sample.baseline[start : start + size], sample.window) for start in starts
    ]
    return round(median(distances), _PLACES)


def block_rank(sample: Sample, compressor: Compressor) -> tuple[int, int]:
    """(rank, of how many): what the window costs given the rest, among blocks of the baseline of the same size.

    A block costs C(rest and block) - C(rest), the rest being the baseline without it, for the window the baseline
    without its oldest block. Rank 1 is the dearest; equals count against the window.
    """
    baseline, size = sample.baseline, len(sample.window)
    starts = range(len(baseline) % size, len(baseline) - size + 1, size)
    if not starts:
        return 1, 1
    oldest = starts[0]
    window = _added(compressor, [*baseline[:oldest], *baseline[oldest + size :]], sample.window)
    dearer = sum(
        _added(compressor, [*baseline[:start], *baseline[start + size :]], baseline[start : start + size])
        >= window
        for start in starts
    )
    return 1 + dearer, 1 + len(starts)


def _added(compressor: Compressor, rest: Events, block: Events) -> int:
    return compressor.length([*rest, *block]) - compressor.length(rest)


@dataclass(frozen=True, slots=True)
class Deep:
    """What is added once an anomaly has been told."""

    permutations: Permutations
    ncd_balanced: float
    block_rank: tuple[int, int]
    seed: int


def look_deeper(sample: Sample, seed: int, permutations: int = PERMUTATIONS) -> Deep:
    """Run the permutation test, the balanced distance and the ranking; for a pool of processes."""
    compressor = Compressor()
    return Deep(
        permutation_test(sample, seed, permutations, compressor),
        ncd_balanced(sample, splitmix.derive(seed, splitmix.Purpose.BLOCKS, 0), compressor),
        block_rank(sample, compressor),
        seed,
    )
