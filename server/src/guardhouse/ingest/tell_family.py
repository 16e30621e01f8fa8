"""Tells app batches from host batches on the path that both share; decided once per request, first rule wins."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from starlette.datastructures import Headers

from guardhouse.foundation.errors import Problem
from guardhouse.ingest.decode_lenient import Cut, Unreadable, decode_item

Family = Literal["app", "host"]

FAMILY_HEADER: Final = "guardhouse-family"
EVENTS_TAG: Final = 'tag="guardhouse-events"'
NDJSON: Final = "application/x-ndjson"
APP_MEMBERS: Final = ("batch_id", "created_at", "metrics", "agent_version", "compressed")
HOST_MEMBERS: Final = ("agent_id", "stream", "boot_id", "alphabet")
_HOST_MARKS: Final = ("pid", "syscall", "kind")


class UnknownEventFamily(Problem):
    """Nothing tells whether this is telemetry of an in-app agent or of a host."""

    status, code, title = 422, "unknown_event_family", "Unknown event family"
    remediation = (
        'Send {"batch_id":"…","events":[{"event_type":"…","timestamp":"…"}]} for an in-app agent, or'
        ' {"agent_id":"…","events":[{"pid":1,"syscall":"…"}]} for a host; or say it in Guardhouse-Family.'
    )


class FamilyMismatch(Problem):
    """The credentials are of one family, the body is of the other."""

    status, code, title = 422, "family_mismatch", "Family mismatch"
    remediation = "Agents sign host batches only; send app batches with an API key."


def tell_by_headers(headers: Headers) -> Family | None:
    """Return the family that the headers alone tell, before the body is read."""
    named = headers.get(FAMILY_HEADER, "").strip().lower()
    if named in ("app", "host"):
        return "app" if named == "app" else "host"
    if is_signed(headers):
        return "host"
    if headers.get("content-type", "").partition(";")[0].strip().lower() == NDJSON:
        return "host"
    return None


def is_signed(headers: Headers) -> bool:
    """Tell whether a host agent has signed, in either way."""
    if EVENTS_TAG in headers.get("signature-input", ""):
        return True
    return "x-agent-id" in headers and "x-agent-signature" in headers


def tell_by_body(cut: Cut, *, has_key: bool) -> Family:
    """Return the family of a body.

    Raises:
        UnknownEventFamily: its events are of neither kind.
    """
    names = {*cut.members, *cut.items}
    if not names.isdisjoint(APP_MEMBERS):
        return "app"
    if not names.isdisjoint(HOST_MEMBERS):
        return "host"
    events = events_of(cut, "events")
    if not events:
        return "app" if has_key else "host"
    first = _first_object(events)
    if "event_type" in first:
        return "app"
    if any(mark in first for mark in _HOST_MARKS):
        return "host"
    raise UnknownEventFamily("The events say neither event_type nor pid, syscall or kind.")


def is_app_body(cut: Cut) -> bool:
    """Tell whether the members on top are those of an app batch."""
    return not {*cut.members, *cut.items}.isdisjoint(APP_MEMBERS)


def events_of(cut: Cut, name: str) -> list[bytes]:
    """Return the items of a member: of an array its elements, of anything but null itself as one item."""
    if name in cut.items:
        return cut.items[name]
    raw = cut.members.get(name, b"null")
    return [] if raw == b"null" else [raw]


def _first_object(events: list[bytes]) -> Mapping[str, Any]:
    for raw in events:
        try:
            value = decode_item(raw)
        except Unreadable:
            continue
        if isinstance(value, dict):
            return value
    return {}
