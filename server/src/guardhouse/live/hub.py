"""The one reader of the log in a process, and the clients it serves.

A notice is encoded once and the same bytes go to everyone it concerns. Every position up to the hub's own
has been offered to every client, so a client that joins reads the log up to there and misses nothing.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import count
from typing import Final
from uuid import UUID

from prometheus_client import Counter, Gauge

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.errors import Draining, Unavailable
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import caller
from guardhouse.live import encode
from guardhouse.live.client import Client, Interest
from guardhouse.live.store import Visitor
from guardhouse.notices import read
from guardhouse.notices.read import Mark, Notice, Position

BATCH: Final = 500
POLL_SECONDS: Final = 1.0
HELD_SECONDS: Final = (0.005, 0.1)  # first and longest pause while an older transaction holds notices back
HEARTBEAT_SECONDS: Final = 15
RECHECK_SECONDS: Final = 60
CUT_SECONDS: Final = 30
FULL_RETRY_SECONDS: Final = 5

_CONNECTIONS: Final = Gauge("guardhouse_sse_connections", "Open event streams.")
_DROPPED: Final = Counter("guardhouse_sse_dropped", "Streams ended because the client could not keep up.")
_LAG: Final = Gauge(
    "guardhouse_notice_lag_seconds", "Age of the newest notice when it was handed to the streams; 0 at rest."
)
_log = logs.get(__name__)


class StreamsFull(Unavailable):
    """This process serves as many streams as it may."""

    status, code, title = 503, "streams_full", "Too many streams"
    remediation = "Try again after the seconds in Retry-After, or raise GUARDHOUSE_STREAM_CLIENTS."


class Hub:
    """Made once per process. The reader starts with the first client and ends with ``close`` or the drain."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.position = Position(0, 0, 0)
        self.count = 0
        self._numbers = count()
        self._groups: dict[UUID, dict[Interest, set[Client]]] = {}
        self._mark: Mark | None = None
        self._starting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._poked = asyncio.Event()
        self._identity_changed = False

    async def admit(self) -> None:
        """Make sure that one more stream may begin.

        Raises:
            Draining: the process is stopping.
            StreamsFull: no more fit.
            DatabaseAway: the log cannot be read.
        """
        if self.resources.drain.is_set():
            raise Draining("This process is stopping.", retry_after_seconds=1)
        if self.count >= self.resources.settings.stream_clients:
            raise StreamsFull(
                f"This process serves {self.count} streams already.", retry_after_seconds=FULL_RETRY_SECONDS
            )
        async with self._starting:
            if not self._tasks:
                async with system_transaction(self.resources) as tx:
                    self._mark = await read.newest(tx)
                self.position = self._mark.position
                self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._tick())]

    def new_client(self, visitor: Visitor, interest: Interest) -> Client:
        """Return a client that has not joined yet."""
        return Client(next(self._numbers), str(new_id()), visitor, interest)

    @contextlib.contextmanager
    def joined(self, client: Client) -> Iterator[Position]:
        """Let a client hear all that comes after the position given; it is forgotten at the end."""
        group = self._groups.setdefault(client.visitor.tenant.id, {}).setdefault(client.interest, set())
        group.add(client)
        self.count += 1
        _CONNECTIONS.inc()
        client.start_at(self.position)
        if self.resources.drain.is_set():
            client.dismiss("draining")
        try:
            yield self.position
        finally:
            _CONNECTIONS.dec()
            self.count -= 1
            self._forget(client)

    async def close(self) -> None:
        """End the reader; clients have gone or are sent away."""
        for client in self._clients():
            client.dismiss("draining")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _forget(self, client: Client) -> None:
        by_interest = self._groups[client.visitor.tenant.id]
        by_interest[client.interest].discard(client)
        if not by_interest[client.interest]:
            del by_interest[client.interest]
        if not by_interest:
            del self._groups[client.visitor.tenant.id]

    def _clients(self) -> list[Client]:
        return [
            client
            for by_interest in self._groups.values()
            for group in by_interest.values()
            for client in group
        ]

    # The log

    async def _read(self) -> None:
        unsubscribe = self.resources.wake.subscribe("notices", lambda _payload: self._poked.set())
        held_pause = HELD_SECONDS[0]
        try:
            while not self.resources.drain.is_set():
                self._poked.clear()
                try:
                    got, held = await self._read_on()
                except DatabaseAway as error:
                    _log.warning("stream_waits_for_database", error=str(error))
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                if got == BATCH:
                    await asyncio.sleep(0)
                    continue
                held_pause = min(held_pause * 2, HELD_SECONDS[1]) if held and not got else HELD_SECONDS[0]
                await set_within(self._poked, held_pause if held else POLL_SECONDS)
        finally:
            unsubscribe()

    async def _read_on(self) -> tuple[int, bool]:
        if self._mark is None:
            raise RuntimeError("the reader starts from a mark")
        async with system_transaction(self.resources) as tx:
            found = await read.read_after(tx, self._mark, BATCH)
        for notice in found.notices:
            self._deliver(notice)
        if found.notices:
            last = found.notices[-1]
            self._mark = Mark(last.position, last.occurred_at)
            _LAG.set(max(0.0, (self.resources.clock.now() - last.occurred_at).total_seconds()))
        elif not found.held:
            _LAG.set(0)
        return len(found.notices), found.held

    def _deliver(self, notice: Notice) -> None:
        chunk: bytes | None = None
        for interest, group in self._groups.get(notice.tenant_id, {}).items():
            if interest.covers(notice):
                chunk = chunk or encode.notice_event(notice)
                for client in group:
                    if not client.offer(chunk, notice.position):
                        _DROPPED.inc()
                        _log.info("stream_client_too_slow", client_id=client.id)
        self.position = notice.position

    # The clock

    async def _tick(self) -> None:
        """Each second: a fifteenth of the clients gets its heartbeat, revoked and stuck ones are sent away."""
        unsubscribe = self.resources.wake.subscribe("identity", self._note_identity)
        try:
            for second in count():
                if await set_within(self.resources.drain, 1):
                    for client in self._clients():
                        client.dismiss("draining")
                    return
                self._beat(second)
                self._cut()
                if self._identity_changed or second % RECHECK_SECONDS == 0:
                    await self._recheck()
        finally:
            unsubscribe()

    def _beat(self, second: int) -> None:
        chunk = encode.heartbeat(self.resources.clock.now(), self.position)
        for client in self._clients():
            if client.number % HEARTBEAT_SECONDS == second % HEARTBEAT_SECONDS:
                client.beat(chunk)

    def _cut(self) -> None:
        for client in self._clients():
            client.overdue += client.ended
            if client.overdue > CUT_SECONDS:
                client.leave()

    def _note_identity(self, _payload: str) -> None:
        self._identity_changed = True

    async def _recheck(self) -> None:
        """Send away the clients whose key was revoked, suspended, has expired, or lost its tenant."""
        self._identity_changed = False
        by_key: dict[tuple[UUID, str], list[Client]] = {}
        for client in self._clients():
            by_key.setdefault((client.visitor.tenant.id, client.visitor.credential_id), []).append(client)
        try:
            for (tenant_id, credential_id), clients in by_key.items():
                if not await self._still_good(tenant_id, credential_id, clients[0].visitor):
                    for client in clients:
                        client.dismiss("credential")
        except DatabaseAway:
            self._identity_changed = True  # ask again

    async def _still_good(self, tenant_id: UUID, credential: str, visitor: Visitor) -> bool:
        """Judge a credential anew, as at a request."""
        return await caller.still_opens(self.resources, tenant_id, credential, visitor.scopes)
