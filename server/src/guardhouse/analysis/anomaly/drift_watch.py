"""Drift of a stream of lines: the sampled events of each epoch against the rolling model and against the anchor."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.anchor import Anchor
from guardhouse.analysis.anomaly.drift import Cusum, Martingale, smoothed_p
from guardhouse.analysis.anomaly.learning import Sample
from guardhouse.analysis.anomaly.tail import Tail

EPOCHS_OF_REST: Final = 32
"""So many epochs fill a reservoir of 2,000 by 64 at a time."""
LEAST_CLOSE: Final = 1000
_CLOSE_SHARE: Final = 50


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a stream has moved: the sum in nats against the rolling model, log10 of the bet against the anchor."""

    cusum_nats: float
    log10_martingale: float
    detected: bool
    sampled: int


class DriftWatch:
    """Both figures; the bet begins anew with every anchor."""

    def __init__(self) -> None:
        self.cusum = Cusum()
        self.martingale = Martingale()
        self.anchor_version = 0
        self._rest = 0  # epochs

    def observe(
        self, sample: Sample, rolling: Tail, anchor: Anchor, seed: int, at_us: int, *, changed: bool
    ) -> bool:
        """Take the sample of an epoch with the tail it was scored by; True when the sum makes an alert.

        The sum looks for what no single event shows: rejected events leave it, and it rests after a change of regime
        and after an alert until the reservoir has been filled anew.
        The bet takes every sampled event, or it would prove nothing.
        """
        if anchor.version != self.anchor_version:
            self.martingale, self.anchor_version = Martingale(), anchor.version
        if changed:
            self._rest, self.cusum = EPOCHS_OF_REST, Cusum()
        resting, self._rest = self._rest > 0, max(0, self._rest - 1)
        rolled = smoothed_p(rolling.ordered, sample.rolling, seed, sample.seq, _close(sample.rolling))
        against = smoothed_p(anchor.tails[0].ordered, sample.anchor, seed, sample.seq, _close(sample.anchor))
        alert = False
        for p, p_anchor, rejected in zip(rolled, against, sample.rejected.tolist(), strict=True):
            if not rejected and not resting:
                alert |= self.cusum.observe(p, at_us)
            self.martingale.observe(p_anchor)
        if alert:
            self._rest = EPOCHS_OF_REST
        return alert

    @property
    def drift(self) -> Drift:
        """The figures now."""
        milli = self.martingale.log10_milli
        return Drift(self.cusum.nats / 1e6, milli / 1000, self.martingale.detected, self.martingale.events)

    def to_state(self) -> dict[str, Any]:
        """The watch for `snapshot`."""
        return {
            "cusum": self.cusum.to_state(),
            "martingale": self.martingale.to_state(),
            "anchor_version": self.anchor_version,
            "rest": self._rest,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The watch that `to_state` described."""
        made = cls()
        made.cusum = Cusum.from_state(state["cusum"])
        made.martingale = Martingale.from_state(state["martingale"])
        made.anchor_version, made._rest = state["anchor_version"], state["rest"]
        return made


def _close(costs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Costs that differ by less than a bit, or a fiftieth, are the same line to a model that learned on."""
    return np.maximum(LEAST_CLOSE, costs // _CLOSE_SHARE)
