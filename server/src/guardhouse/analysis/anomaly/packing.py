"""Many small states side by side in three arrays: whole numbers, numbers and bytes, written and read in one order."""

from array import array
from typing import Any, Self

import numpy as np


class Packer:
    """Takes values one after another; `Unpacker` gives them back in the same order."""

    __slots__ = ("_floats", "_ints", "_raw")

    def __init__(self) -> None:
        self._ints = array("q")
        self._floats = array("d")
        self._raw = bytearray()

    def ints(self, *numbers: int) -> None:
        """Add whole numbers of up to 64 bits."""
        self._ints.extend(numbers)

    def floats(self, *numbers: float) -> None:
        """Add numbers; NaN and infinities are kept."""
        self._floats.extend(numbers)

    def list_of_ints(self, numbers: "array[int] | list[int]") -> None:
        """Add a list of whole numbers with its length."""
        self._ints.append(len(numbers))
        self._ints.extend(numbers)

    def list_of_floats(self, numbers: "array[float] | list[float]") -> None:
        """Add a list of numbers with its length."""
        self._ints.append(len(numbers))
        self._floats.extend(numbers)

    def raw(self, data: bytes | bytearray) -> None:
        """Add bytes with their length."""
        self._ints.append(len(data))
        self._raw += data

    def to_state(self) -> dict[str, Any]:
        """Return the three arrays."""
        return {
            "ints": np.array(self._ints, np.int64),
            "floats": np.array(self._floats, np.float64),
            "raw": np.frombuffer(bytes(self._raw), np.uint8),
        }


class Unpacker:
    """Reads what a `Packer` took, in the same order."""

    __slots__ = ("_at", "_floats", "_ints", "_raw")

    def __init__(self, ints: list[int], floats: "array[float]", raw: bytes) -> None:
        self._ints, self._floats, self._raw = ints, floats, raw
        self._at = [0, 0, 0]

    @classmethod
    def of(cls, state: dict[str, Any]) -> Self:
        """Open what `Packer.to_state` returned."""
        floats = array("d")
        floats.frombytes(np.asarray(state["floats"], np.float64).tobytes())
        return cls(
            np.asarray(state["ints"], np.int64).tolist(),
            floats,
            np.asarray(state["raw"], np.uint8).tobytes(),
        )

    def one_int(self) -> int:
        """Take one whole number."""
        self._at[0] += 1
        return self._ints[self._at[0] - 1]

    def one_float(self) -> float:
        """Take one number."""
        self._at[1] += 1
        return self._floats[self._at[1] - 1]

    def list_of_ints(self) -> list[int]:
        """Take a list of whole numbers."""
        count = self.one_int()
        self._at[0] += count
        return self._ints[self._at[0] - count : self._at[0]]

    def list_of_floats(self) -> "array[float]":
        """Take a list of numbers."""
        count = self.one_int()
        self._at[1] += count
        return self._floats[self._at[1] - count : self._at[1]]

    def raw(self) -> bytes:
        """Take bytes."""
        count = self.one_int()
        self._at[2] += count
        return self._raw[self._at[2] - count : self._at[2]]
