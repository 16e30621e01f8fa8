"""Shapes of policies, their actions and simulations on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.rules.wire import TargetShape, target_of
from guardhouse.analysis.abuse.address import PREFIX_V6
from guardhouse.events.policies.policy import Action, ByEvents, ByFinding, ByScore, Cause, Effect, Policy
from guardhouse.events.policies.simulate import LISTED, Simulation, WouldBan
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination

Mode = Literal["observe", "suggest", "enforce"]
State = Literal["observed", "proposed", "accepted", "dismissed", "enforced", "refused"]
_Text = Annotated[str, Field(min_length=1, max_length=64)]


class ScoreCause(BaseModel):
    """An address's abuse score is at least so high."""

    model_config = ConfigDict(extra="forbid", title="PolicyByScore")

    source: Literal["ip_score"]
    at_least: Annotated[int, Field(ge=1, le=999, examples=[600])]


class EventsCause(BaseModel):
    """An address made so many events of some types, at so many endpoints, within a window."""

    model_config = ConfigDict(extra="forbid", title="PolicyByEvents")

    source: Literal["events"]
    types: Annotated[list[_Text], Field(min_length=1, max_length=30, examples=[["authentication_failed"]])]
    count: Annotated[int, Field(ge=1, le=100_000, examples=[20])]
    window_s: Annotated[int, Field(ge=1, le=86_400, examples=[300])]
    distinct_endpoints: Annotated[int, Field(ge=0, le=1000)] = 0


class FindingCause(BaseModel):
    """A notice of some kind, and at least so severe, names an address in the project."""

    model_config = ConfigDict(extra="forbid", title="PolicyByFinding")

    source: Literal["finding"]
    kinds: Annotated[list[_Text], Field(min_length=1, max_length=30, examples=[["ip.score_crossed"]])]
    min_severity: Literal["info", "low", "medium", "high", "critical"] = "high"


When = Annotated[ScoreCause | EventsCause | FindingCause, Field(discriminator="source")]


class Then(BaseModel):
    """What happens to the address; repeat offenders climb ``for_s``, seven quiet days begin it anew."""

    model_config = ConfigDict(extra="forbid", title="PolicyEffect")

    kind: Literal["ban_net"] = "ban_net"
    for_s: Annotated[
        list[Annotated[int, Field(ge=60, le=31_536_000)]],
        Field(min_length=1, max_length=10, description="Seconds of the first ban, the second, and so on."),
    ] = [900, 3600, 86_400]
    prefix_v6: Annotated[int, Field(ge=32, le=PREFIX_V6)] = PREFIX_V6


class PolicyRequest(BaseModel):
    """A policy to be made; it begins by observing unless told otherwise."""

    model_config = ConfigDict(extra="forbid", title="NewRulePolicy")

    name: Annotated[str, Field(min_length=1, max_length=100, examples=["scanners"])]
    when: When
    then: Then = Then()
    mode: Mode = "observe"
    max_per_hour: Annotated[int, Field(ge=1, le=1000)] = 20
    never: Annotated[list[str], Field(max_length=200, description="Networks that it never bans.")] = []
    target: TargetShape | None = None
    enabled: bool = True


class PolicyChange(BaseModel):
    """What `PATCH` takes: absent members stay."""

    model_config = ConfigDict(extra="forbid", title="RulePolicyChange")

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    when: When | None = None
    then: Then | None = None
    mode: Mode | None = None
    max_per_hour: Annotated[int, Field(ge=1, le=1000)] | None = None
    never: Annotated[list[str], Field(max_length=200)] | None = None
    target: TargetShape | None = None
    enabled: Annotated[bool | None, Field(description="true also lets go of the brake that paused it.")] = (
        None
    )


class PolicyShape(BaseModel):
    """One policy of a project."""

    id: UUID
    name: str
    when: When
    then: Then
    mode: Mode
    max_per_hour: int
    never: list[str]
    target: TargetShape
    enabled: bool
    paused_at: Annotated[str | None, Field(description="When it hit a brake; it does nothing since.")]
    paused_by: Literal["max_per_hour", "active_bans"] | None
    version: Annotated[int, Field(description="Its ETag.")]
    created_at: str
    created_by: str


class PolicyList(BaseModel):
    """One page of policies."""

    data: list[PolicyShape]
    pagination: Pagination


class ActionShape(BaseModel):
    """What a policy did about an address, or would have done."""

    id: UUID
    policy_id: UUID
    address: str
    net: str
    state: State
    refused_for: Annotated[
        str | None,
        Field(description="private_network, never_ban, known_proxy, or proxy: a fifth of all events."),
    ]
    step: Annotated[int, Field(description="How far up its ladder, from 0.")]
    for_seconds: int
    reason: str
    evidence: Annotated[dict[str, Any], Field(description="Score, ids of events, id of a notice.")]
    rule_id: UUID | None
    at: str
    until: Annotated[str, Field(description="The policy does nothing more about it before.")]
    decided_by: str | None
    decided_at: str | None


class ActionList(BaseModel):
    """One page of actions."""

    data: list[ActionShape]
    pagination: Pagination


class ActionQuery(BaseModel):
    """Filters of `GET /projects/{project_id}/rule-actions`."""

    policy_id: UUID | None = None
    state: State | None = None


class DecisionRequest(BaseModel):
    """What `:accept` and `:dismiss` take."""

    model_config = ConfigDict(extra="forbid", title="ProposalDecision")

    reason: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    force: Annotated[
        bool, Field(description="Ban even your own, private or protected addresses; needs `reason`.")
    ] = False


class SimulationRequest(BaseModel):
    """What `:simulate` takes."""

    model_config = ConfigDict(extra="forbid", title="PolicySimulationRequest")

    hours: Annotated[int, Field(ge=1, le=168)] = 24


class WouldBanShape(BaseModel):
    """One ban that would have been made."""

    at: str
    address: str
    net: str
    step: int
    for_seconds: int
    reason: str


class SimulationShape(BaseModel):
    """What a policy would have done to the last hours; bans take away no events here."""

    since: str
    whole: Annotated[bool, Field(description="Whether all of the span was replayed.")]
    bans: int
    networks: Annotated[int, Field(description="Different networks among the bans.")]
    refused: Annotated[dict[str, int], Field(description="Bans that guarded addresses prevented, by code.")]
    paused_at: Annotated[str | None, Field(description="When a brake would have paused it; it ends there.")]
    paused_by: Literal["max_per_hour", "active_bans"] | None
    first: Annotated[list[WouldBanShape], Field(description="The first hundred bans.")]


def cause_of(shape: ScoreCause | EventsCause | FindingCause) -> Cause:
    """Return the cause that a body names."""
    if isinstance(shape, ScoreCause):
        return ByScore(shape.at_least)
    if isinstance(shape, EventsCause):
        types = tuple(dict.fromkeys(shape.types))
        return ByEvents(types, shape.count, shape.window_s, shape.distinct_endpoints)
    return ByFinding(tuple(dict.fromkeys(shape.kinds)), shape.min_severity)


def members_of(body: PolicyRequest | PolicyChange) -> dict[str, Any]:
    """Return what a body says of a policy, as its members; what is absent or null is left out."""
    given = {
        name: getattr(body, name)
        for name in type(body).model_fields
        if isinstance(body, PolicyRequest) or name in body.model_fields_set
    }
    members = {name: value for name, value in given.items() if value is not None}
    if "when" in members:
        members["cause"] = cause_of(members.pop("when"))
    if "then" in members:
        then = members.pop("then")
        members["effect"] = Effect(tuple(then.for_s), then.prefix_v6)
    if "never" in members:
        members["never"] = tuple(members["never"])
    if "target" in members:
        members["target"] = target_of(members["target"])
    return members


def policy_shape(policy: Policy) -> PolicyShape:
    """Return the public form of a policy."""
    return PolicyShape.model_validate(
        policy.told
        | {
            "id": policy.id,
            "paused_at": _instant(policy.paused_at),
            "paused_by": policy.paused_by,
            "version": policy.version,
            "created_at": _instant(policy.created_at),
            "created_by": policy.created_by,
        }
    )


def action_shape(action: Action) -> ActionShape:
    """Return the public form of an action."""
    return ActionShape(
        id=action.id,
        policy_id=action.policy_id,
        address=action.address,
        net=action.net,
        state=action.state,
        refused_for=action.refused_for,
        step=action.step,
        for_seconds=action.for_seconds,
        reason=action.reason,
        evidence=action.evidence,
        rule_id=action.rule_id,
        at=rfc3339(action.at),
        until=rfc3339(action.until),
        decided_by=action.decided_by,
        decided_at=_instant(action.decided_at),
    )


def simulation_shape(found: Simulation) -> SimulationShape:
    """Return the public form of a simulation."""
    return SimulationShape.model_validate(
        {
            "since": rfc3339(found.since),
            "whole": found.whole,
            "bans": len(found.bans),
            "networks": len({ban.net for ban in found.bans}),
            "refused": dict(found.refused),
            "paused_at": _instant(found.paused_at),
            "paused_by": found.paused_by,
            "first": [_would_ban(ban) for ban in found.bans[:LISTED]],
        }
    )


def _would_ban(ban: WouldBan) -> dict[str, Any]:
    return {
        "at": rfc3339(ban.at),
        "address": ban.address,
        "net": ban.net,
        "step": ban.step,
        "for_seconds": ban.for_seconds,
        "reason": ban.reason,
    }


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
