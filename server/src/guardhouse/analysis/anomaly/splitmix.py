"""Repeatable choices: SplitMix64 in counter form, so that any value can be had without those before it.

Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), with the constants of
Vigna's reference code. Nothing in the engine draws from anything else.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

GAMMA: Final = 0x9E3779B97F4A7C15
_MIX_1: Final = 0xBF58476D1CE4E5B9
_MIX_2: Final = 0x94D049BB133111EB
_MASK: Final = 0xFFFFFFFFFFFFFFFF


class Purpose(IntEnum):
    """What a draw is for; draws of one purpose tell nothing about those of another."""

    LEARN = 1
    SMOOTH = 2
    PERMUTE = 3
    BLOCKS = 4
    SAMPLE = 5
    SIMULATE = 6


def value(seed: int, t: int) -> int:
    """Value ``t`` (0 or more) of the sequence that ``seed`` names, as an unsigned 64-bit number."""
    z = (seed + (t + 1) * GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def values(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """Values ``first`` to ``first + count - 1`` of the sequence."""
    t = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(first & _MASK)
    z = np.uint64(seed & _MASK) + t * np.uint64(GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def derive(seed: int, purpose: Purpose, seq: int) -> int:
    """The seed of the draws for one purpose at one position of a stream."""
    return value(value(seed, int(purpose)), seq)


def shuffled(seed: int, count: int, first: int = 0) -> NDArray[np.intp]:
    """A permutation of ``count`` places: the stable order of ``count`` values from ``first`` on."""
    return np.argsort(values(seed, first, count), kind="stable")


def unit(seed: int, t: int) -> float:
    """Value ``t`` as a number in [0, 1): what ``uniform`` has there."""
    return (value(seed, t) >> 11) * 2.0**-53


def uniform(seed: int, first: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 bits, the same on every machine."""
    top: NDArray[np.uint64] = values(seed, first, count) >> np.uint64(11)
    return top.astype(np.float64) * 2.0**-53
