"""Shapes of the generic door on the wire."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.anomalies.stream import State
from guardhouse.anomalies.streams.wire import CalibrationShape


class GenericEvent(BaseModel):
    """One event. Exactly one of `text`, `body`, `value` and `symbols` is its content.

    An object with neither a known `type` nor one of these four is taken whole as `body`.
    """

    model_config = ConfigDict(extra="allow")

    timestamp: Annotated[
        str | float, Field(description="RFC 3339, or a time since 1970; now without it.")
    ] = ""
    type: Annotated[str, Field(examples=["log"])] = "log"
    text: Annotated[str, Field(examples=["user 17 signed in from 192.0.2.4"])] | None = None
    body: dict[str, Any] | None = None
    value: float | None = None
    symbols: Annotated[list[int], Field(description="A whole session.")] | None = None
    entity: Annotated[str, Field(description="Which host, user or instance it is about.")] | None = None
    attributes: dict[str, Any] = {}
    idempotency_key: Annotated[str, Field(max_length=256, description="Stored once in 24 hours.")] | None = (
        None
    )
    sequence: int | None = None
    end: Annotated[bool, Field(description="The session ends with this event.")] = False


class GenericBatch(BaseModel):
    """Events of one stream."""

    events: Annotated[list[GenericEvent], Field(min_length=1, max_length=1000)]


class EventVerdict(BaseModel):
    """What became of an event that was not stored."""

    index: int
    status: Literal["rejected", "duplicate"]
    code: str
    detail: str


class BatchAnswer(BaseModel):
    """What became of a batch; `items` lists what was not stored, at most 1,000 of it."""

    batch_id: UUID
    stream_id: UUID
    accepted: int
    rejected: int
    duplicates: int
    first_seq: int | None
    last_seq: int | None
    state: State
    calibration: CalibrationShape
    warnings: Annotated[
        dict[str, int], Field(description="How often something was noted about taken events.")
    ]
    items: list[EventVerdict]
