"""The thread of an agent: one daemon with its own event loop, made at the first need and again where it died."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")
THREAD_NAME: Final = "guard-agent-worker"
_logger = logging.getLogger("guard_agent")


class WorkerGoneError(RuntimeError):
    """The worker's thread has ended, or cannot be started."""


class Worker:
    """Runs `main` on a loop of its own until it returns. Any thread may call any method."""

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.restarts = 0
        self.ended: Future[None] = Future()
        """Done when the thread has closed its loop."""
        self._main = main
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Tell whether the caller is the worker's own thread."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Start the thread unless it runs, and wait until its loop does.

        Raises:
            WorkerGoneError: no thread can be started, because the interpreter is ending.
        """
        with self._lock:
            if self.alive:
                return
            if self._thread is not None:
                self.restarts += 1
            self.ended = Future()
            ready = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(ready,), name=THREAD_NAME, daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                raise WorkerGoneError("no thread can be started any more") from error
            ready.wait()

    def call(self, work: Callable[[], None]) -> bool:
        """Have the loop call `work` soon; False where there is no loop any more."""
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(work)
        except RuntimeError:
            return False
        return True

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "Future[T]":
        """Run a coroutine on the loop; the future fails with `WorkerGoneError` where there is none any more."""
        loop = self._loop
        if loop is not None and self.alive:
            coroutine = work()
            try:
                return asyncio.run_coroutine_threadsafe(coroutine, loop)
            except RuntimeError:
                coroutine.close()
        failed: Future[T] = Future()
        failed.set_exception(WorkerGoneError("the worker has ended"))
        return failed

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread to end."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        try:
            loop.call_soon(ready.set)
            loop.run_until_complete(self._main())
        except Exception:
            _logger.exception("The worker of the agent ended with an error; the next call starts another")
        finally:
            ready.set()
            self._loop = None
            with contextlib.suppress(Exception):
                _cancel_all(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            self.ended.set_result(None)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
