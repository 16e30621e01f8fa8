"""Scoring runs as a long loop beside the jobs: hold lanes, score what waits, sleep until woken."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from prometheus_client import Counter, Gauge

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import partitions
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores import apply, claim
from guardhouse.scores.apply import CursorMoved, Engines
from guardhouse.scores.cooling import store as cooling
from guardhouse.scores.cooling.sweep import sweep
from guardhouse.scores.store import Backlog
from guardhouse.scores.thresholds import store as thresholds
from guardhouse.scores.write import DayMissing

POLL_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 1.0
SWEPT_AT_ONCE: Final = 64
EPISODES_KEPT: Final = timedelta(days=7)
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 300.0
BACKLOG: Final = Gauge(
    "guardhouse_scoring_backlog_events",
    "Events that wait for scoring, of the agents in line in the lanes held here.",
)
FAILED_STEPS: Final = Counter("guardhouse_score_steps_failed_total", "Scoring steps that ended in an error.")
_log = logs.get(__name__)


@dataclass(slots=True)
class _Holder:
    """Who scores here: its lanes, its engines, whose turn is next, and which agents have to wait after a fault."""

    resources: Resources
    owner: UUID = field(default_factory=new_id)
    engines: Engines = field(default_factory=lambda: Engines(RuleSet.builtin()))
    lanes: list[int] = field(default_factory=list)
    renewed: float = float("-inf")
    last_agent: int = 0
    paused: dict[int, tuple[float, float]] = field(default_factory=dict)  # agent -> (until, seconds)
    swept: float = float("-inf")


async def score_lanes(resources: Resources, stop: asyncio.Event) -> None:
    """Hold lanes and score their agents until ``stop``; gives the lanes back at the end.

    The database going away costs a pause, an agent whose step fails waits alone.
    """
    holder = _Holder(resources)
    woken = asyncio.Event()
    unsubscribe = resources.wake.subscribe("score", lambda _lane: woken.set())
    stopper = asyncio.create_task(_wake_on(stop, woken))
    try:
        await _make_days(resources)
        while not stop.is_set():
            woken.clear()
            try:
                busy = await _round(holder, stop)
            except DatabaseAway as error:
                _log.warning("scoring_waits", error=str(error))
                holder.renewed = float("-inf")
                await set_within(stop, POLL_SECONDS)
                continue
            if not busy:
                await set_within(woken, POLL_SECONDS)
    finally:
        unsubscribe()
        stopper.cancel()
        with contextlib.suppress(DatabaseAway):
            async with system_transaction(resources.database) as tx:
                await claim.release_lanes(tx, holder.owner)


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


@every(3600, "scores.prune_episodes")
async def prune_episodes(context: JobContext) -> None:
    """Forget what was told of the older scores of processes that have not been seen for a week."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await thresholds.prune_episodes(tx, resources.clock.now() - EPISODES_KEPT)


async def _make_days(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, resources.clock.now().date(), ("scores",))


async def _wake_on(stop: asyncio.Event, woken: asyncio.Event) -> None:
    await stop.wait()
    woken.set()


async def _round(holder: _Holder, stop: asyncio.Event) -> bool:
    """Do one step for each agent that waits, and cool those that are due; tells whether there were events."""
    await _renew(holder)
    now = time.monotonic()
    without = [agent_no for agent_no, (until, _) in holder.paused.items() if until > now]
    if now - holder.swept >= SWEEP_SECONDS:
        holder.swept = now
        await _cool(holder, stop, without)
    async with system_transaction(holder.resources.database) as tx:
        waiting = await claim.list_backlog(tx, holder.lanes, after=holder.last_agent, without=without)
    BACKLOG.set(sum(work.last - work.position for work in waiting))
    for work in waiting:
        if stop.is_set():
            return True
        await _renew(holder)
        holder.last_agent = work.agent_no
        await _step(holder, work)
    return bool(waiting)


async def _cool(holder: _Holder, stop: asyncio.Event, without: Sequence[int]) -> None:
    """Show what time alone has done to agents that send nothing."""
    resources = holder.resources
    async with system_transaction(resources.database) as tx:
        due = await cooling.list_due(tx, holder.lanes, resources.clock.now(), SWEPT_AT_ONCE, without)
    for work, now in due:
        if stop.is_set():
            return
        await _renew(holder)
        async with _guarded(holder, work), system_transaction(resources.database) as tx:
            await sweep(tx, holder.engines.sets, work, now)


async def _renew(holder: _Holder) -> None:
    if time.monotonic() - holder.renewed < claim.RENEW_SECONDS:
        return
    resources = holder.resources
    async with system_transaction(resources.database) as tx:
        holder.lanes = await claim.take_lanes(
            tx, resources.clock, holder.owner, resources.settings.worker_lanes
        )
    holder.renewed = time.monotonic()


async def _step(holder: _Holder, work: Backlog) -> None:
    async with _guarded(holder, work), system_transaction(holder.resources.database) as tx:
        reached = await apply.apply_step(tx, holder.engines, work)
        await tx.run("SELECT pg_notify('scored', $1)", f"{work.agent_no}:{reached}")


@contextlib.asynccontextmanager
async def _guarded(holder: _Holder, work: Backlog) -> AsyncIterator[None]:
    """Let a fault in the work on one agent cost a pause of that agent, and what is in memory of it."""
    try:
        yield
    except CursorMoved:
        holder.engines.forget(work.agent_no)
        _log.info("score_step_lost", agent_no=work.agent_no)
    except DayMissing as missing:
        holder.engines.forget(work.agent_no)
        async with system_transaction(holder.resources.database) as tx:
            await partitions.ensure_days(tx, missing.day, ("scores",))
    except DatabaseAway:
        holder.engines.forget(work.agent_no)
        raise
    except Exception:  # noqa: BLE001 - one agent must not hold up the others
        holder.engines.forget(work.agent_no)
        _, seconds = holder.paused.get(work.agent_no, (0.0, FIRST_PAUSE_SECONDS / 2))
        seconds = min(seconds * 2, LONGEST_PAUSE_SECONDS)
        holder.paused[work.agent_no] = (time.monotonic() + seconds, seconds)
        FAILED_STEPS.inc()
        _log.exception("score_step_failed", agent_no=work.agent_no, position=work.position, again_in=seconds)
    except BaseException:
        holder.engines.forget(work.agent_no)  # its state is ahead of what is stored
        raise
    else:
        holder.paused.pop(work.agent_no, None)
