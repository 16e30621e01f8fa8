"""Signals as something to wait for, beside anything else that select() waits for."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def woken_by_signals(on_stop: Callable[[], None]) -> Iterator[socket.socket]:
    """Yield a socket that becomes readable at every signal we care for, the end of a child among them."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)  # noqa: FBT003 - socket's signature
    writer.setblocking(False)  # noqa: FBT003 - socket's signature

    def stop(_number: int, _frame: FrameType | None) -> None:
        on_stop()

    before = {number: signal.signal(number, stop) for number in _STOP}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
