"""Engine processes beside the event loop, fed in natural batches: a free one takes everything that waits.

There is no timer, so an idle server adds no delay. A process that does not answer in time or dies is replaced; what
it held is tried once more, each text alone, and a text that fails again is the text's fault.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from guardhouse.detections.call_task import CallsAsk, CheckedCalls
from guardhouse.detections.frames import (
    LENGTH_BYTES,
    Outcome,
    frame_to_bytes,
    framed,
    outcomes_from_bytes,
    own_digests,
    used,
)
from guardhouse.detections.scan_task import ScanAsk, Scanned
from guardhouse.detections.verdict import Additions, Ask, Frame, Task, Verdict
from guardhouse.foundation.bound_process import Launch, end_in_steps, start_bound

MOST_TEXTS, MOST_CHARACTERS = 64, 65_536  # of one frame
LONG_TEXT: Final = 4_000  # code points; longer ones wait in a line of their own
MOST_WAITING, MOST_WAITING_CHARACTERS = 512, 4_000_000
PATIENCE_SECONDS, PATIENCE_PER_CHARACTER = 2.0, 1e-5
START_SECONDS: Final = 30.0
QUARANTINE_SECONDS: Final = 600.0
MOST_QUARANTINED: Final = 1_000
STRIKES: Final = 2
PROCESS: Final = "guardhouse.detections.engine_process"
_RESTART_PAUSE: Final = 1.0
_STOP: Final = ((signal.SIGTERM, 0.5), (signal.SIGKILL, 2.0))

WAITING: Final = Gauge("guardhouse_detection_queue_depth", "Texts that wait for an engine process.")
RESTARTS: Final = Counter(
    "guardhouse_detection_engine_restarts_total", "Engine processes that were replaced."
)
RESTARTS.inc(0)
log = structlog.get_logger()


class EngineBusyError(Exception):
    """As many texts wait as may wait."""


class EngineFailedError(Exception):
    """No engine process could judge the text: it ended two of them, or none could be started in time."""


class TooLateError(Exception):
    """The caller's time was over before the work could begin."""


@dataclass(slots=True, eq=False)
class _Job:
    ask: Task
    additions: Additions | None
    done: asyncio.Future[Outcome]
    deadline: float  # of the loop's clock
    strikes: int = 0

    @property
    def size(self) -> int:
        return len(self.ask.text)


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    given: OrderedDict[str, None] = field(default_factory=OrderedDict)  # additions that it has

    async def do(self, jobs: Sequence[_Job]) -> list[Outcome]:
        new = {
            job.ask.own: job.additions
            for job in jobs
            if job.additions is not None and job.ask.own not in self.given
        }
        tasks = [job.ask for job in jobs]
        frame = Frame(tasks, new)
        self.given.update(dict.fromkeys(new))
        used(self.given, own_digests(frame))
        self.writer.write(framed(frame_to_bytes(frame)))
        await self.writer.drain()
        return outcomes_from_bytes(await self.receive(), tasks)

    async def receive(self) -> bytes:
        head = await self.reader.readexactly(LENGTH_BYTES)
        return await self.reader.readexactly(int.from_bytes(head, "big"))

    async def end(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
        await asyncio.to_thread(end_in_steps, self.process, _STOP)


@dataclass(slots=True)
class EnginePool:
    """Engine processes over one model file: the first text starts them, ``close`` ends them.

    A house that judges no text pays for no engine.

    Args:
        model: The model file.
        processes: How many, at least one.
        folder: Where they run.
    """

    model: Path
    processes: int
    folder: Path
    _short: deque[_Job] = field(default_factory=deque)
    _long: deque[_Job] = field(default_factory=deque)
    _alone: deque[_Job] = field(default_factory=deque)  # tried once more, each in a frame of its own
    _waiting_characters: int = 0
    _work: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _quarantined: dict[bytes, float] = field(default_factory=dict)

    async def close(self) -> None:
        """End the processes; texts that still wait fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in (self._short, self._long, self._alone):
            while line:
                _fail(line.popleft(), EngineFailedError("the engine has been stopped"))

    @property
    def waiting(self) -> int:
        """How many texts wait for a process."""
        return len(self._short) + len(self._long) + len(self._alone)

    async def judge(
        self, asks: Sequence[Ask], seconds: float, additions: Additions | None = None
    ) -> list[Verdict]:
        """Judge texts; ``additions`` are those that ``own`` of the asks names. Raises as :meth:`do`."""
        return [one for one in await self.do(asks, seconds, additions) if isinstance(one, Verdict)]

    async def scan(self, ask: ScanAsk, seconds: float) -> Scanned:
        """Scan an answer within a time; raises as :meth:`do`."""
        (done,) = [one for one in await self.do([ask], seconds) if isinstance(one, Scanned)]
        return done

    async def check(self, ask: CallsAsk, seconds: float) -> CheckedCalls:
        """Check tool calls within a time; raises as :meth:`do`."""
        (done,) = [one for one in await self.do([ask], seconds) if isinstance(one, CheckedCalls)]
        return done

    async def do(
        self, asks: Sequence[Task], seconds: float, additions: Additions | None = None
    ) -> list[Outcome]:
        """Do tasks within a time; their outcomes are in the order given.

        Raises:
            EngineBusyError: they would be more than may wait.
            EngineFailedError: a text ended two engine processes, now or in the last ten minutes.
            TooLateError: the time was over before all had begun.
        """
        loop = asyncio.get_running_loop()
        characters = sum(len(ask.text) for ask in asks)
        if (
            self.waiting + len(asks) > MOST_WAITING
            or self._waiting_characters + characters > MOST_WAITING_CHARACTERS
        ):
            raise EngineBusyError
        if any(self._quarantined.get(_fingerprint(ask), 0.0) > loop.time() for ask in asks):
            raise EngineFailedError("this text has ended engine processes before")
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._serve()) for _ in range(self.processes)]
        jobs = [_Job(ask, additions, loop.create_future(), loop.time() + seconds) for ask in asks]
        async with self._work:
            for job in jobs:
                (self._long if job.size > LONG_TEXT else self._short).append(job)
            self._waiting_characters += characters
            WAITING.set(self.waiting)
            self._work.notify(len(jobs))
        try:
            return list(await asyncio.gather(*(job.done for job in jobs)))
        finally:
            for job in jobs:
                job.done.cancel()

    async def _serve(self) -> None:
        """Keep one process alive and give it work until cancelled."""
        while True:
            child = await self._start()
            if child is None:
                await asyncio.sleep(_RESTART_PAUSE)
                continue
            try:
                await self._feed(child)
            finally:
                await asyncio.shield(child.end())
            RESTARTS.inc()

    async def _start(self) -> _Child | None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = start_bound(
                Launch(
                    [sys.executable, "-m", PROCESS, str(theirs.fileno()), str(self.model)],
                    {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    self.folder,
                    descriptors=[theirs.fileno()],
                )
            )
        ours.setblocking(False)  # noqa: FBT003 - the socket module's own spelling
        child = _Child(process, *await asyncio.open_connection(sock=ours))
        try:
            async with asyncio.timeout(START_SECONDS):
                await child.receive()
        except (OSError, EOFError, TimeoutError):
            log.exception("detection_engine_did_not_start", status=process.poll())
            await child.end()
            return None
        except asyncio.CancelledError:
            await asyncio.shield(child.end())
            raise
        return child

    async def _feed(self, child: _Child) -> None:
        """Give a process frame after frame; return when it has failed one."""
        long_before = False
        while True:
            async with self._work:
                await self._work.wait_for(lambda: self.waiting > 0)
                jobs, long_before = self._take(long_before=long_before)
            if not jobs:
                continue
            patience = PATIENCE_SECONDS + PATIENCE_PER_CHARACTER * sum(job.size for job in jobs)
            try:
                async with asyncio.timeout(patience):
                    outcomes = await child.do(jobs)
            except (OSError, EOFError, TimeoutError):
                await self._strike(jobs)
                return
            except asyncio.CancelledError:
                for job in jobs:
                    _fail(job, EngineFailedError("the engine has been stopped"))
                raise
            for job, outcome in zip(jobs, outcomes, strict=True):
                if not job.done.done():
                    job.done.set_result(outcome)

    def _take(self, *, long_before: bool) -> tuple[list[_Job], bool]:
        """Take the next frame: a text to try alone, else a long one, else all short ones that fit.

        Long and short ones take turns while both wait.
        """
        now = asyncio.get_running_loop().time()
        if self._alone:
            line, most, is_long = self._alone, 1, long_before
        elif self._long and not (long_before and self._short):
            line, most, is_long = self._long, 1, True
        else:
            line, most, is_long = self._short, MOST_TEXTS, False
        jobs: list[_Job] = []
        size = 0
        while line and len(jobs) < most and (not jobs or size + line[0].size <= MOST_CHARACTERS):
            job = line.popleft()
            self._waiting_characters -= job.size
            if job.done.done():
                continue  # the caller has hung up
            if job.deadline <= now:
                job.done.set_exception(TooLateError())
                continue
            jobs.append(job)
            size += job.size
        WAITING.set(self.waiting)
        return jobs, is_long

    async def _strike(self, jobs: Sequence[_Job]) -> None:
        log.warning("detection_engine_replaced", texts=len(jobs))
        for job in jobs:
            job.strikes += 1
            if job.strikes < STRIKES:
                async with self._work:
                    self._alone.append(job)
                    self._waiting_characters += job.size
                    self._work.notify()
                continue
            until = asyncio.get_running_loop().time() + QUARANTINE_SECONDS
            self._quarantined[_fingerprint(job.ask)] = until
            while len(self._quarantined) > MOST_QUARANTINED:
                self._quarantined.pop(next(iter(self._quarantined)))
            _fail(job, EngineFailedError("the text ended two engine processes"))


def _fingerprint(ask: Task) -> bytes:
    return hashlib.sha256(ask.text.encode("utf-8", "replace")).digest()


def _fail(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
