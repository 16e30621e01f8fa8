"""Shapes of processes, trees and scores on the wire; the older members keep their names and meanings."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Window
from guardhouse.scores.find import Explained, evidence_of
from guardhouse.scores.queries import ProcessRow, StoredScore

Band = Literal["low", "medium", "high"]
Percent = Annotated[float, Field(ge=0, le=100)]


class ProcessShape(BaseModel):
    """One process of a host, with its numbers as of its last event."""

    id: str
    agent_id: str
    pid: int
    name: str
    exe: str | None
    comm: str | None
    parent_id: str | None
    root_id: str
    started_at: str
    last_seen: str
    exited_at: str | None
    calls: int
    risk: Annotated[Percent, Field(description="Evidence of this process alone.")]
    tree_risk: Annotated[Percent, Field(description="Evidence of the whole tree.")]
    risk_score: Annotated[
        Percent, Field(description="Mean weight of calls over 300 s; kept for compatibility.")
    ]
    anomaly_score: Percent | None
    band: Band
    tree_band: Band
    alphabet: str
    metadata: dict[str, Any]


class ProcessDetail(ProcessShape):
    """A process with why its number is what it is: the points of the contributions sum to the risk."""

    explanation: dict[str, Any]
    tree: Annotated[dict[str, Any], Field(description="The same for the tree that the process belongs to.")]


class ProcessList(BaseModel):
    """One page of processes."""

    data: list[ProcessShape]
    pagination: Pagination


class TreeShape(BaseModel):
    """The processes of one tree, flat, root first; ``cut`` when more exist."""

    root_id: str
    risk: Percent
    band: Band
    explanation: dict[str, Any]
    nodes: list[ProcessShape]
    cut: bool


class EvidenceShape(BaseModel):
    """One piece of evidence in a score row."""

    id: str
    nats: float
    points: float


class ScoreShape(BaseModel):
    """One score row."""

    id: str
    process_id: str
    agent_id: str
    pid: int
    risk_score: Percent
    risk: Percent
    tree_risk: Percent
    anomaly_score: Percent | None
    band: Band
    calculated_at: str
    position: int
    reasons: list[str]
    evidence: list[EvidenceShape]
    versions: dict[str, Any]
    metadata: dict[str, Any]


class ScoreList(BaseModel):
    """One page of scores."""

    data: list[ScoreShape]
    pagination: Pagination


class ProcessQuery(Window):
    """Filters of `GET /processes`."""

    agent_id: Annotated[str, Field(max_length=128)] | None = None
    pid: Annotated[int, Field(ge=0, le=4_194_304)] | None = None
    exe: Annotated[str, Field(max_length=4096, description="Beginning of the program's path.")] | None = None
    band: Band | None = None
    tree_band: Band | None = None
    risk_min: Percent | None = None
    risk_max: Percent | None = None
    alive: bool | None = None
    sort: Literal["last_seen", "risk"] = "last_seen"


class TreeQuery(BaseModel):
    """How much of a tree to show."""

    depth: Annotated[int, Field(ge=1, le=8)] = 3
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class ScoreQuery(Window):
    """Filters of `GET /scores`."""

    process_id: Annotated[str, Field(max_length=200)] | None = None
    agent_id: Annotated[str, Field(max_length=128)] | None = None
    risk_min: Percent | None = None
    risk_max: Percent | None = None
    by: Annotated[Literal["risk_score", "risk"], Field(description="What risk_min and risk_max bound.")] = (
        "risk_score"
    )
    band: Band | None = None
    view: Literal["latest", "history"] = "latest"


def process_shape(row: ProcessRow) -> ProcessShape:
    """Return the public form of a process."""
    return ProcessShape(**_process_members(row))


def process_detail(found: Explained) -> ProcessDetail:
    """Return the public form of a process with its explanation."""
    return ProcessDetail(**_process_members(found.process), explanation=found.explanation, tree=found.tree)


def tree_shape(found: Explained, rows: list[ProcessRow], *, cut: bool) -> TreeShape:
    """Return the public form of a tree."""
    return TreeShape(
        root_id=found.tree["root"]["id"],
        risk=found.tree["risk"],
        band=found.tree["band"],
        explanation=found.tree,
        nodes=[process_shape(row) for row in rows],
        cut=cut,
    )


def score_shape(score: StoredScore) -> ScoreShape:
    """Return the public form of a score row."""
    return ScoreShape(
        id=score.score_id.hex,
        process_id=score.process_id,
        agent_id=score.agent_id,
        pid=score.pid,
        risk_score=score.risk_score / 100,
        risk=score.risk / 100,
        tree_risk=score.tree_risk / 100,
        anomaly_score=_percent(score.anomaly_score),
        band=band_of(score.band),
        calculated_at=rfc3339(score.calculated_at),
        position=score.position,
        reasons=list(score.reasons),
        evidence=[EvidenceShape(**part) for part in evidence_of(score)],
        versions=score.versions,
        metadata={},
    )


def _process_members(row: ProcessRow) -> dict[str, Any]:
    return {
        "id": row.process_id,
        "agent_id": row.agent_id,
        "pid": row.pid,
        "name": row.comm or row.exe or f"pid-{row.pid}",
        "exe": row.exe,
        "comm": row.comm,
        "parent_id": row.relative_id(row.parent_key),
        "root_id": row.relative_id(row.root_key),
        "started_at": rfc3339(row.started_at),
        "last_seen": rfc3339(row.last_seen),
        "exited_at": rfc3339(row.exited_at) if row.exited_at else None,
        "calls": row.calls,
        "risk": row.risk / 100,
        "tree_risk": row.tree_risk / 100,
        "risk_score": row.risk_score / 100,
        "anomaly_score": _percent(row.anomaly_score),
        "band": row.band,
        "tree_band": row.tree_band,
        "alphabet": row.alphabet,
        "metadata": {},
    }


def _percent(hundredths: int | None) -> float | None:
    return None if hundredths is None else hundredths / 100


def band_of(name: str) -> Band:
    """Return a band from its stored name."""
    band: Band = msgspec.convert(name, Band)
    return band
