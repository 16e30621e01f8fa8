"""Scoring runs as a long loop beside the jobs: hold lanes, score what waits, sleep until woken."""

import asyncio
import contextlib
import time
from typing import Final

from prometheus_client import Gauge

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import partitions
from guardhouse.foundation import logs
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores import apply, claim
from guardhouse.scores.apply import CursorMoved, Engines
from guardhouse.scores.store import Backlog

POLL_SECONDS: Final = 1.0
BACKLOG: Final = Gauge(
    "guardhouse_scoring_backlog_events", "Events that wait for scoring in the lanes held here."
)
_log = logs.get(__name__)


async def score_lanes(resources: Resources, stop: asyncio.Event) -> None:
    """Hold lanes and score their agents until ``stop``; gives the lanes back at the end."""
    owner = new_id()
    engines = Engines(RuleSet.builtin())
    woken = asyncio.Event()
    unsubscribe = resources.wake.subscribe("score", lambda _lane: woken.set())
    stopper = asyncio.create_task(_wake_on(stop, woken))
    lanes: list[int] = []
    renewed = float("-inf")
    try:
        await _make_days(resources)
        while not stop.is_set():
            woken.clear()
            if time.monotonic() - renewed > claim.RENEW_SECONDS:
                async with system_transaction(resources.database) as tx:
                    lanes = await claim.take_lanes(
                        tx, resources.clock, owner, resources.settings.worker_lanes
                    )
                renewed = time.monotonic()
            if not await _score_once(resources, engines, lanes, stop):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), POLL_SECONDS)
    finally:
        unsubscribe()
        stopper.cancel()
        async with system_transaction(resources.database) as tx:
            await claim.release_lanes(tx, owner)


@every(3600, "scores.keep_partitions")
async def keep_partitions(context: JobContext) -> None:
    """Make the days to come and drop score rows beyond retention."""
    resources = context.resources
    await _make_days(resources)
    async with system_transaction(resources.database) as tx:
        today = resources.clock.now().date()
        expired = await partitions.expired_days(tx, "scores", today, resources.settings.events_retention_days)
    for day in expired:
        async with system_transaction(resources.database) as tx:
            await partitions.drop_day(tx, "scores", day)


async def _make_days(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, resources.clock.now().date(), ("scores",))


async def _wake_on(stop: asyncio.Event, woken: asyncio.Event) -> None:
    await stop.wait()
    woken.set()


async def _score_once(resources: Resources, engines: Engines, lanes: list[int], stop: asyncio.Event) -> bool:
    """Do one step for each agent that waits; tells whether there was anything to do."""
    async with system_transaction(resources.database) as tx:
        waiting = await claim.list_backlog(tx, lanes)
    BACKLOG.set(sum(work.last - work.position for work in waiting))
    for work in waiting:
        if stop.is_set():
            return True
        await _step(resources, engines, work)
    return bool(waiting)


async def _step(resources: Resources, engines: Engines, work: Backlog) -> None:
    try:
        async with system_transaction(resources.database) as tx:
            reached = await apply.apply_step(tx, engines, work)
            await tx.run("SELECT pg_notify('scored', $1)", f"{work.agent_no}:{reached}")
    except CursorMoved:
        engines.forget(work.agent_no)
        _log.info("score_step_lost", agent_no=work.agent_no)
    except BaseException:
        engines.forget(work.agent_no)  # its state is ahead of what is stored
        raise
