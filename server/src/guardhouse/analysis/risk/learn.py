"""Learning baselines: cut a past of events into runs, and fold runs into the next version of a profile set.

Invariants: a run goes from exec (or fork) to the next exec or exit, a long one counts once per 24 h; the
order in which runs are learned does not change a byte of the result; q999 comes from runs judged by counts
without them.
"""

import zlib
from collections.abc import Iterable
from typing import Final

from guardhouse.analysis.risk.act import opens_for_writing
from guardhouse.analysis.risk.effects import RunEnd
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.profile import Baseline, ProfileSet, bin_of, half_mature, path_class
from guardhouse.analysis.risk.rules import CALL_GROUPS
from guardhouse.analysis.risk.scoring import run_so_far
from guardhouse.analysis.risk.surprise import CallCounts, call_number, gram, surprise_of_three

FOLDS: Final = 5
LONG_MEMORY: Final = 50
FIRST_JUDGED: Final = 10
MAX_NAMES: Final = 4_096
"""Edges, and path classes, that a baseline keeps: the first in alphabetical order, whatever the order learned."""
_OPENS: Final = frozenset(CALL_GROUPS["@open"])


class Run:
    """What one run of one program did: its calls as grams in order, its rule hits, execs and path classes.

    `name` decides its fifth: runs of equal names are judged together. A part of a run that was learned before
    (`rest`) counts its calls, but is no further run.
    """

    __slots__ = ("_contexts", "alphabet", "edges", "exe", "grams", "hits", "name", "paths", "rest")

    def __init__(self, name: str, exe: str, alphabet: str, *, rest: bool = False) -> None:
        self.name = name
        self.exe = exe
        self.alphabet = alphabet
        self.rest = rest
        self.grams: list[int] = []
        self.hits: set[str] = set()
        self.edges: set[str] = set()
        self.paths: set[str] = set()
        self._contexts: dict[int | None, int] = {}  # by thread

    @property
    def fold(self) -> int:
        """Which fifth the run belongs to, by CRC-32 of its name."""
        return zlib.crc32(self.name.encode()) % FOLDS

    def add(self, event: RiskEvent) -> None:
        """Take the next event of the process into the run."""
        if event.kind == "calls":
            for name in event.names or ():
                self._add_gram(event.tid, name)
            return
        call = event.call or _CALL_OF.get(event.kind)
        if call is None or event.kind == "exit":
            return
        self._add_gram(event.tid, call)
        path = (event.args or {}).get("path")
        if call in _OPENS and not event.failed and isinstance(path, str):
            access = "w" if opens_for_writing(call, (event.args or {}).get("flags")) else "r"
            self.paths.add(f"{access} {path_class(path)}")

    def _add_gram(self, thread: int | None, name: str) -> None:
        key = gram(self._contexts.get(thread, 0), call_number(name))
        self._contexts[thread] = key
        self.grams.append(key)

    def end(self, end: RunEnd, after: int | None = None, last: int | None = None) -> "Run":
        """Take over what the engine says of it, as far as it happened after one position and up to another."""
        low = end.after if after is None else after
        high = end.last if last is None else last
        self.hits = {name for name, position in end.hits if low < position <= high}
        self.edges = {end.edge} if end.edge is not None and high >= end.last else set()
        return self


_CALL_OF: Final = {"exec": "execve", "fork": "fork"}


def run_name(label: str, end: RunEnd) -> str:
    """The name of a run among all runs of a group; `label` stands for its agent."""
    key = end.key
    return f"{label}:{key.boot_id}:{key.pid}:{key.start}:{key.generation}:{end.after}"


class RunCollector:
    """Replays events through an engine and puts them into the runs that it ends.

    `label` makes run names unique across replays.
    """

    def __init__(self, engine: AgentEngine, label: str = "") -> None:
        self.engine = engine
        self.label = label
        self.runs: list[Run] = []
        self._open: dict[ProcessKey, tuple[int, Run]] = {}  # with the position that the run began after

    def observe(self, event: RiskEvent) -> None:
        """Apply one event to the engine and note what it adds to its process's run."""
        effects = self.engine.apply(event)
        process = self._process(event)
        ends = [] if effects is None else effects.runs
        taken = False
        for end in ends:
            # The event that ends a run belongs to it, unless the run was cut before it.
            if process is not None and end.key == process.key and end.last >= event.position:
                self._of(end.key, end.after, end.exe, end.alphabet).add(event)
                taken = True
            self._close(end)
        if process is None or process.run is None or process.exe is None or taken:
            return
        if event.position > process.run.after:
            self._of(process.key, process.run.after, process.exe, process.alphabet).add(event)

    def finish(self) -> list[Run]:
        """End the runs that are still going and return all of them."""
        for process in self.engine.instances.states.values():
            end = run_so_far(process, self.engine.position, self.engine.heard())
            if end is not None:
                self._close(end)
        return self.runs

    def _process(self, event: RiskEvent) -> Process | None:
        if event.pid is None:
            return None
        if event.start is not None:
            found = self.engine.instances.states.get(ProcessKey(event.boot_id, event.pid, event.start, 0))
            if found is not None:
                return found
        return self.engine.instances.boots.get(event.boot_id, {}).get(event.pid)

    def _of(self, key: ProcessKey, after: int, exe: str, alphabet: str) -> Run:
        held = self._open.get(key)
        if held is None or held[0] != after:
            held = self._open[key] = (after, Run("", exe, alphabet))
        return held[1]

    def _close(self, end: RunEnd) -> None:
        run = self._of(end.key, end.after, end.exe, end.alphabet)
        del self._open[end.key]
        run.name = run_name(self.label, end)
        self.runs.append(run.end(end))


class _Counts:
    """Call counts of a set of runs: of every program, and of all programs of an alphabet."""

    def __init__(self, previous: ProfileSet | None) -> None:
        self.own: dict[tuple[str, str], CallCounts] = {}
        self.everyone: dict[str, CallCounts] = {}
        if previous is not None:
            self.own = {key: base.counts.copy() for key, base in previous.baselines.items()}
            self.everyone = {alphabet: counts.copy() for alphabet, counts in previous.everyone.items()}

    def add(self, run: Run) -> None:
        own = self.own.setdefault((run.exe, run.alphabet), CallCounts())
        everyone = self.everyone.setdefault(run.alphabet, CallCounts())
        for key in run.grams:
            own.add(key)
            everyone.add(key)

    def calls(self, run: Run) -> int:
        """How many calls of the run's program are counted."""
        own = self.own.get((run.exe, run.alphabet))
        return 0 if own is None else own.total

    def means(self, run: Run) -> Iterable[int]:
        """The running means of a run, in micro-bits, from its tenth call on."""
        empty = CallCounts()
        tables = (
            self.everyone.get(run.alphabet, empty).table(),
            self.own.get((run.exe, run.alphabet), empty).table(),
        )
        memo: dict[int, int] = {}
        mean = seen = 0
        for key in run.grams:
            bits = memo.get(key)
            if bits is None:
                bits = memo[key] = surprise_of_three(tables, key)
            seen = min(seen + 1, LONG_MEMORY)
            mean += (bits - mean) // seen
            if seen >= FIRST_JUDGED:
                yield mean


def learn(
    previous: ProfileSet | None, runs: Iterable[Run], group: str = "", version: int | None = None
) -> ProfileSet:
    """The next version: the previous counts plus these runs, whatever their order.

    Runs of an unknown past (no `previous`) are judged by each other: each fifth by the other four.
    """
    learned = sorted(runs, key=lambda run: (run.name, run.exe))
    out = ProfileSet(group, version if version is not None else (previous.version if previous else 0) + 1)
    if previous is not None:
        out.baselines = {key: base.copy() for key, base in previous.baselines.items()}
    counts = _Counts(previous)
    for run in learned:
        counts.add(run)
        base = out.baselines.setdefault((run.exe, run.alphabet), Baseline())
        base.calls += len(run.grams)
        base.runs += 0 if run.rest else 1
        base.edges = _least(base.edges | run.edges)
        base.paths = _least(base.paths | run.paths)
        for evidence_id in sorted(run.hits):
            base.hits[evidence_id] = base.hits.get(evidence_id, 0) + 1
    for fold in range(FOLDS):
        _judge_fold(previous, learned, fold, out)
    for key, base in out.baselines.items():
        base.counts = counts.own.get(key) or base.counts
    out.everyone = counts.everyone
    return out


def _least(names: set[str]) -> set[str]:
    return names if len(names) <= MAX_NAMES else set(sorted(names)[:MAX_NAMES])


def _judge_fold(previous: ProfileSet | None, learned: list[Run], fold: int, out: ProfileSet) -> None:
    """Put the running means of one fifth of the runs, judged by the other four, into their histograms."""
    judged = [run for run in learned if run.fold == fold]
    if not judged:
        return
    others = _Counts(previous)
    for run in learned:
        if run.fold != fold:
            others.add(run)
    for run in judged:
        half = half_mature(run.alphabet)
        if others.calls(run) < half:
            continue  # counts that know too little find everything surprising
        histogram = out.baselines[(run.exe, run.alphabet)].histogram
        for mean in others.means(run):
            histogram[bin_of(mean)] += 1


def halve(profiles: ProfileSet) -> ProfileSet:
    """The monthly forgetting: every count halved and rounded down, version counted up."""
    out = ProfileSet(profiles.group, profiles.version + 1)
    for key, base in profiles.baselines.items():
        half = base.copy()
        half.counts = base.counts.halved()
        half.calls = base.calls >> 1
        half.runs = base.runs >> 1
        half.hits = {name: count >> 1 for name, count in base.hits.items() if count > 1}
        half.histogram = [count >> 1 for count in base.histogram]
        out.baselines[key] = half
    out.everyone = {alphabet: counts.halved() for alphabet, counts in profiles.everyone.items()}
    return out
