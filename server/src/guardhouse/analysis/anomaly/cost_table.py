"""Probabilities to thousandths of a bit by table: no library logarithm, so that every machine says the same."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST: Final = 2.0**-40
_STEPS: Final = 4096
_LOG: Final = np.array(
    [round(1000 * math.log2(1 + (step + 0.5) / _STEPS)) for step in range(_STEPS)], np.int64
)
_EXPONENT_OF_HALF: Final = 1022
_PIECE_OF_MANTISSA: Final = 40
"""A double has 52 bits behind the point; the first 12 of them choose the step."""


def milli_bits(p: NDArray[np.float64]) -> NDArray[np.int64]:
    """``1000 * -log2(p)`` as integers of 0 or more, for probabilities in (0, 1]; below 2^-40 it is 40 bits.

    With p = m * 2^e and m in [0.5, 1) that is ``1000 (1 - e) - L[floor((2m - 1) * 4096)]``; m and e are read from the
    number's own bits.
    """
    raw = np.maximum(p, LEAST).view(np.int64) >> _PIECE_OF_MANTISSA
    exponent = (raw >> 12) - _EXPONENT_OF_HALF
    cost: NDArray[np.int64] = 1000 * (1 - exponent) - _LOG.take(raw & (_STEPS - 1))
    return np.maximum(cost, 0)
