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


class Hasher:
    """Turns texts into rows of a matrix and remembers the buckets of each text, because folds share most texts."""

    def __init__(self) -> None:
        self._known: dict[str, NDArray[np.int32]] = {}

    def matrix(self, texts: Sequence[str]) -> Any:
        """Return a SciPy CSR matrix of shape (texts, 2^19): 1/sqrt(D) in each of the D distinct buckets of a block."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for n in range(0, len(new), _TEXTS_AT_ONCE):
            self._learn(new[n : n + _TEXTS_AT_ONCE])
        rows = [self._known[text] for text in texts]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        columns = np.concatenate(rows)
        places = 2 * np.repeat(np.arange(len(rows)), np.diff(starts)) + (columns >> BLOCK_BITS)
        values = 1.0 / np.sqrt(np.bincount(places, minlength=2 * len(rows))[places])
        return sparse.csr_matrix((values, columns, starts), shape=(len(rows), BUCKETS))

    def _learn(self, texts: Sequence[str]) -> None:
        keys = buckets(texts).keys
        borders = np.searchsorted(keys, np.arange(1, len(texts)) << (BLOCK_BITS + 1))
        columns = (keys & (BUCKETS - 1)).astype(np.int32)
        self._known |= dict(zip(texts, np.split(columns, borders), strict=True))


def fit(lessons: Sequence[Lesson], channel: str, hasher: Hasher) -> Head:
    """Train a head: liblinear, balanced classes, L2; then scale each block's weights to int16.

    Source: Fan et al., LIBLINEAR: A Library for Large Linear Classification, 2008.
    """
    model = LogisticRegression(
        C=STRENGTH[channel], solver="liblinear", class_weight="balanced", max_iter=_ITERATIONS, random_state=0
    )
    labels = np.array([lesson.label for lesson in lessons])
    model.fit(hasher.matrix([lesson.text for lesson in lessons]), labels)
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
