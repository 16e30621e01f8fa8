"""Shapes of app rules on the wire, for people; and the document that agents read."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from guardhouse.agents.rules.publish import NewRule
from guardhouse.agents.rules.store import StoredRule
from guardhouse.analysis.abuse.target import EVERYONE, Target
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination

MOST_OPERATIONS: Final = 500
Kind = Literal[
    "ban_net",
    "release_net",
    "allow_net",
    "block_country",
    "allow_countries",
    "block_cloud",
    "block_user_agent",
    "block_pattern",
    "limit_global",
    "limit_endpoint",
    "toggle",
    "emergency",
]
Value = Annotated[
    dict[str, Any],
    Field(
        description="By kind: `ban_net`, `release_net`, `allow_net` {net}; `block_country` {country};"
        " `allow_countries` {countries}; `block_cloud` {provider}; `block_user_agent`, `block_pattern` {pattern};"
        " `limit_global` {requests, window_s}; `limit_endpoint` {endpoint, requests, window_s}; `toggle` {name, set};"
        " `emergency` {whitelist, whitelist_only, message}.",
        examples=[{"net": "203.0.113.7"}],
    ),
]
Reason = Annotated[
    str, Field(min_length=1, max_length=500, description="Why; stands in the audit log and in lists.")
]
Priority = Annotated[
    int, Field(ge=0, le=1000, description="The higher one goes first; automatic bans: the address's score.")
]
Force = Annotated[
    bool,
    Field(description="Ban even your own, private or protected addresses; needs `reason`."),
]
_Word = Annotated[str | None, Field(min_length=1, max_length=128)]
_Range = Annotated[
    str | None,
    Field(min_length=1, max_length=100, description="Such as `>=2.5,<3`.", examples=[">=2.5,<3"]),
]


class TargetShape(BaseModel):
    """Which agents a rule is for; all of what is given has to hold. Released clients tell less of themselves."""

    model_config = ConfigDict(extra="forbid", title="RuleTarget")

    installation: _Word = None
    instance: _Word = None
    agent_version: _Range = None
    guard_version: _Range = None
    environment: _Word = None
    service: _Word = None
    tag: _Word = None


class AppRuleRequest(BaseModel):
    """A rule to be made."""

    model_config = ConfigDict(extra="forbid", title="AppRuleRequest")

    kind: Kind
    value: Value
    target: TargetShape | None = None
    reason: Reason | None = None
    source: Literal["manual", "import"] = "manual"
    priority: Priority = 500
    enabled: bool = True
    starts_at: AwareDatetime | None = None
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description="null = until taken out; a release ends after 600 s by itself."),
    ] = None


class ForcedAppRuleRequest(AppRuleRequest):
    """What `POST /projects/{project_id}/rules` takes."""

    model_config = ConfigDict(extra="forbid", title="NewAppRule")

    force: Force = False


class AppRuleChange(BaseModel):
    """What `PATCH` takes: absent members stay; null clears a target, a reason or a time."""

    model_config = ConfigDict(extra="forbid", title="AppRuleChange")

    value: Value | None = None
    target: TargetShape | None = None
    reason: Reason | None = None
    priority: Priority | None = None
    enabled: bool | None = None
    starts_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None


class ForcedAppRuleChange(AppRuleChange):
    """As :class:`AppRuleChange`, with ``force``."""

    model_config = ConfigDict(extra="forbid", title="AppRulePatch")

    force: Force = False


class AddOperation(BaseModel):
    """Make a rule."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["add"]
    rule: AppRuleRequest


class ChangeOperation(BaseModel):
    """Change a rule."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["change"]
    id: UUID
    change: AppRuleChange


class RemoveOperation(BaseModel):
    """Take a rule out."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["remove"]
    id: UUID


OperationShape = Annotated[AddOperation | ChangeOperation | RemoveOperation, Field(discriminator="op")]


class OperationsRequest(BaseModel):
    """What `POST /projects/{project_id}/rules:apply` and `rules:preview` take: all of it or nothing happens."""

    model_config = ConfigDict(extra="forbid", title="RuleOperations")

    operations: Annotated[
        list[OperationShape],
        Field(
            min_length=1,
            max_length=MOST_OPERATIONS,
            examples=[[{"op": "add", "rule": {"kind": "ban_net", "value": {"net": "203.0.113.7"}}}]],
        ),
    ]
    reason: Reason | None = None
    force: Force = False


class AppRuleQuery(BaseModel):
    """Filters of `GET /projects/{project_id}/rules`."""

    kind: Kind | None = None


class AppRuleShape(BaseModel):
    """One rule of an app."""

    id: UUID
    kind: Kind
    value: dict[str, Any]
    target: TargetShape
    reason: str | None
    source: Literal["manual", "auto", "import"]
    priority: int
    enabled: bool
    state: Annotated[
        Literal["scheduled", "active", "disabled", "over"],
        Field(description="over: its end has come, the revision without it follows within seconds."),
    ]
    starts_at: str | None
    expires_at: str | None
    created_at: str
    created_by: str
    revision: Annotated[int, Field(description="The revision in which it became what it is; its ETag.")]


class AppRuleList(BaseModel):
    """One page of rules."""

    data: list[AppRuleShape]
    pagination: Pagination


class BanShape(BaseModel):
    """A ban with its end, for agents that can end it to the second."""

    net: str
    until: str | None


class NoRulesShape(BaseModel):
    """`{}`: nothing was ever published for the project, and what an app sets in its code stands."""

    model_config = ConfigDict(extra="forbid", title="NoRules")


class DynamicRulesShape(BaseModel):
    """The document that agents apply."""

    model_config = ConfigDict(title="DynamicRules")

    rule_id: str
    version: int
    timestamp: str
    expires_at: str | None
    ttl: int
    ip_blacklist: list[str]
    ip_whitelist: list[str]
    ip_ban_duration: int
    blocked_countries: list[str]
    whitelist_countries: list[str]
    global_rate_limit: int | None
    global_rate_window: int | None
    endpoint_rate_limits: Annotated[
        dict[str, list[int]], Field(description="By path: requests, seconds of the window.")
    ]
    blocked_cloud_providers: list[str]
    blocked_user_agents: list[str]
    suspicious_patterns: list[str]
    enable_penetration_detection: bool | None
    enable_ip_banning: bool | None
    enable_rate_limiting: bool | None
    enable_rate_limit_auto_ban: bool | None
    auto_ban_threshold: int | None
    auto_ban_duration: int | None
    emergency_mode: bool
    emergency_whitelist: list[str]
    emergency_whitelist_only: bool
    message: str | None
    bans: list[BanShape]


def target_of(shape: TargetShape | None) -> Target:
    """Return the target that a body names."""
    return EVERYONE if shape is None else Target(**shape.model_dump())


def new_rule_of(wanted: AppRuleRequest) -> NewRule:
    """Return the rule that a body asks for."""
    return NewRule(
        wanted.kind,
        wanted.value,
        target_of(wanted.target),
        wanted.priority,
        wanted.enabled,
        wanted.starts_at,
        wanted.expires_at,
        wanted.reason,
        wanted.source,
    )


_MAY_BE_NULL = frozenset({"target", "reason", "starts_at", "expires_at"})


def members_of(change: AppRuleChange) -> dict[str, Any]:
    """Return the members that a change names; null clears where there may be nothing, else it stays."""
    given = {name: getattr(change, name) for name in change.model_fields_set - {"force"}}
    members = {name: value for name, value in given.items() if value is not None or name in _MAY_BE_NULL}
    return members | ({"target": target_of(change.target)} if "target" in members else {})


def app_rule_shape(stored: StoredRule, now: datetime) -> AppRuleShape:
    """Return the public form of a rule."""
    rule = stored.rule
    return AppRuleShape(
        id=rule.id,
        kind=rule.kind,
        value=dict(rule.value),
        target=TargetShape(**rule.target.conditions),
        reason=stored.reason,
        source=stored.source,
        priority=rule.priority,
        enabled=rule.enabled,
        state=_state(stored, now),
        starts_at=_instant(rule.starts_at),
        expires_at=_instant(rule.expires_at),
        created_at=rfc3339(stored.created_at),
        created_by=stored.created_by,
        revision=stored.since,
    )


def _state(stored: StoredRule, now: datetime) -> Literal["scheduled", "active", "disabled", "over"]:
    rule = stored.rule
    if not rule.enabled:
        return "disabled"
    if rule.expires_at is not None and rule.expires_at <= now:
        return "over"
    return "active" if rule.holds_at(now) else "scheduled"


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
