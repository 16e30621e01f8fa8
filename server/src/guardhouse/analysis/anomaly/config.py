"""What can be set about a stream, and the named profiles; every number is a default that serves any data."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from guardhouse.analysis.anomaly.tail import surprise_of

Mask = Literal["auto", "log", "light", "none"]


@dataclass(frozen=True, slots=True)
class Config:
    """Thresholds and sizes of a stream; probabilities as numbers in (0, 1], sizes in events."""

    profile: str = "balanced"
    detector: Literal["code_length", "ncd"] = "code_length"
    coder: Literal["cm", "zstd"] = "cm"
    alert_p: float = 0.001
    fdr_q: float = 0.05
    tail_guard: float = 0.5
    p_value_threshold: float = 0.05
    ncd_threshold: float = 0.3
    warmup_events: int = 400
    baseline_size: int = 100
    window_size: int = 50
    hop_size: int = 10
    alert_budget_per_day: int = 24
    permutations: int = 999
    mask: Mask = "auto"
    on_regime_change: Literal["adapt", "hold"] = "adapt"
    series_level: float = 0.32

    @property
    def alert_surprise(self) -> int:
        """The least surprise of a candidate."""
        return surprise_of(min(self.alert_p, self.p_value_threshold))

    def recalibrates(self, other: "Config") -> bool:
        """Whether going over to ``other`` needs a new warm-up."""
        return (self.mask, self.coder, self.warmup_events) != (other.mask, other.coder, other.warmup_events)


PROFILES: Final = {
    profile.profile: profile
    for profile in (
        Config(
            "sensitive",
            alert_p=0.005,
            fdr_q=0.10,
            tail_guard=0.3,
            p_value_threshold=0.10,
            ncd_threshold=0.20,
            warmup_events=200,
            baseline_size=200,
            window_size=30,
            hop_size=5,
            alert_budget_per_day=96,
            series_level=0.25,
        ),
        Config(),
        Config(
            "strict",
            alert_p=0.0001,
            fdr_q=0.01,
            tail_guard=1.0,
            p_value_threshold=0.01,
            ncd_threshold=0.45,
            warmup_events=800,
            baseline_size=400,
            window_size=100,
            hop_size=20,
            alert_budget_per_day=8,
            series_level=0.60,
        ),
        replace(Config(), profile="transactions", baseline_size=200, window_size=8, hop_size=4),
        replace(Config(), profile="llm_safety", alert_p=0.002, warmup_events=200, window_size=20, hop_size=5),
    )
}
