"""One engine per stream: events in, findings out; its state is a pure function of what it was given, in order.

What the platform calls:

- ``Engine(seed, config)`` makes the engine of a new stream.
- ``engine.process(Segment(events, judgements, config)) -> Results`` scores, decides and learns. Judgements and a new
  configuration take effect before the segment's first event. The engine itself is the new state.
- ``engine.detect(events) -> Results`` scores and decides against the state as it is, and leaves it as it is.
- ``engine.explain(event) -> Explanation`` says which bytes of an event's line cost what (``explain``).
- ``engine.to_bytes()`` and ``Engine.from_bytes(raw)`` save and restore; equal states give equal bytes.
- ``engine.spend(finding) -> bool`` takes an alert from the stream's budget, for a candidate that nothing suppresses.
- ``engine.drift`` says how far the stream has moved; ``engine.series.bank.silent(now_us)`` which series are overdue,
  ``engine.series.rate.silent_from_us`` from when on the whole stream is.

``config.Config`` and ``config.PROFILES`` hold what can be set, ``finding.Finding`` what is told. No clock, no file, no
random draw but ``splitmix`` under the stream's seed.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly import snapshot
from guardhouse.analysis.anomaly.burst_channel import BurstChannel
from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.decide import Budget
from guardhouse.analysis.anomaly.drift_watch import Drift, DriftWatch
from guardhouse.analysis.anomaly.epoch import Block
from guardhouse.analysis.anomaly.event import Event, Segment
from guardhouse.analysis.anomaly.explain import Explanation, explain_line
from guardhouse.analysis.anomaly.finding import Change, Finding, Results
from guardhouse.analysis.anomaly.judge_lines import judge_block
from guardhouse.analysis.anomaly.learning import EpochEnd, end_epoch
from guardhouse.analysis.anomaly.line_channel import LineChannel, State
from guardhouse.analysis.anomaly.line_model import LineModel
from guardhouse.analysis.anomaly.sequence import JudgedSession
from guardhouse.analysis.anomaly.series import LATE, WARM_UP
from guardhouse.analysis.anomaly.series_channel import SeriesChannel
from guardhouse.analysis.anomaly.session_channel import SessionChannel
from guardhouse.analysis.anomaly.tail import Tail

VERSION: Final = "1"
"""Goes up whenever equal input would give other results."""


class Engine:
    """The detector of one stream. Not safe for two threads."""

    def __init__(self, seed: int, config: Config | None = None) -> None:
        self.seed = seed
        self.config = config or Config()
        self.seq = 0
        """Position of the last event processed."""
        self.lines = LineChannel()
        self.series = SeriesChannel()
        self.sessions = SessionChannel(seed)
        self.bursts = BurstChannel(seed, self.config)
        self.watch = DriftWatch()
        self.budget = Budget(self.config.alert_budget_per_day)

    @classmethod
    def fitted(cls, seed: int, config: Config, fit: Sequence[Event], calibration: Sequence[Event]) -> Self:
        """An engine that learned some lines and was calibrated on others, ready at once; for measuring on files."""
        made = cls(seed, config)
        made.lines.fit(fit, calibration, config)
        made.seq = calibration[-1].seq
        return made

    @property
    def state(self) -> State:
        """Calibrating, ready or recalibrating: that of the lines, or of what else the stream consists of."""
        if self.lines.n:
            return self.lines.state
        if self.sessions.stream.closed:
            return self.sessions.stream.state
        return "ready" if self.series.ready else "calibrating"

    @property
    def events_needed(self) -> int:
        """Events that the warm-up still lacks: lines, whole sessions, or points of the longest series."""
        if self.state != "calibrating":
            return 0
        if self.lines.n or not (self.sessions.stream.closed or self.series.longest):
            return max(0, self.config.warmup_events - self.lines.n)
        if self.sessions.stream.closed:
            return self.sessions.stream.warm_up - self.sessions.stream.closed
        return WARM_UP - self.series.longest

    @property
    def drift(self) -> Drift:
        """How far the stream has moved from its models."""
        return self.watch.drift

    def process(self, segment: Segment) -> Results:
        """Score, decide and learn one segment; its events continue the stream."""
        if segment.config is not None:
            self._configure(segment.config)
        for judgement in segment.judgements:
            self.lines.judge(judgement)
            self.sessions.judge(judgement)
        events = segment.events
        results = Results.empty(len(events))
        lines = _with_lines(events)
        self._process_lines(events, lines, results)
        if lines.size < len(events):
            self._process_others(events, results)
        results.findings += self.series.count(events)
        if events:
            self.seq = events[-1].seq
        results.state = self.state
        return results

    def _process_others(self, events: Sequence[Event], results: Results) -> None:
        self._process_values(self.series, events, results)
        whole = _whole_sessions(events)
        if whole.size:
            judged = self.sessions.observe_whole([events[place] for place in whole], self.config)
            self._note_sessions(judged, results)
            _enter_sessions(judged, events, whole, results)

    def detect(self, events: Sequence[Event]) -> Results:
        """Score and decide without learning; nothing is judged before the warm-up ends."""
        results = Results.empty(len(events))
        results.state = self.state
        learned = self.lines.learned
        mine = _with_lines(events)
        if learned is not None and mine.size:
            chosen = [events[place] for place in mine]
            met = len(learned.model.lines)
            block = self.lines.score(chosen)
            findings, decision = judge_block(self.lines, chosen, block, self.config, 0)
            _enter_block(block, learned.model.scores[0][block.line], mine, results)
            results.findings, results.decisions = findings, [decision]
            learned.model.keep_first(met)
        if any(event.value is not None or event.point is not None for event in events):
            self._process_values(SeriesChannel.from_state(self.series.to_state()), events, results)
        whole = _whole_sessions(events)
        if whole.size:
            judged = self.sessions.peek([events[place] for place in whole], self.config)
            results.findings += self.sessions.findings(judged)
            _enter_sessions(judged, events, whole, results)
        return results

    def explain(self, event: Event) -> Explanation:
        """Which bytes of the event's line are unusual; needs a finished warm-up."""
        if self.lines.learned is None:
            raise RuntimeError("nothing can be explained before the warm-up ends")
        return explain_line(self.lines.learned, event)

    def known_lines(self) -> list[bytes]:
        """The lines learned last, at most 4,096: among them is the nearest usual one."""
        return list(self.lines.learned.model.usual.values()) if self.lines.learned else []

    def spend(self, finding: Finding) -> bool:
        """Whether this candidate may alert: it bypasses the budget, or a token is left at its event time."""
        return finding.bypasses_budget or self.budget.spend(finding.time_us)

    def _configure(self, config: Config) -> None:
        if self.config.recalibrates(config):
            self.lines = LineChannel()
            self.sessions = SessionChannel(self.seed)
            self.bursts = BurstChannel(self.seed, config)
            self.watch = DriftWatch()
        self.bursts.configure(config)
        if self.config.alert_budget_per_day != config.alert_budget_per_day:
            self.budget = Budget(config.alert_budget_per_day)
        self.config = config

    def _process_values(self, channel: SeriesChannel, events: Sequence[Event], results: Results) -> None:
        for place, event in enumerate(events):
            if event.value is None and event.point is None:
                continue
            judged = channel.observe(event, self.config.series_level)
            results.findings += judged.findings
            if judged.score != LATE:
                results.surprise[place] = judged.surprise
                results.score_milli[place] = judged.score

    def _process_lines(self, events: Sequence[Event], places: Any, results: Results) -> None:
        """Walk through the events, cut where the warm-up or an epoch ends."""
        channel, at = self.lines, 0
        while at < len(places):
            if channel.learned is None:
                part = places[at : at + self.config.warmup_events - channel.n]
                self._warm_up([events[place] for place in part], results)
            else:
                part = places[at : at + channel.room]
                self._process_block([events[place] for place in part], part, results)
            at += len(part)

    def _warm_up(self, events: Sequence[Event], results: Results) -> None:
        """Take events of the warm-up; when it ends, their sessions can be read."""
        channel = self.lines
        held = [*channel.pending, *events]
        if not channel.warm_up(events, self.config) or channel.learned is None:
            return
        results.changes.append(Change("ready", events[-1].seq, {"outliers": len(channel.outliers)}))
        lines = channel.learned.reader.read(held, with_fields=False).lines
        self._note_sessions(self.sessions.observe_lines(held, lines, self.config), results)

    def _process_block(self, events: Sequence[Event], places: Any, results: Results) -> None:
        channel, run = self.lines, self.lines.run
        if channel.learned is None:
            raise RuntimeError("there is no block before the warm-up ends")
        model = channel.learned.model
        block = channel.score(events)
        quiet = len(events) if run.holding else run.recalibrate_left
        findings, decision = judge_block(channel, events, block, self.config, quiet)
        run.recalibrate_left = max(0, run.recalibrate_left - len(events))
        run.blocks.append(block)
        run.times_us = max(run.times_us, events[-1].time_us)
        channel.n += len(events)
        totals = model.scores[0][block.line]
        _enter_block(block, totals, places, results)
        if self.config.detector == "ncd":
            findings = self.bursts.observe_distances(events, _lines(model, block), quiet=quiet > 0)
        else:
            findings += self.bursts.observe_costs(events, totals, findings, self.config, quiet=quiet > 0)
        results.findings += findings
        results.decisions.append(decision)
        if any(event.key for event in events):
            lines = _lines(model, block)
            self._note_sessions(self.sessions.observe_lines(events, lines, self.config), results)
        if channel.room == 0:
            rolling = model.tails[0]
            end = end_epoch(channel, self.config, self.seed)
            self._note_epoch(end, results)
            self._note_drift(end, rolling, results, holding=run.holding)

    def _note_sessions(self, judged: Sequence[JudgedSession], results: Results) -> None:
        results.findings += self.sessions.findings(judged)
        changes = self.sessions.regime_changes_since_asked()
        if changes and judged:
            last = judged[-1].session
            results.findings.append(_regime(last.first_seq, last.last_seq, last.last_us, "sessions", {}))

    def _note_drift(self, end: EpochEnd, rolling: Tail, results: Results, *, holding: bool) -> None:
        learned, at_us = self.lines.learned, self.lines.run.times_us
        if learned is None or not self.watch.observe(
            end.sample, rolling, learned.anchor, self.seed, at_us, changed=end.regime_changed or holding
        ):
            return
        results.changes.append(Change("drift", end.last_seq))
        results.findings.append(
            Finding(
                kind="drift",
                first_seq=end.first_seq,
                last_seq=end.last_seq,
                time_us=at_us,
                entity="",
                template=0,
                surprise=0,
                severity="medium",
                score_milli=0,
                excess_milli=0,
                subject="costs",
                details={"sampled": self.drift.sampled},
            )
        )

    def _note_epoch(self, end: EpochEnd, results: Results) -> None:
        if end.rotated:
            results.changes.append(Change("rotated", end.last_seq))
        if not end.regime_changed:
            return
        results.changes.append(Change("recalibrating", end.last_seq, {"rejected": end.rejected}))
        details = {"events": end.events, "rejected": end.rejected}
        results.findings.append(
            _regime(end.first_seq, end.last_seq, self.lines.run.times_us, "regime", details)
        )

    def to_bytes(self) -> bytes:
        """The whole state, checksummed."""
        return snapshot.to_bytes(
            {
                "engine": VERSION,
                "seed": self.seed,
                "seq": self.seq,
                "config": {name: getattr(self.config, name) for name in Config.__slots__},
                "lines": self.lines.to_state(),
                "series": self.series.to_state(),
                "sessions": self.sessions.to_state(),
                "bursts": self.bursts.to_state(),
                "watch": self.watch.to_state(),
                "budget": self.budget.to_state(),
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The engine that was saved; raises `snapshot.BadSnapshotError`."""
        state = snapshot.from_bytes(raw)
        if state.get("engine") != VERSION:
            raise snapshot.BadSnapshotError(
                f"the state is of engine {state.get('engine')}, this is {VERSION}"
            )
        made = cls(state["seed"], Config(**state["config"]))
        made.seq = state["seq"]
        made.lines = LineChannel.from_state(state["lines"])
        made.series = SeriesChannel.from_state(state["series"])
        made.sessions = SessionChannel.from_state(state["sessions"])
        made.bursts = BurstChannel.from_state(state["bursts"], made.seed, made.config)
        made.watch = DriftWatch.from_state(state["watch"])
        made.budget = Budget.from_state(state["budget"])
        return made


def _with_lines(events: Sequence[Event]) -> NDArray[np.int64]:
    """Places of the events that have a line."""
    return np.flatnonzero([event.text is not None or event.body is not None for event in events])


def _whole_sessions(events: Sequence[Event]) -> NDArray[np.int64]:
    """Places of the events that are a whole session."""
    return np.flatnonzero([event.symbols is not None for event in events])


def _lines(model: LineModel, block: Block) -> list[bytes]:
    return [model.lines[line] for line in block.line.tolist()]


def _enter_block(block: Block, totals: NDArray[np.int64], places: Any, results: Results) -> None:
    results.surprise[places] = block.surprise
    results.milli_bits[places] = results.score_milli[places] = totals
    results.rejected[places] = block.rejected


def _enter_sessions(
    judged: Sequence[JudgedSession], events: Sequence[Event], places: Any, results: Results
) -> None:
    by_seq = {events[place].seq: place for place in places.tolist()}
    for one in judged:
        place = by_seq[one.session.last_seq]
        results.surprise[place], results.rejected[place] = one.surprise, one.rejected
        results.score_milli[place] = one.scores[-1]


def _regime(first_seq: int, last_seq: int, time_us: int, subject: str, details: dict[str, Any]) -> Finding:
    """A change of regime: more than a fifth of the events rejected for too long."""
    return Finding(
        kind="drift",
        first_seq=first_seq,
        last_seq=last_seq,
        time_us=time_us,
        entity="",
        template=0,
        surprise=0,
        severity="high",
        score_milli=0,
        excess_milli=0,
        subject=subject,
        details=details,
    )
