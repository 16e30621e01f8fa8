"""Keep a watched command unharmed when the agent is killed: a second process goes on emptying strace's FIFO.

Without a reader strace would die of SIGPIPE, and a program under `--seccomp-bpf` whose tracer is gone sees
its calls fail. The understudy does nothing while the agent lives; then it reads and forgets until the
command has ended.
"""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 65_536
_EMPTY_READS: Final = 20  # strace may not have opened the FIFO yet
_EMPTY_SECONDS: Final = 0.1
_STANDARD_STREAMS: Final = 3


class Understudy:
    """The second process; start it before any thread, `dismiss` it when strace has ended.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, fifo: Path) -> None:
        alive, self._life = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _stand_by(alive, self._life, fifo)
            finally:
                os._exit(0)
        os.close(alive)

    def dismiss(self) -> None:
        """Let the process end and wait for it."""
        os.close(self._life)
        os.waitpid(self._pid, 0)


def _stand_by(alive: int, life: int, fifo: Path) -> None:
    """Wait for the agent's end, then empty the FIFO until no writer is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.close(life)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(_STANDARD_STREAMS):
        os.dup2(nothing, stream)
    os.read(alive, 1)  # returns when the agent's end is closed: dismissed, or dead
    if not fifo.exists():
        return
    empty = 0
    while empty < _EMPTY_READS:
        if os.read(reader, _READ_BYTES):
            empty = 0
        else:
            empty += 1
            time.sleep(_EMPTY_SECONDS)
    shutil.rmtree(fifo.parent, ignore_errors=True)
