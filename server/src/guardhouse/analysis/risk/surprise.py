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
ORDERS: Final = 4
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


def gram(context: int, number: int) -> int:
    """Three calls of context and the call in 48 bits; also the next context once masked to 36 bits."""
    return ((context & CONTEXT_MASK) << CALL_BITS) | number


class CallCounts:
    """Followers of every context of 0 to 3 calls: context node -> {call number: count}."""

    __slots__ = ("followers", "totals")

    def __init__(self) -> None:
        self.followers: dict[int, dict[int, int]] = {}
        self.totals: dict[int, int] = {}

    def add(self, key: int, times: int = 1) -> None:
        """Count one gram in every order its context is known for (a 0 in the context means before the start).

        Ount one gram in every order its context is known for (a 0 in the context means before the start).
        """
        number = key & CALL_MASK
        context = key >> CALL_BITS
        for order in range(ORDERS):
            shift = CALL_BITS * order
            if order and (context >> (shift - CALL_BITS)) & CALL_MASK == 0:
                return
            node = (1 << shift) | (context & ((1 << shift) - 1))
            followers = self.followers.setdefault(node, {})
            followers[number] = followers.get(number, 0) + times
            self.totals[node] = self.totals.get(node, 0) + times

    def merge(self, other: "CallCounts") -> None:
        """Add all counts of another table."""
        for node, counted in other.followers.items():
            followers = self.followers.setdefault(node, {})
            for number, count in counted.items():
                followers[number] = followers.get(number, 0) + count
            self.totals[node] = self.totals.get(node, 0) + other.totals[node]

    def halved(self) -> "CallCounts":
        """The counts halved and rounded down; what reaches 0 is forgotten."""
        out = CallCounts()
        for node, counted in self.followers.items():
            kept = {number: count >> 1 for number, count in counted.items() if count > 1}
            if kept:
                out.followers[node] = kept
                out.totals[node] = sum(kept.values())
        return out

    def copy(self) -> "CallCounts":
        """An independent copy."""
        out = CallCounts()
        out.followers = {node: dict(counted) for node, counted in self.followers.items()}
        out.totals = dict(self.totals)
        return out

    def refine(self, p: float, key: int) -> float:
        """The probability of the gram's call after this level has spoken."""
        number = key & CALL_MASK
        context = key >> CALL_BITS
        followers = self.followers
        totals = self.totals
        node = 1
        for shift in (0, 12, 24, 36):
            if shift:
                node = (1 << shift) | (context & ((1 << shift) - 1))
            counted = followers.get(node)
            if counted is None:
                return p
            distinct = len(counted)
            p = (counted.get(number, 0) + distinct * p) / (totals[node] + distinct)
        return p

    def pack(self) -> list[Any]:
        """Sorted JSON values: the same counts always give the same bytes."""
        return [[node, sorted(counted.items())] for node, counted in sorted(self.followers.items())]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "CallCounts":
        """The counts that `pack` wrote."""
        counts = cls()
        for node, counted in packed:
            counts.followers[node] = dict(counted)
            counts.totals[node] = sum(count for _, count in counted)
        return counts


def surprise(levels: tuple[CallCounts, ...], key: int) -> int:
    """-log2 p of a gram in micro-bits, 0 or more."""
    p = UNIFORM
    for level in levels:
        p = level.refine(p, key)
    return max(0, -log2_micro(p))
