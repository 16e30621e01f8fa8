"""Shapes of incidents on the wire."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Window
from guardhouse.scores.incidents.queries import IncidentRow, ToldRow
from guardhouse.scores.incidents.store import Contributions
from guardhouse.scores.incidents.story import Scene, Story, What
from guardhouse.scores.wire import Band, Percent, ProcessShape, band_of, process_shape

TOP = 5
MAX_REASON = 1000


class IncidentQuery(Window):
    """Filters of `GET /risk/incidents`; the span is that of their opening."""

    status: Literal["open", "closed"] | None = None
    band: Annotated[Band | None, Field(description="The worst that was reached.")] = None
    agent_id: Annotated[str, Field(max_length=128)] | None = None
    process: (
        Annotated[
            str, Field(max_length=200, description="Id of any process of the tree; the short form too.")
        ]
        | None
    ) = None


class CloseRequest(BaseModel):
    """Why a person closes an incident."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)] | None = None


class ReasonShape(BaseModel):
    """One piece of evidence: its share of the risk in points, and why."""

    id: str
    points: Percent
    nats: float
    attack: Annotated[list[str], Field(description="ATT&CK techniques.")]
    exe: Annotated[str | None, Field(description="The program that did it.")]
    why: str
    events: Annotated[list[str], Field(description="Ids of events; they stay beyond retention.")]


class IncidentLinks(BaseModel):
    """Where to go on."""

    tree: str
    close: str


class IncidentShape(BaseModel):
    """One incident of process risk: a tree that rose above the low band, until it is quiet or closed."""

    id: UUID
    status: Literal["open", "closed"]
    title: Annotated[str, Field(description="Where, how bad, and the weightiest reason.")]
    band: Annotated[Band, Field(description="Of the tree as of `last_seen`.")]
    risk: Annotated[Percent, Field(description="Of the tree as of `last_seen`.")]
    peak_band: Band
    peak_risk: Percent
    peak_at: str
    opened_at: Annotated[str, Field(description="Event time.")]
    last_seen: Annotated[str, Field(description="When something was last heard of it; event time.")]
    closed_at: str | None
    closed_by: Annotated[str | None, Field(description="`quiet`, or who closed it.")]
    close_reason: str | None
    agent_id: str
    tree_id: Annotated[str, Field(description="Process id of the tree's root.")]
    process_id: Annotated[str, Field(description="Process whose act opened it.")]
    program: Annotated[str | None, Field(description="Program at the root of the tree.")]
    techniques: Annotated[list[str], Field(description="ATT&CK techniques behind the peak.")]
    top: Annotated[list[ReasonShape], Field(description="The weightiest reasons at the peak, at most five.")]
    notices: Annotated[int, Field(description="How many notices about it were made.")]
    links: IncidentLinks


class IncidentList(BaseModel):
    """One page of incidents."""

    data: list[IncidentShape]
    pagination: Pagination


class IncidentNoticeShape(BaseModel):
    """A notice that was sent, and what it rested on: the points sum to its risk."""

    id: UUID
    number: int
    at: str
    band: Band
    previous_band: Band
    evidence_id: str
    process_id: str
    risk: Percent
    contributions: list[ReasonShape]


class SceneShape(BaseModel):
    """One thing of the story."""

    at: str
    what: What
    text: str
    process_id: str | None
    event_id: str | None
    notice_id: UUID | None
    evidence: list[str]
    details: dict[str, Any]


class IncidentDetail(IncidentShape):
    """An incident with its story in time order."""

    contributions: Annotated[
        list[ReasonShape], Field(description="At the peak; the points sum to `peak_risk`.")
    ]
    versions: dict[str, Any]
    processes: list[ProcessShape]
    processes_cut: Annotated[bool, Field(description="There were more processes than shown.")]
    told: Annotated[
        list[IncidentNoticeShape], Field(description="The notices that went to webhooks and channels.")
    ]
    story: list[SceneShape]


def incident_shape(row: IncidentRow) -> IncidentShape:
    """Return the public form of an incident."""
    return IncidentShape(**_members(row))


def incident_detail(story: Story) -> IncidentDetail:
    """Return the public form of an incident with its story."""
    incident = story.row.incident
    return IncidentDetail(
        **_members(story.row),
        contributions=_reasons(incident.contributions),
        versions=incident.versions,
        processes=[process_shape(process) for process in story.processes],
        processes_cut=story.cut,
        told=[_notice(line) for line in story.told],
        story=[_scene(scene) for scene in story.scenes],
    )


def _members(row: IncidentRow) -> dict[str, Any]:
    i = row.incident
    parts = i.contributions
    place = row.exe or row.comm
    where = f"{place.rpartition('/')[2]} on {row.agent_id}" if place else row.agent_id
    return {
        "id": i.id,
        "status": i.status,
        "title": f"{i.peak_band.capitalize()} risk, {where}" + (f": {parts[0]['why']}" if parts else ""),
        "band": i.band,
        "risk": i.risk / 100,
        "peak_band": i.peak_band,
        "peak_risk": i.peak_risk / 100,
        "peak_at": rfc3339(i.peak_at),
        "opened_at": rfc3339(i.opened_at),
        "last_seen": rfc3339(i.seen_at),
        "closed_at": rfc3339(i.closed_at) if i.closed_at else None,
        "closed_by": i.closed_by,
        "close_reason": i.close_reason,
        "agent_id": row.agent_id,
        "tree_id": i.tree_id,
        "process_id": i.process_id,
        "program": place,
        "techniques": sorted({technique for part in parts for technique in part["attack"]}),
        "top": _reasons(parts[:TOP]),
        "notices": i.version,
        "links": IncidentLinks(
            tree=f"/api/v1/processes/{i.tree_id}/tree", close=f"/api/v1/risk/incidents/{i.id}/close"
        ),
    }


def _reasons(contributions: Contributions) -> list[ReasonShape]:
    return [
        ReasonShape(
            id=part["id"],
            points=part["points"],
            nats=part["nats"],
            attack=part["attack"],
            exe=part["exe"] or None,
            why=part["why"],
            events=part["events"],
        )
        for part in contributions
    ]


def _notice(line: ToldRow) -> IncidentNoticeShape:
    return IncidentNoticeShape(
        id=line.notice_id,
        number=line.number,
        at=rfc3339(line.at),
        band=band_of(line.band),
        previous_band=band_of(line.previous_band),
        evidence_id=line.evidence_id,
        process_id=line.process_id,
        risk=line.risk / 100,
        contributions=_reasons(line.contributions),
    )


def _scene(scene: Scene) -> SceneShape:
    return SceneShape(
        at=rfc3339(scene.at),
        what=scene.what,
        text=scene.text,
        process_id=scene.process_id,
        event_id=scene.event_id,
        notice_id=scene.notice_id,
        evidence=list(scene.evidence),
        details=scene.details,
    )
