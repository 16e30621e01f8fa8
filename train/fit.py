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
_CLOSE_ENOUGH: Final = 1e-2  # liblinear's tolerance
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
    """Train a head: liblinear, balanced classes, L2, over features worth what they tell; weights scaled to int16.

    Sources: Fan et al., LIBLINEAR: A Library for Large Linear Classification, 2008; Wang and Manning, Baselines and
    Bigrams: Simple, Good Sentiment and Topic Classification, 2012 (features scaled by their log-count ratio).
    """
    labels = np.array([lesson.label for lesson in lessons])
    matrix = hasher.matrix([lesson.text for lesson in lessons])
    worth = what_they_tell(matrix, labels)
    model = LogisticRegression(
        C=STRENGTH[channel],
        solver="liblinear",
        dual=True,  # a fifth of the time of the primal problem, the same weights to seven digits
        tol=_CLOSE_ENOUGH,
        class_weight="balanced",
        max_iter=_ITERATIONS,
        random_state=0,
    )
    model.fit(matrix @ sparse.diags(worth), labels)
    return quantised(model.coef_[0] * worth, float(model.intercept_[0]))


def what_they_tell(matrix: Any, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return per bucket ``|ln(p/q)|``, p and q its shares of attacks' and harmless texts' buckets, 1 more of each.

    Scaled to a mean square of 1 over all that is in the matrix. A bucket that both kinds share tells nothing, and
    the regression can no longer spend it on knowing a source by its carriers.
    """
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    attack = labels[rows] == 1
    counts = [np.bincount(matrix.indices[chosen], minlength=BUCKETS) + 1.0 for chosen in (attack, ~attack)]
    ratio = np.abs(np.log(counts[0] / counts[0].sum()) - np.log(counts[1] / counts[1].sum()))
    return np.asarray(ratio / np.sqrt((ratio[matrix.indices] ** 2).mean()))


def quantised(weights: NDArray[np.float64], bias: float) -> Head:
    """Write real weights, 2^19 of them, as int16 with one scale per block."""
    scales = [
        max(float(np.abs(block).max()), 1e-9) / _LARGEST for block in (weights[:BLOCK], weights[BLOCK:])
    ]
    whole = np.concatenate(
        [np.rint(weights[:BLOCK] / scales[0]), np.rint(weights[BLOCK:] / scales[1])]
    ).astype(np.int16)
    return Head(whole, bias, scales[0], scales[1])
