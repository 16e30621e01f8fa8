"""Which steps between levels a series has taken before: novelty of a value in the context of the values before it.

Levels are sixteenths of the range that the warm-up saw. Pairs of context and level are remembered for contexts of 0 to
3 levels, one bit each; those of length 3 share 2^15 bits, so a noisy series can only look less novel than it is.
"""

from math import floor
from typing import Final, Self

from guardhouse.analysis.anomaly.packing import Packer, Unpacker

LEVELS: Final = 16
LOWEST, HIGHEST = -1, 24
_WIDTH: Final = HIGHEST - LOWEST + 1
_FAR: Final = 1e9
_BASE_1, _BASE_2, _BASE_3 = _WIDTH, _WIDTH + _WIDTH**2, _WIDTH + _WIDTH**2 + _WIDTH**3
_BITS_3: Final = 15
_SPREAD: Final = 0x9E3779B1  # 2^32 divided by the golden ratio (Knuth)
_SIZE: Final = (_BASE_3 + (1 << _BITS_3) + 7) // 8
_ALL: Final = 1 + 1 / 2 + 1 / 3 + 1 / 4


class LevelContext:
    """Remembers pairs; `lo` and `width` are those of the warm-up's range."""

    __slots__ = ("_before", "_count", "_lo", "_range", "_seen")

    def __init__(self, lo: float, width: float) -> None:
        self._lo = lo
        self._range = width
        self._seen = bytearray(_SIZE)
        self._before = (0, 0, 0)  # the last three levels, newest first
        self._count = 0

    def novelty(self, value: float) -> float:
        """How much of the pairs that end in this value is new, in [0, 1]; they are remembered."""
        position = (value - self._lo + 0.25 * self._range) / self._range * LEVELS
        level = floor(position) if -_FAR < position < _FAR else (HIGHEST if position > 0 else LOWEST)
        level = min(max(level, LOWEST), HIGHEST) - LOWEST
        one, two, three = self._before
        self._before = (level, one, two)
        pair = level + _WIDTH * one
        triple = pair + _WIDTH * _WIDTH * two
        long = triple + _WIDTH**3 * three
        places = (
            level,
            _BASE_1 + pair,
            _BASE_2 + triple,
            _BASE_3 + ((long * _SPREAD & 0xFFFFFFFF) >> (32 - _BITS_3)),
        )
        seen = self._seen
        new = 0.0
        for order, place in enumerate(places[: self._count + 1]):
            byte, bit = place >> 3, 1 << (place & 7)
            if not seen[byte] & bit:
                seen[byte] |= bit
                new += 1 / (1 + order)
        if self._count < len(self._before):
            self._count += 1
        return new / _ALL

    def pack(self, into: Packer) -> None:
        """Write everything."""
        into.floats(self._lo, self._range)
        into.ints(self._count, *self._before)
        into.raw(self._seen)

    @classmethod
    def unpack(cls, packed: Unpacker) -> Self:
        """Read what `pack` wrote."""
        context = cls(0.0, 1.0)
        context._lo, context._range = packed.one_float(), packed.one_float()
        context._count = packed.one_int()
        context._before = (packed.one_int(), packed.one_int(), packed.one_int())
        context._seen = bytearray(packed.raw())
        return context
