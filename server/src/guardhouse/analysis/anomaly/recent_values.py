"""Mean of the last 20 and standard deviation of the last 30 values, constant time a value.

The sums are updated by difference and taken anew every 30 values, in order, so that the error of one large value
leaves with it, and so that they are the same on every machine and Python version.
"""

from array import array
from math import nan, sqrt
from typing import Final, Self

from guardhouse.analysis.anomaly.packing import Packer, Unpacker

FEW: Final = 20
MANY: Final = 30


class RecentValues:
    """A ring of the last 30 values with the sums that both figures need."""

    __slots__ = ("_count", "_mean", "_ring", "_squares", "_sum")

    def __init__(self) -> None:
        self._ring = [0.0] * MANY
        self._count = 0
        self._sum = 0.0  # of the last 20
        self._mean = 0.0  # of the last 30
        self._squares = 0.0  # squared distances of the last 30 from their mean

    def add(self, value: float) -> tuple[float, float]:
        """(mean of the last 20, sample standard deviation of the last 30), NaN while there are fewer."""
        count = self._count
        ring = self._ring
        place = count % MANY
        self._count = count + 1
        leaving = ring[place]
        ring[place] = value
        if place == MANY - 1:
            self._refresh()
        else:
            self._sum += value - (ring[place - FEW] if count >= FEW else 0.0)
            if count >= MANY:
                before = self._mean
                mean = before + (value - leaving) / MANY
                self._mean = mean
                self._squares += (value - leaving) * (value - mean + leaving - before)
        if count < MANY - 1:
            return (self._sum / FEW if count >= FEW - 1 else nan), nan
        return self._sum / FEW, sqrt(max(self._squares, 0.0) / (MANY - 1))

    def _refresh(self) -> None:
        total = 0.0
        for value in self._ring[:-FEW]:
            total += value
        recent = 0.0
        for value in self._ring[-FEW:]:
            recent += value
        self._sum = recent
        self._mean = (total + recent) / MANY
        squares = 0.0
        for value in self._ring:
            squares += (value - self._mean) * (value - self._mean)
        self._squares = squares

    def pack(self, into: Packer) -> None:
        """Write everything."""
        into.ints(self._count)
        into.floats(self._sum, self._mean, self._squares)
        into.list_of_floats(self._ring)

    @classmethod
    def unpack(cls, packed: Unpacker) -> Self:
        """Read what `pack` wrote."""
        made = cls()
        made._count = packed.one_int()
        made._sum, made._mean, made._squares = packed.one_float(), packed.one_float(), packed.one_float()
        made._ring = list(array("d", packed.list_of_floats()))
        return made
