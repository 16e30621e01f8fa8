"""Whether a stream moves away from its models: a sum that forgets (CUSUM) and a bet that does not (martingale).

Both live on smoothed p-values, which are uniform while events are exchangeable. Amounts are whole millionths of a nat,
so that equal input gives equal states.
Sources: Page, "Continuous inspection schemes" (1954); Vovk, Nouretdinov, Gammerman, "Testing exchangeability on-line"
(2003), mixture over power martingales; Ville's inequality bounds the chance of ever reaching 1/a by a.
"""

import math
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.splitmix import Purpose, derive, unit

NAT: Final = 1_000_000
DAY_US: Final = 86_400_000_000
DAYS: Final = 7
LEAST_RUN: Final = 10_000
"""Sampled events that pass on average between two false alarms, at least."""
DETECTED_MILLI: Final = 2_000
"""log10 of the martingale, in thousandths, from which on drift counts as detected: a chance of 1 in 100."""
_LEAST_P: Final = 1e-12
_STEPS: Final = 20
_LN_10: Final = math.log(10)


def smoothed_p(
    ordered: NDArray[np.int64],
    scores: NDArray[np.int64],
    stream_seed: int,
    seqs: NDArray[np.int64],
    close: NDArray[np.int64] | int = 0,
) -> list[float]:
    """(#{above} + U (1 + #{equal})) / (n + 1) among ascending scores; U is drawn for each position.

    Scores no further apart than `close` are equal: where a stream repeats a few lines, a model that learned on moves
    all their costs by a little, which is no drift.
    """
    below = np.searchsorted(ordered, scores - close, "left").tolist()
    not_above = np.searchsorted(ordered, scores + close, "right").tolist()
    shares = [unit(derive(stream_seed, Purpose.SMOOTH, seq), 0) for seq in seqs.tolist()]
    size = int(ordered.size)
    return [
        (size - last + share * (1 + last - first)) / (size + 1)
        for first, last, share in zip(below, not_above, shares, strict=True)
    ]


def nats_of(p: float) -> int:
    """-ln p in millionths; p below 10^-12 counts as that."""
    return round(-NAT * math.log(max(p, _LEAST_P)))


class Cusum:
    """Rises while p-values are small: g <- max(0, g + ln .5 - .5 ln p); an alert at g >= ln A takes it back to 0.

    A is the number of sampled events of the last seven days, 10,000 at least, so that a false alarm comes about once
    in that many.
    """

    def __init__(self) -> None:
        self.nats = 0
        self._days: dict[int, int] = {}

    def observe(self, p: float, at_us: int) -> bool:
        """Take one smoothed p-value; True when it makes an alert."""
        day = at_us // DAY_US
        self._days[day] = self._days.get(day, 0) + 1
        if len(self._days) > DAYS:
            newest = max(self._days)
            self._days = {one: count for one, count in self._days.items() if one > newest - DAYS}
        self.nats = max(0, self.nats + _LN_HALF + nats_of(p) // 2)
        if self.nats < nats_of(1 / max(LEAST_RUN, sum(self._days.values()))):
            return False
        self.nats = 0
        return True

    def to_state(self) -> dict[str, Any]:
        """The sum for `snapshot`."""
        return {"nats": self.nats, "days": sorted(self._days.items())}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The sum that `to_state` described."""
        made = cls()
        made.nats = state["nats"]
        made._days = dict(state["days"])
        return made


_LN_HALF: Final = -nats_of(0.5)


class Martingale:
    """The mean over e in {.05, .10 .. .95} of the products of e p^(e-1), as logarithms; never reset.

    Its values are kept in twentieths of a millionth of a nat, which makes every step exact.
    """

    def __init__(self) -> None:
        self._bets = np.zeros(_STEPS - 1, np.int64)
        self.events = 0

    def observe(self, p: float) -> None:
        """Take one smoothed p-value."""
        self._bets += _LOG_E + (_STEPS - _E) * nats_of(p)
        self.events += 1

    @property
    def log10_milli(self) -> int:
        """log10 of the martingale in thousandths; 0 is no evidence, below 0 there is none against the model."""
        nats = self._bets / (_STEPS * NAT)
        top = float(nats.max())
        mean = top + math.log(sum(math.exp(one - top) for one in nats.tolist()) / nats.size)
        return round(1000 * mean / _LN_10)

    @property
    def detected(self) -> bool:
        """Whether the evidence is now at 100 to 1 or more."""
        return self.log10_milli >= DETECTED_MILLI

    def to_state(self) -> dict[str, Any]:
        """The bets for `snapshot`."""
        return {"bets": self._bets, "events": self.events}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The bets that `to_state` described."""
        made = cls()
        made._bets, made.events = state["bets"].copy(), state["events"]
        return made


_E: Final = np.arange(1, _STEPS, dtype=np.int64)
_LOG_E: Final = np.array([-_STEPS * nats_of(e / _STEPS) for e in range(1, _STEPS)], np.int64)
