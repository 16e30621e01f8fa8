"""Turns the items of an app batch into rows: leniently, one by one, with the reason for each that cannot be kept.

Nothing here knows tenant, project or database. Every item gets a *source key*, the same for every copy of it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from guardhouse.analysis.abuse.classes import class_of
from guardhouse.ingest.decode_body import MAX_ITEM_BYTES, over_limits
from guardhouse.ingest.decode_lenient import Unreadable, decode_item
from guardhouse.ingest.telemetry_fields import (
    Notes,
    Remark,
    milliseconds,
    read_address,
    read_integer,
    read_number,
    read_object,
    read_tags,
    read_text,
    read_time,
)

FUTURE: Final = timedelta(minutes=5)
PAST: Final = timedelta(days=30)
MAX_KEY_LENGTH: Final = 128
MAX_TYPE_LENGTH: Final = 64
UNKNOWN_TYPE: Final = "unknown"
_ENUM_LIKE: Final = re.compile(r"[A-Za-z_]\w*\.([A-Z][A-Z0-9_]*)")
MOST_MERGED: Final = 1_000_000  # events in one; more is nothing that a flush holds
_VARYING: Final = re.compile(r"[0-9a-fA-F]*\d[0-9a-fA-F]*")
_TEXTS: Final = {
    "country": 512,
    "user_agent": 1024,
    "action_taken": 512,
    "reason": 2048,
    "endpoint": 2048,
    "method": 512,
    "decorator_type": 512,
    "rule_type": 512,
    "pattern_matched": 512,
    "handler_name": 512,
}
_EVENT_FIELDS: Final = frozenset(
    {
        *_TEXTS,
        "idempotency_key",
        "timestamp",
        "event_type",
        "ip_address",
        "status_code",
        "response_time",
        "metadata",
    }
)
_HOST_MARKS: Final = ("pid", "syscall", "kind")
Kind = Literal["event", "metric"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that goes to quarantine; ``index`` counts events first, then metrics."""

    index: int
    kind: Kind
    key: str | None
    code: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """When an item happened. ``own_ms`` is its own time, None when it has none; ``occurred_at`` orders it.

    ``claimed_at`` is its own time when that is unusable for ordering.
    """

    own_ms: int | None
    occurred_at: datetime
    claimed_at: datetime | None

    @property
    def usable(self) -> bool:
        """Whether the item's own time is the one it is stored under."""
        return self.own_ms is not None and self.claimed_at is None


@dataclass(slots=True)
class AppEvent:
    """One security event. ``fields`` are the columns of ``events`` that come from the item itself."""

    index: int
    source_key: str
    moment: Moment
    event_type: str
    event_class: str
    fields: dict[str, Any]
    flags: int


@dataclass(slots=True)
class AppMetric:
    """One measured value. ``fields`` are the columns of ``metrics`` that come from the item itself."""

    index: int
    source_key: str
    moment: Moment
    fields: dict[str, Any]
    flags: int


@dataclass(slots=True)
class Parsed:
    """What one batch holds, in the order it came, and when that was. ``crowded``: its project sends too much."""

    now: datetime
    events: list[AppEvent] = field(default_factory=list)
    metrics: list[AppMetric] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    crowded: bool = False


@dataclass(slots=True)
class Parser:
    """Reads items of one batch that came in at ``now``; items older than ``past`` are stored under it."""

    now: datetime
    past: timedelta = PAST
    _copies: dict[tuple[str, ...], int] = field(default_factory=dict)
    _previous_metric: str = ""

    def parse(
        self, events: Sequence[bytes], metrics: Sequence[bytes]
    ) -> Iterator[AppEvent | AppMetric | Rejected]:
        """Yield the outcome of each item, events first."""
        for index, raw in enumerate(events):
            yield self._item(index, "event", raw)
        for index, raw in enumerate(metrics, start=len(events)):
            yield self._item(index, "metric", raw)

    def _item(self, index: int, kind: Kind, raw: bytes) -> AppEvent | AppMetric | Rejected:
        value: Any = None
        try:
            if len(raw) <= MAX_ITEM_BYTES:
                value = decode_item(raw)
        except Unreadable as reason:
            return Rejected(index, kind, None, "item_unreadable", str(reason), raw)
        key = _key_of(value)
        refusal = _refusal(kind, raw, value)
        if refusal is not None:
            return Rejected(index, kind, key, *refusal, raw)
        if kind == "event":
            return self._event(index, key, value)
        return self._metric(index, key, value, raw)

    def _event(self, index: int, key: str | None, value: dict[str, Any]) -> AppEvent:
        notes = Notes()
        moment = self._moment(value.get("timestamp"), notes)
        event_type = _type_of(value.get("event_type"), notes)
        ip, ip_text = read_address(value.get("ip_address"), notes)
        fields: dict[str, Any] = {
            "ip": None if ip is None else ip.packed,  # the driver would parse an address object again
            "ip_text": ip_text,
            "status_code": read_integer(value.get("status_code"), 32, notes),
            "response_time": read_number(value.get("response_time"), notes),
            "metadata": read_object(value.get("metadata"), notes),
            "extra": None,
        }
        for name, limit in _TEXTS.items():
            said = value.get(name)
            fields[name] = None if said is None else read_text(said, limit, notes)
        if not _EVENT_FIELDS.issuperset(value):
            fields["extra"] = read_object({n: v for n, v in value.items() if n not in _EVENT_FIELDS}, notes)
        source = f"e\0{key}" if key is not None else self._content_key("c", canonical(value))
        return AppEvent(index, source, moment, event_type, class_of(event_type), fields, notes.flags)

    def _metric(self, index: int, key: str | None, value: dict[str, Any], raw: bytes) -> AppMetric | Rejected:
        notes = Notes()
        content = canonical(value)
        previous, self._previous_metric = self._previous_metric, content
        number = read_number(value.get("value"), notes)
        if number is None:
            return Rejected(index, "metric", key, "no_value", "a metric needs a finite value", raw)
        source = f"m\0{key}" if key is not None else self._content_key("n", previous, content)
        fields = {
            "value": number,
            "metric_type": _type_of(value.get("metric_type"), notes),
            "endpoint": read_text(value.get("endpoint"), _TEXTS["endpoint"], notes),
            "tags": read_tags(value.get("tags"), notes),
            "count": read_integer(value.get("count"), 64, notes),
            "sum": read_number(value.get("sum"), notes),
            "min": read_number(value.get("min"), notes),
            "max": read_number(value.get("max"), notes),
            "buckets": read_object(value.get("buckets"), notes),
        }
        return AppMetric(index, source, self._moment(value.get("timestamp"), notes), fields, notes.flags)

    def _content_key(self, *parts: str) -> str:
        """Return a key made of content; equal ones in a batch are numbered, so true twins survive."""
        copy = self._copies.get(parts, 0)
        self._copies[parts] = copy + 1
        return "\0".join((*parts, str(copy)))

    def _moment(self, value: Any, notes: Notes) -> Moment:
        own = read_time(value)
        if own is None:
            notes.flags |= Remark.SERVER_TIME
            return Moment(None, self.now, None)
        if self.now - self.past <= own <= self.now + FUTURE:
            return Moment(milliseconds(own), own, None)
        notes.flags |= Remark.CLOCK_SKEW
        return Moment(milliseconds(own), self.now, own)


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, nothing between."""
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except (msgspec.MsgspecError, OverflowError, ValueError):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


ANY_KIND: Final = bytes(8)
"""The fingerprint of noise whose kinds are not told apart."""


def fingerprint(event: AppEvent) -> bytes:
    """Return what makes two pieces of noise the same kind: everything about them but numbers and identifiers."""
    parts = (event.fields["handler_name"], event.fields["action_taken"], event.fields["reason"])
    text = "\0".join(_VARYING.sub("0", part or "") for part in parts)
    return hashlib.sha256(text.encode()).digest()[:8]


def stands_for(event: AppEvent) -> int:
    """Return how many events a piece of noise is: our agent merges equal ones and says `count`, `first` and `last`."""
    text = event.fields["metadata"]
    if not text or '"count"' not in text:
        return 1
    said = msgspec.json.decode(text)
    count = said.get("count")
    merged = isinstance(count, int) and "first" in said and "last" in said
    return min(max(count, 1), MOST_MERGED) if merged else 1


def _refusal(kind: Kind, raw: bytes, value: Any) -> tuple[str, str] | None:
    """Return code and detail of why an item cannot be kept; None when it can."""
    passed = over_limits(raw, value)
    if passed is not None:
        return "item_too_large", passed
    if not isinstance(value, dict):
        return "not_an_object", "the item is not an object"
    if kind == "event" and "event_type" not in value and any(mark in value for mark in _HOST_MARKS):
        return "wrong_family", "an event of a host agent; send it in a host batch"
    return None


def _key_of(value: Any) -> str | None:
    key = value.get("idempotency_key") if isinstance(value, dict) else None
    return key if isinstance(key, str) and 0 < len(key) <= MAX_KEY_LENGTH else None


def _type_of(value: Any, notes: Notes) -> str:
    if value is None or value == "":
        return UNKNOWN_TYPE
    text = read_text(value, MAX_TYPE_LENGTH, notes) or UNKNOWN_TYPE
    enum_like = _ENUM_LIKE.fullmatch(text)
    return enum_like[1].lower() if enum_like else text
