"""What happens to agents when their process forks, is told to end, or ends."""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future
from types import FrameType
from typing import Any, Final, Protocol
from weakref import WeakSet

from guard_agent._pipeline.engine import Engine
from guard_agent.config import AgentConfig

_logger = logging.getLogger("guard_agent")


class Mortal(Protocol):
    """A handler, as the end of its process concerns it."""

    config: AgentConfig

    def drain(self) -> None:
        """Have every item written in the caller's thread from now on."""

    def drained(self) -> bool:
        """Tell whether nothing is left that only memory holds."""

    def finish(self) -> None:
        """Stop, blocking."""

    def forked(self) -> None:
        """Begin anew in the child of a fork."""


_handlers: WeakSet[Mortal] = WeakSet()
_left: list[Engine] = []
"""Engines of the parent: never touched, and never collected, because their loops share descriptors with it."""
_warned: set[str] = set()
_previous: dict[int, Any] = {}
_DRAIN_SECONDS: Final = 1.0
"""At most; a few milliseconds are enough unless the machine is overloaded."""


def watch(handler: Mortal) -> None:
    """Look after a handler from now on."""
    _handlers.add(handler)


def heed_signals(handler: Mortal) -> None:
    """Drain the agents at SIGTERM and SIGINT, before whoever handles these now; in the main thread only.

    Called at the start and at the first item, because a server may have put its own handlers in the place of ours.
    A signal that is ignored stays ignored.
    """
    if (
        not handler.config.install_signal_handlers
        or threading.current_thread() is not threading.main_thread()
    ):
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        current = signal.getsignal(number)
        if current is _on_signal or current is signal.SIG_IGN or current is None:
            continue
        _previous[number] = current
        signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Have everything written to disk, then do what would have been done without us."""
    handlers = list(_handlers)
    for handler in handlers:
        handler.drain()
    until = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < until and not all(handler.drained() for handler in handlers):
        time.sleep(0.002)
    previous = _previous.get(number)
    if callable(previous):
        previous(number, frame)
    elif previous is signal.SIG_DFL:
        for handler in handlers:
            handler.finish()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def fork_safe_lock() -> threading.RLock:
    """Return a lock; a child of a fork takes a new one, as the parent's may be held by a thread it does not have."""
    return threading.RLock()


def leave_to_parent(engines: list[Engine]) -> None:
    """Let go, in the child of a fork, of what belongs to the parent."""
    for engine in engines:
        engine.abandon()
    _left.extend(engines)


def all_of(futures: "list[Future[None]]") -> "Future[None]":
    """Return a future that is done when all of these are."""
    done: Future[None] = Future()
    waiting = len(futures)
    lock = threading.Lock()

    def count(_: Any) -> None:
        nonlocal waiting
        with lock:
            waiting -= 1
            last = waiting == 0
        if last:
            done.set_result(None)

    for future in futures:
        future.add_done_callback(count)
    return done


def warn_once(sentence: str) -> None:
    """Write a warning that this process has not written yet."""
    if sentence not in _warned:
        _warned.add(sentence)
        _logger.warning("%s", sentence)


def _after_fork() -> None:
    for handler in list(_handlers):
        handler.forked()


def _at_exit() -> None:
    for handler in list(_handlers):
        handler.finish()
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        # The interpreter ends by SIGINT after an interrupt that nobody caught, and forgets that there was one as soon
        # as any code is compiled and run meanwhile, as modules loaded late do. This reminds it.
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt", {})  # noqa: S102 - a constant


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
