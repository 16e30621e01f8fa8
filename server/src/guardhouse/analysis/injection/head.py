"""A linear classifier over hashed sets: integers up to the last expression, so batches never change a score."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.injection.features import BLOCK_BITS, BUCKETS, Buckets


@dataclass(frozen=True, slots=True)
class Head:
    """Logistic regression: ``weights`` are 2^19 of int16, first the block of characters, then that of words."""

    weights: NDArray[np.int16]
    bias: float
    scale_characters: float
    scale_words: float


@dataclass(frozen=True, slots=True)
class Parts:
    """What each block adds to the logit of each row, both float64 of shape (rows,)."""

    characters: NDArray[np.float64]
    words: NDArray[np.float64]


def parts(head: Head, found: Buckets) -> Parts:
    """Return the blocks' contributions: scale * S / sqrt(D), S the sum of weights over the D distinct buckets."""
    firsts = np.arange(2 * found.rows + 1) << BLOCK_BITS  # the least key of each (row, block), and the end
    borders = np.searchsorted(found.keys, firsts.astype(found.keys.dtype))
    sums = np.zeros(len(found.keys) + 1, np.int64)
    np.cumsum(head.weights[found.keys & (BUCKETS - 1)], out=sums[1:])
    count, total = np.diff(borders), np.diff(sums[borders])
    scaled = total / np.sqrt(np.maximum(count, 1))
    return Parts(head.scale_characters * scaled[0::2], head.scale_words * scaled[1::2])


def logits_milli(head: Head, found: Buckets) -> NDArray[np.int64]:
    """Return ``round(1000 * logit)`` of every row."""
    added = parts(head, found)
    return np.rint(1000.0 * (head.bias + added.characters + added.words)).astype(np.int64)
