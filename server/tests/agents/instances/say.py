"""What agents say of themselves, for tests."""

from datetime import datetime, timedelta
from typing import Any


def status(now: datetime, *, uptime: float = 60.0, skewed: float = 0, **members: Any) -> dict[str, Any]:
    """Return a status of now, by a clock that is ``skewed`` seconds ahead."""
    return {
        "timestamp": (now + timedelta(seconds=skewed)).isoformat(sep=" "),
        "status": "healthy",
        "uptime": uptime,
        "events_sent": 0,
        "events_failed": 0,
        "buffer_size": 0,
        "last_flush": None,
        "errors": [],
    } | members


def lane(**counts: Any) -> dict[str, Any]:
    """Return one lane of a ledger; what is not named is 0."""
    return (
        dict.fromkeys(("captured", "delivered", "duplicates", "rejected", "merged"), 0)
        | {
            "dropped": {},
            "pending": {},
        }
        | counts
    )


def ledger(**events: Any) -> dict[str, Any]:
    """Return a ledger with these counts of events and none of metrics."""
    return {"events": lane(**events), "metrics": lane()}
