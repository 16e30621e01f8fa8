"""Reads an export request of OTLP, protobuf or JSON (OTLP specification, "JSON Protobuf Encoding").

In JSON trace and span ids are hex where protobuf's own mapping has base64: read as base64 and written as base64 they
come back as they were, so nothing has to walk the document before.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from guardhouse.foundation.errors import UnsupportedMediaType
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.otlp.signal import Request, Signal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Export:
    """A decoded request, and in which encoding its ids are."""

    message: Request
    is_json: bool

    def hex_of(self, identifier: bytes) -> str:
        """Return a trace or span id in hex; empty when it is none."""
        if self.is_json:
            return base64.b64encode(identifier).decode().rstrip("=").lower()
        return identifier.hex()


def media_type_of(content_type: str) -> str:
    """Return which of the two encodings a request is in.

    Raises:
        UnsupportedMediaType: neither.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in (PROTOBUF, JSON):
        raise UnsupportedMediaType(
            f"OTLP is {PROTOBUF} or {JSON}, not {media_type[:100] or 'without a Content-Type'}.",
            supported=[PROTOBUF, JSON],
        )
    return media_type


def decode_export(signal: Signal, media_type: str, content: bytes) -> Export:
    """Return the request that a body holds.

    Raises:
        MalformedBody: it cannot be read.
    """
    message = signal.request()
    if media_type == JSON:
        _read_json(signal, content, message)
        return Export(message, is_json=True)
    try:
        message.ParseFromString(content)
    except DecodeError:
        raise MalformedBody(f"The body is no {message.DESCRIPTOR.name}, or is cut.", offset=0) from None
    return Export(message, is_json=False)


def _read_json(signal: Signal, content: bytes, message: Request) -> None:
    try:
        document: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"The body is not JSON: {str(error)[:200]}.", offset=0) from None
    if not isinstance(document, dict) or (document and signal.member not in document):
        raise MalformedBody(
            f"The body has no {signal.member}. This path is OTLP's own; send other JSON to {signal.native}.",
            offset=0,
        )
    try:
        json_format.ParseDict(document, message, ignore_unknown_fields=True, max_recursion_depth=64)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise MalformedBody(f"The body is no OTLP: {str(error)[:200]}.", offset=0) from None
