"""Decisions on blocks of texts and records: what is rejected, which events are candidates, and their numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.decide import rejected, severity
from guardhouse.analysis.anomaly.epoch import Block
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.finding import Decision, FamilyScore, Finding
from guardhouse.analysis.anomaly.fitting import Learned
from guardhouse.analysis.anomaly.line_channel import LineChannel


def judge_block(
    channel: LineChannel, events: Sequence[Event], block: Block, config: Config, quiet_events: int
) -> tuple[list[Finding], Decision]:
    """Reject, pin, and describe the candidates of a block.

    Fills ``block.rejected``. The first ``quiet_events`` events are still recalibrating: their candidates are quiet.
    """
    learned = channel.learned
    if learned is None:
        raise RuntimeError("nothing is judged before the warm-up ends")
    bad, allowed = _verdicts(channel, learned, events, block)
    block.rejected = rejected(np.where(allowed, 0, block.surprise), config.fdr_q)
    candidate = (block.rejected & (block.surprise >= config.alert_surprise) & ~allowed) | bad
    places = np.flatnonzero(candidate)
    findings = _described(learned, events, block, places, bad, quiet_events) if places.size else []
    decision = Decision(
        events[0].seq,
        events[-1].seq,
        block.size,
        int(np.count_nonzero(block.rejected)),
        config.fdr_q,
        config.alert_surprise,
    )
    return findings, decision


def _verdicts(
    channel: LineChannel, learned: Learned, events: Sequence[Event], block: Block
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    pins = channel.pins
    if not pins.bad and not pins.allowed:
        return np.zeros(block.size, np.bool_), np.zeros(block.size, np.bool_)
    return pins.masks(learned.model.templates, block.line, [event.entity for event in events])


def _described(
    learned: Learned,
    events: Sequence[Event],
    block: Block,
    places: NDArray[np.int64],
    bad: NDArray[np.bool_],
    quiet_events: int,
) -> list[Finding]:
    model = learned.model
    lines = [model.lines[line] for line in block.line[places]]
    against_anchor = learned.anchor.surprise(learned.anchor.scores(lines))
    usual = model.tails[0].median
    found = []
    for number, place in enumerate(places.tolist()):
        event, total = events[place], int(model.scores[0][block.line[place]])
        surprise = int(block.surprise[place])
        found.append(
            Finding(
                kind="event" if event.body is None else "record",
                first_seq=event.seq,
                last_seq=event.seq,
                time_us=event.time_us,
                entity=event.entity,
                template=model.templates[block.line[place]],
                surprise=surprise,
                severity=severity(surprise, pinned=bool(bad[place])),
                score_milli=total,
                excess_milli=total - usual,
                families=_families(learned, block, place),
                anchor_surprise=int(against_anchor[number]),
                pinned=bool(bad[place]),
                quiet="recalibrating" if place < quiet_events else "",
            )
        )
    return found


def _families(learned: Learned, block: Block, place: int) -> tuple[FamilyScore, ...]:
    """The parts of one event's surprise."""
    model = learned.model
    found = []
    for name, tail, row, reservoir in zip(
        model.families, model.tails, model.scores, model.reservoirs, strict=True
    ):
        score = int(row[block.line[place]])
        surprise = int(tail.surprise(np.array([score]))[0])
        found.append(FamilyScore(name, score, surprise, len(reservoir), tail.extrapolated(score)))
    for number, one in enumerate(learned.fields):
        if block.known[number, place]:
            score = int(block.distance[number, place])
            surprise = int(block.field_surprise[number, place])
            extrapolated = one.tail.extrapolated(score)
            found.append(FamilyScore(f"field:{one.path}", score, surprise, len(one.reservoir), extrapolated))
    return tuple(found)
