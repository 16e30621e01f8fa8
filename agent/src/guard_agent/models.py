# This module belongs to guardhouse-agent.
"""What travels between an application, its agent and the collector.

The fields and their defaults are those of the released interface; names that only an older overview of it knew are
accepted on input and readable as properties, and are never sent.
"""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import ExtraValues

from guard_agent.config import AgentConfig
from guard_agent.event_types import KNOWN_EVENT_TYPES, EventType, MetricType
from guard_agent.random_key import new_key

__all__ = [
    "KNOWN_EVENT_TYPES",
    "AgentConfig",
    "AgentStatus",
    "DynamicRules",
    "EventBatch",
    "EventType",
    "MetricType",
    "RuleBan",
    "SecurityEvent",
    "SecurityMetric",
    "new_key",
]


def _sent_model(extra: ExtraValues = "ignore") -> ConfigDict:
    """Return the configuration of a model that is built per request: instrumentation must not record its making."""
    return ConfigDict(extra=extra, plugin_settings={"logfire": {"record": "off"}})


def _empty_for_none(value: Any) -> Any:
    return {} if value is None else value


def _plain_text(value: Any) -> Any:
    """Return the value of a text enumeration as plain text."""
    return str.__str__(value) if isinstance(value, str) else value


def _text_values(value: Any) -> Any:
    """Return tags with every value as text."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {str(key): entry if isinstance(entry, str) else str(entry) for key, entry in value.items()}
    return value


class SecurityEvent(BaseModel):
    """Something that bears on the security of the application; further fields are kept and sent as they are.

    `response_time` is in seconds. `source_ip` and `description` are other names of `ip_address` and `reason`.
    """

    model_config = _sent_model("allow")

    idempotency_key: uuid.UUID = Field(default_factory=new_key)
    timestamp: datetime
    event_type: str
    ip_address: str = Field(default="", validation_alias=AliasChoices("ip_address", "source_ip"))
    country: str | None = None
    user_agent: str | None = None
    action_taken: str = ""
    reason: str = Field(default="", validation_alias=AliasChoices("reason", "description"))
    endpoint: str | None = None
    method: str | None = None
    status_code: int | None = None
    response_time: float | None = None
    decorator_type: str | None = None
    rule_type: str | None = None
    pattern_matched: str | None = None
    handler_name: str | None = None
    metadata: Annotated[dict[str, Any], BeforeValidator(_empty_for_none)] = Field(default_factory=dict)

    @property
    def source_ip(self) -> str:
        """The address, under its other name."""
        return self.ip_address

    @property
    def description(self) -> str:
        """The reason, under its other name."""
        return self.reason


class SecurityMetric(BaseModel):
    """One measured value. `response_time` is in seconds, `bandwidth_usage` in bytes, rates are 0 to 1.

    `metadata` is another name of `tags`; values of tags become text.
    """

    model_config = _sent_model()

    idempotency_key: uuid.UUID = Field(default_factory=new_key)
    timestamp: datetime
    metric_type: Annotated[
        Literal[
            "request_count",
            "response_time",
            "error_rate",
            "bandwidth_usage",
            "threat_level",
            "block_rate",
            "cache_hit_rate",
        ],
        BeforeValidator(_plain_text),
    ]
    value: float
    endpoint: str | None = None
    tags: Annotated[dict[str, str], BeforeValidator(_text_values)] = Field(
        default_factory=dict, validation_alias=AliasChoices("tags", "metadata")
    )

    @property
    def metadata(self) -> dict[str, str]:
        """The tags, under their other name."""
        return self.tags


class RuleBan(BaseModel):
    """One banned network and the moment its ban ends (None: when the rules say otherwise)."""

    net: str
    until: datetime | None = None


class DynamicRules(BaseModel):
    """The rules that an application applies: lists replace what it has in code, None leaves a switch as it is.

    `ttl`, `ip_ban_duration`, `auto_ban_duration`, `global_rate_window` and the second number of
    `endpoint_rate_limits` are in seconds. `bans` is Guardhouse's own: the bans of `ip_blacklist` with their exact ends.
    """

    rule_id: str = "default-rule"
    version: int = 1
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    expires_at: datetime | None = None
    ttl: int = 300
    ip_blacklist: list[str] = Field(default_factory=list)
    ip_whitelist: list[str] = Field(default_factory=list)
    ip_ban_duration: int = 3600
    blocked_countries: list[str] = Field(default_factory=list)
    whitelist_countries: list[str] = Field(default_factory=list)
    global_rate_limit: int | None = None
    global_rate_window: int | None = None
    endpoint_rate_limits: dict[str, tuple[int, int]] = Field(default_factory=dict)
    blocked_cloud_providers: set[str] = Field(default_factory=set)
    blocked_user_agents: list[str] = Field(default_factory=list)
    suspicious_patterns: list[str] = Field(default_factory=list)
    enable_penetration_detection: bool | None = None
    enable_ip_banning: bool | None = None
    enable_rate_limiting: bool | None = None
    auto_ban_threshold: int | None = Field(default=None, ge=1)
    auto_ban_duration: int | None = Field(default=None, ge=1)
    enable_rate_limit_auto_ban: bool | None = None
    emergency_mode: bool = False
    emergency_whitelist: list[str] = Field(default_factory=list)
    emergency_whitelist_only: bool = False
    message: str | None = None
    bans: list[RuleBan] = Field(default_factory=list)


class AgentStatus(BaseModel):
    """How an agent fares; `uptime` is in seconds since its start, 0 before."""

    timestamp: datetime
    status: Literal["healthy", "degraded", "failed"]
    uptime: float
    events_sent: int
    events_failed: int
    buffer_size: int
    last_flush: datetime | None = None
    errors: list[str] = Field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether the agent had been started."""
        return self.uptime > 0

    @property
    def events_processed(self) -> int:
        """The number of events sent."""
        return self.events_sent

    @property
    def last_flush_time(self) -> datetime | None:
        """The moment of the last flush."""
        return self.last_flush


class EventBatch(BaseModel):
    """What is sent at once."""

    model_config = _sent_model()

    project_id: str
    events: list[SecurityEvent] = Field(default_factory=list)
    metrics: list[SecurityMetric] = Field(default_factory=list)
    batch_id: str
    created_at: datetime
    compressed: bool = False
    agent_version: str | None = None
    guard_version: str | None = None
    guard_core_version: str | None = None
