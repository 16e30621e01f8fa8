"""The dispatcher, the loop that sends what fan-out made; replays; and the days of all that is kept.

No transaction is open while something is sent. Results of ten milliseconds are written together.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway, Tx
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import JobContext, every, job
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import CannotOpen
from guardhouse.foundation.transaction import system_transaction
from guardhouse.webhooks import (
    delivery_store,
    fan_out,
    handover,
    lane_store,
    lanes,
    metrics,
    record,
    replay,
    send,
    store,
)
from guardhouse.webhooks.channels.deliver import deliver as deliver_one
from guardhouse.webhooks.delivery_store import Due, Want
from guardhouse.webhooks.dispatch import Board, Outlet
from guardhouse.webhooks.record import Sent
from guardhouse.webhooks.send import Delivered, Message, Unreachable
from guardhouse.webhooks.store import Endpoint

POLL_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.01
LEAVE_SECONDS: Final = 3.0  # what a stopping dispatcher waits for sends under way
HEALTH_SECONDS: Final = 1.0  # a condition that only moved its times is written this often

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_log = logs.get(__name__)


# Dispatch


@dataclass(slots=True)
class Dispatcher:
    """One process's share of the sending: its lanes, what is in hand, what has ended and is not written yet."""

    resources: Resources
    owner: UUID = field(default_factory=new_id)
    board: Board = field(default_factory=Board)
    shards: list[int] = field(default_factory=list)
    lease_until: float = float("-inf")
    oldest: datetime = _NEVER
    oldest_asked: float = float("-inf")
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    results: list[Sent] = field(default_factory=list)
    sending: set[asyncio.Task[None]] = field(default_factory=set)
    pumping: bool = False
    pausing: asyncio.TimerHandle | None = None

    # Lanes and endpoints

    async def keep_lanes(self, stop: asyncio.Event) -> None:
        """Renew the lanes, and learn what endpoints they hold."""
        while not stop.is_set():
            try:
                await self._renew(anew=self.changed.is_set())
            except DatabaseAway as error:
                _log.warning("webhook_dispatch_waits", error=str(error))
            await set_within(self.changed, lanes.RENEW_SECONDS)

    async def _renew(self, *, anew: bool) -> None:
        self.changed.clear()
        resources, began = self.resources, time.monotonic()
        now = resources.clock.now()
        async with system_transaction(resources.database) as tx:
            held = await lanes.take_shards(tx, resources.clock, self.owner, resources.settings.worker_lanes)
        async with system_transaction(resources.database) as tx:  # it reads only: it must hold no notice back
            if began - self.oldest_asked >= lanes.RENEW_SECONDS:  # not at each change of an endpoint
                self.oldest, self.oldest_asked = await self._oldest(tx, now), began
            found = await store.load_shards(tx, held) if anew or held != self.shards else None
        self.shards = held
        self.lease_until = began + (lanes.LEASE - lanes.SPARE).total_seconds()
        if found is not None:
            for endpoint in found:
                self._put(endpoint)
            self.board.keep_only(endpoint.id for endpoint in found)
            self.woken.set()

    async def _oldest(self, tx: Tx, now: datetime) -> datetime:
        """Return the first day that holds something to send; a replay puts something into days long past."""
        first = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=lanes.DAYS_KEPT)
        found = await delivery_store.oldest_pending_day(tx, first, now)
        return found or now - timedelta(days=1)

    def _put(self, endpoint: Endpoint) -> None:
        try:
            self.board.put(endpoint, send.open_destination(self.resources.master_key, endpoint))
        except CannotOpen:
            _log.error("webhook_secret_sealed_elsewhere", endpoint_id=str(endpoint.id))

    def hear_due(self, payload: str) -> None:
        """Note which endpoints have something, as the NOTIFY says; an empty one says some have."""
        named = {UUID(part) for part in payload.split(",") if part}
        self.board.look_at(named or self.board.outlets)
        if named - self.board.outlets.keys():
            self.changed.set()
        self.woken.set()

    # Claim and send

    async def claim(self, stop: asyncio.Event) -> None:
        """Read what is due for the endpoints that have room, and let it go."""
        polled = float("-inf")
        while not stop.is_set():
            self.woken.clear()
            if time.monotonic() - polled >= POLL_SECONDS:
                polled = time.monotonic()
                self.board.look_at(self.board.outlets)
            try:
                busy = await self._claim_some()
            except DatabaseAway as error:
                _log.warning("webhook_dispatch_waits", error=str(error))
                await set_within(stop, POLL_SECONDS)
                continue
            self.pump()
            if not busy:
                await set_within(self.woken, POLL_SECONDS)

    async def _claim_some(self) -> bool:
        now = self.resources.clock.now()
        wants = self.board.wants(now) if time.monotonic() < self.lease_until else []
        if not wants:
            return False
        reading = self.board.begin_reading()
        try:
            found = await self._read(wants, now)
        except BaseException:
            self.board.look_at(want.endpoint_id for want in wants)
            self.board.end_reading(reading)
            raise
        self.board.take(wants, found)
        self.board.end_reading(reading)
        return bool(found)

    async def _read(self, wants: list[Want], now: datetime) -> list[Due]:
        days = (self.oldest, now + timedelta(days=1))
        async with system_transaction(self.resources.database) as tx:
            found = await delivery_store.claim(tx, wants, self.board.held(wants), now, days)
            outlets = self.board.outlets
            stale = {
                due.endpoint_id
                for due in found
                if due.endpoint_id in outlets and due.version != outlets[due.endpoint_id].endpoint.version
            }
            for endpoint in await store.load_endpoints(tx, list(stale)) if stale else ():
                self._put(endpoint)
        return found

    @contextlib.contextmanager
    def offer(self) -> Iterator["Step"]:
        """Take part in one step of fan-out with the endpoints held all the while."""
        reading = self.board.begin_reading()
        sure = time.monotonic() < self.lease_until
        ids = frozenset(self.board.outlets) if sure else fan_out.NOBODY
        try:
            yield Step(self, reading, self.lease_until, ids)
        finally:
            self.board.end_reading(reading)

    def pump(self) -> None:
        """Let go what may go now."""
        self.pumping = False
        if time.monotonic() >= self.lease_until:
            return
        going, pause = self.board.starts(self.resources.clock.now(), time.monotonic())
        for outlet, due in going:
            task = asyncio.create_task(self._send(outlet, due))
            self.sending.add(task)
            task.add_done_callback(self.sending.discard)
        if pause is not None:
            self._pump_after(pause)

    def _pump_after(self, seconds: float) -> None:
        """Pump once more then. One timer, not one per call: they would come due together, thousands at a time."""
        if self.pausing is not None:
            self.pausing.cancel()
        self.pausing = asyncio.get_running_loop().call_later(seconds, self.pump)

    async def _send(self, outlet: Outlet, due: Due) -> None:
        clock, began = self.resources.clock, time.monotonic()
        at = clock.now()
        if not due.tries and not due.replay:
            metrics.DELAY.observe(max(0.0, (at - due.message_at).total_seconds()))
        metrics.UNDER_WAY.inc()
        try:
            outcome = await deliver_one(self.resources, outlet.destination, _message(due), at)
        except Exception as error:  # noqa: BLE001 - a bug in sending must not leave the delivery in hand for ever
            _log.exception("webhook_send_failed", delivery_id=str(due.id))
            elapsed = (time.monotonic() - began) * 1000
            outcome = Unreachable(f"internal: {type(error).__name__}", elapsed, None, "")
        finally:
            metrics.UNDER_WAY.dec()
            self.board.end(outlet, due)
        change = outlet.condition.take_in(outcome, clock.now())
        outlet.dirty = True
        if (
            change is not None
            or not isinstance(outcome, Delivered)
            or outlet.condition.breaker.state != "closed"
        ):
            self.board.look_at([due.endpoint_id])  # what may be sent next is to be asked anew
        self.results.append(Sent(outlet, due, outcome, at, change))
        self.ended.set()
        self.woken.set()
        if not self.pumping:
            self.pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    # Record

    async def record(self, stop: asyncio.Event) -> None:
        """Write what has ended, and conditions, until ``stop`` and the last send under way."""
        while not (stop.is_set() and not self.sending):
            await set_within(self.ended, HEALTH_SECONDS if not stop.is_set() else GATHER_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)
            try:
                await self.record_now()
            except DatabaseAway as error:
                _log.warning("webhook_record_waits", error=str(error), results=len(self.results))
                await asyncio.sleep(POLL_SECONDS)

    async def record_now(self) -> None:
        """Write in one transaction all that has ended; what cannot be written stays for the next time."""
        self.ended.clear()
        results, self.results = self.results, []
        stale = self._stale(results)
        if not results and not stale:
            return
        try:
            async with system_transaction(self.resources.database) as tx:
                judged = await record.record(tx, self.resources, results, stale)
        except BaseException:
            self.results = results + self.results
            self.ended.set()
            raise
        for outlet in stale:
            outlet.dirty, outlet.written = False, time.monotonic()
        for one, ended in judged:
            metrics.TRIES[ended.outcome].inc()
            self.board.let_go(one.outlet, one.due.id)
            if one.due.ordered:
                self.board.look_at([one.due.endpoint_id])
        self.woken.set()

    def _stale(self, results: list[Sent]) -> list[Outlet]:
        changed = {id(one.outlet): one.outlet for one in results if one.change is not None}
        edge = time.monotonic() - HEALTH_SECONDS
        for outlet in [*self.board.outlets.values(), *(one.outlet for one in results)]:
            if outlet.dirty and outlet.written <= edge:
                changed[id(outlet)] = outlet
        return sorted(changed.values(), key=lambda outlet: outlet.endpoint.id)


@dataclass(frozen=True, slots=True)
class Step:
    """A dispatcher's part in one step of fan-out; beyond the lease it began under nothing is taken."""

    dispatcher: Dispatcher
    reading: int
    lease_until: float
    ids: frozenset[UUID]

    def give(self, made: Sequence[Due]) -> None:
        """Send what is due for our endpoints."""
        board = self.dispatcher.board
        if time.monotonic() < self.lease_until:
            board.take_made(self.reading, made, self.dispatcher.resources.clock.now())
        else:
            board.look_at(due.endpoint_id for due in made)
        self.dispatcher.pump()
        self.dispatcher.woken.set()


async def deliver(resources: Resources, stop: asyncio.Event) -> None:
    """Send what is due for the endpoints of the lanes held here until ``stop``; gives the lanes back at the end."""
    dispatcher = Dispatcher(resources)
    await make_days(resources)
    refuse = handover.register(resources, dispatcher.offer)
    unsubscribe = (
        refuse,
        resources.wake.subscribe("webhook_deliveries", dispatcher.hear_due),
        resources.wake.subscribe("webhook_endpoints", lambda _endpoint: dispatcher.changed.set()),
    )
    stopper = asyncio.create_task(wake_on(stop, dispatcher.woken, dispatcher.changed, dispatcher.ended))
    try:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(dispatcher.keep_lanes(stop))
            parts.create_task(dispatcher.claim(stop))
            recording = parts.create_task(dispatcher.record(stop))
            await stop.wait()
            refuse()
            if dispatcher.sending:
                await asyncio.wait(dispatcher.sending, timeout=LEAVE_SECONDS)
            for task in tuple(dispatcher.sending):
                task.cancel()
            await asyncio.wait([recording], timeout=LEAVE_SECONDS)
    finally:
        for end in unsubscribe:
            end()
        stopper.cancel()
        for task in tuple(dispatcher.sending):
            task.cancel()
        with contextlib.suppress(DatabaseAway):
            await dispatcher.record_now()
        await release(resources, dispatcher.owner)


def _message(due: Due) -> Message:
    return Message(
        id=due.message_id,
        delivery_id=due.id,
        event_type=due.event_type,
        severity=due.severity,
        correlation_id=due.correlation_id,
        replay=due.bulk,
        body=due.body,
    )


# Both


async def wake_on(stop: asyncio.Event, *woken: asyncio.Event) -> None:
    """Set events once ``stop`` is set, so that whoever waits for them sees it."""
    await stop.wait()
    for event in woken:
        event.set()


async def release(resources: Resources, owner: UUID) -> None:
    """Give the lanes of an owner back, if the database is there."""
    with contextlib.suppress(DatabaseAway):
        async with system_transaction(resources.database) as tx:
            await lanes.release(tx, owner)


async def make_days(resources: Resources) -> None:
    """Make the days that what comes now is kept in."""
    async with system_transaction(resources.database) as tx:
        await lanes.make_days(tx, resources.clock.now())


class ReplayWork(msgspec.Struct):
    """Which replay to run, and from when on its messages are."""

    replay_id: UUID
    since: datetime


@job("webhooks.replay", lease_seconds=60)
async def run_replay(context: JobContext, work: ReplayWork) -> None:
    """Queue a replay's deliveries, a thousand per transaction, or cancel those of one that was ended."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await lanes.make_days(tx, resources.clock.now(), since=work.since)
    more = True
    while more:
        async with system_transaction(resources.database) as tx:
            more = await replay.step(tx, resources, work.replay_id)


@every(3600, "webhooks.keep_partitions")
async def keep_partitions(context: JobContext) -> None:
    """Make the days to come and drop those past, one short transaction each."""
    resources = context.resources
    await make_days(resources)
    edge = resources.clock.now().date() - timedelta(days=lanes.DAYS_KEPT)
    for parent in reversed(lane_store.PARTITIONED):
        async with system_transaction(resources.database) as tx:
            expired = [day for day in await lane_store.list_days(tx, parent) if day < edge]
        for day in expired:
            async with system_transaction(resources.database) as tx:
                await lane_store.drop_day(tx, parent, day)
