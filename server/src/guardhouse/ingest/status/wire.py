"""Shapes of the status of an in-app agent: what it may say, and what it is answered."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

_LENIENT = ConfigDict(extra="allow")


class LaneCounts(BaseModel):
    """One lane of a delivery ledger: counts since the process started."""

    model_config = _LENIENT

    captured: Annotated[int, Field(ge=0)] = 0
    delivered: Annotated[int, Field(ge=0)] = 0
    duplicates: Annotated[int, Field(ge=0)] = 0
    rejected: Annotated[int, Field(ge=0)] = 0
    merged: Annotated[int, Field(ge=0)] = 0
    dropped: Annotated[dict[str, int], Field(description="By reason.")] = {}
    pending: Annotated[dict[str, int], Field(description="By place.")] = {}


class LedgerCounts(BaseModel):
    """What became of everything that a process captured."""

    model_config = _LENIENT

    events: LaneCounts = LaneCounts()
    metrics: LaneCounts = LaneCounts()


class OwnStatus(BaseModel):
    """What our own agent says besides."""

    model_config = _LENIENT

    instance_id: str | None = None
    seq: (
        Annotated[int, Field(ge=0, description="Grows with every ledger; the highest one stands.")] | None
    ) = None
    pid: int | None = None
    boot_id: str | None = None
    host: str | None = None
    service: str | None = None
    environment: str | None = None
    tags: dict[str, str] = {}
    durability: str | None = None
    ledger: LedgerCounts | None = None
    lanes: dict[str, Any] = {}
    clients: dict[str, Any] | list[Any] | None = None
    ended: Annotated[
        bool, Field(description="Goodbye; or, of another process, that nothing of it is left.")
    ] = False


class AgentStatus(BaseModel):
    """How an in-app agent is doing."""

    model_config = _LENIENT

    timestamp: str | float = ""
    status: Annotated[str, Field(examples=["healthy"])] | None = None
    uptime: (
        Annotated[float, Field(description="Seconds; with `timestamp` it tells processes apart.")] | None
    ) = None
    events_sent: int | None = None
    events_failed: int | None = None
    buffer_size: int | None = None
    last_flush: str | None = None
    errors: list[Any] = []
    guardhouse: OwnStatus | None = None


class StatusAnswerShape(BaseModel):
    """The answer to a status, whatever was in it."""

    success: Literal[True]
    instance_id: Annotated[
        str | None, Field(description="The process it was taken for; null when the project has too many.")
    ]
    server_time: str


class StatusAnswer(msgspec.Struct, gc=False, kw_only=True):
    """The answer as sent: never empty, never with a member named ``errors``."""

    success: bool = True
    instance_id: str | None
    server_time: str
