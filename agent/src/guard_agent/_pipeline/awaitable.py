"""What the handler's methods return: results that may be awaited, made into a task, or ignored.

An agent is called from apps with a running loop and from apps without one, often through code that does not know
which. Each of these is a `collections.abc.Coroutine`, so `await`, `create_task`, `gather` and `wait_for` take them, and
none warns when nobody awaits it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from guard_agent._pipeline.worker import WorkerGoneError

T = TypeVar("T")


class Answer(Coroutine[Any, Any, T], Generic[T]):
    """A result that is there already; its truth value is the result's, as if it were the result itself."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, T]:
        yield from ()
        return self.value

    def send(self, value: Any) -> Any:  # noqa: ARG002 - the interface of coroutines
        """End at once with the result."""
        raise StopIteration(self.value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:  # noqa: ARG002 - the interface of coroutines
        """Raise what was thrown in: nothing is left to interrupt."""
        raise typ

    def close(self) -> None:
        """Do nothing: there is nothing to stop."""

    def __bool__(self) -> bool:
        return bool(self.value)


class _Done(Answer[None]):
    """The answer of a call whose work is over; true, for callers that test it."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


DONE: Final = _Done(None)
"""The one answer of every `send_*`: it has no state, so all callers may share it."""


class _Stepped(Coroutine[Any, Any, T], Generic[T]):
    """A coroutine whose steps begin when it is first driven, and that nobody has to drive."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: Generator[Any, Any, T] | None = None

    def send(self, value: Any) -> Any:
        """Go on until the work is done."""
        return self._started().send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:  # noqa: ARG002 - the interface of coroutines
        """Hand an exception of the loop (a cancellation) to whoever waits."""
        return self._started().throw(typ)

    def close(self) -> None:
        """Stop waiting; the work itself goes on."""
        if self._steps is not None:
            self._steps.close()

    def _started(self) -> Generator[Any, Any, T]:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps


class Later(_Stepped[T]):
    """The result of work that the worker has taken on, for callers on a loop; `otherwise` where the worker ended."""

    __slots__ = ("_future", "_otherwise")

    def __init__(self, future: "Future[T]", otherwise: T) -> None:
        super().__init__()
        self._future = future
        self._otherwise = otherwise

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            # The work goes on when the caller stops waiting for it.
            return (yield from asyncio.shield(asyncio.wrap_future(self._future)).__await__())
        except WorkerGoneError:
            return self._otherwise


class Pause(_Stepped[None]):
    """A wait that an awaiting caller goes through and any other skips: `wait` makes the coroutine that waits."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, None]:
        return (yield from self._wait().__await__())


Captured = Answer[None] | Pause
"""What a call that captures returns."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in the calling thread, None without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
