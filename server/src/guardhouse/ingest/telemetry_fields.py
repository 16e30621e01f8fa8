"""Reads single fields of app telemetry, whatever they were sent as: nothing here refuses, it notes and cuts.

Each reader returns what can be stored and sets bits of :class:`Remark` in the item's ``flags``.
"""

import ipaddress
import math
import re
from datetime import UTC, datetime
from enum import IntFlag
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from guardhouse.foundation.clock import from_microseconds, microseconds

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_DEPTH: Final = 10
MAX_KEYS: Final = 200
MAX_TAGS: Final = 64
MAX_OBJECT_BYTES: Final = 32 << 10
MAX_IP_TEXT: Final = 64
MAX_TEXT: Final = 512
REDACTED: Final = "[redacted]"
_SECRET_KEYS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
_MICROSECONDS_PER_UNIT: Final = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0))
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")
_MAX_64_BIT: Final = (1 << 63) - 1
_MIN_64_BIT: Final = -(1 << 63)


class Remark(IntFlag):
    """What was noted about one item while it was read."""

    SERVER_TIME = 1
    CLOCK_SKEW = 2
    TRUNCATED = 4
    NON_FINITE = 8
    REDACTED = 16
    KEY_REUSED = 32


class Notes:
    """The remarks of one item, collected by its readers."""

    __slots__ = ("flags",)

    def __init__(self) -> None:
        self.flags = 0


def read_time(value: Any) -> datetime | None:
    """Return the instant of a timestamp: ISO 8601 with ``T`` or a space, naive = UTC, or an epoch by magnitude."""
    try:
        if isinstance(value, str):
            text = value.strip()
            try:
                instant = datetime.fromisoformat(text)
            except ValueError:
                return _from_epoch(float(text))
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _from_epoch(value)
    except (ValueError, OverflowError):
        pass
    return None


def _from_epoch(number: float) -> datetime | None:
    for below, unit in _MICROSECONDS_PER_UNIT:
        if abs(number) < below:
            return from_microseconds(round(number * unit))
    return None


def milliseconds(instant: datetime) -> int:
    """Return whole milliseconds since the epoch, the past rounded down."""
    return microseconds(instant) // 1000


def read_text(value: Any, limit: int, notes: Notes) -> str | None:
    """Return a text of at most ``limit`` characters; other values as their JSON text; None stays None."""
    if value is None:
        return None
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= limit:
        return text
    notes.flags |= Remark.TRUNCATED
    return text[:limit]


def read_address(value: Any, notes: Notes) -> tuple[Address | None, str | None]:
    """Return the address, or the text that stands for one (``system``, a hash): exactly one of the two."""
    if value is None or value == "":
        return None, None
    text = value.strip() if isinstance(value, str) else _json(value)
    found = _parse_address(text) if len(text) <= MAX_IP_TEXT else None
    return (None, read_text(text, MAX_IP_TEXT, notes)) if found is None else (found, None)


@lru_cache(maxsize=8192)  # the same few addresses come again and again, and parsing one is slow
def _parse_address(text: str) -> Address | None:
    bare = _WITH_PORT.fullmatch(text)
    try:
        return _plain(ipaddress.ip_address((bare[1] or bare[2]) if bare else text))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return ipaddress.IPv6Address(int(address))
    return address


def read_number(value: Any, notes: Notes) -> float | None:
    """Return a finite number from an int, float or numeric text; None otherwise."""
    if value is None or isinstance(value, bool):
        return None
    if not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        return number
    notes.flags |= Remark.NON_FINITE
    return None


def read_integer(value: Any, bits: int, notes: Notes) -> int | None:
    """Return a whole number that fits a signed integer of so many bits; None otherwise."""
    number = read_number(value, notes)
    if number is None or not -(2.0 ** (bits - 1)) <= number < 2.0 ** (bits - 1):
        return None
    return int(number)


def read_object(value: Any, notes: Notes) -> str | None:
    """Return an object as JSON text for storage: depth 10, 200 keys, 32 KiB, secrets redacted.

    Any other value but None is put under the key ``value``.
    """
    if value is None or value == {}:
        return None
    cleaner = _Cleaner(notes)
    text = _json(cleaner.clean(value if isinstance(value, dict) else {"value": value}, MAX_DEPTH))
    if len(text.encode()) <= MAX_OBJECT_BYTES:
        return text
    notes.flags |= Remark.TRUNCATED
    return _cut_object(msgspec.json.decode(text))


def read_tags(value: Any, notes: Notes) -> str | None:
    """Return tags as JSON text for storage: at most 64, every value a text of at most 512 characters."""
    if value is None or value == {}:
        return None
    tags = value if isinstance(value, dict) else {"value": value}
    if len(tags) > MAX_TAGS:
        notes.flags |= Remark.TRUNCATED
        tags = dict(list(tags.items())[:MAX_TAGS])
    texts = {name[:MAX_TEXT]: read_text(item, MAX_TEXT, notes) for name, item in tags.items()}
    return _json(_Cleaner(notes).clean(texts, 1))


class _Cleaner:
    """Makes a value storable as JSON, within depth and number of keys."""

    __slots__ = ("keys", "notes")

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.keys = MAX_KEYS

    def clean(self, value: Any, depth: int) -> Any:
        if isinstance(value, str) or value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if _MIN_64_BIT <= value <= _MAX_64_BIT else str(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else self._non_finite(value)
        if depth == 0:
            self.notes.flags |= Remark.TRUNCATED
            return None
        if isinstance(value, dict):
            return self._object(value, depth)
        return [self.clean(item, depth - 1) for item in value]

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        made = {}
        for name, item in value.items():
            if self.keys == 0:
                self.notes.flags |= Remark.TRUNCATED
                break
            self.keys -= 1
            if name.lower() in _SECRET_KEYS and item is not None:
                self.notes.flags |= Remark.REDACTED
                made[name] = REDACTED
            else:
                made[name] = self.clean(item, depth - 1)
        return made

    def _non_finite(self, value: float) -> str:
        self.notes.flags |= Remark.NON_FINITE
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"


def _cut_object(value: dict[str, Any]) -> str:
    """Return the first members that fit, long texts among them cut."""
    room = MAX_OBJECT_BYTES - 2
    kept: dict[str, Any] = {}
    for name, item in value.items():
        shown = item[:MAX_TEXT] if isinstance(item, str) else item
        size = len(msgspec.json.encode(name)) + len(msgspec.json.encode(shown)) + 2
        if size <= room:
            room -= size
            kept[name] = shown
    return _json(kept)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
