"""Logistic regression on the engine's own features, and its weights as the integers that the engine adds up."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from guardhouse.analysis.injection.features import BLOCK, BLOCK_BITS, BUCKETS, buckets
from guardhouse.analysis.injection.head import Head
from train.materials import Lesson

STRENGTH: Final = {"user": 8.0, "external": 4.0}  # C of the regression
_ITERATIONS: Final = 200
_TEXTS_AT_ONCE: Final = 512
_LARGEST: Final = 32_767


def matrix(texts: Sequence[str]) -> Any:
    """Return a SciPy CSR matrix of shape (texts, 2^19): 1/sqrt(D) in each of the D distinct buckets of a block."""
    parts = [_part(texts[n : n + _TEXTS_AT_ONCE]) for n in range(0, len(texts), _TEXTS_AT_ONCE)]
    return sparse.vstack(parts, format="csr")


def _part(texts: Sequence[str]) -> Any:
    found = buckets(texts)
    places = found.keys >> BLOCK_BITS  # 2 * row + block
    count = np.bincount(places, minlength=2 * len(texts))
    values = 1.0 / np.sqrt(count[places])
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.bincount(places >> 1, minlength=len(texts)), out=starts[1:])
    columns = (found.keys & (BUCKETS - 1)).astype(np.int32)
    return sparse.csr_matrix((values, columns, starts.astype(np.int32)), shape=(len(texts), BUCKETS))


def fit(lessons: Sequence[Lesson], channel: str) -> Head:
    """Train a head: liblinear, balanced classes, L2; then scale each block's weights to int16.

    Source: Fan et al., LIBLINEAR: A Library for Large Linear Classification, 2008.
    """
    model = LogisticRegression(
        C=STRENGTH[channel], solver="liblinear", class_weight="balanced", max_iter=_ITERATIONS, random_state=0
    )
    model.fit(matrix([lesson.text for lesson in lessons]), np.array([lesson.label for lesson in lessons]))
    return quantised(model.coef_[0], float(model.intercept_[0]))


def quantised(weights: NDArray[np.float64], bias: float) -> Head:
    """Write real weights, 2^19 of them, as int16 with one scale per block."""
    scales = [
        max(float(np.abs(block).max()), 1e-9) / _LARGEST for block in (weights[:BLOCK], weights[BLOCK:])
    ]
    whole = np.concatenate(
        [np.rint(weights[:BLOCK] / scales[0]), np.rint(weights[BLOCK:] / scales[1])]
    ).astype(np.int16)
    return Head(whole, bias, scales[0], scales[1])
