"""Shapes of recalculations on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Instant
from guardhouse.scores.recalculations.one_process import Recalculation
from guardhouse.scores.recalculations.store import AskedJob
from guardhouse.scores.wire import Band, Percent

ModeName = Literal["verify", "current"]
Mode = Annotated[
    ModeName,
    Field(
        description="verify: with the rules and baselines of then, must give what is stored; current: with the "
        "newest, kept as score rows with the reason `recalculated` unless `dry_run`."
    ),
]


class RecalculateRequest(BaseModel):
    """What `POST /scores:recalculate` takes: one process, or an agent and a range of its time."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"process_id": "web-1:4711", "mode": "verify"}}
    )

    process_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    agent_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    since: Instant | None = None
    until: Instant | None = None
    mode: Mode = "verify"
    dry_run: Annotated[bool, Field(description="Write nothing, whatever the mode.")] = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        ranged = [self.agent_id, self.since, self.until]
        if self.process_id is not None and any(value is not None for value in ranged):
            raise ValueError("name a process, or an agent with since and until, not both")
        if self.process_id is None and None in ranged:
            raise ValueError("name a process, or an agent with since and until")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self

    @property
    def ranged(self) -> tuple[str, tuple[datetime, datetime]]:
        """The agent and the range of its time.

        Raises:
            ValueError: a process is named instead.
        """
        if self.agent_id is None or self.since is None or self.until is None:
            raise ValueError("a process is named")
        return self.agent_id, (self.since, self.until)


class RecalculationShape(BaseModel):
    """How the recalculation went."""

    mode: ModeName
    equal: bool
    events: int


class RecalculatedShape(BaseModel):
    """A process's numbers, computed anew from its agent's stored events."""

    process_id: str
    risk: Percent
    risk_score: Percent
    anomaly_score: Percent | None
    band: Band
    explanation: dict[str, Any]
    recalculation: RecalculationShape


class DifferentShape(BaseModel):
    """A process that comes to something else than what is stored."""

    process_id: str
    risk: Percent
    band: Band
    stored_risk: Percent | None
    stored_band: Band | None


class ResultShape(BaseModel):
    """What a recalculation came to: how many processes, how many equal to the byte, up to 100 that differ."""

    processes: int
    equal: int
    different: list[DifferentShape]
    rows: int


class FailureShape(BaseModel):
    """Why a recalculation could not be done."""

    code: str
    detail: str
    available_from: str | None = None


class RecalculationJobShape(BaseModel):
    """A recalculation that runs as a job."""

    id: UUID
    agent_id: str
    since: str | None
    until: str | None
    mode: ModeName
    dry_run: bool
    state: Literal["waiting", "running", "done", "failed"]
    events: int
    result: ResultShape | None
    failure: FailureShape | None
    created_at: str
    finished_at: str | None


class RecalculationList(BaseModel):
    """One page of recalculations."""

    data: list[RecalculationJobShape]
    pagination: Pagination


def recalculated_shape(done: Recalculation) -> RecalculatedShape:
    """Return the public form of a recalculated process."""
    anomaly = done.summary.anomaly_score
    return RecalculatedShape.model_validate(
        {
            "process_id": done.process_id,
            "risk": done.summary.risk / 100,
            "risk_score": done.summary.risk_score / 100,
            "anomaly_score": None if anomaly is None else anomaly / 100,
            "band": done.summary.band,
            "explanation": done.explanation,
            "recalculation": RecalculationShape(mode=done.mode, equal=done.equal, events=done.events),
        }
    )


def job_shape(asked: AskedJob) -> RecalculationJobShape:
    """Return the public form of a recalculation that runs as a job."""
    failed = asked.state == "failed"
    return RecalculationJobShape(
        id=asked.id,
        agent_id=asked.agent_id,
        since=None if asked.since is None else rfc3339(asked.since),
        until=None if asked.until is None else rfc3339(asked.until),
        mode=asked.mode,
        dry_run=asked.dry_run,
        state=asked.state,
        events=asked.events,
        result=ResultShape.model_validate(asked.result) if asked.state == "done" else None,
        failure=FailureShape.model_validate(asked.result) if failed else None,
        created_at=rfc3339(asked.created_at),
        finished_at=None if asked.finished_at is None else rfc3339(asked.finished_at),
    )
