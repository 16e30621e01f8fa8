"""Shapes of anomalies on the wire: the names and units of the original contract, and what was added to it."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.anomalies.findings.anomaly import Anomaly, Kind, SeverityName, Status
from guardhouse.anomalies.findings.store import Filters
from guardhouse.anomalies.stream import StreamType
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination

_HEAVY = ("heat_map",)


class AnomalyShape(BaseModel):
    """One anomaly. Ratios are |x| / C(x), entropies bits per byte, changes fractions."""

    id: UUID
    timestamp: str
    stream_id: UUID
    stream_type: StreamType
    kind: Kind
    status: Status
    severity: SeverityName
    ncd_score: float | None
    p_value: float
    confidence_level: float
    is_statistically_significant: bool
    glass_box_explanation: str
    detailed_explanation: str
    compression_baseline: float | None
    compression_window: float | None
    compression_combined: float | None
    compression_ratio_change: float | None
    baseline_entropy: float | None
    window_entropy: float | None
    entropy_change: float | None
    tags: list[str]
    acknowledged_by: str | None
    acknowledged_at: str | None
    dismissed_by: str | None
    dismissed_at: str | None
    notes: str | None
    created_at: str
    updated_at: str
    score: dict[str, Any]
    events: dict[str, Any]
    glass_box: dict[str, Any]
    decision: dict[str, Any]
    explanation: dict[str, Any]
    versions: dict[str, Any]
    source: Literal["engine", "external"]


class AnomalyList(BaseModel):
    """A page of anomalies."""

    data: list[AnomalyShape]
    pagination: Pagination


class AnomalyQuery(BaseModel):
    """Which anomalies a list is of."""

    stream_id: UUID | None = None
    stream_type: StreamType | None = None
    status: Status | None = None
    severity: SeverityName | None = None
    kind: Kind | None = None
    entity: Annotated[str, Field(max_length=256)] | None = None
    q: Annotated[str, Field(max_length=200, description="Words in the explanation.")] | None = None
    tags: Annotated[str, Field(max_length=500, description="All of these, with commas between.")] | None = (
        None
    )
    min_ncd_score: Annotated[float, Field(ge=0, le=1)] | None = None
    max_p_value: Annotated[float, Field(ge=0, le=1)] | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    only_significant: bool = False
    include: (
        Annotated[
            str,
            Field(
                pattern=r"^(suppressed|over_budget|warmup)(,(suppressed|over_budget|warmup))*$",
                description="What alerted nobody, too: `suppressed`, `over_budget`, `warmup`.",
            ),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start_time and self.end_time and _aware(self.start_time) > _aware(self.end_time):
            raise ValueError("start_time is after end_time")
        return self


class StatusChange(BaseModel):
    """What people make of an anomaly."""

    model_config = ConfigDict(extra="forbid")

    status: Status
    notes: Annotated[str, Field(max_length=4000)] | None = None


def filters_of(query: AnomalyQuery) -> Filters:
    """Return the filters of a query."""
    return Filters(
        stream_id=query.stream_id,
        stream_type=query.stream_type,
        status=query.status,
        severity=query.severity,
        kind=query.kind,
        entity=query.entity,
        words=query.q,
        tags=None if query.tags is None else tuple(query.tags.split(",")),
        min_ncd_score=query.min_ncd_score,
        max_p_value=query.max_p_value,
        start_time=None if query.start_time is None else _aware(query.start_time),
        end_time=None if query.end_time is None else _aware(query.end_time),
        only_significant=query.only_significant,
        all_kept=query.include is not None,
    )


def anomaly_shape(one: Anomaly, *, heavy: bool = False) -> AnomalyShape:
    """Return the public form of an anomaly; only a ``heavy`` one has its heat map."""
    box = one.glass_box
    explanation = {name: value for name, value in one.explanation.items() if heavy or name not in _HEAVY}
    return AnomalyShape(
        id=one.id,
        timestamp=rfc3339(one.timestamp),
        stream_id=one.stream_id,
        stream_type=one.stream_type,
        kind=one.kind,
        status=one.status,
        severity=one.severity,
        ncd_score=one.ncd_score,
        p_value=one.p_value,
        confidence_level=1 - one.p_value,
        is_statistically_significant=one.significant,
        glass_box_explanation=one.explanation_text,
        detailed_explanation=one.details_text,
        compression_baseline=box.get("ratio_baseline"),
        compression_window=box.get("ratio_window"),
        compression_combined=box.get("ratio_combined"),
        compression_ratio_change=box.get("ratio_change"),
        baseline_entropy=box.get("entropy_baseline"),
        window_entropy=box.get("entropy_window"),
        entropy_change=box.get("entropy_change"),
        tags=list(one.tags),
        acknowledged_by=one.acknowledged_by,
        acknowledged_at=_instant(one.acknowledged_at),
        dismissed_by=one.dismissed_by,
        dismissed_at=_instant(one.dismissed_at),
        notes=one.notes,
        created_at=rfc3339(one.created_at),
        updated_at=rfc3339(one.updated_at),
        score=dict(one.score),
        events={
            "first_seq": one.first_seq,
            "last_seq": one.last_seq,
            "count": one.last_seq - one.first_seq + 1,
            "entity": one.entity,
            "template_id": one.score.get("template_id", 0),
        },
        glass_box=dict(box),
        decision=dict(one.decision),
        explanation=explanation,
        versions=dict(one.versions),
        source="external" if one.kind == "external" else "engine",
    )


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
