"""An epoch: its length, and what happened in it, kept until reservoirs and model are brought up to date."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLED: Final = 64
"""Events per epoch (at most twice as many) that enter reservoirs and are compared with the anchor."""
_SHORTEST, _LONGEST, _SHARE = 25, 4096, 16


def epoch_length(n: int) -> int:
    """Events of an epoch that begins after ``n`` events."""
    return min(_LONGEST, max(_SHORTEST, n // _SHARE))


@dataclass(slots=True)
class Block:
    """A decision block: the part of a segment inside one epoch.

    ``line`` numbers the events' distinct lines in the model; ``z`` and ``distance`` have a row per numeric field,
    ``known`` says where that field is given.
    """

    seq: NDArray[np.int64]
    line: NDArray[np.int64]
    surprise: NDArray[np.int64]
    z: NDArray[np.int64]
    distance: NDArray[np.int64]
    field_surprise: NDArray[np.int64]
    known: NDArray[np.bool_]
    rejected: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """The number of events."""
        return int(self.seq.size)


def joined(blocks: list[Block]) -> Block:
    """The blocks of an epoch as one."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        *(np.concatenate([getattr(block, name) for block in blocks], axis=-1) for name in Block.__slots__)
    )
