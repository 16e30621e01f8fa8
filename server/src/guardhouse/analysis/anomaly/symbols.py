"""Numbers for the names of steps: the first 4,096 names have one of their own, later ones share 1,024.

A symbol of a model is a number from 1 on, because 0 ends a session: given numbers and those of names are shifted by
one.
"""

from typing import Any, Final, Self
from zlib import crc32

OWN: Final = 4096
SHARED: Final = 1024
LARGEST_GIVEN: Final = 2**31 - 2


def symbol_of_number(number: int) -> int:
    """The symbol of a number that was given as such, 0 to 2^31 - 2."""
    return number + 1


class SymbolTable:
    """Names in the order in which they came."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._names: list[bytes] = []

    def symbol(self, name: bytes) -> int:
        """The symbol of a name; while there is room a new name gets the next one."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        if len(self._names) >= OWN:
            return 1 + OWN + crc32(name) % SHARED
        self._names.append(name)
        self._numbers[name] = len(self._names)
        return len(self._names)

    def name(self, symbol: int) -> bytes | None:
        """The name of a symbol, None when it is shared or was given as a number."""
        return self._names[symbol - 1] if 1 <= symbol <= len(self._names) else None

    def to_state(self) -> dict[str, Any]:
        """The names for `snapshot`."""
        return {"names": list(self._names)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The table that `to_state` described."""
        table = cls()
        for name in state["names"]:
            table.symbol(name)
        return table
