"""One engine per stream: events in, findings out; its state is a pure function of what it was given, in order.

What the platform calls:

- ``Engine(seed, config)`` makes the engine of a new stream.
- ``engine.process(Segment(events, judgements, config)) -> Results`` scores, decides and learns. Judgements and a new
  configuration take effect before the segment's first event. The engine itself is the new state.
- ``engine.detect(events) -> Results`` scores and decides against the state as it is, and leaves it as it is.
- ``engine.explain(event) -> Explanation`` says which bytes of an event's line cost what (``explain``).
- ``engine.to_bytes()`` and ``Engine.from_bytes(raw)`` save and restore; equal states give equal bytes.
- ``engine.spend(finding) -> bool`` takes an alert from the stream's budget, for a candidate that nothing suppresses.

``config.Config`` and ``config.PROFILES`` hold what can be set, ``finding.Finding`` what is told. No clock, no file, no
random draw but ``splitmix`` under the stream's seed.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np

from guardhouse.analysis.anomaly import snapshot
from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.decide import Budget
from guardhouse.analysis.anomaly.event import Event, Segment
from guardhouse.analysis.anomaly.explain import Explanation, explain_line
from guardhouse.analysis.anomaly.finding import Change, Finding, Results
from guardhouse.analysis.anomaly.judge_lines import judge_block
from guardhouse.analysis.anomaly.learning import EpochEnd, end_epoch
from guardhouse.analysis.anomaly.line_channel import LineChannel, State

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
        """Calibrating, ready or recalibrating."""
        return self.lines.state

    @property
    def events_needed(self) -> int:
        """Events that the warm-up still lacks."""
        return max(0, self.config.warmup_events - self.lines.n) if self.state == "calibrating" else 0

    def process(self, segment: Segment) -> Results:
        """Score, decide and learn one segment; its events continue the stream."""
        if segment.config is not None:
            self._configure(segment.config)
        for judgement in segment.judgements:
            self.lines.judge(judgement)
        results = Results.empty(len(segment.events))
        places = [
            place
            for place, event in enumerate(segment.events)
            if event.text is not None or event.body is not None
        ]
        self._process_lines(segment.events, np.array(places, np.int64), results)
        if segment.events:
            self.seq = segment.events[-1].seq
        results.state = self.state
        return results

    def detect(self, events: Sequence[Event]) -> Results:
        """Score and decide without learning; nothing is judged before the warm-up ends."""
        results = Results.empty(len(events))
        results.state = self.state
        learned = self.lines.learned
        mine = [
            place for place, event in enumerate(events) if event.text is not None or event.body is not None
        ]
        if learned is None or not mine:
            return results
        chosen = [events[place] for place in mine]
        block = self.lines.score(chosen)
        findings, decision = judge_block(self.lines, chosen, block, self.config, 0)
        results.surprise[mine] = block.surprise
        results.milli_bits[mine] = learned.model.scores[0][block.line]
        results.rejected[mine] = block.rejected
        results.findings, results.decisions = findings, [decision]
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
        if self.config.alert_budget_per_day != config.alert_budget_per_day:
            self.budget = Budget(config.alert_budget_per_day)
        self.config = config

    def _process_lines(self, events: Sequence[Event], places: Any, results: Results) -> None:
        """Walk through the events, cut where the warm-up or an epoch ends."""
        channel, at = self.lines, 0
        while at < len(places):
            if channel.learned is None:
                part = places[at : at + self.config.warmup_events - channel.n]
                if channel.warm_up([events[place] for place in part], self.config):
                    details = {"outliers": len(channel.outliers)}
                    results.changes.append(Change("ready", events[part[-1]].seq, details))
            else:
                part = places[at : at + channel.room]
                self._process_block([events[place] for place in part], part, results)
            at += len(part)

    def _process_block(self, events: Sequence[Event], places: Any, results: Results) -> None:
        channel, run = self.lines, self.lines.run
        block = channel.score(events)
        quiet = len(events) if run.holding else run.recalibrate_left
        findings, decision = judge_block(channel, events, block, self.config, quiet)
        run.recalibrate_left = max(0, run.recalibrate_left - len(events))
        run.blocks.append(block)
        run.times_us = max(run.times_us, events[-1].time_us)
        channel.n += len(events)
        results.surprise[places] = block.surprise
        if channel.learned is not None:
            results.milli_bits[places] = channel.learned.model.scores[0][block.line]
        results.rejected[places] = block.rejected
        results.findings += findings
        results.decisions.append(decision)
        if channel.room == 0:
            self._note_epoch(end_epoch(channel, self.config, self.seed), results)

    def _note_epoch(self, end: EpochEnd, results: Results) -> None:
        if end.rotated:
            results.changes.append(Change("rotated", end.last_seq))
        if not end.regime_changed:
            return
        results.changes.append(Change("recalibrating", end.last_seq, {"rejected": end.rejected}))
        results.findings.append(
            Finding(
                kind="drift",
                first_seq=end.first_seq,
                last_seq=end.last_seq,
                time_us=self.lines.run.times_us,
                entity="",
                template=0,
                surprise=0,
                severity="high",
                score_milli=0,
                excess_milli=0,
                subject="regime",
                details={"events": end.events, "rejected": end.rejected},
            )
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
        made.budget = Budget.from_state(state["budget"])
        return made
