"""The events of the stream and the ticket, as the contract shows them."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel

from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.notices.kind import Severity
from guardhouse.notices.kinds import KINDS

PositionText = Annotated[
    str, Field(pattern=r"^\d+\.\d+\.\d+$", description="A place in the stream; opaque.", examples=["1.789.2"])
]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class StreamConnected(_Event):
    """`event: connected`, the first one: the place from which the stream tells."""

    client_id: UUID
    last_id: PositionText


class StreamHeartbeat(_Event):
    """`event: heartbeat`, each 15 s; its id is a place to resume from."""

    timestamp: datetime


class StreamGap(_Event):
    """`event: gap`: the client was too slow; the stream ends, `Last-Event-ID` brings what is missing."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    from_: Annotated[PositionText, Field(alias="from")]
    to: PositionText


class StreamReset(_Event):
    """`event: reset`: notices after `Last-Event-ID` are older than seven days; the stream goes on from here."""

    oldest_id: PositionText


class StreamGoodbye(_Event):
    """`event: goodbye`: the server ends the stream; come back after its `retry:`."""

    reason: Literal["draining", "credential", "unavailable"]


class StreamNotice(_Event):
    """`event: <kind>`: something happened."""

    id: UUID
    kind: Annotated[str, Field(json_schema_extra={"enum": sorted(KINDS)})]
    version: int
    severity: Severity
    subject: Annotated[str, Field(examples=["incident:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10"])]
    subject_seq: int
    occurred_at: datetime
    project_id: UUID | None
    correlation_id: str
    data: Annotated[dict[str, Any], Field(description="By kind; see the catalogue of notices.")]


# How the contract shows the stream: a text, its events by name, and one message as it looks on the line.
STREAM_CONTENT: Final[dict[str, Any]] = {
    "text/event-stream": {
        "schema": {
            "type": "string",
            "description": "Server-sent events; the `data:` of each is one line of JSON, by `event:` name"
            " as in `x-events`. Any kind of notice is a `StreamNotice`.",
        },
        "x-events": {
            name: {"$ref": f"#/components/schemas/{model.__name__}"}
            for name, model in (
                ("connected", StreamConnected),
                ("heartbeat", StreamHeartbeat),
                ("gap", StreamGap),
                ("reset", StreamReset),
                ("goodbye", StreamGoodbye),
                *((kind, StreamNotice) for kind in KINDS),
            )
        },
        "example": "retry: 2000\n\nid: 1.789.2\nevent: connected\n"
        'data: {"client_id":"0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10","last_id":"1.789.2"}\n\n',
    }
}


class StreamEvent(
    RootModel[StreamNotice | StreamConnected | StreamHeartbeat | StreamGap | StreamReset | StreamGoodbye]
):
    """The `data:` of one event, by its `event:` name."""


class StreamTicket(BaseModel):
    """A ticket for `GET /api/v1/stream?ticket=`: one stream, within a minute."""

    ticket: ShownOnce
    expires_at: datetime
    expires_in_seconds: int
