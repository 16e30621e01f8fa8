"""Runs in a worker: lease, work, keep leases; and what time alone does, on schedules."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from prometheus_client import Counter, Gauge

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.runs import lease, reap, reconcile, retain, store
from guardhouse.runs.execute import AtWork, execute
from guardhouse.runs.lease import BEFORE_ALL, HEARTBEAT_SECONDS
from guardhouse.runs.submit import CHANNEL

SLOTS: Final = 16
POLL_SECONDS: Final = 1.0
STOP_SECONDS: Final = 3.0
AT_WORK: Final = Gauge("guardhouse_runs_at_work", "Runs that this worker is at.")
REAPED: Final = Counter("guardhouse_reaper", "Runs that time alone moved on.", ["outcome"])
RECONCILED: Final = Counter("guardhouse_reconciled", "Claims that nobody completed, decided.", ["outcome"])
_log = logs.get(__name__)


@dataclass(slots=True)
class _Hands:
    """What this worker is at."""

    resources: Resources
    held: dict[UUID, AtWork] = field(default_factory=dict)  # by lease token
    after: UUID = BEFORE_ALL
    freed: asyncio.Event = field(default_factory=asyncio.Event)


async def work_runs(resources: Resources, stop: asyncio.Event) -> None:
    """Lease runs and work on them until ``stop``; what is not done then goes back by its lease."""
    hands = _Hands(resources)
    unsubscribe = resources.wake.subscribe(CHANNEL, lambda _: hands.freed.set())
    beat = asyncio.create_task(_keep_leases(hands))
    stopper = asyncio.create_task(_wake_on(stop, hands.freed))
    try:
        while not stop.is_set():
            hands.freed.clear()
            try:
                taken = await _take(hands)
            except DatabaseAway as error:
                _log.warning("runs_wait_for_database", error=str(error))
                await set_within(stop, POLL_SECONDS)
                continue
            if not taken:
                await set_within(hands.freed, POLL_SECONDS)
    finally:
        unsubscribe()
        stopper.cancel()
        await _wind_down(hands)
        beat.cancel()
        await asyncio.gather(beat, stopper, return_exceptions=True)


async def _wake_on(stop: asyncio.Event, woken: asyncio.Event) -> None:
    await stop.wait()
    woken.set()


async def _take(hands: _Hands) -> bool:
    """Lease as many runs as there are free slots and begin them; False: there was nothing to take."""
    free = SLOTS - len(hands.held)
    if free <= 0:
        return False
    now = hands.resources.clock.now()
    async with system_transaction(hands.resources.database) as tx:
        found = await lease.claim(tx, free, hands.after, now)
    again = bool(found.runs) or found.after != hands.after != BEFORE_ALL
    hands.after = found.after
    for run in found.runs:
        if run.lease_token is None:
            raise RuntimeError("a leased run has no token")
        at_work = AtWork(run)
        hands.held[run.lease_token] = at_work
        at_work.task = asyncio.create_task(_work(hands, run.lease_token, at_work))
    AT_WORK.set(len(hands.held))
    return again


async def _work(hands: _Hands, token: UUID, at_work: AtWork) -> None:
    try:
        await execute(hands.resources, at_work)
    except DatabaseAway as error:
        _log.warning("run_left_to_its_lease", run_id=str(at_work.run.run_id), error=str(error))
    except Exception:  # noqa: BLE001 - a bug here must not end the worker
        _log.exception("run_left_to_its_lease", run_id=str(at_work.run.run_id))
    finally:
        hands.held.pop(token, None)
        AT_WORK.set(len(hands.held))
        hands.freed.set()


async def _keep_leases(hands: _Hands) -> None:
    """Renew the leases of all runs at work, in one statement.

    A task of the very loop that the packs run on: a loop that hangs loses its leases, and the runs go to others.
    """
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        tokens = [token for token, one in hands.held.items() if not one.lost]
        if not tokens:
            continue
        with contextlib.suppress(DatabaseAway):
            async with system_transaction(hands.resources.database) as tx:
                kept = await lease.renew(tx, tokens, hands.resources.clock.now())
            for token in tokens:
                at_work = hands.held.get(token)
                if at_work is not None:
                    at_work.lost = token not in kept
                    at_work.cancelled = kept.get(token, False)


async def _wind_down(hands: _Hands) -> None:
    """Give running packs a moment, then leave them to their leases."""
    tasks = [one.task for one in hands.held.values() if one.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@every(30.0, "runs.reap")
async def reap_runs(context: JobContext) -> None:
    """Move on runs whose worker is silent and queued ones whose time is over."""
    await reap_once(context.resources)


async def reap_once(resources: Resources) -> int:
    """Move overdue runs on and return how many."""
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        found = await store.overdue(tx, now, reap.AT_ONCE)
    moved = 0
    for run in found:
        async with system_transaction(resources.database) as tx:
            after = await reap.reap(tx, run, now)
        REAPED.labels("passed" if after is None else after.status.lower()).inc()
        moved += after is not None
    return moved


@every(60.0, "runs.reconcile")
async def reconcile_runs(context: JobContext) -> None:
    """Decide claims that nobody completed."""
    await reconcile_once(context.resources)


async def reconcile_once(resources: Resources) -> int:
    """Decide claims that are old enough and return how many were."""
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        found = await store.unfinished(tx, now - reconcile.PATIENCE, reconcile.AT_ONCE)
    decided = 0
    for run in found:
        seen = await reconcile.look(resources.objects, run)
        async with system_transaction(resources.database) as tx:
            after = await reconcile.reconcile(tx, run, seen, now)
        RECONCILED.labels("passed" if after is None else seen.found).inc()
        decided += after is not None
        if after is not None and after.status == "FAILED":
            await retain.forget_objects(resources.objects, run)
    return decided


@every(3600.0, "runs.retain")
async def expire_runs(context: JobContext) -> None:
    """End the life of results that are past their time."""
    await expire_once(context.resources)


async def expire_once(resources: Resources) -> int:
    """Expire runs that are past their time and return how many."""
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        found = await store.past_retention(tx, now, retain.AT_ONCE)
    expired = 0
    for run in found:
        await retain.forget_objects(resources.objects, run)
        async with system_transaction(resources.database) as tx:
            expired += await retain.expire(tx, run, now) is not None
    return expired
