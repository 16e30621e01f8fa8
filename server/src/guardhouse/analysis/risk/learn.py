"""Learning baselines: cut a past of events into runs, and fold runs into the next version of a profile set.

Invariants: a run goes from exec (or fork) to the next exec or exit, a long one counts once per 24 h; the
order in which runs are learned does not change a byte of the result; q999 comes from runs judged by counts
without them.
"""

import zlib
from collections.abc import Iterable
from typing import Final

from guardhouse.analysis.risk.act import opens_for_writing
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.profile import Baseline, ProfileSet, bin_of, path_class
from guardhouse.analysis.risk.rules import CALL_GROUPS
from guardhouse.analysis.risk.surprise import CallCounts, call_number, gram, surprise_of_three

FOLDS: Final = 5
LONG_RUN_US: Final = 24 * 3600 * 1_000_000
LONG_MEMORY: Final = 50
FIRST_JUDGED: Final = 10
_OPENS: Final = frozenset(CALL_GROUPS["@open"])
_EXECS: Final = frozenset(CALL_GROUPS["@exec"])


class Run:
    """What one run of one program did: its calls as grams in order, its rule hits, execs and path classes."""

    __slots__ = ("alphabet", "edges", "exe", "grams", "hits", "name", "paths", "started_us")

    def __init__(self, name: str, exe: str, alphabet: str, started_us: int) -> None:
        self.name = name
        self.exe = exe
        self.alphabet = alphabet
        self.started_us = started_us
        self.grams: list[int] = []
        self.hits: set[str] = set()
        self.edges: set[str] = set()
        self.paths: set[str] = set()

    @property
    def fold(self) -> int:
        """Which fifth the run belongs to, by CRC-32 of its name."""
        return zlib.crc32(self.name.encode()) % FOLDS


class RunCollector:
    """Replays events through an engine and cuts them into runs.

    `label` makes run names unique across replays.
    """

    def __init__(self, engine: AgentEngine, label: str = "") -> None:
        self.engine = engine
        self.label = label
        self.runs: list[Run] = []
        self._open: dict[ProcessKey, Run] = {}
        self._contexts: dict[tuple[ProcessKey, int | None], int] = {}
        self._cut = 0
        self._log: list[tuple[ProcessKey, str]] = []
        engine.judge.log = self._log

    def observe(self, event: RiskEvent) -> None:
        """Apply one event to the engine and note what it adds to its process's run."""
        before = self._process(event)
        exe_before = None if before is None else before.exe
        self.engine.apply(event)
        process = self._process(event)
        if process is None:
            return
        call = event.call or {"exec": "execve", "fork": "fork"}.get(event.kind)
        executed = call in _EXECS and not event.failed and event.kind in ("call", "exec")
        run = self._run(process, event, exe_before if executed or exe_before else process.exe)
        if run is not None:
            names = (
                event.names or ()
                if event.kind == "calls"
                else (call,)
                if call and event.kind != "exit"
                else ()
            )
            for name in names:
                self._add_gram(run, process, event.tid, name)
            if call in _OPENS and not event.failed:
                self._add_path(run, call, event)
        for owner, evidence_id in self._log:
            owner_run = self._open.get(owner)
            if owner_run is not None:
                owner_run.hits.add(evidence_id)
        self._log.clear()
        if executed:
            if run is not None and process.exe is not None:
                run.edges.add(process.exe)
            self._close(process.key)
            self._run(process, event, process.exe)
        elif event.kind == "exit":
            self._close(process.key)

    def finish(self) -> list[Run]:
        """End the runs that are still going and return all of them."""
        for key in list(self._open):
            self._close(key)
        return self.runs

    def _process(self, event: RiskEvent) -> Process | None:
        if event.pid is None:
            return None
        if event.start is not None:
            found = self.engine.instances.states.get(ProcessKey(event.boot_id, event.pid, event.start, 0))
            if found is not None:
                return found
        return self.engine.instances.boots.get(event.boot_id, {}).get(event.pid)

    def _run(self, process: Process, event: RiskEvent, exe: str | None) -> Run | None:
        run = self._open.get(process.key)
        if run is not None and event.occurred_us - run.started_us > LONG_RUN_US:
            self._close(process.key)
            run = None
        if run is None and exe is not None:
            self._cut += 1
            run = Run(f"{self.label}:{self._cut}", exe, process.alphabet, event.occurred_us)
            self._open[process.key] = run
        return run

    def _add_gram(self, run: Run, process: Process, tid: int | None, name: str) -> None:
        place = (process.key, tid)
        key = gram(self._contexts.get(place, 0), call_number(name))
        self._contexts[place] = key
        run.grams.append(key)

    def _add_path(self, run: Run, call: str | None, event: RiskEvent) -> None:
        args = event.args or {}
        path = args.get("path")
        if isinstance(path, str):
            access = "w" if opens_for_writing(call or "", args.get("flags")) else "r"
            run.paths.add(f"{access} {path_class(path)}")

    def _close(self, key: ProcessKey) -> None:
        run = self._open.pop(key, None)
        if run is not None:
            self.runs.append(run)
        for place in [place for place in self._contexts if place[0] == key]:
            del self._contexts[place]


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

    def means(self, run: Run) -> Iterable[int]:
        """The running means of a run, in micro-bits, from its tenth call on."""
        empty = CallCounts()
        levels = (
            self.everyone.get(run.alphabet, empty),
            self.own.get((run.exe, run.alphabet), empty),
        )
        memo: dict[int, int] = {}
        mean = seen = 0
        for key in run.grams:
            bits = memo.get(key)
            if bits is None:
                bits = memo[key] = surprise_of_three(levels, key)
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
        base.runs += 1
        base.edges |= run.edges
        base.paths |= run.paths
        for evidence_id in sorted(run.hits):
            base.hits[evidence_id] = base.hits.get(evidence_id, 0) + 1
    for fold in range(FOLDS):
        _judge_fold(previous, learned, fold, out)
    for key, base in out.baselines.items():
        base.counts = counts.own.get(key) or base.counts
    out.everyone = counts.everyone
    return out


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
