"""What a warm-up leaves behind: reader, model, numeric fields and anchor, fitted on its events."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.anchor import Anchor
from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.line_model import LineModel, coder_named, fingerprint, line_scores
from guardhouse.analysis.anomaly.numeric import Field, choose_fields, columns, is_known
from guardhouse.analysis.anomaly.reading import Read, Reader
from guardhouse.analysis.anomaly.warmup import MOST_WEIGHT, blocks, calibrate, clean


@dataclass(slots=True)
class Learned:
    """What a finished warm-up leaves behind."""

    reader: Reader
    model: LineModel
    fields: list[Field]
    anchor: Anchor

    def to_state(self) -> dict[str, Any]:
        """All of it for ``snapshot``."""
        return {
            "reader": self.reader.to_state(),
            "model": self.model.to_state(),
            "fields": [one.to_state() for one in self.fields],
            "anchor": self.anchor.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], guard: float) -> Self:
        """What ``to_state`` described, frozen with the guard that its epoch began with."""
        fields = [Field.from_state(one) for one in state["fields"]]
        for one in fields:
            one.freeze(guard)
        return cls(
            Reader.from_state(state["reader"]),
            LineModel.from_state(state["model"], guard),
            fields,
            Anchor.from_state(state["anchor"]),
        )


def fit_cleaned(events: Sequence[Event], config: Config) -> tuple[Learned, list[tuple[int, bytes]]]:
    """Set aside what does not belong, calibrate by four blocks, fit on the rest; and (seq, line) of those set aside."""
    reader = Reader.learned(events, config.mask)
    read = reader.read(events, with_fields=True)
    aside = clean(read.lines)
    kept = [number for number, line in enumerate(read.lines) if line not in aside]
    lines = [read.lines[number] for number in kept]
    seqs = np.array([events[number].seq for number in kept], np.int64)
    calibration = calibrate(lines, config.coder)
    model = _taught(lines, config)
    counted, first = calibration.counted, calibration.first
    _fill(model, calibration.scores, seqs, counted, first)
    anchor = Anchor.of(
        model.coder, calibration.scores[:, counted], seqs[counted], int(seqs[-1]) if seqs.size else 0, 1
    )
    fields: list[Field] = []
    if read.numbers:
        words = [read.words[number] for number in kept]
        fields = _fitted_fields([read.numbers[number] for number in kept], words, seqs)
    rest = [(event.seq, line) for event, line in zip(events, read.lines, strict=True) if line in aside]
    return Learned(reader, model, fields, anchor), rest


def fit_apart(events: Sequence[Event], calibration: Sequence[Event], config: Config) -> Learned:
    """Fit on some events as they are and calibrate on others."""
    reader = Reader.learned(events, config.mask)
    read, other = (reader.read(part, with_fields=True) for part in (events, calibration))
    model = _taught(read.lines, config)
    seqs = np.array([event.seq for event in calibration], np.int64)
    scores = line_scores(model.coder, other.lines)
    first = _first_sightings(other.lines, set(read.lines))
    _fill(model, scores, seqs, np.ones(seqs.size, np.bool_), first)
    fields = _fields_apart(read, other, seqs) if read.numbers and other.numbers else []
    return Learned(reader, model, fields, Anchor.of(model.coder, scores, seqs, int(seqs[-1]), 1))


def _taught(lines: Sequence[bytes], config: Config) -> LineModel:
    """A model that learned lines, each by its count."""
    model = LineModel(coder_named(config.coder))
    counts = Counter(lines)
    weights = [min(count, MOST_WEIGHT) for count in counts.values()]
    model.learn(list(counts), weights, [fingerprint(line) for line in counts])
    return model


def _fill(
    model: LineModel,
    scores: NDArray[np.int64],
    seqs: NDArray[np.int64],
    counted: NDArray[np.bool_],
    first: NDArray[np.bool_],
) -> None:
    for reservoir, novel, row in zip(model.reservoirs, model.novel, scores, strict=True):
        reservoir.admit_plainly(row[counted], seqs[counted])
        novel.admit_plainly(row[first], seqs[first])
    model.note_sightings(first)


def _first_sightings(lines: Sequence[bytes], known: set[bytes]) -> NDArray[np.bool_]:
    """Where a line occurs for the first time and is not known."""
    first = np.zeros(len(lines), np.bool_)
    for place, line in enumerate(lines):
        first[place] = line not in known
        known.add(line)
    return first


def _fields_apart(read: Read, other: Read, seqs: NDArray[np.int64]) -> list[Field]:
    """Numeric fields fitted on one part and calibrated on another."""
    fields = choose_fields(read.numbers, read.words)
    paths = [one.path for one in fields]
    values, asked = columns(paths, read.numbers), columns(paths, other.numbers)
    for one, row, ask in zip(fields, values, asked, strict=True):
        one.fit(row, [record.get(one.grouping, "") for record in read.words])
        known = is_known(ask)
        scores = one.scores(one.z(ask, [record.get(one.grouping, "") for record in other.words]))
        one.reservoir.admit_plainly(scores[known], seqs[known])
    return fields


def _fitted_fields(
    numbers: Sequence[Mapping[str, float]], words: Sequence[Mapping[str, str]], seqs: NDArray[np.int64]
) -> list[Field]:
    """Numeric fields, calibrated by four blocks and then fitted on all."""
    fields = choose_fields(numbers, words)
    values = columns([one.path for one in fields], numbers)
    for one, row in zip(fields, values, strict=True):
        groups = [record.get(one.grouping, "") for record in words]
        for begin, end in blocks(len(numbers)):
            one.fit(np.concatenate([row[:begin], row[end:]]), groups[:begin] + groups[end:])
            known = is_known(row[begin:end])
            scores = one.scores(one.z(row[begin:end], groups[begin:end]))
            one.reservoir.admit_plainly(scores[known], seqs[begin:end][known])
        one.fit(row, groups)
    return fields
