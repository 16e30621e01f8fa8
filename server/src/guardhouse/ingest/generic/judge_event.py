"""A verdict on each event of the generic door: what is stored of it, or which rule it breaks.

Exactly one of ``text``, ``body``, ``value`` and ``symbols`` is the content. An object that has neither one of these
nor a known ``type`` is taken whole as ``body``.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from guardhouse.anomalies.streams.redact import redact_value
from guardhouse.anomalies.streams.stored_event import (
    MAX_EVENT_BYTES,
    NewEvent,
    StoredEvent,
    cut_text,
    encode_event,
)
from guardhouse.foundation.clock import microseconds
from guardhouse.ingest.telemetry_fields import read_time

CONTENTS: Final = ("text", "body", "value", "symbols")
KNOWN_TYPES: Final = frozenset(
    {
        "log", "logs", "metric", "metrics", "trace", "traces", "llm", "transaction", "transactions", "session",
        "sessions",
    }
)  # fmt: skip
AHEAD: Final = timedelta(hours=24)
MAX_DEPTH: Final = 32
MAX_FIELDS: Final = 10_000
MAX_SYMBOL: Final = 2**31 - 2
MAX_KEY: Final = 256
MAX_NAME: Final = 256
MAX_ATTRIBUTES: Final = 64
_MEMBERS: Final = frozenset(
    {*CONTENTS, "type", "timestamp", "entity", "attributes", "idempotency_key", "sequence", "end"}
)
_INT64: Final = 1 << 63


class Refused(Exception):  # noqa: N818 - a verdict on one event, not a fault
    """An event that is not stored: a stable code, and why in words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class Judge:
    """Judges the events of one batch. ``warnings`` counts what was noted about events that were taken."""

    now: datetime
    session_key: str | None = None
    warnings: Counter[str] = field(default_factory=Counter)

    def judge(self, index: int, item: Any) -> NewEvent:
        """Return what is stored of one event.

        Raises:
            Refused: it breaks a rule.
        """
        if not isinstance(item, dict):
            raise Refused("type_mismatch", "An event is a JSON object.")
        check_shape(item)
        contents = [name for name in CONTENTS if item.get(name) is not None]
        if not contents and item.get("type") not in KNOWN_TYPES:
            return self._finish(index, StoredEvent(at=self._at(item), body=redact_value(item)), item, None)
        if len(contents) != 1:
            raise _contents(contents)
        stored = StoredEvent(at=self._at(item), **self._content(contents[0], item[contents[0]]))
        stored.entity = _name(item, "entity")
        stored.attributes = _attributes(item)
        stored.sequence = _whole(item, "sequence")
        stored.end = item.get("end") is True
        return self._finish(index, stored, item, item.get("idempotency_key"))

    def _at(self, item: Mapping[str, Any]) -> int:
        given = item.get("timestamp")
        if given is None:
            return microseconds(self.now)
        moment = read_time(given)
        if moment is None:
            raise Refused("timestamp_invalid", "timestamp is neither RFC 3339 nor a time since 1970.")
        if isinstance(given, str) and _is_naive(given):
            self.warnings["timestamp_without_zone"] += 1
        return microseconds(moment)

    def _content(self, name: str, value: Any) -> dict[str, Any]:
        if name == "text" and isinstance(value, str):
            kept, whole = cut_text(value)
            if whole:
                self.warnings["truncated"] += 1
            return {"text": kept, "cut": whole}
        if name == "body" and isinstance(value, dict):
            return {"body": redact_value(value)}
        if name == "value" and isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"value": _number(value)}
        if name == "symbols" and isinstance(value, list):
            return {"symbols": _symbols(value)}
        raise Refused("type_mismatch", f"{name} is {_WANTED[name]}.")

    def _finish(self, index: int, stored: StoredEvent, item: Mapping[str, Any], key: Any) -> NewEvent:
        latest = microseconds(self.now + AHEAD)
        if stored.at > latest:
            stored.at, stored.skewed = microseconds(self.now), True
            self.warnings["clock_skew"] += 1
        if self.session_key is not None:
            stored.session = _session(item, self.session_key)
        line = _line(stored)
        if len(line) > MAX_EVENT_BYTES:
            raise Refused("event_too_large", f"The event is {len(line):,} bytes, limit {MAX_EVENT_BYTES:,}.")
        return NewEvent(index, stored.at, line, _key(key))


_WANTED: Final = {
    "text": "a string",
    "body": "an object",
    "value": "a number",
    "symbols": "a list of integers",
}


def check_shape(item: Any) -> None:
    """Make sure that an event is neither too deep nor has too many members.

    Raises:
        Refused: it is, or has.
    """
    layer, members = [item], 0
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for node in layer:
            if isinstance(node, dict):
                members += len(node)
                below += [inner for inner in node.values() if isinstance(inner, (dict, list))]
            elif isinstance(node, list):
                below += [inner for inner in node if isinstance(inner, (dict, list))]
        if members > MAX_FIELDS:
            raise Refused("too_many_fields", f"The event has more than {MAX_FIELDS:,} members.")
        if not below:
            return
        layer = below
    raise Refused("too_deep", f"The event is nested deeper than {MAX_DEPTH} levels.")


def _contents(found: list[str]) -> Refused:
    if found:
        return Refused("content_ambiguous", f"An event has one content, not {' and '.join(found)}.")
    return Refused("content_missing", f"The event has none of {', '.join(CONTENTS)}.")


def _number(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Refused("number_not_finite", "value is not a finite number.")
    return number


def _symbols(value: list[Any]) -> list[int]:
    for symbol in value:
        if not isinstance(symbol, int) or isinstance(symbol, bool) or not 0 <= symbol <= MAX_SYMBOL:
            raise Refused("type_mismatch", f"symbols are integers from 0 to {MAX_SYMBOL}.")
    if not value or len(value) > MAX_FIELDS:
        raise Refused("type_mismatch", f"symbols has 1 to {MAX_FIELDS:,} elements.")
    return value


def _name(item: Mapping[str, Any], member: str) -> str | None:
    value = item.get(member)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Refused("type_mismatch", f"{member} is a string.")
    return value[:MAX_NAME]


def _whole(item: Mapping[str, Any], member: str) -> int | None:
    value = item.get(member)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not -_INT64 <= value < _INT64:
        raise Refused("type_mismatch", f"{member} is an integer of 64 bits.")
    return value


def _attributes(item: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the attributes as texts, and with them what members the event has that nobody knows."""
    given = item.get("attributes")
    if given is not None and not isinstance(given, dict):
        raise Refused("type_mismatch", "attributes is an object.")
    found = dict(given or {})
    found |= {name: value for name, value in item.items() if name not in _MEMBERS}
    if not found:
        return None
    clean = redact_value(dict(sorted(found.items())[:MAX_ATTRIBUTES]))
    return {name[:MAX_NAME]: _text(value) for name, value in clean.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value[:MAX_NAME] if isinstance(value, str) else str(value)[:MAX_NAME]


def _session(item: Mapping[str, Any], name: str) -> str | None:
    for holder in (item.get("attributes"), item.get("body"), item):
        if isinstance(holder, dict) and isinstance(holder.get(name), (str, int)):
            return str(holder[name])[:MAX_NAME]
    return None


def _key(given: Any) -> bytes | None:
    if given is None:
        return None
    if not isinstance(given, str) or not 1 <= len(given) <= MAX_KEY:
        raise Refused("type_mismatch", f"idempotency_key is a string of 1 to {MAX_KEY} characters.")
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest()


def _is_naive(given: str) -> bool:
    try:
        return datetime.fromisoformat(given.strip()).tzinfo is None
    except ValueError:
        return False  # an epoch


def _line(stored: StoredEvent) -> bytes:
    """Return the line of an event; what JSON for machines cannot hold is mended or refused."""
    if stored.body is not None and _has_odd_numbers(stored.body):
        raise Refused("number_not_finite", "body has a number that is not finite.")
    try:
        return encode_event(stored)
    except (OverflowError, UnicodeEncodeError):
        stored.body = _mended(stored.body)
        stored.text = _mended(stored.text)
        stored.entity, stored.session = _mended(stored.entity), _mended(stored.session)
        stored.attributes = _mended(stored.attributes)
        return encode_event(stored)


def _has_odd_numbers(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_has_odd_numbers(inner) for inner in value.values())
    return isinstance(value, list) and any(_has_odd_numbers(inner) for inner in value)


def _mended(value: Any) -> Any:
    """Return a value with integers beyond 64 bits as floats, and unpaired surrogates replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not isinstance(value, bool) and not -_INT64 <= value < 2 * _INT64:
        return _number(value)
    if isinstance(value, dict):
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list) else value
