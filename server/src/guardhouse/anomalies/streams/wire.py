"""Shapes of streams on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.anomalies.configs.config import Config, resolve
from guardhouse.anomalies.stream import SLUG_PATTERN, State, Stream, StreamType
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination

_STRICT = ConfigDict(extra="forbid")
SessionKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        examples=["user_id"],
        description="The attribute or body member whose value tells sessions apart.",
    ),
]


class AnomalyStreamRequest(BaseModel):
    """A stream to make."""

    model_config = _STRICT

    slug: Annotated[str, Field(pattern=rf"^{SLUG_PATTERN}$", examples=["payments"])]
    type: StreamType
    session_key: SessionKey | None = None


class AnomalyStreamChange(BaseModel):
    """What may change of a stream; members that are absent stay as they are."""

    model_config = _STRICT

    session_key: SessionKey | None = None
    state: Literal["paused", "active"] = "active"


class CalibrationShape(BaseModel):
    """How far a stream has come in learning what is usual."""

    events_ingested: int
    events_needed: int
    progress_percent: float
    detection_ready: bool
    message: str
    outliers: Annotated[int, Field(description="Events that the end of the calibration set aside.")]


class AnomalyStream(BaseModel):
    """A stream."""

    id: UUID
    slug: str
    type: StreamType
    state: State
    seed: Annotated[
        str, Field(description="16 hex digits that every random choice of this stream follows from.")
    ]
    session_key: str | None
    automatic: Annotated[bool, Field(description="Made by the first record of a new service.")]
    events: int
    last_event_at: str | None
    lag_seconds: Annotated[
        float, Field(description="How long the oldest event that is not judged has waited.")
    ]
    calibration: CalibrationShape
    created_at: str
    version: int


class AnomalyStreamList(BaseModel):
    """A page of streams."""

    data: list[AnomalyStream]
    pagination: Pagination


def stream_shape(stream: Stream, config: Config, now: datetime) -> AnomalyStream:
    """Return the public form of a stream."""
    waiting = stream.last_seq > stream.processed_seq and stream.waiting_since is not None
    lag = (now - stream.waiting_since).total_seconds() if waiting and stream.waiting_since else 0.0
    return AnomalyStream(
        id=stream.id,
        slug=stream.slug,
        type=stream.type,
        state=stream.state,
        seed=stream.seed,
        session_key=stream.session_key,
        automatic=stream.automatic,
        events=stream.last_seq,
        last_event_at=None if stream.last_event_at is None else rfc3339(stream.last_event_at),
        lag_seconds=max(0.0, lag),
        calibration=calibration_shape(stream, config),
        created_at=rfc3339(stream.created_at),
        version=stream.version,
    )


def calibration_shape(stream: Stream, config: Config, *, ingested: int | None = None) -> CalibrationShape:
    """Return how far a stream has come; ``ingested``: its events, when there are more than it says."""
    events, needed = stream.last_seq if ingested is None else ingested, resolve(config, stream).warmup_events
    ready = stream.learning == "ready"
    if ready:
        message = "Events are judged as they come."
    elif stream.learning == "recalibrating":
        message = "What is usual has changed; the stream learns it anew."
    elif events < needed:
        message = f"{needed - events} more events are needed before anything is judged."
    else:
        message = "Enough events are there; the first model is being made."
    return CalibrationShape(
        events_ingested=events,
        events_needed=needed,
        progress_percent=100.0 if ready else round(min(100.0, 100 * events / needed), 1),
        detection_ready=ready,
        message=message,
        outliers=stream.outliers,
    )


def members_of(change: AnomalyStreamChange) -> dict[str, Any]:
    """Return the members that a change names."""
    return {name: getattr(change, name) for name in change.model_fields_set}
