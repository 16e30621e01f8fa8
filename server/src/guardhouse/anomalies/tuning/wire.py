"""Shapes of the configuration on the wire."""

from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.anomalies.configs.config import PROFILES, Config, ProfileName
from guardhouse.foundation.clock import rfc3339


class StreamEffect(BaseModel):
    """What a change does to one stream."""

    stream_id: UUID
    effect: Literal["immediate", "recalibrate"]


class ConfigShape(BaseModel):
    """One version of the configuration."""

    id: UUID
    version: int
    is_active: bool
    created_at: str
    updated_at: str
    created_by: str
    notes: str | None
    profile: ProfileName
    detector: Literal["code_length", "ncd"]
    coder: Literal["cm", "zstd"]
    mask: Literal["auto", "log", "light", "none"]
    ncd_threshold: float
    p_value_threshold: float
    baseline_size: int
    window_size: int
    hop_size: int
    alert_p: float
    fdr_q: float
    tail_guard: float
    alert_budget_per_day: int
    warmup_events: int
    permutations: int
    store_text: Literal["masked", "full"]
    on_regime_change: Literal["adapt", "hold"]
    series_level: float
    incident_gap_seconds: int
    stream_overrides: Annotated[
        dict[str, dict[str, Any]], Field(description="By type of stream, or by `stream:` and its id.")
    ]
    effects: Annotated[list[StreamEffect], Field(description="Of the change that was just made.")] = []


class ConfigPatch(BaseModel):
    """A merge patch (RFC 7396): members that are absent stay, null takes out an override or one of its members."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"profile": "strict", "notes": "fewer calls at night"}]},
    )


class ThresholdProfile(BaseModel):
    """A named set of thresholds."""

    name: str
    thresholds: dict[str, float]


class ThresholdProfileList(BaseModel):
    """Every profile."""

    data: list[ThresholdProfile]


def config_shape(config: Config) -> ConfigShape:
    """Return the public form of a configuration."""
    return ConfigShape(
        id=config.id,
        version=config.version,
        is_active=config.is_active,
        created_at=rfc3339(config.created_at),
        updated_at=rfc3339(config.updated_at),
        created_by=config.created_by,
        notes=config.notes,
        stream_overrides={key: dict(members) for key, members in config.overrides.items()},
        effects=[
            StreamEffect.model_validate({"stream_id": one, "effect": what}) for one, what in config.effects
        ],
        **asdict(config.judging),
    )


def profile_list() -> ThresholdProfileList:
    """Return every profile with its thresholds."""
    return ThresholdProfileList(
        data=[ThresholdProfile(name=name, thresholds=dict(members)) for name, members in PROFILES.items()]
    )
