"""The original rule, `detector: ncd`: windows of events against the events before them, by distance and permutation.

Every `hop` events the last `window` events are compared with the `baseline` before them; a window is anomalous when its
NCD is over a threshold and the permutation p under another one. The test runs only where the distance can decide.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from guardhouse.analysis.anomaly.glassbox import (
    Compressor,
    Figures,
    Permutations,
    Sample,
    figures,
    permutation_test,
    seed_of,
)

_SEVERE: Final = (("critical", 0.001, 0.5), ("high", 0.01, 0.3), ("medium", 0.05, 0.0))


@dataclass(frozen=True, slots=True)
class NcdSettings:
    """Sizes in events, thresholds for NCD and p, shuffles of the permutation test."""

    baseline: int = 100
    window: int = 50
    hop: int = 10
    ncd_threshold: float = 0.3
    p_threshold: float = 0.05
    permutations: int = 999


@dataclass(frozen=True, slots=True)
class NcdWindow:
    """The verdict on one window. `permutations` is None where the distance alone said no."""

    first_seq: int
    last_seq: int
    figures: Figures
    permutations: Permutations | None
    anomalous: bool
    severity: str


def severity_of(ncd: float, p: float) -> str:
    """Name it critical at p < .001 and NCD > .5, high at p < .01 and NCD > .3, medium at p < .05, else low."""
    return next((name for name, most, least in _SEVERE if p < most and ncd > least), "low")


class NcdRule:
    """The rule over one stream; it keeps the last events as they were masked."""

    def __init__(self, seed: int, settings: NcdSettings) -> None:
        self.seed = seed
        self.settings = settings
        self._held: deque[tuple[int, bytes]] = deque(maxlen=settings.baseline + settings.window)
        self._since = 0
        self._compressor = Compressor()

    def observe(self, events: Sequence[bytes], seqs: Sequence[int]) -> Iterator[NcdWindow]:
        """Take events with their positions; gives a verdict at every hop once baseline and window are full."""
        for seq, event in zip(seqs, events, strict=True):
            self._held.append((seq, event))
            self._since += 1
            if len(self._held) == self._held.maxlen and self._since >= self.settings.hop:
                self._since = 0
                yield self._judge()

    def _judge(self) -> NcdWindow:
        settings, held = self.settings, [event for _, event in self._held]
        sample = Sample(tuple(held[: settings.baseline]), tuple(held[settings.baseline :]), shrunk=False)
        first_seq, last_seq = self._held[settings.baseline][0], self._held[-1][0]
        found = figures(sample, self._compressor)
        if found.ncd <= settings.ncd_threshold:
            return NcdWindow(first_seq, last_seq, found, None, anomalous=False, severity="low")
        seed = seed_of(self.seed, first_seq, last_seq)
        test = permutation_test(sample, seed, settings.permutations, self._compressor)
        return NcdWindow(
            first_seq,
            last_seq,
            found,
            test,
            anomalous=test.p < settings.p_threshold,
            severity=severity_of(found.ncd, test.p),
        )

    def to_state(self) -> dict[str, Any]:
        """The held events and the place in the hop, for `snapshot`; the settings are not part of it."""
        return {
            "since": self._since,
            "lengths": np.array([len(event) for _, event in self._held], np.int64),
            "seqs": np.array([seq for seq, _ in self._held], np.int64),
            "events": b"".join(event for _, event in self._held),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], seed: int, settings: NcdSettings) -> Self:
        """The rule that `to_state` described, perhaps under other settings."""
        rule, at = cls(seed, settings), 0
        rule._since = state["since"]
        for seq, length in zip(state["seqs"].tolist(), state["lengths"].tolist(), strict=True):
            rule._held.append((seq, state["events"][at : at + length]))
            at += length
        return rule
