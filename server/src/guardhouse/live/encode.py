"""Bytes of the event stream (HTML standard, server-sent events): encoded once, written to every client."""

from datetime import datetime
from typing import Any, Final

import msgspec

from guardhouse.foundation.clock import rfc3339
from guardhouse.notices.read import Notice, Position

RETRY_MILLISECONDS: Final = 2000
OPENING: Final = b"retry: %d\n\n" % RETRY_MILLISECONDS


def event(name: str, data: Any, *, at: Position | None = None, retry: int | None = None) -> bytes:
    """Return one event. ``at`` becomes the id a client resumes after; without it the id before stays."""
    head = f"id: {at}\n" if at else ""
    if retry is not None:
        head += f"retry: {retry}\n"
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


def notice_event(notice: Notice) -> bytes:
    """Return the event of a notice."""
    return event(notice.kind, notice_body(notice), at=notice.position)


def notice_body(notice: Notice) -> dict[str, Any]:
    """Return what the API says of a notice, here and in lists."""
    return {
        "id": str(notice.notice_id),
        "kind": notice.kind,
        "version": notice.version,
        "severity": notice.severity.value,
        "subject": notice.subject,
        "subject_seq": notice.subject_seq,
        "occurred_at": rfc3339(notice.occurred_at),
        "project_id": None if notice.project_id is None else str(notice.project_id),
        "correlation_id": notice.correlation_id,
        "data": msgspec.Raw(notice.data.encode()),
    }


def connected(client_id: str, at: Position) -> bytes:
    """Return the first event: who the server takes the client for, and the place it starts from."""
    return event("connected", {"client_id": client_id, "last_id": str(at)}, at=at)


def heartbeat(now: datetime, at: Position) -> bytes:
    """Return a sign of life; its id lets a client that hears little resume from here."""
    return event("heartbeat", {"timestamp": rfc3339(now)}, at=at)


def gap(sent: Position, newest: Position) -> bytes:
    """Return the last word to a client that could not keep up; it resumes from the log."""
    return event("gap", {"from": str(sent), "to": str(newest)})


def reset(oldest: Position) -> bytes:
    """Return the news that notices before ``oldest`` are gone."""
    return event("reset", {"oldest_id": str(oldest)})


def goodbye(reason: str, retry_milliseconds: int) -> bytes:
    """Return the farewell, with the pause after which to come back."""
    return event("goodbye", {"reason": reason}, retry=retry_milliseconds)
