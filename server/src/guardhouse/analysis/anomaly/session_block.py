"""Judged sessions of one epoch, kept until its end."""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.session_model import FAMILIES, Symbols


def line_of(symbols: Symbols) -> bytes:
    """A session as bytes, for what holds lines."""
    return np.array(symbols, np.uint32).tobytes()


def symbols_of(line: bytes) -> Symbols:
    """The session of some bytes."""
    return tuple(np.frombuffer(line, np.uint32).tolist())


class Block(NamedTuple):
    """Judged whole sessions of one epoch, one per place; `shapes` is 0 where a session needs no wait."""

    sessions: list[Symbols]
    scores: NDArray[np.int64]
    surprise: NDArray[np.int64]
    rejected: NDArray[np.bool_]
    shapes: NDArray[np.int64]

    def to_state(self) -> dict[str, Any]:
        """The block for `snapshot`."""
        return {**self._asdict(), "sessions": [line_of(session) for session in self.sessions]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The block that `to_state` described."""
        return cls(**{**state, "sessions": [symbols_of(line) for line in state["sessions"]]})


def joined(blocks: list[Block]) -> Block:
    """Several blocks as one."""
    none = np.empty(0, np.int64)
    return Block(
        [session for block in blocks for session in block.sessions],
        np.concatenate([np.empty((len(FAMILIES), 0), np.int64), *(block.scores for block in blocks)], axis=1),
        np.concatenate([none, *(block.surprise for block in blocks)]),
        np.concatenate([none.astype(np.bool_), *(block.rejected for block in blocks)]),
        np.concatenate([none, *(block.shapes for block in blocks)]),
    )
