"""The envelope of a host batch: one JSON object, or NDJSON with the batch's members in the query."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from starlette.datastructures import Headers, QueryParams

from guardhouse.foundation.errors import Problem, UnsupportedMediaType, ValidationFailed
from guardhouse.ingest.decode_body import decode_member, split_body
from guardhouse.ingest.decode_lenient import Cut, storable_text
from guardhouse.ingest.host_items import MAX_EVENTS, NOT_STRICT, NUL_ESCAPE, HostEvent, ItemError, decode_item

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MAX_READ: Final = 50_000  # cut at most; past 10,000 the batch is refused as a whole
MAX_WORD_BYTES: Final = 128  # they stand in keys and cursors
_Word = Annotated[str, Meta(min_length=1, max_length=MAX_WORD_BYTES)]


class BatchTooLarge(Problem):
    """More than 10,000 events in one batch."""

    status, code, title = 413, "batch_too_large", "Batch too large"
    remediation = "Send at most 10,000 events in one batch; 1,000 is recommended."


class _Envelope(Struct):
    agent_id: _Word | None = None
    stream: _Word | None = None
    boot_id: _Word | None = None
    alphabet: _Word | None = None
    idempotency_key: str | None = None


class _WholeBatch(_Envelope):
    events: list[HostEvent] = []


@dataclass(frozen=True, slots=True)
class HostBatch:
    """A batch as decoded: each item an event, or the error that takes its place.

    ``hashed`` is what makes it this batch and no other: the body, for NDJSON with the members in the query.
    ``beside_agent``: what it tells is about processes that the host's own agent may be reporting as well.
    """

    agent_id: str | None
    stream: str | None
    boot_id: str | None
    alphabet: str | None
    idempotency_key: str | None
    items: list[HostEvent | ItemError]
    hashed: bytes
    beside_agent: bool = False


_whole = msgspec.json.Decoder(_WholeBatch)
_line = msgspec.json.Decoder(HostEvent)


def read_batch(headers: Headers, query: QueryParams, content: bytes) -> HostBatch:
    """Decode a host batch.

    Raises:
        UnsupportedMediaType: neither JSON nor NDJSON.
        MalformedBody: not JSON, or no object on top.
        ValidationFailed: ``events`` is missing, no list, or empty, or an envelope member is wrong.
        BatchTooLarge: more than 10,000 events.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == NDJSON:
        return _read_lines(query, content)
    if media != JSON:
        raise UnsupportedMediaType(
            f"A host batch is {JSON} or {NDJSON}, not {media or 'without a Content-Type'}.",
            supported=[JSON, NDJSON],
        )
    if NUL_ESCAPE not in content:
        try:
            whole = _whole.decode(content)
        except NOT_STRICT:
            pass  # each item alone, below
        else:
            return _batch(whole, list(whole.events), content)
    return _read_each(content)


def _read_each(content: bytes) -> HostBatch:
    cut = split_body(content, ("events",), max_items=MAX_READ)
    members = {name: _member(cut, name) for name in _Envelope.__struct_fields__ if name in cut.members}
    if "events" in cut.members:
        raise _wrong_envelope("/events", "must be a list of events")
    try:
        envelope = msgspec.convert(members, _Envelope)
    except msgspec.ValidationError as error:
        raise _wrong_envelope("/" + _place(error), str(error)) from None
    return _batch(envelope, [decode_item(item) for item in cut.items.get("events", [])], content)


def _member(cut: Cut, name: str) -> Any:
    value = decode_member(cut, name)
    if value is None and cut.members[name] != b"null":
        raise _wrong_envelope(f"/{name}", "cannot be read, or is too long")
    return value


def _read_lines(query: QueryParams, content: bytes) -> HostBatch:
    members = {name: storable_text(query[name]) for name in _Envelope.__struct_fields__ if name in query}
    try:
        envelope = msgspec.convert(members, _Envelope)
    except msgspec.ValidationError as error:
        raise ValidationFailed(
            "A batch member in the query is wrong.",
            errors=[{"parameter": _place(error), "code": "type", "detail": str(error)}],
        ) from None
    hashed = msgspec.json.encode(members) + content
    lines = [line for line in content.split(b"\n") if not line.isspace() and line]
    if len(lines) <= MAX_EVENTS and NUL_ESCAPE not in content:
        try:
            events = _line.decode_lines(content)
        except NOT_STRICT:
            pass  # each line alone, below
        else:
            if len(events) == len(lines):  # else an event spans lines, or a line holds two
                return _batch(envelope, list(events), hashed)
    return _batch(envelope, [decode_item(line) for line in lines[: MAX_EVENTS + 1]], hashed)


def _batch(envelope: _Envelope, items: list[HostEvent | ItemError], hashed: bytes) -> HostBatch:
    for name in ("stream", "boot_id", "alphabet"):
        value: str | None = getattr(envelope, name)
        if value is not None and not value.isascii() and len(value.encode()) > MAX_WORD_BYTES:
            raise _wrong_envelope(f"/{name}", f"must be at most {MAX_WORD_BYTES} bytes")
    check_count(len(items))
    return HostBatch(
        envelope.agent_id,
        envelope.stream,
        envelope.boot_id,
        envelope.alphabet,
        envelope.idempotency_key,
        items,
        hashed,
    )


def check_count(events: int) -> None:
    """Insist on 1 to 10,000 events.

    Raises:
        ValidationFailed: there is none.
        BatchTooLarge: there are more.
    """
    if not events:
        raise ValidationFailed(
            "The batch has no events.",
            errors=[{"pointer": "/events", "code": "missing", "detail": "a list of 1 to 10,000 events"}],
        )
    if events > MAX_EVENTS:
        raise BatchTooLarge(f"The batch has more than {MAX_EVENTS} events.", limit_events=MAX_EVENTS)


def _wrong_envelope(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(
        "The batch is not of the shape of a host batch.",
        errors=[{"pointer": pointer, "code": "type", "detail": detail}],
    )


def _place(error: msgspec.ValidationError) -> str:
    return str(error).partition("`$.")[2].rstrip("`").replace(".", "/")
