"""One listener: what it wants to hear, and a bounded queue of bytes between the log and its socket."""

import asyncio
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from guardhouse.live import encode
from guardhouse.live.store import Visitor
from guardhouse.notices.kind import Severity
from guardhouse.notices.read import Notice, Position

QUEUE_LENGTH: Final = 256
_COME_BACK_MILLISECONDS: Final = (500, 4000)


@dataclass(frozen=True, slots=True)
class Interest:
    """Which notices of its tenant a client wants. Clients with equal interests are served together."""

    kinds: frozenset[str]
    subject: str | None = None
    project_id: UUID | None = None
    min_severity: Severity = Severity.INFO

    def covers(self, notice: Notice) -> bool:
        """Tell whether a notice is wanted."""
        return (
            notice.kind in self.kinds
            and notice.severity.rank >= self.min_severity.rank
            and (self.subject is None or notice.subject == self.subject)
            and (self.project_id is None or notice.project_id == self.project_id)
        )


class Client:
    """The queue of one listener. ``ended``: what is queued is the last it gets."""

    __slots__ = (
        "_pending",
        "_queued",
        "_waiter",
        "ended",
        "id",
        "interest",
        "number",
        "overdue",
        "sent",
        "task",
        "visitor",
    )

    def __init__(self, number: int, name: str, visitor: Visitor, interest: Interest) -> None:
        self.number = number
        self.id = name
        self.visitor = visitor
        self.interest = interest
        self.sent = Position(0, 0, 0)
        self.ended = False
        self.overdue = 0
        self.task: asyncio.Task[object] | None = None
        self._queued = self.sent
        self._pending: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def start_at(self, position: Position) -> None:
        """Take everything up to a position as sent."""
        self.sent = self._queued = position

    def offer(self, chunk: bytes, position: Position) -> bool:
        """Queue one event of the log; False, and the end, when the queue is full."""
        if self.ended or position <= self._queued:
            return True
        if len(self._pending) >= QUEUE_LENGTH:
            self._pending.clear()
            self._finish(encode.gap(self.sent, position))
            return False
        self._queued = position
        self._push(chunk)
        return True

    def beat(self, chunk: bytes) -> None:
        """Queue a heartbeat, unless the client is behind anyway."""
        if not self.ended and not self._pending:
            self._push(chunk)

    def dismiss(self, reason: str) -> None:
        """Say goodbye after what is queued; each client is told another moment to come back."""
        if not self.ended:
            low, high = _COME_BACK_MILLISECONDS
            self._finish(encode.goodbye(reason, low + zlib.crc32(self.id.encode()) % (high - low)))

    async def next(self) -> bytes:
        """Wait for the next bytes, all that are queued at once."""
        while not self._pending:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        self.sent = self._queued
        return chunk

    def leave(self) -> None:
        """End at once, whatever is queued: the connection is gone, or never emptied."""
        self.ended = True
        if self.task is not None:
            self.task.cancel()

    def has_more(self) -> bool:
        """Tell whether bytes wait."""
        return bool(self._pending)

    def _finish(self, chunk: bytes) -> None:
        self.ended = True
        self._push(chunk)

    def _push(self, chunk: bytes) -> None:
        self._pending.append(chunk)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
