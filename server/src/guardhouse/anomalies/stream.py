"""What a stream is: one tenant's ordered sequence of comparable events, and how far it has been stored and judged."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

StreamType = Literal["logs", "metrics", "traces", "llm", "transactions", "sessions"]
Learning = Literal["calibrating", "ready", "recalibrating"]
State = Literal["calibrating", "ready", "recalibrating", "paused"]

TYPES: Final[tuple[StreamType, ...]] = ("logs", "metrics", "traces", "llm", "transactions", "sessions")
DEFAULT_SLUGS: Final[tuple[StreamType, ...]] = ("logs", "metrics", "traces", "llm")
"""Streams that every tenant has, each of the type it is named after."""
SLUG_PATTERN: Final = r"[a-z0-9][a-z0-9._-]{0,79}"


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. ``last_seq`` counts what was stored, ``processed_seq`` what was judged.

    ``seed``: 16 hex digits. ``waiting_since``: when the oldest event that waits for judgement was received.
    ``outliers``: events that the end of the calibration set aside.
    """

    no: int
    id: UUID
    slug: str
    type: StreamType
    seed: str
    session_key: str | None
    learning: Learning
    paused_at: datetime | None
    automatic: bool
    last_seq: int
    last_sha256: bytes
    last_event_at: datetime | None
    processed_seq: int
    waiting_since: datetime | None
    outliers: int
    created_at: datetime
    deleted_at: datetime | None
    version: int

    @property
    def state(self) -> State:
        """Paused, or how far its learning is."""
        return self.learning if self.paused_at is None else "paused"
