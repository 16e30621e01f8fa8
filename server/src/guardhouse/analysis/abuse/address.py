"""Under which name an address is scored: IPv4 by itself, IPv6 by its /64, a hash by its text."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

PREFIX_V6: Final = 64
MAX_TEXT: Final = 64
_V4_BYTES: Final = 4
_NOBODY: Final = frozenset({"system", "unknown", "none", "null", "localhost", "testclient", "unix"})


class NoAddress(ValueError):  # noqa: N818 - named like the problems are
    """A text names neither an address nor anything that could stand for one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one score is of: ``name`` as stored, and its network where it is an address."""

    name: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None


@lru_cache(maxsize=8192)  # the same few addresses come again and again
def name_of_packed(packed: bytes) -> str:
    """Return the name of an address of 4 or 16 bytes."""
    if len(packed) == _V4_BYTES:
        return str(ipaddress.IPv4Address(packed))
    return str(ipaddress.IPv6Address(packed[: PREFIX_V6 // 8] + bytes(16 - PREFIX_V6 // 8)))


def name_of(packed: bytes | None, text: str | None) -> str | None:
    """Return the name under which an event is scored; None when it is of nobody in particular."""
    if packed is not None:
        return name_of_packed(packed)
    if not text or text.lower() in _NOBODY:
        return None
    return text


def read_scored(text: str) -> Scored:
    """Return what a text as people write it names: an address, the /64 of an address, or a hash.

    Raises:
        NoAddress: it names nothing that can have a score.
    """
    bare = text.strip().removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if name_of(None, bare) is None or len(bare) > MAX_TEXT or not bare.isprintable():
            raise NoAddress(text) from None
        return Scored(bare, None)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefix = PREFIX_V6 if address.version == 6 else 32  # noqa: PLR2004 - of the two
    network = ipaddress.ip_network((address, prefix), strict=False)
    return Scored(name_of_packed(address.packed), network)
