"""Reads members of another tool's event: typed, bounded, and never with an error of its own.

What does not fit is None or left out; only what an event cannot be without is refused, by `Unmapped`.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

MAX_PID: Final = 4_194_304
MAX_WHOLE: Final = (1 << 63) - 1
MAX_TEXT: Final = 4096
MAX_WORD: Final = 255
MAX_ARGV: Final = 64
MAX_ARGV_CHARACTERS: Final = 3500
METADATA_BYTES: Final = 3800  # of the 4096 that an event may have
METADATA_TEXT: Final = 1000
METADATA_DEPTH: Final = 4
LEFT_OUT: Final = "left_out"
_NO_CALL: Final = re.compile(r"[^a-z0-9_]+")
_DIGITS: Final = re.compile(r"-?[0-9]{1,19}")
_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NS: Final = 10**17  # what is below is time since boot, not since 1970


@dataclass(frozen=True, slots=True)
class Reading:
    """One event of a tool: members of a host event, not checked yet, and the host that it names."""

    members: dict[str, Any]
    host: str | None


class Unmapped(Exception):  # noqa: N818 - a verdict on one item, not a fault
    """This is no event that the format knows; ``field`` is where it shows."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


Reader = Callable[[Mapping[str, Any]], Reading]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list; anything else is an empty one."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any, most: int = MAX_TEXT) -> str | None:
    """Return a text, cut to ``most`` characters; None for anything else, for an empty one and for ``<NA>``."""
    return value[:most] if isinstance(value, str) and value not in ("", "<NA>") else None


def whole(value: Any) -> int | None:
    """Return an integer of 64 bits, also from its digits (protobuf writes 64 bits as text)."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -MAX_WHOLE <= value <= MAX_WHOLE else None


def natural(value: Any) -> int | None:
    """Return an integer from 0 to 2**63 - 1."""
    found = whole(value)
    return found if found is not None and found >= 0 else None


def pid(value: Any) -> int | None:
    """Return a process id; 0 is nobody here."""
    found = whole(value)
    return found if found is not None and 0 < found <= MAX_PID else None


def identifier(value: Any) -> str | None:
    """Return what may be an event's own id."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def call_name(value: Any) -> str | None:
    """Return a name that may stand for a system call."""
    name = _NO_CALL.sub("_", value.lower()).strip("_")[:64] if isinstance(value, str) else ""
    return name or None


def moment(value: Any) -> str | int | None:
    """Return a time as it may stand on the wire: RFC 3339, or ns since 1970; None for time since boot."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        return value or None
    found = whole(value)
    return found if found is not None and found >= _EPOCH_NS else None


def nanoseconds(value: Any) -> int | None:
    """Return a time (RFC 3339 or ns) as ns, whatever it counts from."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        try:
            at = datetime.fromisoformat(value)
            return (at - _EPOCH) // timedelta(microseconds=1) * 1000 if at.tzinfo else None
        except (ValueError, OverflowError):
            return None
    return natural(value)


def words(value: Any, most: int = MAX_WORD, count: int = MAX_ARGV) -> list[str]:
    """Return the texts of a list, each and all of them cut."""
    return [item[:most] for item in value[:count] if isinstance(item, str)] if isinstance(value, list) else []


def argv(parts: Iterable[str]) -> list[str]:
    """Return arguments as far as they fit: 64 parts, 3,500 characters."""
    kept: list[str] = []
    room = MAX_ARGV_CHARACTERS
    for part in parts:
        if len(kept) == MAX_ARGV or room <= 0:
            break
        kept.append(part[:room])
        room -= len(part)
    return kept


def address(family: Any, ip: Any, port: Any) -> dict[str, Any] | None:
    """Return an address as rules read it: family ``inet`` or ``inet6``, ip, port."""
    try:
        found = ipaddress.ip_address(ip.strip("[]")) if isinstance(ip, str) else None
    except ValueError:
        found = None
    said = family.lower().removeprefix("af_") if isinstance(family, str) else ""
    if found is None:
        return {"family": said[:MAX_WORD]} if said else None
    addr: dict[str, Any] = {"family": "inet" if found.version == 4 else "inet6", "ip": str(found)}  # noqa: PLR2004 - IPv4
    number = natural(port)
    if number is not None:
        addr["port"] = number
    return addr


def present(**members: Any) -> dict[str, Any]:
    """Return the members that say something."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}


def fitting(**members: Any) -> dict[str, Any]:
    """Return what of the members fits into an event's metadata; names of the others are in ``left_out``."""
    kept: dict[str, Any] = {}
    left: list[str] = []
    room = METADATA_BYTES
    for name, value in present(**members).items():
        small = _small(value, METADATA_DEPTH)
        size = len(msgspec.json.encode(small)) + len(name) + 4
        if size > room and isinstance(small, dict):
            small = _as_fits(small, room - len(name) - 4, left, name)
            size = len(msgspec.json.encode(small)) + len(name) + 4
        if size > room or small in ({}, []):
            left.append(name)
            continue
        kept[name] = small
        room -= size
    if left:
        kept[LEFT_OUT] = [name[:40] for name in left[:4]]
    return kept


def _as_fits(value: dict[str, Any], room: int, left: list[str], parent: str) -> dict[str, Any]:
    kept = {}
    for name, member in value.items():
        size = len(msgspec.json.encode({name: member}))
        if size < room:
            kept[name] = member
            room -= size
        else:
            left.append(f"{parent}.{name}")
    return kept


def _small(value: Any, depth: int) -> Any:
    """Return a value whose texts are cut and whose depth is bounded."""
    if isinstance(value, str):
        return value[:METADATA_TEXT]
    if isinstance(value, list):
        return [_small(item, depth - 1) for item in value[:MAX_ARGV]] if depth else "[…]"
    if isinstance(value, dict):
        if not depth:
            return "{…}"
        return {str(name)[:MAX_WORD]: _small(item, depth - 1) for name, item in value.items()}
    return value
