"""Values of OTLP attributes and bodies as JSON has them, and as texts."""

import base64
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MAX_DEPTH: Final = 32
MAX_ATTRIBUTES: Final = 32
MAX_ATTRIBUTE: Final = 256


def value_of(value: AnyValue, depth: int = 0) -> Any:
    """Return a value as JSON has it: bytes as base64, what is deeper than 32 levels as null."""
    kind = value.WhichOneof("value")
    if kind is None or depth > MAX_DEPTH:
        return None
    if kind == "kvlist_value":
        return {item.key: value_of(item.value, depth + 1) for item in value.kvlist_value.values}
    if kind == "array_value":
        return [value_of(item, depth + 1) for item in value.array_value.values]
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


def text_of(value: AnyValue) -> str:
    """Return a value as a short text."""
    text = value.string_value
    if not text:
        found = value_of(value)
        text = str(found).lower() if isinstance(found, bool) else "" if found is None else str(found)
    return text[:MAX_ATTRIBUTE]


def texts_of(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Return the first attributes as texts, at most 32."""
    found: dict[str, str] = {}
    for attribute in attributes:
        if len(found) == MAX_ATTRIBUTES:
            break
        found[attribute.key[:MAX_ATTRIBUTE]] = text_of(attribute.value)
    return found
