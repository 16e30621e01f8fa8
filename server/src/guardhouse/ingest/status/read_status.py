"""Read the status of an in-app agent: whatever can be read of it is, and nothing in it is a reason to refuse."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from guardhouse.agents.instances.ledger import read_ledger, read_seq
from guardhouse.agents.instances.record_status import Status
from guardhouse.agents.instances.sender import read_instance_id
from guardhouse.ingest.decode_body import decode_member
from guardhouse.ingest.decode_lenient import Cut, storable_text
from guardhouse.ingest.telemetry_fields import Notes, read_number, read_object, read_time

MAX_HEALTH: Final = 32
MAX_UPTIME: Final = 100 * 365 * 86_400.0
MAX_BUFFERED: Final = 1 << 40
SHOWN: Final = (
    "timestamp", "status", "uptime", "events_sent", "events_failed", "buffer_size", "last_flush", "errors",
)  # fmt: skip
"""Members of a status that are shown as they came."""
LASTING: Final = ("pid", "boot_id", "host", "service", "environment", "tags", "durability")
"""What our own agent says of its process; the rest of it belongs to the one report."""

UNREADABLE: Final = Status(remarks=("status_unreadable",), report={"unreadable": True})


def read_status(cut: Cut) -> Status:
    """Return what a status says."""
    said = {name: decode_member(cut, name) for name in SHOWN}
    own = decode_member(cut, "guardhouse")
    own = own if isinstance(own, Mapping) else {}
    reported_at = read_time(said["timestamp"])
    uptime = _uptime(said["uptime"])
    if reported_at is None and said["status"] is None and not own:
        return UNREADABLE
    remarks = [] if reported_at is not None else ["status_unreadable"]
    ledger = read_ledger(own["ledger"]) if "ledger" in own else None
    if "ledger" in own and ledger is None:
        remarks.append("ledger_unreadable")
    shown = {name: value for name, value in said.items() if value is not None}
    shown |= {name: value for name, value in own.items() if name not in LASTING and name != "ledger"}
    return Status(
        reported_at=reported_at,
        started_at=_started(reported_at, uptime),
        health=_health(said["status"]),
        buffered=_count(said["buffer_size"]),
        instance_id=read_instance_id(own.get("instance_id")),
        seq=read_seq(own.get("seq")),
        ledger=ledger,
        ended=own.get("ended") is True,
        process=_kept({name: own[name] for name in LASTING if own.get(name) is not None}),
        report=_kept(shown),
        remarks=tuple(remarks),
    )


def _uptime(value: Any) -> float | None:
    found = read_number(value, Notes())
    return found if found is not None and 0 <= found <= MAX_UPTIME else None


def _started(reported_at: datetime | None, uptime: float | None) -> datetime | None:
    if reported_at is None or uptime is None:
        return None
    try:
        return reported_at - timedelta(seconds=uptime)
    except OverflowError:
        return None


def _health(value: Any) -> str | None:
    return storable_text(value)[:MAX_HEALTH].lower() if isinstance(value, str) and value else None


def _count(value: Any) -> int:
    found = read_number(value, Notes())
    return int(found) if found is not None and 0 <= found <= MAX_BUFFERED else 0


def _kept(members: dict[str, Any]) -> dict[str, Any]:
    """Return members as they are stored: cut to what an item may have, secrets taken out."""
    text = read_object(members, Notes())
    found: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
    return found
