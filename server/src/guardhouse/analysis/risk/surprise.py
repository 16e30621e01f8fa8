"""How surprising a call is after the three before it: interpolated Witten-Bell over two levels of counts.

p starts at 1/450; for the level of all programs, then the program's own, for 0 to 3 calls of context: p <-
(count + T p) / (N + T), T distinct followers and N total of that context; a level stops at its first unseen
context (I. Witten, T. Bell, "The zero-frequency problem", 1991). Results are micro-bits.
"""

import zlib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from guardhouse.analysis.risk.tables import log2_micro

CALL_BITS: Final = 12
CALL_MASK: Final = (1 << CALL_BITS) - 1
CONTEXT_MASK: Final = (1 << (3 * CALL_BITS)) - 1
DEPTH: Final = 3
UNIFORM: Final = 1.0 / 450.0
_SPARE: Final = 1024  # numbers from here on are given by hash


@cache
def call_names() -> tuple[str, ...]:
    """Known call names; the number of a name is its index + 1."""
    text = (files("guardhouse.analysis.risk") / "data" / "calls.txt").read_text("ascii")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


@cache
def _numbers() -> dict[str, int]:
    return {name: number for number, name in enumerate(call_names(), start=1)}


def call_number(name: str) -> int:
    """The 12-bit number of a call: 1 to 1,023 known, 1,024 to 4,095 by CRC-32 of an unknown name; never 0."""
    number = _numbers().get(name)
    if number is None:
        number = _SPARE + zlib.crc32(name.encode()) % (CALL_MASK + 1 - _SPARE)
    return number


def call_name(number: int) -> str:
    """The name of a known number, `?` for 0, `#<number>` for a hashed one."""
    if number == 0:
        return "?"
    names = call_names()
    return names[number - 1] if number <= len(names) else f"#{number}"


def gram(context: int, number: int, mask: int = CONTEXT_MASK) -> int:
    """Three calls of context and the call in 48 bits; also the next context once masked to 36 bits."""
    return ((context & mask) << CALL_BITS) | number


Table = dict[int, tuple[dict[int, int], int, int]]
"""Context node -> its counts, T, N + T."""


class CallCounts:
    """Followers of every context of 0 to `depth` calls: context node -> {call number: count, 0: their sum}.

    The engine's grams carry three calls of context; another depth is for measuring only.
    """

    __slots__ = ("_table", "depth", "followers")

    def __init__(self, depth: int = DEPTH) -> None:
        self.depth = depth
        self.followers: dict[int, dict[int, int]] = {}
        self._table: Table | None = None

    def table(self) -> "Table":
        """Every context with its T and N + T worked out, for one who asks often; made once for the counts of now."""
        found = self._table
        if found is None:
            found = self._table = {
                node: (counted, len(counted) - 1, counted[0] + len(counted) - 1)
                for node, counted in self.followers.items()
            }
        return found

    def add(self, key: int) -> None:
        """Count one gram in every order its context is known for; a 0 in a context means before the start."""
        number = key & CALL_MASK
        context = key >> CALL_BITS
        self._table = None
        for order in range(self.depth + 1):
            shift = CALL_BITS * order
            if order and (context >> (shift - CALL_BITS)) & CALL_MASK == 0:
                return
            counted = self.followers.setdefault((1 << shift) | (context & ((1 << shift) - 1)), {0: 0})
            counted[number] = counted.get(number, 0) + 1
            counted[0] += 1

    @property
    def total(self) -> int:
        """How many calls were counted."""
        counted = self.followers.get(1)
        return 0 if counted is None else counted[0]

    def merge(self, other: "CallCounts") -> None:
        """Add all counts of another table."""
        self._table = None
        for node, counted in other.followers.items():
            mine = self.followers.setdefault(node, {0: 0})
            for number, count in counted.items():
                mine[number] = mine.get(number, 0) + count

    def halved(self) -> "CallCounts":
        """The counts halved and rounded down; what reaches 0 is forgotten."""
        out = CallCounts(self.depth)
        for node, counted in self.followers.items():
            kept = {number: count >> 1 for number, count in counted.items() if number and count > 1}
            if kept:
                out.followers[node] = {0: sum(kept.values()), **kept}
        return out

    def copy(self) -> "CallCounts":
        """An independent copy."""
        out = CallCounts(self.depth)
        out.followers = {node: dict(counted) for node, counted in self.followers.items()}
        return out

    def refine(self, p: float, key: int) -> float:
        """The probability of the gram's call after this level has spoken, for any depth."""
        number = key & CALL_MASK
        context = key >> CALL_BITS
        for shift in range(0, CALL_BITS * self.depth + 1, CALL_BITS):
            counted = self.followers.get((1 << shift) | (context & ((1 << shift) - 1)))
            if counted is None:
                return p
            distinct = len(counted) - 1
            p = (counted.get(number, 0) + distinct * p) / (counted[0] + distinct)
        return p

    def pack(self) -> list[Any]:
        """Sorted JSON values: the same counts always give the same bytes."""
        return [
            [node, sorted((number, count) for number, count in counted.items() if number)]
            for node, counted in sorted(self.followers.items())
        ]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "CallCounts":
        """The counts that `pack` wrote."""
        counts = cls()
        for node, counted in packed:
            counts.followers[node] = {0: sum(count for _, count in counted), **dict(counted)}
        return counts


def surprise(levels: tuple[CallCounts, ...], key: int) -> int:
    """-log2 p of a gram in micro-bits, 0 or more."""
    p = UNIFORM
    for level in levels:
        p = level.refine(p, key)
    return max(0, -log2_micro(p))


def surprise_of_three(tables: tuple[Table, ...], key: int) -> int:
    """The same as `surprise` for three calls of context, unrolled, over the tables of the levels.

    What the engine computes on a memo miss.
    """
    number = key & CALL_MASK
    context = key >> CALL_BITS
    one = 0x1000 | (context & 0xFFF)
    two = 0x1000000 | (context & 0xFFFFFF)
    three = 0x1000000000 | context
    p = UNIFORM
    for table in tables:
        found = table.get(1)
        if found is None:
            continue
        counted, distinct, total = found
        p = (counted.get(number, 0) + distinct * p) / total
        found = table.get(one)
        if found is None:
            continue
        counted, distinct, total = found
        p = (counted.get(number, 0) + distinct * p) / total
        found = table.get(two)
        if found is None:
            continue
        counted, distinct, total = found
        p = (counted.get(number, 0) + distinct * p) / total
        found = table.get(three)
        if found is None:
            continue
        counted, distinct, total = found
        p = (counted.get(number, 0) + distinct * p) / total
    bits = -log2_micro(p)
    return max(0, bits)
