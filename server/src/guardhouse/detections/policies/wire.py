"""Shapes of policies on the wire. Thresholds are scores from 0 to 1; inside they are thousandths."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.policies.store import StoredPolicy
from guardhouse.detections.policy import (
    Cascade,
    ChannelPolicy,
    EngineChoice,
    OutputPolicy,
    Policy,
    ToolPolicy,
)
from guardhouse.detections.wire import Point, Score
from guardhouse.foundation.pages import Pagination

Action = Annotated[Literal["allow", "review", "redact", "block"], Field(title="OutputAction")]
_Name = Annotated[str, Field(min_length=1, max_length=64)]
_RULE_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_PACK: Final = r"^[a-z][a-z0-9_-]{0,62}(@[1-9][0-9]{0,8})?$"
_HOST: Final = (
    r"^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
)
MAX_CHARS: Final = 100_000
T = TypeVar("T")

PolicyName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$", examples=["production"])
]
TierName = Annotated[
    Literal["fast", "standard", "deep"],
    Field(description="A tier that is not installed is stood in for by `fast`, and the answer says so."),
]
FailModeName = Annotated[
    Literal["embedded", "closed", "open"],
    Field(
        description="When the engine cannot answer: the fast tier does, or the call blocks, or is allowed."
    ),
]
Shadow = Annotated[bool, Field(description="Decide and record, but answer `allow`.")]
MaxChars = Annotated[int, Field(ge=1, le=MAX_CHARS, description="Code points that a text may have.")]
RetentionDays = Annotated[int, Field(ge=1, le=30)]
Recording = Annotated[
    Literal["buffered", "durable"],
    Field(description="`durable`: the answer waits until the record is stored."),
]
CacheSeconds = Annotated[int, Field(ge=0, le=3_600, description="0: nothing is cached.")]
RulePacks = Annotated[
    list[Annotated[str, Field(pattern=_PACK)]],
    Field(
        max_length=16,
        description="`core` is the pack that ships with the engine; others are `name@version`.",
        examples=[["core"]],
    ),
]
RulesOff = Annotated[
    list[Annotated[str, Field(pattern=_RULE_ID)]],
    Field(max_length=500, description="Ids of rules that do not count.", examples=[["PI-014"]]),
]
ListIds = Annotated[list[UUID], Field(max_length=16, description="Allow and deny lists.", examples=[[]])]
LinkHosts = Annotated[
    list[Annotated[str, Field(max_length=253, pattern=_HOST)]],
    Field(
        max_length=500,
        description="Hosts that a model's answer may link to; `*.example.com` is all below it.",
        examples=[["docs.example.com"]],
    ),
]
CalibrationId = Annotated[
    UUID | None, Field(description="A calibration made of the tenant's own harmless texts.")
]


class ChannelShape(BaseModel):
    """The lines of one channel: an operating point, and what replaces its scores."""

    model_config = ConfigDict(extra="forbid", title="PolicyChannel")

    operating_point: Point = "balanced"
    review: Annotated[Score | None, Field(description="null: the operating point's.")] = None
    block: Annotated[Score | None, Field(description="null: the operating point's.")] = None


class ChannelsShape(BaseModel):
    """The lines of both channels."""

    model_config = ConfigDict(extra="forbid", title="PolicyChannels")

    user: ChannelShape = ChannelShape()
    external: ChannelShape = ChannelShape()


class CascadeShape(BaseModel):
    """Only texts that the fast tier scores between these go to the deep one."""

    model_config = ConfigDict(extra="forbid", title="PolicyCascade")

    low: Score = 0.05
    high: Score = 0.95


class EngineChoiceShape(BaseModel):
    """Which engine judges: the one that ships, or a remote one by its name in the settings."""

    model_config = ConfigDict(extra="forbid", title="PolicyEngine")

    kind: Literal["embedded", "remote"] = "embedded"
    name: _Name | None = None


class ToolShape(BaseModel):
    """What is said of a tool: whether it acts on the world, which arguments are destinations, what is allowed."""

    model_config = ConfigDict(extra="forbid", title="PolicyTool")

    sensitive: bool = False
    destinations: Annotated[list[_Name], Field(max_length=32, examples=[["to", "cc"]])] = []
    allow: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Field(max_length=200, examples=[["*@example.com"]]),
    ] = []


class OutputShape(BaseModel):
    """What is done about each kind of finding in a model's answer."""

    model_config = ConfigDict(extra="forbid", title="PolicyOutput")

    canary: Action = "block"
    prompt_echo: Action = "block"
    secret: Action = "redact"  # noqa: S105 - a kind of finding, no secret
    pii: Action = "review"
    md_exfil: Action = "block"


Tools = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=128)], ToolShape],
    Field(
        max_length=200,
        description="By name; `*` speaks for every other tool.",
        examples=[{"send_email": {"sensitive": True, "destinations": ["to"]}}],
    ),
]


class PolicyRequest(BaseModel):
    """A policy to be made; what is not said is as in every new tenant's `default`."""

    model_config = ConfigDict(extra="forbid", title="NewPolicy")

    name: PolicyName
    channels: ChannelsShape = ChannelsShape()
    tier: TierName = "fast"
    cascade: CascadeShape = CascadeShape()
    engine: EngineChoiceShape = EngineChoiceShape()
    fail_mode: FailModeName = "embedded"
    shadow: Shadow = False
    max_chars: MaxChars = 10_000
    store_text: bool = False
    retention_days: RetentionDays = 30
    record: Recording = "buffered"
    cache_seconds: CacheSeconds = 300
    rule_packs: RulePacks = ["core"]
    rules_off: RulesOff = []
    lists: ListIds = []
    allowed_link_hosts: LinkHosts = []
    tools: Tools = {}
    output: OutputShape = OutputShape()
    calibration: CalibrationId = None


class PolicyChange(BaseModel):
    """What `PATCH` takes: absent members stay, also inside of objects; null is as it ships. `tools` is set whole."""

    model_config = ConfigDict(extra="forbid", title="PolicyChange")

    name: PolicyName | None = None
    channels: ChannelsShape | None = None
    tier: TierName | None = None
    cascade: CascadeShape | None = None
    engine: EngineChoiceShape | None = None
    fail_mode: FailModeName | None = None
    shadow: Shadow | None = None
    max_chars: MaxChars | None = None
    store_text: bool | None = None
    retention_days: RetentionDays | None = None
    record: Recording | None = None
    cache_seconds: CacheSeconds | None = None
    rule_packs: RulePacks | None = None
    rules_off: RulesOff | None = None
    lists: ListIds | None = None
    allowed_link_hosts: LinkHosts | None = None
    tools: Tools | None = None
    output: OutputShape | None = None
    calibration: CalibrationId = None


class PolicyShape(PolicyRequest):
    """A policy in one version; a version never changes."""

    model_config = ConfigDict(extra="forbid", title="Policy")

    id: UUID
    version: Annotated[int, Field(ge=1, description="Its ETag.")]
    created_at: datetime
    created_by: str
    changed_at: Annotated[datetime, Field(description="When this version was made.")]
    changed_by: str


class PolicyList(BaseModel):
    """One page of policies, or of versions of one."""

    data: list[PolicyShape]
    pagination: Pagination


class KeyPolicyRequest(BaseModel):
    """What `PUT /keys/{key_id}/policy` takes."""

    model_config = ConfigDict(extra="forbid", title="KeyPolicyRequest")

    policy: Annotated[UUID | None, Field(description="null binds the key to `default`.", examples=[None])]


class KeyPolicyShape(BaseModel):
    """A key and the policy that it is bound to."""

    model_config = ConfigDict(title="KeyPolicy")

    key_id: UUID
    policy: UUID | None


def policy_of(wanted: PolicyRequest, policy_id: UUID, version: int = 1) -> Policy:
    """Return the policy that a body asks for."""
    return Policy(
        id=policy_id,
        version=version,
        name=wanted.name,
        user=_channel_of(wanted.channels.user),
        external=_channel_of(wanted.channels.external),
        tier=wanted.tier,
        cascade=Cascade(_milli(wanted.cascade.low), _milli(wanted.cascade.high)),
        engine=EngineChoice(wanted.engine.kind, wanted.engine.name),
        fail_mode=wanted.fail_mode,
        shadow=wanted.shadow,
        max_chars=wanted.max_chars,
        store_text=wanted.store_text,
        retention_days=wanted.retention_days,
        record=wanted.record,
        cache_seconds=wanted.cache_seconds,
        rule_packs=_once(wanted.rule_packs),
        rules_off=_once(wanted.rules_off),
        lists=_once(wanted.lists),
        allowed_link_hosts=_once(host.lower() for host in wanted.allowed_link_hosts),
        tools={
            name: ToolPolicy(tool.sensitive, _once(tool.destinations), _once(tool.allow))
            for name, tool in wanted.tools.items()
        },
        output=OutputPolicy(**wanted.output.model_dump()),
        calibration=wanted.calibration,
    )


def changed(known: Policy, change: PolicyChange) -> Policy:
    """Return a policy with the members that a change names; its id and version stay."""
    members = _members_of(known)
    for name, value in change.model_dump(exclude_unset=True).items():
        if value is None and name != "name":
            del members[name]
        elif name == "tools" or not isinstance(value, dict):
            members[name] = members[name] if value is None else value
        else:
            _merge(members[name], value)
    return policy_of(PolicyRequest.model_validate(members), known.id, known.version)


def policy_shape(stored: StoredPolicy) -> PolicyShape:
    """Return the public form of a version of a policy."""
    policy = stored.policy
    return PolicyShape.model_validate(
        _members_of(policy)
        | {
            "id": policy.id,
            "version": policy.version,
            "created_at": stored.created_at,
            "created_by": stored.created_by,
            "changed_at": stored.made_at,
            "changed_by": stored.made_by,
        }
    )


def _members_of(policy: Policy) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(policy)
    for name in ("id", "version", "user", "external"):
        del members[name]
    cascade = {"low": policy.cascade.low / 1_000, "high": policy.cascade.high / 1_000}
    channels = {"user": _channel(policy.user), "external": _channel(policy.external)}
    return members | {"channels": channels, "cascade": cascade}


def _channel_of(shape: ChannelShape) -> ChannelPolicy:
    return ChannelPolicy(
        shape.operating_point,
        None if shape.review is None else _milli(shape.review),
        None if shape.block is None else _milli(shape.block),
    )


def _channel(lines: ChannelPolicy) -> dict[str, Any]:
    return {
        "operating_point": lines.operating_point,
        "review": None if lines.review is None else lines.review / 1_000,
        "block": None if lines.block is None else lines.block / 1_000,
    }


def _milli(score: float) -> int:
    return round(1_000 * score)


def _once(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _merge(known: dict[str, Any], change: Mapping[str, Any]) -> None:
    for name, value in change.items():
        if isinstance(value, dict):
            _merge(known[name], value)
        else:
            known[name] = value
