"""Addresses and networks as numbers.

Reading one takes about a microsecond; asking for one depends on how many lengths of prefix there are, not on how many
networks.
"""

import math
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_V4_BITS, _V6_BITS = 32, 128
_MAPPED = 0xFFFF


class Address(NamedTuple):
    """An address: 32 or 128 bits, and its number. IPv4 inside IPv6 is IPv4."""

    bits: int
    number: int


def read_address(text: str) -> Address | None:
    """Return the address of a text, with or without brackets, port and zone; None for what is none."""
    try:
        if ":" not in text:
            return Address(_V4_BITS, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big"))
        return _fold(int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big"))
    except (OSError, ValueError):  # ValueError: a zero byte in it
        bare = _without_extras(text)
        return read_address(bare) if bare != text else None


def _fold(number: int) -> Address:
    if number >> _V4_BITS == _MAPPED:
        return Address(_V4_BITS, number ^ (_MAPPED << _V4_BITS))
    return Address(_V6_BITS, number)


def _without_extras(text: str) -> str:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.partition("%")[0]


class Networks:
    """Networks, each with the moment its entry ends (seconds since 1970, infinite for never)."""

    def __init__(self, ends: Mapping[str, float]) -> None:
        self.unreadable: list[str] = []
        tables: dict[tuple[int, int], dict[int, float]] = {}
        for text, end in ends.items():
            network = read_network(text)
            if network is None:
                self.unreadable.append(text)
                continue
            bits, shift, prefix = network
            table = tables.setdefault((bits, shift), {})
            table[prefix] = max(end, table.get(prefix, -math.inf))
        self._tables = {
            bits: [(shift, table) for (of, shift), table in sorted(tables.items()) if of == bits]
            for bits in (_V4_BITS, _V6_BITS)
        }

    @classmethod
    def for_ever(cls, networks: Iterable[str]) -> "Networks":
        """Return networks whose entries do not end."""
        return cls(dict.fromkeys(networks, math.inf))

    def end(self, address: Address) -> float:
        """Return when the last entry that holds `address` ends; minus infinity where none does."""
        found = -math.inf
        for shift, table in self._tables[address.bits]:
            end = table.get(address.number >> shift)
            if end is not None and end > found:
                found = end
        return found

    def hold(self, address: Address) -> bool:
        """Tell whether an entry holds `address`, ended or not."""
        return any((address.number >> shift) in table for shift, table in self._tables[address.bits])


def read_network(text: str) -> tuple[int, int, int] | None:
    """Return bits of the family, bits of the host part, and the prefix as a number; None for what is no network."""
    base, slash, length = text.strip().partition("/")
    address = read_address(base)
    if address is None:
        return None
    if not slash:
        return address.bits, 0, address.number
    if not length.isascii() or not length.isdigit():
        return None
    # A prefix of a mapped address counts from the start of the IPv6 form.
    digits = int(length) - (_V6_BITS - address.bits if ":" in base and address.bits == _V4_BITS else 0)
    if not 0 <= digits <= address.bits:
        return None
    return address.bits, address.bits - digits, address.number >> (address.bits - digits)
