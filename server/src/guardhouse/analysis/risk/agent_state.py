"""The state of one agent as it is held in memory and stored: taken, packed, loaded, evicted.

Invariants: what is loaded and evicted, and when, changes no result as long as `needed_keys` is asked before
events; packed bytes of equal states are equal.
"""

from collections.abc import Iterable

from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.facts import BUCKET_US, FileFacts, Losses
from guardhouse.analysis.risk.head import HeadSet
from guardhouse.analysis.risk.instances import Instances, Stub
from guardhouse.analysis.risk.judge import Judge
from guardhouse.analysis.risk.pack import from_bytes, pack, to_bytes, unpack
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.profile import Profiles
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.run import OpenRun
from guardhouse.analysis.risk.scoring import Scorer
from guardhouse.analysis.risk.summary import Dirty, summarise


class AgentState:
    """Everything the engine remembers of one agent. Times are event-time µs."""

    __slots__ = (
        "alarm_us",
        "clock_us",
        "heads",
        "instances",
        "judge",
        "losses",
        "minute_us",
        "position",
        "profiles",
        "received",
        "rules",
        "scorer",
    )

    def __init__(self, rules: RuleSet, profiles: Profiles | None = None) -> None:
        self.rules = rules
        self.profiles = profiles
        self.heads: HeadSet | None = None  # verdict heads that the agent has taken; change it between events
        self.instances = Instances(rules)
        self.scorer = Scorer(self.instances)
        self.judge = Judge(self.instances, self.scorer)
        self.losses = Losses()
        self.clock_us = 0  # newest event time
        self.position = -1  # of the last applied event
        self.alarm_us = 0  # next event time at which a minute ends or a band cools
        self.minute_us = 0
        self.received = 0  # events of the current minute, not yet counted

    def heard(self) -> tuple[int, int]:
        """Events of this agent so far: (received, lost)."""
        return self.losses.total_received + self.received, self.losses.total_lost

    def begin_run(self, process: Process, after: int, at_us: int) -> None:
        """A run of the process's program begins with what comes after a position; one that goes on ends there."""
        self.scorer.end_run(process, after, self.heard())
        if process.exe is not None:
            process.run = OpenRun(after, at_us, process.calls, self.heard())

    def cut_run(self, process: Process, position: int, now_us: int) -> None:
        """A day has passed: the call at `position`, which is counted already, begins another run."""
        process.calls -= 1
        self.begin_run(process, position - 1, now_us)
        process.calls += 1

    def take_dirty(self) -> list[Dirty]:
        """States changed since the last call, in the order they first changed, packed, with summaries."""
        taken = []
        for process in self.scorer.unsaved:
            process.dirty = False
            taken.append(Dirty(process.key, pack(process), summarise(self.instances, process)))
        self.scorer.unsaved.clear()
        return taken

    def pack(self, key: ProcessKey) -> bytes:
        """One process in memory as bytes.

        Raises:
            KeyError: the process is not in memory.
        """
        return pack(self.instances.states[key])

    def load_process(self, packed: bytes) -> ProcessKey:
        """Take a stored process into memory; its key.

        Raises:
            PackedStateError: not bytes of this engine's version.
        """
        profiles = self.profiles
        process = unpack(packed, lambda exe, alphabet, version: (
            None if profiles is None else profiles.at(exe, alphabet, version)
        ), self.heads)  # fmt: skip
        self.instances.put(process)
        self.scorer.load(process)
        self.alarm_us = min(self.alarm_us, self.scorer.next_cool_us)
        return process.key

    def load_stub(self, stub: Stub) -> None:
        """Know of a live stored process without loading it."""
        self.instances.partial = True
        self.instances.generation = max(self.instances.generation, stub.key.generation)
        self.instances.stubs[(stub.key.boot_id, stub.key.pid)] = stub

    def pack_agent(self) -> bytes:
        """What belongs to no process: clock, position, generation, losses, file facts."""
        return to_bytes([
            self.clock_us, self.position, self.instances.generation, self.minute_us, self.received,
            self.losses.pack(), self.judge.facts.pack(),
        ])  # fmt: skip

    def load_agent(self, packed: bytes) -> None:
        """Take over what `pack_agent` wrote; before any event, in any order with `load_process`.

        Raises:
            PackedStateError: not bytes of this engine's version.
        """
        fields = from_bytes(packed)
        self.clock_us, self.position, generation, self.minute_us, self.received, losses, facts = fields
        self.instances.generation = max(self.instances.generation, generation)
        self.losses = Losses.unpack(losses)
        self.judge.facts = FileFacts.unpack(facts)
        self.alarm_us = min(self.minute_us + BUCKET_US, self.scorer.next_cool_us)

    def needed_keys(self, events: Iterable[RiskEvent]) -> list[ProcessKey]:
        """Keys to load, where stored, before these events.

        Ask again after loading until nothing new comes.
        """
        return self.instances.needed(events)

    def evict(self, now_us: int, max_live: int) -> list[ProcessKey]:
        """Drop stored processes from memory: exited 10 min ago, or least recently used past `max_live`."""
        return self.instances.evict(max(now_us, self.clock_us), max_live)
