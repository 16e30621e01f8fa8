"""The configuration that streams are judged by: its members, their bounds, and the profiles that set several at once.

Resolved for one stream in this order: what is said of the stream, of its type, of all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from guardhouse.analysis.anomaly.config import PROFILES as ENGINE_PROFILES
from guardhouse.anomalies.stream import TYPES, Stream

ProfileName = Literal["sensitive", "balanced", "strict", "transactions", "llm_safety", "custom"]
Detector = Literal["code_length", "ncd"]
Coder = Literal["cm", "zstd"]
Mask = Literal["auto", "log", "light", "none"]
StoreText = Literal["masked", "full"]
OnRegimeChange = Literal["adapt", "hold"]

MOST_HISTORY: Final = 5000
"""Events of baseline and window together."""
RECALIBRATING: Final = ("mask", "coder", "warmup_events")
"""A change of one of these lets a stream learn anew."""


@dataclass(frozen=True, slots=True)
class Judging:
    """What one stream is judged by."""

    profile: ProfileName = "balanced"
    detector: Detector = "code_length"
    coder: Coder = "cm"
    mask: Mask = "auto"
    ncd_threshold: float = 0.3
    p_value_threshold: float = 0.05
    baseline_size: int = 100
    window_size: int = 50
    hop_size: int = 10
    alert_p: float = 0.001
    fdr_q: float = 0.05
    tail_guard: float = 0.5
    alert_budget_per_day: int = 24
    warmup_events: int = 400
    permutations: int = 999
    store_text: StoreText = "masked"
    on_regime_change: OnRegimeChange = "adapt"
    series_level: float = 0.32
    incident_gap_seconds: int = 1800


@dataclass(frozen=True, slots=True)
class Bound:
    """Between which values a number may lie, both included."""

    least: float
    most: float


BOUNDS: Final[Mapping[str, Bound]] = {
    "ncd_threshold": Bound(0, 1),
    "p_value_threshold": Bound(1e-6, 0.5),
    "baseline_size": Bound(20, 4999),
    "window_size": Bound(1, 2500),
    "hop_size": Bound(1, 2500),
    "alert_p": Bound(1e-9, 0.05),
    "fdr_q": Bound(0.001, 0.5),
    "tail_guard": Bound(0.05, 1),
    "alert_budget_per_day": Bound(1, 100_000),
    "warmup_events": Bound(50, 100_000),
    "permutations": Bound(99, 9999),
    "series_level": Bound(0.05, 0.99),
    "incident_gap_seconds": Bound(60, 86_400),
}
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "detector": ("code_length", "ncd"),
    "coder": ("cm", "zstd"),
    "mask": ("auto", "log", "light", "none"),
    "store_text": ("masked", "full"),
    "on_regime_change": ("adapt", "hold"),
}
MEMBERS: Final = tuple(one.name for one in fields(Judging))
_PROFILED: Final = (
    "alert_p", "fdr_q", "tail_guard", "p_value_threshold", "ncd_threshold", "warmup_events", "baseline_size",
    "window_size", "hop_size", "alert_budget_per_day", "series_level",
)  # fmt: skip
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {member: getattr(profile, member) for member in _PROFILED}
    for name, profile in ENGINE_PROFILES.items()
}


@dataclass(frozen=True, slots=True)
class Config:
    """One version of a tenant's configuration. ``overrides``: by type, or by ``stream:`` and its id."""

    id: UUID
    version: int
    judging: Judging
    overrides: Mapping[str, Mapping[str, Any]]
    is_active: bool
    created_at: datetime
    updated_at: datetime
    created_by: str
    notes: str | None = None
    effects: tuple[tuple[UUID, str], ...] = field(default=())


def resolve(config: Config, stream: Stream) -> Judging:
    """Return what one stream is judged by."""
    found = config.judging
    for key in (stream.type, override_key(stream.id)):
        if key in config.overrides:
            found = merged(found, config.overrides[key])
    return found


def merged(judging: Judging, change: Mapping[str, Any]) -> Judging:
    """Return a configuration with some members changed; a profile sets its members first.

    The profile is ``custom`` as soon as a member that a profile sets differs from it.
    """
    name = change.get("profile", judging.profile)
    base = replace(judging, **PROFILES[name]) if "profile" in change and name in PROFILES else judging
    made = replace(base, **{key: value for key, value in change.items() if key != "profile"})
    fitting = PROFILES.get(name)
    if fitting is None or any(getattr(made, key) != value for key, value in fitting.items()):
        return replace(made, profile="custom")
    return replace(made, profile=name)


def override_key(stream_id: UUID) -> str:
    """Return the name under which the override of one stream stands."""
    return f"stream:{stream_id}"


def is_override_key(key: str) -> bool:
    """Tell whether an override may have this name."""
    if key in TYPES:
        return True
    prefix, _, rest = key.partition(":")
    try:
        return prefix == "stream" and str(UUID(rest)) == rest
    except ValueError:
        return False
