"""One event as a segment holds it: a line of JSON with exactly one content, and what is known beside it."""

from typing import Any, Final

import msgspec

from guardhouse.anomalies.streams.redact import redact_text

MAX_TEXT_BYTES: Final = 8192
"""So much of a text is kept and judged; its whole size is noted."""
_LOOKED_AT: Final = 2 * MAX_TEXT_BYTES
MAX_EVENT_BYTES: Final = 256 << 10
_ENCODER: Final = msgspec.json.Encoder()


class Point(msgspec.Struct, omit_defaults=True, gc=False):
    """One data point of a metric as it was reported. Times in µs since the epoch; ``kind`` as OpenTelemetry's."""

    name: str
    kind: str
    at_us: int
    start_us: int = 0
    unit: str = ""
    attributes: list[tuple[str, str]] = []
    cumulative: bool = True
    monotonic: bool = False
    value: float | None = None
    observations: int | None = None
    total: float | None = None
    quantiles: list[tuple[float, float]] = []


class Step(msgspec.Struct, omit_defaults=True, gc=False):
    """One span as a step of a session, which is its trace. Times in µs."""

    service: str
    name: str
    kind: str
    status: str
    session: str
    start: int
    duration: int


class StoredEvent(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One event. ``at`` in µs since the epoch; ``cut``: bytes of the text before it was cut, 0 = whole.

    ``skewed``: it claimed to come from more than a day ahead, and has the time of receipt instead.
    """

    at: int
    text: str | None = None
    body: dict[str, Any] | None = None
    value: float | None = None
    symbols: list[int] | None = None
    point: Point | None = None
    step: Step | None = None
    entity: str | None = None
    session: str | None = None
    attributes: dict[str, str] | None = None
    sequence: int | None = None
    end: bool = False
    skewed: bool = False
    cut: int = 0


class NewEvent(msgspec.Struct, gc=False):
    """An event on its way into a stream: its line, its time, and the key it must not be stored twice under."""

    index: int
    at: int
    line: bytes
    key: bytes | None = None


def encode_event(event: StoredEvent) -> bytes:
    """Return the line of an event, without the newline.

    Raises:
        OverflowError: an integer beyond 64 bits.
        UnicodeEncodeError: an unpaired surrogate.
    """
    return _ENCODER.encode(event)


_DECODER: Final = msgspec.json.Decoder(StoredEvent)


def decode_event(line: bytes) -> StoredEvent:
    """Return the event of a line."""
    return _DECODER.decode(line)


def cut_text(text: str) -> tuple[str, int]:
    """Return what is kept of a text, without secrets, and the text's whole size in bytes if that is more."""
    if len(text) * 4 <= MAX_TEXT_BYTES:
        return redact_text(text), 0
    size = len(text.encode("utf-8", "replace"))
    if size <= MAX_TEXT_BYTES:
        return redact_text(text), 0
    near = redact_text(text[:_LOOKED_AT])  # a secret that the cut goes through is found whole
    return near.encode("utf-8", "replace")[:MAX_TEXT_BYTES].decode("utf-8", "ignore"), size
