"""Texts and records of one stream: warm-up, scoring of blocks, and the state between epochs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import numpy as np

from guardhouse.analysis.anomaly.anchor import Anchor
from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.decide import combine
from guardhouse.analysis.anomaly.epoch import Block, epoch_length
from guardhouse.analysis.anomaly.event import Event, Judgement
from guardhouse.analysis.anomaly.fitting import Learned, fit_apart, fit_cleaned
from guardhouse.analysis.anomaly.line_model import LineModel, fingerprint
from guardhouse.analysis.anomaly.numeric import Field, columns, is_known
from guardhouse.analysis.anomaly.pins import Pins
from guardhouse.analysis.anomaly.quarantine import Quarantine

TEXT_WEIGHT: Final = 0.5
RECALIBRATE_EVENTS: Final = 200
State = Literal["calibrating", "ready", "recalibrating"]


@dataclass(frozen=True, slots=True)
class Outlier:
    """An event that the warm-up set aside, for a person to look at."""

    seq: int
    template: int
    line: bytes


@dataclass(slots=True)
class Running:
    """Counters of the running epoch and of what spans epochs."""

    begun: int = 0
    length: int = 0
    blocks: list[Block] = field(default_factory=list)
    times_us: int = 0
    """Event time of the last event."""
    rejected_sampled: int = 0
    rejected_new: int = 0
    """Rejected first sightings so far; each 20th of them counts as one by chance."""
    high_epochs: int = 0
    """Consecutive epochs with more than a fifth of the events rejected."""
    high_events: int = 0
    """Events in these epochs."""
    recalibrate_left: int = 0
    holding: bool = False
    guard: float = 0.5
    """Tail guard that the epoch's tails were made with."""


class LineChannel:
    """The part of a stream's engine for texts and records."""

    def __init__(self) -> None:
        self.n = 0
        """Events so far."""
        self.pending: list[Event] = []
        """Events of the warm-up, until it ends."""
        self.learned: Learned | None = None
        self.quarantine = Quarantine()
        self.pins = Pins()
        self.run = Running()
        self.outliers: list[Outlier] = []
        self.queued: list[Judgement] = []
        """Judgements whose effect on reservoirs and model waits for the end of the epoch."""

    @property
    def state(self) -> State:
        """Calibrating until the warm-up ends; recalibrating after a change of regime."""
        if self.learned is None:
            return "calibrating"
        return "recalibrating" if self.run.recalibrate_left or self.run.holding else "ready"

    # -- warm-up -------------------------------------------------------------------------------------------------

    def warm_up(self, events: Sequence[Event], config: Config) -> bool:
        """Take events of the warm-up; True when this ended it. Never more than it still needs."""
        self.pending += events
        self.n += len(events)
        if len(self.pending) < config.warmup_events:
            return False
        self.finish_warm_up(config)
        return True

    def finish_warm_up(self, config: Config) -> None:
        """Clean the events held, calibrate on the rest, learn them, and begin the first epoch."""
        events, self.pending = self.pending, []
        self.learned, aside = fit_cleaned(events, config)
        self.outliers = [Outlier(seq, fingerprint(line), line) for seq, line in aside]
        self.begin_epoch(config)

    def fit(self, events: Sequence[Event], calibration: Sequence[Event], config: Config) -> None:
        """Instead of a warm-up: learn some events as they are, and take the scores of others for calibration."""
        self.learned = fit_apart(events, calibration, config)
        self.n += len(events) + len(calibration)
        self.begin_epoch(config)

    def begin_epoch(self, config: Config) -> None:
        """Freeze tails for the next epoch."""
        if self.learned is None:
            raise RuntimeError("there is no epoch before the warm-up ends")
        self.learned.model.freeze(config.tail_guard)
        for one in self.learned.fields:
            one.freeze(config.tail_guard)
        self.run.guard = config.tail_guard
        self.run.begun, self.run.length, self.run.blocks = self.n, epoch_length(self.n), []

    @property
    def room(self) -> int:
        """Events that still fit into the running epoch."""
        return self.run.begun + self.run.length - self.n

    # -- judgements ----------------------------------------------------------------------------------------------

    def judge(self, judgement: Judgement) -> None:
        """Take a person's verdict: pins act at once, reservoirs and model at the end of the epoch."""
        match judgement.verdict:
            case "confirmed":
                self.pins.confirm(judgement.template)
                self.queued.append(judgement)
            case "false_positive":
                self.pins.allow(judgement.template, judgement.entity)
                self.queued.append(judgement)
            case "unpin":
                self.pins.remove(judgement.template)
            case "accept_outlier":
                self.outliers = [one for one in self.outliers if one.template != judgement.template]
                self.queued.append(judgement)
            case "accept":
                if self.run.holding:
                    self.run.holding, self.run.recalibrate_left = False, RECALIBRATE_EVENTS
            case "anchor" if self.learned is not None:
                self._new_anchor(self.learned)

    def _new_anchor(self, learned: Learned) -> None:
        model = learned.model
        scores = np.stack([reservoir.scores for reservoir in model.reservoirs])
        seqs = model.reservoirs[0].origins
        since = int(seqs[-1]) if seqs.size else 0
        learned.anchor = Anchor.of(model.coder, scores, seqs, since, learned.anchor.version + 1)

    # -- scoring -------------------------------------------------------------------------------------------------

    def score(self, events: Sequence[Event]) -> Block:
        """Score events with the frozen model; nothing that counts is changed."""
        if self.learned is None:
            raise RuntimeError("nothing is scored before the warm-up ends")
        model, fields = self.learned.model, self.learned.fields
        read = self.learned.reader.read(events, with_fields=bool(fields))
        line = model.look_up(read.lines)
        size = len(events)
        shape = (len(fields), size)
        block = Block(
            seq=np.fromiter((event.seq for event in events), np.int64, size),
            line=line,
            surprise=model.surprise[line],
            z=np.zeros(shape, np.int64),
            distance=np.zeros(shape, np.int64),
            field_surprise=np.zeros(shape, np.int64),
            known=np.zeros(shape, np.bool_),
            rejected=np.zeros(size, np.bool_),
        )
        if read.numbers and fields:
            _score_fields(block, fields, read.numbers, read.words)
        if fields:
            weights = [(1 - TEXT_WEIGHT) * one.share for one in fields]
            block.surprise = combine([block.surprise, *block.field_surprise], [TEXT_WEIGHT, *weights])
        return block

    # -- state ---------------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """The channel for ``snapshot``."""
        return {
            "n": self.n,
            "pending": [
                [
                    e.seq,
                    e.time_us,
                    e.text,
                    dict(e.body) if e.body is not None else None,
                    e.entity,
                    e.key,
                    e.end,
                    e.order_us,
                ]
                for e in self.pending
            ],
            "outliers": [[one.seq, one.template, one.line] for one in self.outliers],
            "queued": [[j.verdict, j.template, j.line, j.entity, list(j.seqs)] for j in self.queued],
            "quarantine": self.quarantine.to_state(),
            "pins": self.pins.to_state(),
            "run": self._run_state(),
            "learned": self.learned.to_state() if self.learned else None,
        }

    def _run_state(self) -> dict[str, Any]:
        run = self.run
        return {
            "numbers": [
                run.begun, run.length, run.times_us, run.rejected_sampled, run.rejected_new, run.high_epochs,
                run.high_events, run.recalibrate_left, int(run.holding),
            ],
            "guard": run.guard,
            "blocks": [self._block_state(block) for block in run.blocks],
        }  # fmt: skip

    def _block_state(self, block: Block) -> dict[str, Any]:
        """A block with its lines themselves: the numbers of lines depend on what else was looked up."""
        if self.learned is None:
            raise RuntimeError("there is no block before the warm-up ends")
        used, places = np.unique(block.line, return_inverse=True)
        state: dict[str, Any] = {name: getattr(block, name) for name in Block.__slots__ if name != "line"}
        lines = [self.learned.model.lines[number] for number in used]
        order = sorted(range(len(lines)), key=lines.__getitem__)
        rank = np.empty(len(lines), np.int64)
        rank[order] = np.arange(len(lines))
        return state | {"lines": [lines[place] for place in order], "places": rank[places]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The channel that ``to_state`` described."""
        made = cls()
        made.n = state["n"]
        made.pending = [
            Event(seq, time_us, text=text, body=body, entity=entity, key=key, end=end, order_us=order_us)
            for seq, time_us, text, body, entity, key, end, order_us in state["pending"]
        ]
        made.outliers = [Outlier(*one) for one in state["outliers"]]
        made.queued = [
            Judgement(v, t, line, entity, tuple(seqs)) for v, t, line, entity, seqs in state["queued"]
        ]
        made.quarantine = Quarantine.from_state(state["quarantine"])
        made.pins = Pins.from_state(state["pins"])
        run, made.run.guard = made.run, state["run"]["guard"]
        (
            run.begun, run.length, run.times_us, run.rejected_sampled, run.rejected_new, run.high_epochs,
            run.high_events, run.recalibrate_left, holding,
        ) = state["run"]["numbers"]  # fmt: skip
        run.holding = bool(holding)
        if state["learned"] is not None:
            made.learned = Learned.from_state(state["learned"], run.guard)
            run.blocks = [_block_from(one, made.learned.model) for one in state["run"]["blocks"]]
        return made


def _score_fields(
    block: Block, fields: Sequence[Field], numbers: Sequence[Any], words: Sequence[Any]
) -> None:
    values = columns([one.path for one in fields], numbers)
    block.known = is_known(values)
    for number, one in enumerate(fields):
        groups = [record.get(one.grouping, "") for record in words] if one.grouping else []
        block.z[number] = one.z(values[number], groups)
        block.distance[number] = one.scores(block.z[number])
        surprise = one.tail.surprise(block.distance[number])
        block.field_surprise[number] = np.where(block.known[number], surprise, 0)


def _block_from(state: dict[str, Any], model: LineModel) -> Block:
    line = model.look_up(state["lines"])[state["places"]]
    return Block(line=line, **{name: state[name] for name in Block.__slots__ if name != "line"})
