"""The claim, run, settle pipeline of one worker.

Handlers run in a fixed number of slots. Claims fetch ahead only as far as the slots proved able to empty
the queue at once, and work that waits here too long is handed back: a lease is never hoarded.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from prometheus_client import Counter, Histogram

from guardhouse.foundation import correlation, jobs_claim, logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.jobs import ClaimedJob, GiveUp, Job, JobContext, Retry
from guardhouse.foundation.jobs_claim import Claimer, Result
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

_TOTAL: Final = Counter("guardhouse_jobs", "Runs of jobs that ended.", ["kind", "outcome"])
_DURATION: Final = Histogram("guardhouse_job_duration_seconds", "How long handlers ran.", ["kind"])
_PICKUP: Final = Histogram("guardhouse_job_pickup_seconds", "From due to the start of the handler.")
_QUICK_SECONDS: Final = 0.2
_STALE_SECONDS: Final = 2.0
_AWAY_SECONDS: Final = 1.0
_GATHER_SECONDS: Final = 0.002  # results that end together are written together
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many handlers run at once, how far claims may reach ahead, how often to look, how long to end."""

    slots: int = 16
    ahead: int = 1000
    poll_seconds: float = 1.0
    stop_seconds: float = 3.0


class Engine:
    """The jobs of one worker process."""

    def __init__(
        self, resources: Resources, worker_id: UUID, jobs: Mapping[str, Job[Any]], pace: Pace
    ) -> None:
        self.resources = resources
        self.claimer = Claimer(worker_id, jobs)
        self._pace = pace
        self._schedules = {name: job for name, job in jobs.items() if job.every_seconds is not None}
        self._queue: deque[ClaimedJob] = deque()
        self._queued_at = 0.0
        self._running: dict[int, tuple[ClaimedJob, asyncio.Task[None]]] = {}
        self._lost: set[int] = set()
        self._results: list[Result] = []
        self._window = pace.slots
        self._after = ""
        self._more = True
        self._stopping = False
        self._look = asyncio.Event()  # to the claimer: there may be work, or room
        self._work = asyncio.Semaphore(0)  # to the slots: one permit per queued job
        self._ended = asyncio.Event()  # to the settler: results wait

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then hand back what is not finished."""
        unsubscribe = self.resources.wake.subscribe("jobs", self._wake)
        forever = [
            asyncio.create_task(self._forever(part))
            for part in (self._claim_some, self._settle_some, self._keep_leases, self._keep_house)
        ]
        slots = [asyncio.create_task(self._slot()) for _ in range(self._pace.slots)]
        try:
            await stop.wait()
        finally:
            unsubscribe()
            await self._wind_down(forever, slots)

    async def _wind_down(self, forever: list[asyncio.Task[None]], slots: list[asyncio.Task[None]]) -> None:
        self._stopping = True
        forever[0].cancel()
        await asyncio.wait(forever[:1])
        self._hand_back_queue()
        for _ in slots:
            self._work.release()
        await asyncio.wait(slots, timeout=self._pace.stop_seconds)
        for task in (*slots, *forever):
            task.cancel()
        await asyncio.gather(*slots, *forever, return_exceptions=True)
        with contextlib.suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(_AWAY_SECONDS):
                await self._settle()

    async def _forever(self, part: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await part()
            except DatabaseAway as error:
                _log.warning("jobs_wait_for_database", part=part.__name__, error=str(error))
                await asyncio.sleep(_AWAY_SECONDS)
            except Exception:  # noqa: BLE001 - a bug in one part must not end the worker
                _log.exception("jobs_engine_failed", part=part.__name__)
                await asyncio.sleep(_AWAY_SECONDS)

    def _wake(self, _payload: str = "") -> None:
        self._more = True
        self._look.set()

    # Claim

    async def _claim_some(self) -> None:
        if not await set_within(self._look, self._pace.poll_seconds):
            self._more = True  # the poll behind the wake-up
        self._look.clear()
        while self._more and len(self._queue) <= self._window // 4:
            wanted = self._window - len(self._queue) - len(self._running)
            if wanted <= 0:
                return
            self._more = False
            self._size_window(wanted)
            now = self.resources.clock.now()
            async with system_transaction(self.resources.database) as tx:
                found, self._after = await jobs_claim.claim(tx, self.claimer, self._after, wanted, now)
            self._more = self._more or len(found) == wanted
            self._take(found)

    def _size_window(self, wanted: int) -> None:
        """Reach further ahead while the slots empty the queue at once, else no further than the slots."""
        quick = time.monotonic() - self._queued_at < _QUICK_SECONDS
        if quick and wanted > self._window // 2:
            self._window = min(self._window * 2, max(self._pace.ahead, self._pace.slots))
        elif not quick:
            self._window = self._pace.slots

    def _take(self, found: list[ClaimedJob]) -> None:
        self._queued_at = time.monotonic()
        self._queue.extend(found)
        for _ in found:
            self._work.release()

    # Run

    async def _slot(self) -> None:
        while not self._stopping:
            await self._work.acquire()
            if not self._queue:
                continue  # handed back in the meantime
            job = self._queue.popleft()
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a slot runs in a task")
            self._running[job.id] = (job, task)
            try:
                await self._run_one(job)
            finally:
                del self._running[job.id]
            if self._more and len(self._queue) <= self._window // 4:
                self._look.set()

    async def _run_one(self, job: ClaimedJob) -> None:
        correlation.begin(job.correlation_id or f"job-{job.id}", trace_id=job.trace_id)
        kind = self.claimer.jobs[job.name]
        started = time.perf_counter()
        _PICKUP.observe(max(0.0, (self.resources.clock.now() - job.run_at).total_seconds()))
        try:
            await kind.run(JobContext(self.resources, job))
        except asyncio.CancelledError:
            if job.id not in self._lost:
                self._end(job, "released", Result(job, "ready", job.run_at, job.failures))
                raise
            self._lost.discard(job.id)
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            _TOTAL.labels(job.name, "lost").inc()
            return
        except Retry as order:
            result = self._later(job, order.after_seconds, job.failures, order.reason)
            self._end(job, "retry", result)
        except DatabaseAway as error:
            pause = kind.retry.seconds(job.id, 1)
            self._end(job, "retry", self._later(job, pause, job.failures, str(error)))
        except GiveUp as order:
            self._bury(job, "gave_up", order.reason, job.failures)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises ends up at its job
            self._failed(job, kind, error)
        else:
            self._end(job, "done", Result(job, "done", job.run_at, job.failures))
        _DURATION.labels(job.name).observe(time.perf_counter() - started)

    def _failed(self, job: ClaimedJob, kind: Job[Any], error: Exception) -> None:
        failures = job.failures + 1
        reason = f"{type(error).__name__}: {error}"[:1000]
        _log.exception("job_failed", job=job.name, job_id=job.id, failures=failures)
        if failures >= kind.retry.failures:
            self._bury(job, "dead", reason, failures)
        else:
            pause = kind.retry.seconds(job.id, failures)
            self._end(job, "failed", self._later(job, pause, failures, reason))

    def _bury(self, job: ClaimedJob, outcome: str, reason: str, failures: int) -> None:
        _log.error("job_dead", job=job.name, job_id=job.id, reason=reason)
        self._end(job, outcome, Result(job, "dead", self.resources.clock.now(), failures, reason))

    def _later(self, job: ClaimedJob, seconds: float, failures: int, reason: str) -> Result:
        run_at = self.resources.clock.now() + timedelta(seconds=seconds)
        return Result(job, "waiting", run_at, failures, reason or None)

    def _end(self, job: ClaimedJob, outcome: str, result: Result) -> None:
        _TOTAL.labels(job.name, outcome).inc()
        self._results.append(result)
        self._ended.set()

    # Settle and keep

    async def _settle_some(self) -> None:
        await self._ended.wait()
        await asyncio.sleep(_GATHER_SECONDS)
        self._ended.clear()
        await self._settle()

    async def _settle(self) -> None:
        results, self._results = self._results, []
        try:
            if results:
                async with system_transaction(self.resources.database) as tx:
                    await jobs_claim.settle(tx, results)
        except BaseException:
            self._results = results + self._results  # not written: try again with the next ones
            self._ended.set()
            raise

    async def _keep_leases(self) -> None:
        await asyncio.sleep(self._pace.poll_seconds)
        if self._queue and time.monotonic() - self._queued_at > _STALE_SECONDS:
            self._hand_back_queue()
        held = [job for job, _ in self._running.values()] + list(self._queue)
        if not held:
            return
        now = self.resources.clock.now()
        async with system_transaction(self.resources.database) as tx:
            ours = await jobs_claim.renew(tx, held, self.claimer, now)
        for job in held:
            if job.id not in ours and job.id in self._running:
                _log.warning("job_lease_lost", job=job.name, job_id=job.id)
                self._lost.add(job.id)
                self._running[job.id][1].cancel()

    async def _keep_house(self) -> None:
        now = self.resources.clock.now()
        async with system_transaction(self.resources.database) as tx:
            changed = await jobs_claim.promote(tx, now)
            lost = await jobs_claim.reap(tx, self.claimer, now)
            due = await jobs_claim.run_schedules(tx, self._schedules, now)
        for name, state in lost:
            _TOTAL.labels(name, "dead" if state == "dead" else "lost").inc()
        if changed or lost or due:
            self._wake()
        await asyncio.sleep(self._pace.poll_seconds)

    def _hand_back_queue(self) -> None:
        while self._queue:
            job = self._queue.popleft()
            self._end(job, "released", Result(job, "ready", job.run_at, job.failures))
        self._window = self._pace.slots
