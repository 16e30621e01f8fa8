"""The anchor: a frozen, approved model. It says how unusual an event is against the day it was approved."""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.coder import Coder
from guardhouse.analysis.anomaly.dictionary import DictionaryCoder
from guardhouse.analysis.anomaly.line_model import FLOOR, LineCoder, line_scores, line_surprise
from guardhouse.analysis.anomaly.tail import Reservoir, Tail

SIZE: Final = 4000


class Anchor:
    """A coder and reservoirs that never change; ``since_seq`` is the position from which it stands."""

    def __init__(
        self, coder: LineCoder, reservoirs: Sequence[Reservoir], since_seq: int, version: int
    ) -> None:
        self.coder = coder
        self.reservoirs = list(reservoirs)
        self.since_seq = since_seq
        self.version = version
        self.tails: list[Tail] = [reservoir.tail(1.0) for reservoir in self.reservoirs]

    @classmethod
    def of(
        cls,
        coder: LineCoder,
        scores: NDArray[np.int64],
        seqs: NDArray[np.int64],
        since_seq: int,
        version: int,
    ) -> Self:
        """An anchor with a copy of a coder; its reservoirs hold the last 4,000 of these scores."""
        reservoirs = [Reservoir(FLOOR, SIZE) for _ in scores]
        for reservoir, row in zip(reservoirs, scores, strict=True):
            reservoir.admit_plainly(row, seqs)
        return cls(frozen(coder), reservoirs, since_seq, version)

    def scores(self, lines: Sequence[bytes]) -> NDArray[np.int64]:
        """What the lines cost by the anchor: shape (families, lines)."""
        return line_scores(self.coder, lines)

    def surprise(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """The surprise of such scores."""
        return line_surprise(self.tails, scores)

    def to_state(self) -> dict[str, Any]:
        """The anchor for ``snapshot``."""
        return {
            "coder": self.coder.to_state(),
            "zstd": isinstance(self.coder, DictionaryCoder),
            "reservoirs": [reservoir.to_state() for reservoir in self.reservoirs],
            "since_seq": self.since_seq,
            "version": self.version,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The anchor that ``to_state`` described."""
        coder = coder_from(state["coder"], zstd=state["zstd"])
        reservoirs = [Reservoir.from_state(one) for one in state["reservoirs"]]
        return cls(coder, reservoirs, state["since_seq"], state["version"])


def coder_from(state: dict[str, Any], *, zstd: bool) -> LineCoder:
    """The coder that a state holds."""
    return DictionaryCoder.from_state(state) if zstd else Coder.from_state(state)


def frozen(coder: LineCoder) -> LineCoder:
    """A copy of a coder that learning the original does not change."""
    if isinstance(coder, Coder):
        return coder.frozen()
    return DictionaryCoder.from_state(coder.to_state())
