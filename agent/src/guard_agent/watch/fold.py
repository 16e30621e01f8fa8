"""Join consecutive calls of one thread that carry no argument into one `calls` event of at most 512 names."""

from typing import Any, Final

from guard_agent.watch.processes import Process

MAX_FOLDED: Final = 512
FOLD_NS: Final = 1_000_000_000

Event = dict[str, Any]


class Fold:
    """At most one open run of argument-less calls of one thread; whatever else comes closes it."""

    def __init__(self) -> None:
        self._open: Event | None = None

    def join(self, process: Process, tid: int, ns: int, name: str) -> bool:
        """Add a call to the open run; False when it belongs to no open run."""
        run = self._open
        if (
            run is None
            or run.get("tid", run["pid"]) != tid
            or run["start"] != process.start
            or len(run["names"]) >= MAX_FOLDED
            or ns - run["timestamp"] >= FOLD_NS
        ):
            return False
        run["names"].append(name)
        return True

    def begin(self, event: Event, name: str) -> None:
        """Open a run with its first call."""
        event["names"] = [name]
        self._open = event

    def close_into(self, out: list[Event]) -> None:
        """Hand over the open run."""
        if self._open is not None:
            out.append(self._open)
            self._open = None
