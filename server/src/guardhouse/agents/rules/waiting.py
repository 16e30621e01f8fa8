"""Agents that wait for the next revision of their rules: held until it is published, or their patience ends.

However many wait for a project, a process reads each new revision once, and each document of it once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from prometheus_client import Gauge

from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.ask import Asked
from guardhouse.agents.rules.publish import place_of
from guardhouse.agents.rules.serve_rules import Served, about, document_of, has_it
from guardhouse.agents.rules.store import Revision
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources

MOST_SECONDS: Final = 50  # a request has 60
LOOK_SECONDS: Final = 1.0  # between two looks whether to go on waiting; with NOTIFY away, at the database too

_WAITING: Final = Gauge("guardhouse_rule_waiters", "Agents that wait for new rules.")


@dataclass(frozen=True, slots=True)
class Waiter:
    """An agent that waits at most so long. ``gone`` tells whether it has hung up."""

    tenant: TenantKey
    project: Project
    asked: Asked
    seconds: float
    gone: Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class _Hot:
    """What is known of a project that agents wait for; ``stale``: something was published since."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stale: bool = True
    newest: Revision | None = None
    documents: dict[str, str] = field(default_factory=dict)
    waiting: set[asyncio.Event] = field(default_factory=set)


class RuleWaiters:
    """Made once per process; ``hear`` takes the payload of each NOTIFY."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.count = 0
        self._hot: dict[UUID, _Hot] = {}

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return self.count >= self.resources.settings.rule_waiters

    def hear(self, payload: str) -> None:
        """Wake who waits for a project; everyone when it is not known what was said."""
        for project_id, hot in self._hot.items():
            if not payload or payload == str(project_id):
                hot.stale = True
                for event in hot.waiting:
                    event.set()

    async def wait(self, waiter: Waiter) -> Served:
        """Return what is new for an agent as soon as there is something, else at the end that it has it."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + waiter.seconds
        with self._joined(waiter.project.id) as (hot, event):
            served = await self._look(waiter, hot)  # published while it was on its way here
            while served.text is None and not self.resources.drain.is_set():
                left = ends - loop.time()
                if left <= 0 or await waiter.gone():
                    break
                if await set_within(event, min(left, LOOK_SECONDS)):
                    event.clear()
                elif self.resources.wake.connected:
                    continue
                else:
                    hot.stale = True
                served = await self._look(waiter, hot)
            return served

    @contextlib.contextmanager
    def _joined(self, project_id: UUID) -> Iterator[tuple[_Hot, asyncio.Event]]:
        hot, event = self._hot.setdefault(project_id, _Hot()), asyncio.Event()
        hot.waiting.add(event)
        self.count += 1
        _WAITING.set(self.count)
        try:
            yield hot, event
        finally:
            self.count -= 1
            _WAITING.set(self.count)
            hot.waiting.discard(event)
            if not hot.waiting:
                self._hot.pop(project_id, None)

    async def _look(self, waiter: Waiter, hot: _Hot) -> Served:
        place = place_of(waiter.tenant.id, waiter.project)
        async with hot.lock:
            if hot.stale:
                hot.stale = False  # first: what is published meanwhile makes it stale again
                async with tenant_transaction(self.resources, waiter.tenant) as tx:
                    hot.newest = await queries.get_newest(tx, place)
                hot.documents.clear()
            newest = hot.newest
            served = about(newest, waiter.asked)
            if newest is None or has_it(waiter.asked, served):
                return served
            text = hot.documents.get(served.target_hex)
            if text is None:
                async with tenant_transaction(self.resources, waiter.tenant) as tx:
                    document = await document_of(tx, place, waiter.project.slug, newest, served.group)
                text = hot.documents[served.target_hex] = document.text
            return replace(served, text=text)
