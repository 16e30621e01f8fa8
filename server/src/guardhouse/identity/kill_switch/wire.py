"""Shapes of the kill switch on the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.identity.kill_switch.mode import Mode, in_force
from guardhouse.identity.kill_switch.store import ModeRow


class ModeRequest(BaseModel):
    """The mode to set, why, and for how long."""

    model_config = ConfigDict(extra="forbid")

    mode: Annotated[Mode, Field(examples=["SAFE_MODE"])]
    reason: Annotated[
        str, Field(min_length=1, max_length=500, examples=["Suspicious top-ups, investigating"])
    ]
    ttl_seconds: Annotated[
        int | None,
        Field(ge=1, le=86_400, description="After this the mode is NORMAL again.", examples=[3600]),
    ] = None


class ModeShape(BaseModel):
    """The mode in force, and who set it."""

    mode: Mode
    reason: str | None
    until: str | None
    changed_at: str | None
    changed_by: str | None


def mode_shape(row: ModeRow | None, now: datetime) -> ModeShape:
    """Return the public form; a mode whose time is over shows as NORMAL with what ended."""
    if row is None:
        return ModeShape(mode=Mode.NORMAL, reason=None, until=None, changed_at=None, changed_by=None)
    return ModeShape(
        mode=in_force(row, now),
        reason=row.reason,
        until=rfc3339(row.until) if row.until else None,
        changed_at=rfc3339(row.changed_at),
        changed_by=row.changed_by,
    )
