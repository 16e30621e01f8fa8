"""Judging runs as a long loop beside the jobs: hold lanes, judge what waits, save states, sleep until woken."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from prometheus_client import Counter, Gauge

from guardhouse.anomalies.scan import claim, store
from guardhouse.anomalies.scan.engines import Engines
from guardhouse.anomalies.scan.step import StepLost, judge_step
from guardhouse.anomalies.scan.store import Waiting
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway, Tx
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

POLL_SECONDS: Final = 1.0
SAVE_SECONDS: Final = 60.0
STREAMS_AT_ONCE: Final = 64
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 300.0
DECISIONS_KEPT: Final = timedelta(days=180)
BEHIND: Final = Gauge("guardhouse_scan_behind_events", "Events of streams in the lanes held here that wait.")
FAILED: Final = Counter("guardhouse_scan_steps_failed_total", "Steps of judging that ended in an error.")
_log = logs.get(__name__)


@dataclass(slots=True)
class _Holder:
    """Who judges here: its lanes, its engines, whose state is not saved, and which streams have to wait."""

    resources: Resources
    engines: Engines
    owner: UUID = field(default_factory=new_id)
    lanes: list[int] = field(default_factory=list)
    renewed: float = float("-inf")
    last_stream: int = 0
    dirty: dict[int, tuple[Waiting, float]] = field(default_factory=dict)
    paused: dict[int, tuple[float, float]] = field(default_factory=dict)

    def opening(self) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction that sees every tenant."""
        return system_transaction(self.resources.database)


async def judge_streams(resources: Resources, stop: asyncio.Event) -> None:
    """Hold lanes and judge their streams until ``stop``; saves states and gives the lanes back at the end.

    The database going away costs a pause, a stream whose step fails waits alone.
    """
    holder = _Holder(resources, Engines(resources.objects, resources.clock))
    woken = asyncio.Event()
    unsubscribe = resources.wake.subscribe("streams", lambda _stream: woken.set())
    stopper = asyncio.create_task(_wake_on(stop, woken))
    try:
        while not stop.is_set():
            woken.clear()
            try:
                busy = await _round(holder, stop)
                await _save(holder, time.monotonic() - SAVE_SECONDS)
            except DatabaseAway as error:
                _log.warning("judging_waits", error=str(error))
                holder.renewed = float("-inf")
                await set_within(stop, POLL_SECONDS)
                continue
            if not busy:
                await set_within(woken, POLL_SECONDS)
    finally:
        unsubscribe()
        stopper.cancel()
        with contextlib.suppress(DatabaseAway):
            await _save(holder, time.monotonic())
            async with holder.opening() as tx:
                await claim.release_lanes(tx, holder.owner)


@every(3600, "anomalies.forget_decisions")
async def forget_decisions(context: JobContext) -> None:
    """Forget decisions older than 180 days."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.forget_decisions(tx, resources.clock.now() - DECISIONS_KEPT)


async def _wake_on(stop: asyncio.Event, woken: asyncio.Event) -> None:
    await stop.wait()
    woken.set()


async def _round(holder: _Holder, stop: asyncio.Event) -> bool:
    """Do one step for each stream that waits; tells whether there were any."""
    await _renew(holder)
    now = time.monotonic()
    without = [stream_no for stream_no, (until, _) in holder.paused.items() if until > now]
    async with holder.opening() as tx:
        waiting = await store.list_waiting(tx, holder.lanes, STREAMS_AT_ONCE, holder.last_stream, without)
    BEHIND.set(sum(one.last_seq - one.processed_seq for one in waiting))
    for one in waiting:
        if stop.is_set():
            return True
        await _renew(holder)
        holder.last_stream = one.stream_no
        async with _guarded(holder, one):
            await judge_step(holder.opening, holder.engines, one, holder.resources.clock)
            holder.dirty.setdefault(one.stream_no, (one, time.monotonic()))
    return bool(waiting)


async def _renew(holder: _Holder) -> None:
    if time.monotonic() - holder.renewed < claim.RENEW_SECONDS:
        return
    resources = holder.resources
    async with holder.opening() as tx:
        lanes = await claim.take_lanes(tx, resources.clock, holder.owner, resources.settings.worker_lanes)
    for stream_no in [number for number in holder.dirty if number % store.LANES not in lanes]:
        holder.dirty.pop(stream_no)  # another worker's now
        holder.engines.forget(stream_no)
    holder.lanes = lanes
    holder.renewed = time.monotonic()


async def _save(holder: _Holder, since: float) -> None:
    """Save the states that have not been saved since a moment."""
    for stream_no, (waiting, begun) in [*holder.dirty.items()]:
        if begun <= since:
            del holder.dirty[stream_no]
            held = holder.engines.held(stream_no)
            if held is not None:
                await holder.engines.save(holder.opening, waiting, held)


@contextlib.asynccontextmanager
async def _guarded(holder: _Holder, waiting: Waiting) -> AsyncIterator[None]:
    """Let a fault in the work on one stream cost a pause of that stream, and what is in memory of it."""
    number = waiting.stream_no
    try:
        yield
    except StepLost:
        holder.engines.forget(number)
        _log.info("scan_step_lost", stream_no=number)
    except DatabaseAway:
        holder.engines.forget(number)
        raise
    except Exception:  # noqa: BLE001 - one stream must not hold up the others
        holder.engines.forget(number)
        _, seconds = holder.paused.get(number, (0.0, FIRST_PAUSE_SECONDS / 2))
        seconds = min(seconds * 2, LONGEST_PAUSE_SECONDS)
        holder.paused[number] = (time.monotonic() + seconds, seconds)
        FAILED.inc()
        _log.exception("scan_step_failed", stream_no=number, seq=waiting.processed_seq, again_in=seconds)
    except BaseException:
        holder.engines.forget(number)  # its state is ahead of what is stored
        raise
    else:
        holder.paused.pop(number, None)
