"""Takes the body of the generic door apart: a JSON document with ``events``, or one object per line."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from guardhouse.foundation.errors import Problem
from guardhouse.ingest.decode_lenient import MalformedBody, Unreadable, cut_items, decode_item
from guardhouse.ingest.generic.judge_event import Refused

MAX_EVENTS: Final = 1000
_MAX_LINES: Final = 200_000


class EventsEmpty(Problem):
    """The batch has no events."""

    status, code, title = 422, "events_empty", "No events"
    remediation = (
        'Send {"events": [...]} with 1 to 1,000 events, or one event per line as application/x-ndjson.'
    )


class TooManyEvents(Problem):
    """More than 1,000 events in one JSON document."""

    status, code, title = 413, "too_many_events", "Too many events"
    remediation = "Send at most 1,000 events in one document, or one event per line as application/x-ndjson."


def read_document(content: bytes) -> list[Any]:
    """Return the events of a JSON document.

    Raises:
        MalformedBody: no JSON, or no object with a list ``events`` in it; with the byte where known.
        EventsEmpty: the list is empty.
        TooManyEvents: it has more than 1,000.
    """
    document = _decode(content)
    found = document.get("events") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise MalformedBody("The body is no object with a list `events`.", offset=0)
    if not found:
        raise EventsEmpty("The list of events is empty.")
    if len(found) > MAX_EVENTS:
        raise TooManyEvents(f"The document has {len(found):,} events.", limit=MAX_EVENTS)
    return found


def read_lines(content: bytes) -> Iterator[Any]:
    """Yield the event of each line that is not blank, or the refusal that takes its place.

    Raises:
        TooManyEvents: more than 200,000 lines.
    """
    lines = content.splitlines() if content.count(b"\n") < _MAX_LINES else None
    if lines is None:
        raise TooManyEvents("The body has too many lines.", limit=_MAX_LINES)
    for line in lines:
        if not line.strip():
            continue
        try:
            yield _strictly(line)
        except MalformedBody as problem:
            yield Refused("line_malformed", problem.detail)
        except RecursionError:
            yield Refused("too_deep", "The event is nested too deeply to be read.")


def _decode(content: bytes) -> Any:
    if not content.strip():
        raise MalformedBody("The body is empty.", offset=0)
    try:
        return _strictly(content)
    except RecursionError:  # one event is too deep; the others are not to suffer
        cut = cut_items(content, ("events",), max_items=MAX_EVENTS)
        return {"events": [_item(raw) for raw in cut.items.get("events", ())]}


def _strictly(content: bytes) -> Any:
    """Return what a JSON text says; infinite numbers are left for the verdict on their event."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedBody(f"The body is not UTF-8 at byte {error.start}.", offset=error.start) from None
    except json.JSONDecodeError as error:
        offset = len(error.doc[: error.pos].encode())
        raise MalformedBody(f"{error.msg} (byte {offset}).", offset=offset) from None
    except ValueError as error:  # an integer of thousands of digits
        raise MalformedBody(str(error)[:200], offset=0) from None


def _item(raw: bytes) -> Any:
    try:
        return decode_item(raw)
    except Unreadable as unreadable:
        return Refused("too_deep", str(unreadable))
