"""The state of one process instance: what the engine remembers between two events.

Invariant: bounded whatever the input. `pack.py` turns it into bytes and back.
"""

from typing import Any, Final

from guardhouse.analysis.risk.event import ProcessKey
from guardhouse.analysis.risk.evidence import Slot
from guardhouse.analysis.risk.head import HeadTrace
from guardhouse.analysis.risk.legacy_score import ScoreWindow, score_hundredths
from guardhouse.analysis.risk.profile import Profile
from guardhouse.analysis.risk.run import OpenRun
from guardhouse.analysis.risk.tree import Tree

INET = 1 << 0  # has an inet socket
LISTENS = 1 << 1  # listens on, or accepted from, an inet socket
CHILD_OF_LISTENER = 1 << 2  # forked from a listening process, no exec since
STDIO_SOCKET = 1 << 3  # an inet socket lies on fd 0, 1 or 2
MEMFD = 1 << 4  # has a memory file
UNSHARED = 1 << 5  # entered new or other namespaces
DROPPED_ROOT = 1 << 6  # gave up user 0
ATTACHED = 1 << 7  # attached to another process
IN_CONTAINER = 1 << 8  # descends from a container runtime's shim

FLAGS: Final[dict[str, int]] = {
    "inet_socket": INET,
    "listens": LISTENS,
    "child_of_listener": CHILD_OF_LISTENER,
    "stdio_on_socket": STDIO_SOCKET,
    "memfd": MEMFD,
    "unshared": UNSHARED,
    "dropped_root": DROPPED_ROOT,
    "attached": ATTACHED,
    "in_container": IN_CONTAINER,
}
LOST_ON_EXEC: Final = INET | LISTENS | CHILD_OF_LISTENER | MEMFD | ATTACHED

MAX_FDS: Final = 64
MAX_THREADS: Final = 32
MAX_SUPPRESSED: Final = 8
MAX_ITEMS: Final = 8
MAX_MARKS: Final = 3


class Tally:
    """Progress of one rule on one process.

    Steps passed, hits counted, distinct items seen (≤ 8) or sketched.
    """

    __slots__ = ("count", "events", "items", "sketch", "start_us", "step")

    def __init__(self, start_us: int) -> None:
        self.step = 0
        self.start_us = start_us
        self.count = 0
        self.sketch = 0  # one bit per CRC-32 bucket of a distinct item
        self.items: list[tuple[str, int, bytes]] = []  # (item, last seen, event)
        self.events: tuple[bytes, ...] = ()

    def pack(self) -> list[Any]:
        """Fields as JSON values."""
        items = [[item, at_us, event.hex()] for item, at_us, event in self.items]
        events = [event.hex() for event in self.events]
        return [self.step, self.start_us, self.count, f"{self.sketch:x}", items, events]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Tally":
        """The tally that `pack` wrote."""
        step, start_us, count, sketch, items, events = packed
        tally = cls(start_us)
        tally.step = step
        tally.count = count
        tally.sketch = int(sketch, 16)
        tally.items = [(item, at_us, bytes.fromhex(event)) for item, at_us, event in items]
        tally.events = tuple(bytes.fromhex(event) for event in events)
        return tally


class Suppressed:
    """A hit that did not count, or not in full, and why; `nats` is what was taken away."""

    __slots__ = ("at_us", "detail", "event", "id", "nats", "why")

    def __init__(
        self, evidence_id: str, nats: int, at_us: int, event: bytes, why: str, detail: str = ""
    ) -> None:  # fmt: skip
        self.id = evidence_id
        self.nats = nats
        self.at_us = at_us
        self.event = event
        self.why = why
        self.detail = detail


class Process:
    """One process instance. Times are event-time µs, risks hundredths, `mean` micro-bits."""

    __slots__ = (
        "alphabet", "band", "calls", "comm", "context", "dirty", "exe", "exited_us",
        "fds", "first_position", "flags", "key", "last_position", "last_us", "marks", "mean",
        "others", "parent", "profile", "rarest", "rarest_bits", "root", "row_risk", "run", "second",
        "second_count", "second_sum", "slots", "start", "started_us", "suppressed", "surprises",
        "tallies", "thread", "threads", "traces", "tree", "uid", "window",
    )  # fmt: skip

    def __init__(self, key: ProcessKey, position: int, at_us: int, alphabet: str) -> None:
        self.key = key
        self.start = key.start if key.start >= 0 else None
        self.alphabet = alphabet
        self.exe: str | None = None
        self.comm: str | None = None
        self.parent: ProcessKey | None = None
        self.root: ProcessKey = key
        self.started_us = at_us
        self.last_us = at_us
        self.exited_us: int | None = None
        self.first_position = position
        self.last_position = position
        self.calls = 0  # calls, those of bursts included
        self.others = 0  # events that are no single call
        self.uid: int | None = None
        self.flags = 0
        self.fds: dict[int, str] | None = None  # fd -> "inet 203.0.113.9:4444", "memfd"
        self.marks: dict[int, tuple[bytes, ...]] | None = None  # flag -> events that set it
        self.second = 0
        self.second_sum = 0
        self.second_count = 0
        self.window: ScoreWindow | None = None
        self.thread: int | None = None
        self.context = 0
        self.threads: dict[int, int] | None = None  # other threads, least recent first
        self.surprises = 0
        self.mean = 0
        self.rarest = 0  # the gram with the largest surprise while the mean was high
        self.rarest_bits = 0
        self.profile: Profile | None = None
        self.traces: list[HeadTrace] | None = None  # what the verdict heads have seen of it
        self.slots: list[Slot] | None = None
        self.suppressed: list[Suppressed] | None = None
        self.tallies: dict[str, Tally] | None = None
        self.tree: Tree | None = None
        self.band = 0
        self.row_risk = 0
        self.run: OpenRun | None = None
        self.dirty = False

    def count_call(self, second: int, weight_sum: int, count: int) -> None:
        """Count calls for `risk_score` in a second other than the current one."""
        if self.second_count:
            window = self.window
            if window is None:
                window = self.window = ScoreWindow()
            window.add(self.second, self.second_sum, self.second_count)
        self.second = second
        self.second_sum = weight_sum
        self.second_count = count

    @property
    def hot(self) -> bool:
        """Whether time alone will change it: its band or that of its tree falls, or the tree comes to rest."""
        return self.band > 0 or (self.tree is not None and self.tree.alert)

    @property
    def risk_score(self) -> int:
        """The seed's score in hundredths."""
        if self.window is None:
            return score_hundredths(self.second_sum, self.second_count)
        window = ScoreWindow(self.window.runs)
        if self.second_count:
            window.add(self.second, self.second_sum, self.second_count)
        return window.hundredths

    def mark(self, flag: int, event_id: bytes) -> None:
        """Set a flag and remember up to three events that did."""
        self.flags |= flag
        marks = self.marks
        if marks is None:
            marks = self.marks = {}
        held = marks.get(flag, ())
        if event_id not in held and len(held) < MAX_MARKS:
            marks[flag] = (*held, event_id)

    def suppress(self, item: Suppressed) -> None:
        """Remember what was taken away: one entry per evidence and detail, at most eight, the smallest first out."""
        held = self.suppressed
        if held is None:
            held = self.suppressed = []
        held[:] = [old for old in held if (old.id, old.detail) != (item.id, item.detail)]
        held.append(item)
        if len(held) > MAX_SUPPRESSED:
            held.remove(min(held, key=lambda old: (old.nats, old.at_us, old.id, old.detail)))

    def switch_thread(self, thread: int) -> None:
        """Make another thread's context the current one; past 32 threads the least recent is forgotten."""
        if self.thread is None:
            self.thread = thread
            return
        threads = self.threads
        if threads is None:
            threads = self.threads = {}
        threads[self.thread] = self.context
        self.thread = thread
        self.context = threads.pop(thread, 0)
        if len(threads) >= MAX_THREADS:
            del threads[next(iter(threads))]

    def restart_sequence(self) -> None:
        """Forget contexts and the running mean, as at an exec."""
        self.threads = None
        self.thread = None
        self.context = 0
        self.surprises = 0
        self.mean = 0
        self.rarest = 0
        self.rarest_bits = 0
