"""Windows of one stream's lines: bursts by what they cost, or the original rule by distance, as the stream is set."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.decide import severity
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.finding import Finding
from guardhouse.analysis.anomaly.ncd_rule import NcdRule, NcdSettings, NcdWindow
from guardhouse.analysis.anomaly.tail import surprise_of
from guardhouse.analysis.anomaly.windows import JudgedWindow, WindowScores


def settings_of(config: Config) -> NcdSettings:
    """What a configuration says about the original rule."""
    return NcdSettings(
        config.baseline_size,
        config.window_size,
        config.hop_size,
        config.ncd_threshold,
        config.p_value_threshold,
        config.permutations,
    )


class BurstChannel:
    """Both kinds of windows; the original rule holds events only while the stream is set to it."""

    def __init__(self, seed: int, config: Config) -> None:
        self.seed = seed
        self.windows = WindowScores(config.window_size, config.hop_size)
        self.rule = NcdRule(seed, settings_of(config))

    def configure(self, config: Config) -> None:
        """Begin anew where the sizes changed; thresholds are taken over."""
        if (self.windows.size, self.windows.hop) != (config.window_size, config.hop_size):
            self.windows = WindowScores(config.window_size, config.hop_size)
        settings = settings_of(config)
        if settings != self.rule.settings:
            old, self.rule = self.rule, NcdRule(self.seed, settings)
            if (old.settings.baseline, old.settings.window) == (settings.baseline, settings.window):
                self.rule = NcdRule.from_state(old.to_state(), self.seed, settings)

    def observe_costs(
        self,
        events: Sequence[Event],
        totals: NDArray[np.int64],
        findings: Sequence[Finding],
        config: Config,
        *,
        quiet: bool,
    ) -> list[Finding]:
        """Take a block with what its lines cost and what was found in it; give the windows to tell."""
        seqs = np.fromiter((event.seq for event in events), np.int64, len(events))
        spoken = np.isin(seqs, np.array([one.first_seq for one in findings], np.int64))
        told = self.windows.observe(totals, spoken, seqs, config.alert_surprise, config.tail_guard)
        times = {event.seq: event.time_us for event in events} if told else {}
        return [_of_costs(one, times[one.last_seq], self.windows, quiet=quiet) for one in told]

    def observe_distances(
        self, events: Sequence[Event], lines: Sequence[bytes], *, quiet: bool
    ) -> list[Finding]:
        """Take a block by the original rule; give the anomalous windows."""
        times = {event.seq: event.time_us for event in events}
        return [
            _of_distance(one, times[one.last_seq], quiet=quiet)
            for one in self.rule.observe(lines, [event.seq for event in events])
            if one.anomalous
        ]

    def to_state(self) -> dict[str, Any]:
        """The channel for `snapshot`."""
        return {"windows": self.windows.to_state(), "rule": self.rule.to_state()}

    @classmethod
    def from_state(cls, state: dict[str, Any], seed: int, config: Config) -> Self:
        """The channel that `to_state` described."""
        made = cls(seed, config)
        made.windows = WindowScores.from_state(state["windows"])
        made.rule = NcdRule.from_state(state["rule"], seed, settings_of(config))
        return made


def _of_costs(told: JudgedWindow, time_us: int, windows: WindowScores, *, quiet: bool) -> Finding:
    return Finding(
        kind="window",
        first_seq=told.first_seq,
        last_seq=told.last_seq,
        time_us=time_us,
        entity="",
        template=0,
        surprise=told.surprise,
        severity=severity(told.surprise),
        score_milli=told.score,
        excess_milli=told.score - windows.median,
        quiet="recalibrating" if quiet else "",
        subject="burst",
        details={"events": windows.size},
    )


def _of_distance(told: NcdWindow, time_us: int, *, quiet: bool) -> Finding:
    test = told.permutations
    return Finding(
        kind="window",
        first_seq=told.first_seq,
        last_seq=told.last_seq,
        time_us=time_us,
        entity="",
        template=0,
        surprise=surprise_of(test.p) if test is not None else 0,
        severity=told.severity,
        score_milli=round(1000 * told.figures.ncd),
        excess_milli=0,
        quiet="recalibrating" if quiet else "",
        subject="distance",
        details={"ncd": told.figures.ncd, "permutations": test.drawn if test is not None else 0},
    )
