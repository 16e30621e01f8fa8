"""A sealed batch: what is sent together, under one id and with the same bytes for ever."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guard_agent._pipeline.classes import LANE_OF

if TYPE_CHECKING:
    from guard_agent._pipeline.account import Account

_HEAD: Final = ("id", "kind", "spans", "first", "encrypted", "sealed_at", "last", "resealed")
_FIXED_BYTES: Final = 1024
_ITEM_BYTES: Final = 48


@dataclass(slots=True, eq=False)
class Batch:
    """One sealed batch; `body` is None while its bytes stand only on disk or in Redis.

    `spans` are the sizes of its items in the plaintext, in order; the first of them begins at `first` bytes.
    `sealed_at` is in seconds since 1970; `last` numbers its last item, and batches of a class are in that order.
    `due` is the monotonic second before which it is not sent again, `born` the one of its sealing. `weight` and `held`
    are what its keeper has counted for it in memory, all of it and the body alone; `remote`: Redis has a copy.
    """

    id: str
    kind: str
    spans: list[int]
    first: int
    account: "Account"
    encrypted: bool = False
    sealed_at: float = 0.0
    last: int = 0
    resealed: bool = False
    body: bytes | None = None
    size: int = 0
    place: str = "memory"
    path: Path | None = None
    tries: int = 0
    due: float = 0.0
    born: float = 0.0
    remote: bool = False
    weight: int = 0
    held: int = 0

    @property
    def count(self) -> int:
        """How many items it holds."""
        return len(self.spans)

    @property
    def lane(self) -> str:
        """The lane that sends it."""
        return LANE_OF[self.kind]

    @property
    def memory_bytes(self) -> int:
        """What it takes in memory, about."""
        return _FIXED_BYTES + _ITEM_BYTES * len(self.spans) + (0 if self.body is None else len(self.body))

    def head(self) -> dict[str, Any]:
        """Return all that a later process must know of it, as JSON; the body stands beside it."""
        return {name: getattr(self, name) for name in _HEAD}
