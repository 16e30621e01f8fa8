"""Puts the parts of one instance together and runs them on its worker: intake, lanes, status, rules, shutdown."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final

from guard_agent._pipeline.inbox import RAW_BYTES
from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.ledger import LANES
from guard_agent._pipeline.parts import Parts
from guard_agent._pipeline.redis_store import RedisStore
from guard_agent._pipeline.rules_poll import RulesPoll
from guard_agent._pipeline.status_push import StatusPush
from guard_agent._pipeline.worker import Worker, WorkerGoneError
from guard_agent.config import AgentConfig

TICK_SECONDS: Final = 0.05
_ACTIVE_SECONDS: Final = 1.0
_SYNC_SECONDS: Final = 1.0
_TEND_SECONDS: Final = 5.0
_ADOPT_SECONDS: Final = 60.0
_LEAST_INBOX: Final = 256


class Engine(Parts):
    """One instance of the agent: its queues, its spool, its lanes and the thread that works on them.

    Raises:
        EncryptionConfigError: encryption is configured and cannot work.
    """

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(config, Worker(self._run))
        self.status = StatusPush(self)
        self.rules = RulesPoll(self)
        self.asleep = True
        self.writes_at_once = config.durability == "strict"
        self.retiring = False
        self.on_first_item: Callable[[], None] | None = None
        self._nudged = False
        self.ended = False
        self._stopping = False
        self._deadline = 0.0
        self._wake = asyncio.Event()
        self._lane_wakes: dict[str, asyncio.Event] = {}

    # ── any thread ──────────────────────────────────────────────────────────────────────────────
    def start(self) -> None:
        """Open the spool, so that the first call finds it, and start the worker unless it runs."""
        self.keeper.open(time.monotonic())
        self.worker.start()

    def nudge(self) -> None:
        """Have the worker look at the inbox now, and keep the inbox within its bound."""
        inbox = self.inbox
        first, self.on_first_item = self.on_first_item, None
        if first is not None:
            first()
        if len(inbox) > inbox.limit and self.config.buffer_overflow_policy == "drop":
            inbox.make_room()
        if self._nudged and self.worker.alive:
            return
        self._nudged, self.asleep = True, False
        if not self.worker.call(self._wake_up) and not self.ended and not self.worker.is_current:
            with contextlib.suppress(WorkerGoneError):
                self.worker.start()

    def retire(self) -> None:
        """Take nothing new, and end once all that was captured is delivered."""
        self.retiring = True
        self.worker.call(self._wake_up)

    def end(self, timeout_seconds: float) -> "Future[None]":
        """Stop within a deadline; the future is done when the thread is about to end."""
        self._deadline = time.monotonic() + timeout_seconds
        self._stopping = True
        self.worker.call(self._wake_up)
        return self.worker.ended

    def drain(self) -> None:
        """Write every item at once from now on, and what is queued now. Safe in a signal handler."""
        self.writes_at_once = True
        self._hurry()
        if self.keeper.spool is not None and self.keeper.spool.is_free():
            self.intake.empty_inbox()
        self._nudged = False
        self.worker.call(self._wake_up)

    def drained(self) -> bool:
        """Tell whether nothing is left that only memory holds, though there is a disk to hold it."""
        if self.keeper.durability != "disk":
            return not len(self.inbox)
        return all(self.ledger.snapshot()[lane]["pending"]["memory"] == 0 for lane in LANES)

    def abandon(self) -> None:
        """Close, in the child of a fork, the files that the parent goes on with."""
        self.keeper.abandon()

    def take_redis(self, handler: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        """Take the application's Redis handler; its calls run on `loop`."""
        if loop is None:
            self.errors.log("Redis is used from a running loop only: initialize_redis was called without one")
            return
        self.keeper.redis = RedisStore(handler, loop, self.account, self.errors)

    def submit(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> "Future[Any]":
        """Run something on the worker's loop."""
        return self.worker.submit(work)

    async def flush(self) -> None:
        """Seal everything captured so far and wait until each lane has tried to send it, `timeout` at most."""
        await self.intake.pump()
        self.intake.seal_due(time.monotonic(), everything=True)
        self._wake_lanes()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(self.config.timeout)):
                await self._all_sent()

    def follow(self, config: AgentConfig) -> None:
        """Go on with other settings for the same endpoint, project and encryption. On the worker's loop."""
        self.use(config)
        self._wake_lanes()
        self.status.changed()

    # ── the worker ──────────────────────────────────────────────────────────────────────────────
    async def _run(self) -> None:
        self._wake = asyncio.Event()
        self._lane_wakes = {name: asyncio.Event() for name in self.lanes}
        self.sender.reopen()
        self.status.reopen()
        self._adopt()
        tasks = [
            asyncio.create_task(self._kept_alive(lambda lane=lane: self._deliver(lane)))  # type: ignore[misc]
            for lane in self.lanes.values()
        ]
        tasks += [
            asyncio.create_task(self._kept_alive(work))
            for work in (self.status.run, self.rules.run, self._tend)
        ]
        try:
            await self._take_in()
            await self._finish()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._stopping:
                await self._end()
            await self.sender.close()

    async def _take_in(self) -> None:
        """Empty the inbox until told to stop: every 50 ms while calls come, else asleep without a timer."""
        last = 0.0
        while not self._stopping:
            self._wake.clear()
            self._nudged = False
            busy = len(self.inbox) > 0 or len(self.intake.ready) > 0
            await self.intake.pump()
            now = time.monotonic()
            last = now if busy else last
            self._bound()
            self._note_native()
            wait = self.intake.seal_due(now)
            self._wake_lanes()
            if now - last < _ACTIVE_SECONDS:
                wait = TICK_SECONDS if wait is None else min(wait, TICK_SECONDS)
            else:
                self.asleep = True
                if len(self.inbox):  # a call that came before the line above did not wake
                    self.asleep = False
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self.asleep = False

    async def _deliver(self, lane: Lane) -> None:
        await self.deliverer.run(lane, self._lane_wakes[lane.name])

    async def _tend(self) -> None:
        """Look after the spool: force it to the disk, retry a failed one, take over dead siblings, drop the too old."""
        adopted = time.monotonic()
        tended = 0.0
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            now = time.monotonic()
            if self.keeper.spool is not None and self.config.spool_fsync == "interval":
                await self.sender.aside(self.keeper.spool.sync)
            await self._close_estates()
            if self.keeper.redis is not None and self.config.durability in ("auto", "redis"):
                self.keeper.take_in(await self.keeper.redis.adopt())
            if self.retiring and not any(self.ledger.pending(lane) for lane in LANES):
                self.end(self.config.shutdown_timeout)
            if now - tended >= _TEND_SECONDS:
                tended = now
                self.keeper.tend(now)
                self.keeper.expire(now, time.time())
            if now - adopted >= _ADOPT_SECONDS:
                adopted = now
                self._adopt()
            self._wake_lanes()

    def _adopt(self) -> None:
        """Take over what dead instances left, and what they knew of the server."""
        self.keeper.adopt()
        if not self.sender.requests:
            self.sender.native = any(estate.spool.account.native for estate in self.keeper.estates)

    def _note_native(self) -> None:
        """Write down whether the server is a Guardhouse, for whoever seals or sends in the name of this instance."""
        if self.account.native != self.sender.native:
            self.account.native = self.sender.native
            if self.keeper.spool is not None:
                self.keeper.spool.save()

    async def _close_estates(self) -> None:
        """Close the ledgers of dead instances that have nothing left to deliver."""
        for estate in self.keeper.finished_estates():
            if not await self.status.close_account(estate.spool.account):
                return
            self.keeper.release(estate)

    async def _kept_alive(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one of the worker's tasks for ever: an error in it is told, and it goes on."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - no error may end a lane for good
                self.errors.log(f"A task of the agent's worker failed: {error!r}", exc_info=True)
                self.errors.tell("worker", error)
            await asyncio.sleep(1.0)

    async def _finish(self) -> None:
        """Send what is left until the deadline, attack class first."""
        self._hurry()
        await self.intake.pump()
        self.intake.seal_due(time.monotonic(), everything=True)
        self._wake_lanes()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._left()):
                await self._all_sent()

    async def _end(self) -> None:
        """Count what only memory held, say goodbye, and give the spool up."""
        if self.keeper.redis is not None:
            await self.keeper.redis.settle()
        for lane in self.lanes.values():
            for batch in list(lane):
                if batch.place == "memory":
                    lane.remove(batch)
                    batch.account.ledger.move(batch.lane, "memory", "shutdown_deadline", batch.count)
                    self.keeper.forget(batch)
        left = self._left()
        if left > 0:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(left):
                    await self.status.say_goodbye()
        self.keeper.close()
        self.ended = True

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _hurry(self) -> None:
        self.sealer.hurried = True
        for lane in self.lanes.values():
            lane.hurried = True

    async def _all_sent(self) -> None:
        # Several lanes, each with several reasons to rest: there is no one event to wait for.
        while any(self._is_sending(lane) for lane in self.lanes.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _is_sending(self, lane: Lane) -> bool:
        """Tell whether a lane has something that it may send now, or is sending."""
        if lane.in_flight is not None:
            return True
        return len(lane) > 0 and lane.wait(time.monotonic()) <= (0.0 if lane.hurried else 1.0)

    def _bound(self) -> None:
        """Keep memory within its bound: what sealed batches take is taken off the inbox's share."""
        config = self.config
        free = config.max_memory_bytes - self.keeper.memory_bytes - self.sealer.gathered_bytes
        least = _LEAST_INBOX if config.buffer_overflow_policy == "drop" else 0
        self.inbox.limit = max(least, free // RAW_BYTES)

    def _wake_up(self) -> None:
        self._wake.set()

    def _wake_lanes(self) -> None:
        for name, wake in self._lane_wakes.items():
            if len(self.lanes[name]):
                wake.set()
