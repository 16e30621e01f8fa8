"""Shapes of previews on the wire."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.analysis.risk.rule import MAX_WEIGHT
from guardhouse.foundation.clock import rfc3339
from guardhouse.scores.previews.preview import Asked
from guardhouse.scores.previews.store import Preview
from guardhouse.scores.rules.wire import EXAMPLE, RULE_ID

PreviewState = Literal["running", "done", "failed"]
PreviewBand = Literal["medium", "high"]


class PreviewOverride(BaseModel):
    """A change of one of the product's rules, as `PATCH /risk/rules/{rule_id}` takes it."""

    model_config = ConfigDict(extra="forbid")

    rule_id: Annotated[str, Field(pattern=RULE_ID, examples=["exec_tmp"])]
    enabled: bool | None = None
    weight: Annotated[float | None, Field(description=f"In nats, 0 to {MAX_WEIGHT:g}.", examples=[0.5])] = (
        None
    )
    excepts: Annotated[list[dict[str, Any]] | None, Field(alias="except", max_length=64)] = None


class PreviewRequest(BaseModel):
    """What `POST /scores:preview` takes: one change, and the days to try it on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"override": {"rule_id": "exec_tmp", "weight": 1}, "days": 7}]},
    )

    rule: Annotated[
        dict[str, Any] | None,
        Field(
            description="A rule of one's own with its id and tests.",
            examples=[{"id": "payroll_read"} | EXAMPLE],
        ),
    ] = None
    override: PreviewOverride | None = None
    days: Annotated[int, Field(ge=1, le=14)] = 7
    agent_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _one_change(self) -> "PreviewRequest":
        if (self.rule is None) == (self.override is None):
            raise ValueError("name one change: a rule or an override")
        return self


class PreviewSide(BaseModel):
    """How high an incident came one way, and by which evidence."""

    band: PreviewBand
    risk: float
    evidence: list[str]


class PreviewIncident(BaseModel):
    """An incident that the change makes, takes away or moves to another band; null = none that way."""

    agent_id: str
    tree_id: str
    process_id: str
    exe: str | None
    began_at: str
    before: PreviewSide | None
    after: PreviewSide | None


class PreviewList(BaseModel):
    """How many incidents, and the first hundred of them."""

    count: int
    incidents: list[PreviewIncident]


class PreviewResult(BaseModel):
    """What the change would have done. `complete` is false when there were more events than are looked at."""

    rules: Annotated[str, Field(description="Version of the rules that it was compared with.")]
    agents: int
    events: int
    complete: bool
    incidents_before: int
    incidents_after: int
    appear: PreviewList
    vanish: PreviewList
    change: PreviewList


class PreviewShape(BaseModel):
    """A preview: what was asked, and once it is done what it found."""

    id: UUID
    state: PreviewState
    asked: dict[str, Any]
    since: str
    until: str
    made_at: str
    finished_at: str | None
    result: PreviewResult | None


def asked_of(wanted: PreviewRequest) -> Asked:
    """Return what a request asks for."""
    override = None
    if wanted.override is not None:
        override = {name: getattr(wanted.override, name) for name in wanted.override.model_fields_set}
        if "excepts" in override:
            override["except"] = override.pop("excepts")
    return Asked(wanted.days, wanted.agent_id, wanted.rule, override)


def preview_shape(found: Preview) -> PreviewShape:
    """Return the public form of a preview."""
    return PreviewShape(
        id=found.id,
        state=_state(found.state),
        asked=dict(found.asked),
        since=rfc3339(found.since),
        until=rfc3339(found.until),
        made_at=rfc3339(found.made_at),
        finished_at=None if found.finished_at is None else rfc3339(found.finished_at),
        result=None if found.result is None else PreviewResult.model_validate(found.result),
    )


def _state(name: str) -> PreviewState:
    states: dict[str, PreviewState] = {"running": "running", "done": "done", "failed": "failed"}
    return states[name]
