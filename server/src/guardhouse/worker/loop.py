"""One worker: claims jobs, runs them, renews their leases, keeps schedules and long loops going.

On stop it claims no more, gives running handlers a moment, hands everything else back, and is gone in
about four seconds. The database going away never ends it; it waits and goes on.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import Job
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices import jobs as notices_jobs
from guardhouse.worker import registry, store
from guardhouse.worker.engine import Engine, Pace
from guardhouse.worker.health import Health, serve_health
from guardhouse.worker.registry import LongLoop
from guardhouse.worker.store import WorkerRow

BEAT_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker runs and how fast it looks; tests and benches bring their own."""

    jobs: Sequence[Job[Any]] = registry.JOBS + registry.SCHEDULES
    loops: Sequence[LongLoop] = registry.LOOPS
    pace: Pace = field(default_factory=Pace)


EVERYTHING: Final = Work()


async def run_worker(resources: Resources, stop: asyncio.Event, work: Work = EVERYTHING) -> None:
    """Run until ``stop`` is set; returns about four seconds later at the latest, with every lease given back."""
    now = resources.clock.now()
    me = WorkerRow(new_id(), socket.gethostname(), os.getpid(), started_at=now, seen_at=now)
    engine = Engine(resources, me.id, {job.name: job for job in work.jobs}, work.pace)
    health = Health(resources, stop, engine)
    _log.info("worker_started", worker_id=str(me.id), jobs=len(work.jobs), loops=len(work.loops))
    side = [
        asyncio.create_task(_persist(f"loop_{loop.name}", stop, _bind(loop, resources, stop)))
        for loop in work.loops
    ]
    side.append(asyncio.create_task(_persist("heartbeat", stop, lambda: _beat(resources, me, health, stop))))
    side.append(asyncio.create_task(serve_health(health, resources.settings.worker_metrics_port, stop)))
    try:
        await _persist("prepare", stop, lambda: notices_jobs.prepare(resources))
        await engine.run(stop)
    finally:
        await _end(side, work.pace.stop_seconds)
        with contextlib.suppress(DatabaseAway):
            async with system_transaction(resources.database) as tx:
                await store.forget(tx, me.id)
        _log.info("worker_stopped", worker_id=str(me.id))


def _bind(loop: LongLoop, resources: Resources, stop: asyncio.Event) -> Callable[[], Awaitable[None]]:
    return lambda: loop.run(resources, stop)


async def _persist(name: str, stop: asyncio.Event, run: Callable[[], Awaitable[None]]) -> None:
    """Run until it returns; after an error pause (1 s, doubling to 30 s) and begin again, until ``stop``."""
    pause = 1.0
    while not stop.is_set():
        try:
            await run()
        except DatabaseAway as error:
            _log.warning("worker_part_waits", part=name, error=str(error))
        except Exception:  # noqa: BLE001 - a bug in one part must not end the others
            _log.exception("worker_part_failed", part=name)
        else:
            return
        await set_within(stop, pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


async def _beat(resources: Resources, me: WorkerRow, health: Health, stop: asyncio.Event) -> None:
    while not stop.is_set():
        async with system_transaction(resources.database) as tx:
            await store.see(tx, replace(me, seen_at=resources.clock.now()))
        health.beat(resources.clock.now())
        await set_within(stop, BEAT_SECONDS)


async def _end(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
