"""The names that receivers of earlier products know, and the flat bodies they expect under them.

Whoever subscribes by one of these names gets that name and that body; by the kind, the standard one. The one
place that knows them, also those whose kind this version does not publish yet: a registration made now holds later.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from guardhouse.notices.read import Notice

RISK_THRESHOLD: Final = "risk_threshold_crossed"
DEFAULT_NAME: Final = "detection_complete"

KIND_OF: Final[Mapping[str, str]] = {
    DEFAULT_NAME: "detection.completed",
    "batch_complete": "detection.batch_completed",
    "detection_failed": "detection.failed",
    "rate_limit_exceeded": "rate_limit.exceeded",
    RISK_THRESHOLD: RISK_THRESHOLD,
}
NAME_OF: Final[Mapping[str, str]] = {kind: name for name, kind in KIND_OF.items()}


def render_legacy(notice: Notice) -> bytes:
    """Return the flat JSON body of a notice under its legacy name."""
    name = NAME_OF[notice.kind]
    data: dict[str, Any] = msgspec.json.decode(notice.data)
    return msgspec.json.encode(_SHAPES.get(name, _detection)(name, notice, data))


def _detection(name: str, notice: Notice, data: dict[str, Any]) -> dict[str, Any]:
    known = {"request_id", "result", "metadata"}
    rest = {key: value for key, value in data.items() if key not in known}
    return {
        "event": name,
        "request_id": data.get("request_id") or notice.correlation_id,
        "result": data.get("result", rest),
        "metadata": data.get("metadata") or {},
        "timestamp": notice.occurred_at.timestamp(),
        "api_key_id": None if notice.api_key_id is None else str(notice.api_key_id),
    }


def _risk_threshold(name: str, _notice: Notice, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "event_type": name,
        "process_id": data.get("process_id"),
        "risk_score": data.get("risk_score"),
        "threshold": data.get("threshold"),
        "timestamp": datetime.fromisoformat(data["crossed_at"]).timestamp(),
    }


_SHAPES: Final[Mapping[str, Callable[[str, Notice, dict[str, Any]], dict[str, Any]]]] = {
    RISK_THRESHOLD: _risk_threshold
}
