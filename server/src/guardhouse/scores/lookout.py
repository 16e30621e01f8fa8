"""What is told besides incidents: an agent's losses, and the older score at the thresholds that receivers chose.

Judged after each event, so that batch sizes do not matter.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent, process_id
from guardhouse.analysis.risk.process import Process
from guardhouse.events.identify import identifier
from guardhouse.foundation.clock import from_microseconds, microseconds, rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.notices.agent_kinds import AgentLoss
from guardhouse.notices.publish import Draft
from guardhouse.notices.risk_kinds import RiskThresholdCrossed
from guardhouse.scores.process_key import key_text
from guardhouse.scores.store import Backlog, Cursor
from guardhouse.scores.thresholds.store import Place, load_episodes, save_episodes
from guardhouse.webhooks.thresholds import thresholds_of

ASKED_AGAIN_SECONDS: Final = 5.0
REARMED_BELOW: Final = 10
LOSS_PERCENT: Final = 1
LOSS_WINDOW_SECONDS: Final = 600
LOSS_PAUSE: Final = timedelta(hours=1)


@dataclass(slots=True)
class Thresholds:
    """The thresholds in use by tenants, asked for at most every five seconds."""

    _known: dict[UUID, tuple[float, frozenset[int]]] = field(default_factory=dict)

    async def of(self, tx: Tx, tenant_id: UUID) -> frozenset[int]:
        """Return those of one tenant."""
        now = time.monotonic()
        known = self._known.get(tenant_id)
        if known is None or now - known[0] > ASKED_AGAIN_SECONDS:
            known = self._known[tenant_id] = (now, await thresholds_of(tx, tenant_id))
        return known[1]


@dataclass(slots=True)
class Lookout:
    """Looks at one step of one agent; ``drafts`` are to be published in its transaction."""

    work: Backlog
    thresholds: frozenset[int]
    loss_told_at: datetime | None
    held: dict[Place, int]
    drafts: list[Draft] = field(default_factory=list)
    _before: dict[Place, int] = field(init=False)

    def __post_init__(self) -> None:
        self._before = dict(self.held)

    def look(self, engine: AgentEngine, event: RiskEvent) -> None:
        """Take in how things stand after an event."""
        if event.kind == "loss":
            self._look_at_losses(engine, event)
        elif self.thresholds and event.pid is not None:
            process = engine.instances.boots.get(event.boot_id, {}).get(event.pid)
            if process is not None:
                self._look_at_score(process, event)

    async def save(self, tx: Tx) -> None:
        """Write which episodes began and ended."""
        begun = {place: at for place, at in self.held.items() if self._before.get(place) != at}
        ended = {place for place, at in self._before.items() if self.held.get(place) != at}
        if begun or ended:
            await save_episodes(tx, self.work.tenant_no, self.work.agent_no, begun, ended)

    def _look_at_losses(self, engine: AgentEngine, event: RiskEvent) -> None:
        lost, received = engine.losses.lost(), engine.losses.received()
        now = from_microseconds(engine.clock_us)
        recently = self.loss_told_at is not None and now - self.loss_told_at < LOSS_PAUSE
        if not lost or recently or lost * 100 < LOSS_PERCENT * (lost + received):
            return
        self.loss_told_at = now
        data = AgentLoss(
            agent_id=self.work.agent_id,
            lost=lost,
            received=received,
            window_seconds=LOSS_WINDOW_SECONDS,
            at=rfc3339(now),
        )
        notice_id = self._id(now, f"loss:{event.position}")
        self.drafts.append(Draft(data, self.work.tenant_id, event.position, notice_id=notice_id))

    def _look_at_score(self, process: Process, event: RiskEvent) -> None:
        key = key_text(process.key)
        if process.exited_us is not None:
            for place in [place for place in self.held if place[0] == key]:
                del self.held[place]
            return
        score = process.risk_score
        for threshold in self._crossed(key, score):
            self.held[key, threshold] = event.position
            at = from_microseconds(process.last_us)
            data = RiskThresholdCrossed(
                process_id=process_id(self.work.agent_id, process.key),
                agent_id=self.work.agent_id,
                risk_score=score / 100,
                threshold=threshold,
                crossed_at=rfc3339(at),
            )
            notice_id = self._id(at, f"threshold:{threshold}:{event.position}:{key}")
            self.drafts.append(Draft(data, self.work.tenant_id, event.position, notice_id=notice_id))

    def _crossed(self, key: str, score: int) -> Iterator[int]:
        """Yield thresholds that are crossed anew, and end the episodes of those that are armed again."""
        for threshold in sorted(self.thresholds):
            if (key, threshold) not in self.held:
                if score >= threshold * 100:
                    yield threshold
            elif score <= (threshold - REARMED_BELOW) * 100:
                del self.held[key, threshold]

    def _id(self, at: datetime, source: str) -> UUID:
        new_id = identifier(str(self.work.tenant_id), self.work.agent_id)
        return UUID(bytes=new_id(microseconds(at) // 1000, source))


async def open_lookout(tx: Tx, known: Thresholds, work: Backlog, cursor: Cursor | None) -> Lookout:
    """Return the lookout of a step, with what was told before."""
    thresholds = await known.of(tx, work.tenant_id)
    held = await load_episodes(tx, work.agent_no) if thresholds else {}
    return Lookout(work, thresholds, None if cursor is None else cursor.loss_told_at, held)
