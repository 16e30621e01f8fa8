"""Turns what the app gave into the bytes that go over the wire, once, and never raises for what is in it.

The model's own serialiser does it; what that refuses goes through a sanitising encoder: numbers that JSON does not know
become strings, bytes text, sets lists, and anything unknown its `repr`, cut.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from guard_agent._pipeline.redact import Redactor, non_finite
from guard_agent.models import SecurityEvent, SecurityMetric

_REPR_CHARACTERS: Final = 256
_DEPTH: Final = 32


@dataclass(slots=True, frozen=True)
class Item:
    """One serialised item: 16 bytes that tell it from every other, and its JSON."""

    key: bytes
    body: bytes


class UnserialisableError(ValueError):
    """An item of which no JSON can be made, or that is no event and no metric at all."""


def as_model(item: Any, model: type[BaseModel]) -> BaseModel:
    """Return the item as `model`: itself, a dict's fields, or the attributes of the same names.

    Raises:
        UnserialisableError: it has none of the fields, or the model refuses them.
    """
    if isinstance(item, model):
        return item
    if isinstance(item, Mapping):
        fields = {str(name): value for name, value in item.items()}
    elif isinstance(item, BaseModel):
        fields = item.model_dump()
    else:
        fields = {name: getattr(item, name) for name in _names(model) if hasattr(item, name)}
    kind = fields.get("event_type" if model is SecurityEvent else "metric_type")
    if not kind:
        raise UnserialisableError(f"{type(item).__name__} is no {model.__name__}")
    if not fields.get("timestamp"):
        fields["timestamp"] = datetime.now(UTC)
    try:
        return model.model_validate(fields)
    except (ValueError, TypeError, RecursionError):
        return model.model_construct(**fields)


def serialise(item: BaseModel, redactor: Redactor) -> Item:
    """Return the item's key and its JSON, redacted.

    Raises:
        UnserialisableError: not even the sanitising encoder could make JSON of it.
    """
    key = getattr(item, "idempotency_key", None)
    try:
        ready = _redacted(item, redactor)
        body = ready.__pydantic_serializer__.to_json(ready, warnings=False)
    except Exception:  # noqa: BLE001 - a model of the app's may raise anything
        body = _sanitised(item, redactor)
    return Item(key.bytes if isinstance(key, UUID) else blake2b(body, digest_size=16).digest(), body)


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(model.model_fields)


def _redacted(item: BaseModel, redactor: Redactor) -> BaseModel:
    """Return a shallow copy whose free parts are redacted; the app's own object stays as it is."""
    changed: dict[str, Any] = {}
    if isinstance(item, SecurityMetric):
        if item.tags:
            changed["tags"] = redactor.clean(item.tags)
    else:
        metadata = getattr(item, "metadata", None)
        if metadata:
            changed["metadata"] = (
                redactor.clean(metadata) if isinstance(metadata, Mapping) else {"value": metadata}
            )
        if item.model_extra:
            return item.model_copy(update=changed | redactor.clean(item.model_extra))
    return item.model_copy(update=changed) if changed else item


def _sanitised(item: BaseModel, redactor: Redactor) -> bytes:
    fields = {**item.__dict__, **(item.model_extra or {})}
    free = {name: value for name, value in fields.items() if name not in type(item).model_fields}
    try:
        safe: dict[str, Any] = {name: plain(value) for name, value in fields.items() if name not in free}
        for name in ("metadata", "tags"):
            if isinstance(safe.get(name), dict):
                safe[name] = redactor.clean(safe[name])
        safe |= redactor.clean({name: plain(value) for name, value in free.items()})
        return json.dumps(safe, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except Exception as error:
        raise UnserialisableError(f"{type(item).__name__} cannot be made JSON: {error}") from error


def plain(value: Any, depth: int = 0) -> Any:
    """Return what JSON can hold of any value."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else non_finite(value)
    if isinstance(value, (BaseModel, Mapping, list, tuple, set, frozenset)):
        return _nested(value, depth) if depth < _DEPTH else repr(type(value))
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (str, UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return repr(value)[:_REPR_CHARACTERS]


def _nested(value: Any, depth: int) -> Any:
    if isinstance(value, BaseModel):
        value = value.__dict__
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in list(value.items())}
    return [plain(item, depth + 1) for item in list(value)]
