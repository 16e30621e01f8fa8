"""One stored event as the engine reads it, and the names of a process instance.

Invariant: a process instance is `(boot_id, pid, start, generation)`; with a known `start` the generation is
0, an inferred instance (no `start`) has a generation that its agent never uses twice.
"""

from typing import Any, Final, NamedTuple

PROCESS_GONE_US: Final = 600 * 1_000_000
"""Event time after an exit during which a late event still finds the process: 10 minutes."""
SILENCE_US: Final = 6 * 3600 * 1_000_000
"""Event time without a sign of life after which an inferred process is taken for another one: 6 hours."""

_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class ProcessKey(NamedTuple):
    """Which process instance of one agent; `start` is -1 when the events never said it."""

    boot_id: str
    pid: int
    start: int
    generation: int


class RiskEvent(NamedTuple):
    """One stored event, decoded. Times are microseconds since the epoch, `position` is the agent's own order.

    `kind` is one of call, exec, fork, exit, calls, finding, loss, inventory. `extra` carries what only some
    have: finding `{rule, priority, source, tags}`, loss `{count, where}`, imported events `{parent_start}`.
    """

    position: int
    event_id: bytes
    occurred_us: int
    kind: str
    pid: int | None = None
    tid: int | None = None
    ppid: int | None = None
    start: int | None = None
    boot_id: str = ""
    exe: str | None = None
    comm: str | None = None
    call: str | None = None
    ret: int | None = None
    errno: str | None = None
    args: dict[str, Any] | None = None
    names: tuple[str, ...] | None = None
    child_pid: int | None = None
    child_start: int | None = None
    code: int | None = None
    alphabet: str = "native.v1"
    late: bool = False
    extra: dict[str, Any] | None = None

    @property
    def parent_start(self) -> int | None:
        """The start of the process that `ppid` names, None when the event does not say it."""
        found = None if self.extra is None else self.extra.get("parent_start")
        return found if isinstance(found, int) else None

    @property
    def failed(self) -> bool:
        """The call did not do what it asks: `ret < 0` or an `errno`."""
        return self.errno is not None or (self.ret is not None and self.ret < 0)


def base36(number: int) -> str:
    """A non-negative integer in base 36, lower case.

    Raises:
        ValueError: `number` is negative.
    """
    if number < 0:
        raise ValueError(f"base 36 needs a number >= 0, got {number}")
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
        if number == 0:
            return digits


def process_id(agent_id: str, key: ProcessKey) -> str:
    """The text form: `<agent>:<pid>` while the start is unknown, else `<agent>:<pid>:<start in base 36>`."""
    if key.start < 0:
        return f"{agent_id}:{key.pid}"
    return f"{agent_id}:{key.pid}:{base36(key.start)}"
